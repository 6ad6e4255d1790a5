"""Hints for errors of Pulumi's Docker provider and of the engine."""

from components.runtime.workload import HEALTHY_SECONDS
from config import docker_engine

ERROR_HINTS = (
    (
        "port is already allocated|address already in use",
        "{published} is taken: stop what listens there, or set registry.port to another",
    ),
    (
        "cannot assign requested address",
        "{address} is not an address of the engine's machine: set registry.bind to one that is",
    ),
    (
        "unable to (find|pull)",
        "the image {name} is not in the engine, and its registry does not give it: see that it is "
        "written right and can be reached, or load it (docker load)",
    ),
    (
        "client version .* is too (new|old)",
        "the docker plugin and the Docker engine have no API version in common: update the engine, "
        "or name another one (docker:host in the stack file, or DOCKER_HOST)",
    ),
    (
        "Error loading Docker context",
        "the docker plugin has no such context below ~/.docker/contexts: create it with `docker "
        "context create`, or set docker:host in place of docker:context",
    ),
    (
        "pinging Docker|connect to the Docker|during connect|create Docker client",
        "the Docker engine does not answer: start it, or say where it is (docker:host in the stack "
        "file, or DOCKER_HOST)",
    ),
    (
        "already in use by service .* port",
        "the port of {name} is another service's: set registry.port to another",
    ),
    (
        "already in use by (container|service)|network with name .* already exists|name conflicts",
        "{name} is in the engine already, from another checkout or a state that was lost: "
        "`make down` there, or remove it (docker rm, docker service rm, docker network rm)",
    ),
    ("docker swarm init", docker_engine.NOT_IN_SWARM),
    ("not a swarm manager|from a worker node", docker_engine.SWARM_WORKER),
    (
        "rollback (completed|paused)|update paused",
        "{name} did not get healthy with the change, and runs as before: `docker service ps "
        "--no-trunc {name}` says why; mend it, and `up` again",
    ),
    (
        "did not converge",
        "{name} did not get healthy on each machine that it was given to: `docker service ps "
        "--no-trunc {name}` says why, and `docker node ls` which machines there are",
    ),
    (
        "healthy state",
        f"{{name}} was not healthy within {HEALTHY_SECONDS} s: `docker logs {{name}}` says why",
    ),
)
