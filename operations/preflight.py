"""Preflight checks: whether the Docker engine of a stack can run it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from config.docker_engine import NOT_IN_SWARM, SWARM_WORKER
from config.problems import SettingsError
from config.resource_names import RUNTIME_TYPES
from config.stack import Stack
from operations.clients.docker import Docker
from operations.clients.pulumi import Resources
from operations.context import StackContext
from operations.errors import CommandError


def check(context: StackContext) -> None:
    """Raise CommandError if the engine cannot run the stack.

    An invalid stack file is not checked, because the Pulumi program reports its problems. Raises
    CalledProcessError.
    """
    try:
        stack = context.stack
    except SettingsError:
        return
    require_engine(stack, context.pulumi.resources, context.docker)


def require_engine(stack: Stack, resources: Resources, docker: Docker) -> None:
    """Raise CommandError if the engine cannot run `stack`, whose state has `resources`."""
    if problem := find_problem(stack, resources, docker):
        raise CommandError(problem)


def find_problem(stack: Stack, resources: Resources, docker: Docker) -> str | None:
    """Return why the engine cannot run `stack`, with the fix, or None. See `require_engine`."""
    registry = stack.registry.settings
    for other, _ in resources_of_other_runtimes(registry.runtime, resources):
        return (
            f"the registry runs by runtime: {other}, whose port and names must be free first: "
            f"set it back, and make move STACK={stack.name} RUNTIME={registry.runtime}"
        )
    if registry.runtime != "swarm":
        return None
    state = json.loads(docker.run("info", "--format", "{{json .Swarm}}"))
    if state["LocalNodeState"] != "active":
        return NOT_IN_SWARM
    if not state["ControlAvailable"]:
        return SWARM_WORKER
    nodes = _available_nodes(docker)
    return _node_problem(stack, nodes) or _volume_problem(stack, nodes)


def resources_of_other_runtimes(
    runtime: str, resources: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (other runtime, resource) for each of `resources` that `runtime` does not use."""
    for other in RUNTIME_TYPES.keys() - {runtime}:
        for resource in resources:
            if resource["type"] in RUNTIME_TYPES[other]:
                yield other, resource


def _available_nodes(docker: Docker) -> Sequence[str]:
    """Return the names of the nodes that accept tasks. The node that `docker` talks to is first."""
    nodes = [
        json.loads(line) for line in docker.run("node", "ls", "--format", "{{json .}}").splitlines()
    ]
    nodes.sort(key=lambda node: not node["Self"])
    return [
        node["Hostname"]
        for node in nodes
        if (node["Status"], node["Availability"]) == ("Ready", "Active")
    ]


def _node_problem(stack: Stack, nodes: Sequence[str]) -> str | None:
    """Return the problem and the fix if there are too few nodes for the replicas, or None."""
    registry = stack.registry.settings
    spare, spare_text = 0, ""
    if stack.swarm_settings.order == "start-first":
        spare, spare_text = 1, " and one to spare with order: start-first"
    if stack.swarm_settings.publish_mode != "host" or registry.replicas + spare <= len(nodes):
        return None
    return (
        f"registry.replicas is {registry.replicas}, and publish_mode: host takes a machine for each"
        f"{spare_text}, but `docker node ls` has {len(nodes)} that are ready: `docker swarm "
        f"join-token worker` says how one joins, or set registry.replicas: {len(nodes) - spare}"
    )


def _volume_problem(stack: Stack, nodes: Sequence[str]) -> str | None:
    """Return the problem and the fix if the volume could be on any of several nodes, or None."""
    if not stack.registry.volumes or len(nodes) <= 1 or stack.swarm_settings.constraints:
        return None
    return (
        f"{' and '.join(stack.registry.volumes)} would be on whichever of {len(nodes)} machines "
        "the registry comes to: name one in registry.swarm.constraints, such as "
        f"[node.hostname=={nodes[0]}]"
    )
