"""What only the engine can say of a stack that is to run on a Docker Swarm, and what `up` leaves.

That are secrets and configs: what neither a service of the stack nor the way back to its last
version names goes when `make up` or `make down` ends.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from config.settings import PROJECT
from config.stack import Stack
from operations.clients import docker as engine
from operations.clients.pulumi import CONTAINER, SERVICE
from operations.errors import CommandError

PATIENCE = 30  # seconds, for a task to end
# What a runtime makes, and the other one does not.
OWN_KINDS = {
    "container": {CONTAINER},
    "swarm": {SERVICE, "docker:index/secret:Secret", "docker:index/serviceConfig:ServiceConfig"},
}


def made_for_another(
    runtime: str, resources: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Those of `resources` that only another runtime than `runtime` has, each after its name."""
    for other in OWN_KINDS.keys() - {runtime}:
        yield from ((other, each) for each in resources if each["type"] in OWN_KINDS[other])


def obstacle(
    stack: Stack, resources: Sequence[Mapping[str, Any]], variables: Mapping[str, str]
) -> str | None:
    """Why `stack`, of which there are `resources` now, can't be on its engine, and what to do.

    Raises CalledProcessError with the engine's words.
    """
    registry = stack.settings.registry
    for other, _ in made_for_another(registry.runtime, resources):
        return (
            f"the registry runs by runtime: {other}, whose port and names must be free first: "
            f"set it back, and make move STACK={stack.name} RUNTIME={registry.runtime}"
        )
    if registry.runtime != "swarm":
        return None
    state = json.loads(engine.docker(variables, "info", "--format", "{{json .Swarm}}"))
    if state["LocalNodeState"] != "active":
        return "the engine is in no swarm: `docker swarm init` there makes it one"
    if not state["ControlAvailable"]:
        return (
            "the engine is a worker of its swarm, and only managers take orders: `docker node "
            "promote` it on a manager, or set docker:host to one"
        )
    machines = _machines(variables)
    spare = stack.swarm.order == "start-first"
    if stack.swarm.publish_mode == "host" and registry.replicas + spare > len(machines):
        return (
            f"registry.replicas is {registry.replicas}, and publish_mode: host takes a machine for "
            f"each{' and one to spare with order: start-first' * spare}, but `docker node ls` has "
            f"{len(machines)} that are ready: `docker swarm join-token worker` says how one joins, "
            f"or set registry.replicas: {len(machines) - spare}"
        )
    if stack.registry.volumes and len(machines) > 1 and not stack.swarm.constraints:
        return (
            f"{' and '.join(stack.registry.volumes)} would be on whichever of {len(machines)} "
            "machines the registry comes to: name one in registry.swarm.constraints, such as "
            f"[node.hostname=={machines[0]}]"
        )
    return None


def _machines(variables: Mapping[str, str]) -> Sequence[str]:
    """The names of those that may be given work; the one that is asked is the first."""
    listed = engine.docker(variables, "node", "ls", "--format", "{{json .}}").splitlines()
    nodes = sorted(map(json.loads, listed), key=lambda node: not node["Self"])
    able = ("Ready", "Active")
    return [node["Hostname"] for node in nodes if (node["Status"], node["Availability"]) == able]


def remove_unused(stack: str, variables: Mapping[str, str]) -> None:
    """Remove what no service of `stack` uses, nor would after `docker service rollback`."""
    manages = engine.docker(variables, "info", "--format", "{{.Swarm.ControlAvailable}}").strip()
    if manages != "true":
        return
    services = engine.labelled("service", stack, variables)
    inspected = engine.docker(variables, "service", "inspect", *services) if services else ""
    used = set(re.findall(r'"(?:Secret|Config)ID": "(\w+)"', inspected))
    for kind in ("secret", "config"):
        if unused := [*engine.labelled(kind, stack, variables).keys() - used]:
            engine.docker(variables, kind, "rm", *unused)


def collection(stack: str) -> str:
    """The name of the service in which a collection of garbage runs."""
    return f"{PROJECT}-{stack}-gc"


def end_collection(stack: str, variables: Mapping[str, str]) -> None:
    """Remove a collection of garbage and see it end, as it must not go on beside pushes.

    Raises CommandError where it is not seen to end, CalledProcessError with the engine's words.
    """
    services = engine.labelled("service", stack, variables)
    found = next((key for key, name in services.items() if name == collection(stack)), None)
    if not found:
        return
    engine.docker(variables, "service", "rm", found)
    see_end(
        "a collection of garbage on {} is not seen to have ended",
        # Of a service that is no more, the tasks bear the id.
        lambda: [place for place, state in _tasks(found, variables) if goes_on(state)],
        PATIENCE,
    )


def see_end(sentence: str, going: Callable[[], Collection[str]], seconds: float) -> None:
    """Return once nothing is `going` on any machine.

    Raises CommandError after `seconds`, with the `sentence` that names the machines.
    """
    end = time.monotonic() + seconds
    while machines := going():
        if time.monotonic() > end:
            where = " and ".join(sorted(set(machines)))
            raise CommandError(f"{sentence.format(where)}: see `docker node ls`")
        time.sleep(1)


def _tasks(service: str, variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Where each task of the service of that id is or was, and its state."""
    for node in engine.docker(variables, "node", "ls", "--quiet").split():
        words = ("node", "ps", "--no-trunc", "--format", "{{json .}}", node)
        for task in map(json.loads, engine.docker(variables, *words).splitlines()):
            if task["Name"].startswith(service):
                yield task["Node"], task["CurrentState"]


def goes_on(state: str) -> bool:
    """Whether a task in this state (`docker service ps` says it) runs, or is yet to."""
    over = ("Complete", "Failed", "Rejected", "Orphaned", "Shutdown", "Remove")
    return not state.startswith(over)
