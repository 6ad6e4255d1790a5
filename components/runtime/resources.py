"""Docker resources that both runtimes use."""

from collections.abc import Mapping

import pulumi_docker as docker
from pulumi import Output, Resource, ResourceOptions

from components.error_hints import with_hints
from components.runtime.workload import Workload
from config import docker_engine
from config.stack import STACK_LABEL, Stack

HEALTHY_SECONDS = 60
TMP_MIB = 64
LOG_DRIVER = "json-file"
LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
HEALTH_INTERVAL, HEALTH_START_PERIOD = "3s", "30s"
# Errors of the docker plugin and the engine, and what users can do about them.
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


def create_volume(resource: str, name: str, stack: str, parent: Resource) -> Output[str]:
    """Create a volume that remains after `pulumi destroy`, and return its name.

    An existing volume is used as it is. Only `docker volume rm` removes its data.
    """
    volume = docker.Volume(
        resource,
        name=name,
        labels=[docker.VolumeLabelArgs(label=STACK_LABEL, value=stack)],
        opts=ResourceOptions(
            parent=parent,
            retain_on_delete=True,
            ignore_changes=["labels", "driver", "driverOpts"],
            hooks=with_hints(resource, ERROR_HINTS),
        ),
    )
    return volume.name


def create_network(stack: Stack, driver: str) -> docker.Network:
    """Create the network of a stack, with the `driver` bridge or overlay."""
    return docker.Network(
        "network",
        name=stack.prefix,
        driver=driver,
        labels=[docker.NetworkLabelArgs(label=STACK_LABEL, value=stack.name)],
        opts=ResourceOptions(hooks=with_hints("network", ERROR_HINTS)),
    )


def pull_image(name: str, workload: Workload, parent: Resource) -> docker.RemoteImage:
    """Pull the image of `workload`, and keep it when the stack is destroyed."""
    resource = f"{name}-image"
    return docker.RemoteImage(
        resource,
        name=workload.image,
        keep_locally=True,  # other containers of this engine may use it
        opts=ResourceOptions(parent=parent, hooks=with_hints(resource, ERROR_HINTS)),
    )


def labels(stack: str, workload: Workload) -> Mapping[str, str]:
    """Return the labels of a container or service, sorted by name."""
    return dict(sorted({STACK_LABEL: stack, **workload.labels}.items()))
