"""Runs `registry garbage-collect` with the registry's own image, configuration and access.

It must never run while the registry accepts pushes, even if the command that started it is
killed.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from config.plan import drain_seconds
from config.stack import READ_ONLY_LABEL, STACK_LABEL, Stack, collector_name
from operations.clients.docker import Docker
from operations.errors import CommandError
from operations.swarm import is_active, wait_until_ended

END_TIMEOUT = 30  # seconds for a task to end


class Collector(Protocol):
    """Runs commands in the registry's image.

    Methods raise CommandError, and CalledProcessError with the command's error text.
    """

    def is_read_only(self) -> bool:
        """Return whether the deployed registry refuses pushes."""

    def wait_for_writers(self) -> None:
        """Wait until only read-only registries run. Raises CommandError if others do not end."""

    def run(self, *command: str) -> Iterator[str]:
        """Yield the lines that a command prints."""


def create_collector(stack: Stack, docker: Docker) -> Collector:
    """Return the collector for the runtime of `stack`.

    Raises CalledProcessError if there is no registry.
    """
    if stack.registry.settings.runtime == "swarm":
        return _ServiceCollector(stack, docker)
    return _ContainerCollector(stack, docker)


class _ContainerCollector:
    """Runs commands in the registry's container. They end when the container is replaced."""

    def __init__(self, stack: Stack, docker: Docker) -> None:
        self._name, self._docker = stack.registry.container, docker
        self._id = self._find_id()

    def _find_id(self) -> str:
        return self._docker.run("container", "inspect", "--format", "{{.Id}}", self._name).strip()

    def is_read_only(self) -> bool:
        return self._docker.has_label(READ_ONLY_LABEL, "container", self._id)

    def wait_for_writers(self) -> None:
        self._id = self._find_id()
        _require_read_only(self)

    def run(self, *command: str) -> Iterator[str]:
        # By id: the name may belong to a newer container, which accepts pushes.
        return self._docker.lines("exec", self._id, *command)


class _ServiceCollector:
    """Runs commands in a copy of the service, because the replicas may be on other machines.

    The copy is removed when its command ends, when the registry accepts pushes, and by the next
    `make up`.
    """

    def __init__(self, stack: Stack, docker: Docker) -> None:
        self._stack, self._docker = stack, docker
        self._service = stack.registry.container
        self._is_guarded = False  # whether to stop when the registry accepts pushes

    def is_read_only(self) -> bool:
        return self._docker.has_label(READ_ONLY_LABEL, "service", self._service)

    def wait_for_writers(self) -> None:
        self._is_guarded = True
        _require_read_only(self)
        wait_until_ended(
            "a replica on {} is not seen to have ended, and may still take pushes",
            lambda: [task["Node"] for task in self._tasks(self._service) if _is_outdated(task)],
            drain_seconds(self._stack.registry.tree) + 60,
        )

    def run(self, *command: str) -> Iterator[str]:
        end_collection(self._stack.name, self._docker)
        name = collector_name(self._stack.name)
        logs = ("service", "logs", "--raw", name)
        inspected = self._docker.run("service", "inspect", self._service)
        options = [
            "--detach",
            "--quiet",
            "--no-resolve-image",
            f"--name={name}",
            f"--label={STACK_LABEL}={self._stack.name}",
            # A node with a replica has the image and the volume.
            f"--constraint=node.id=={self._node()}",
            # Not a Swarm job, because a job continues after its removal (moby 42789, 44312).
            "--restart-condition=none",
            "--stop-signal=SIGKILL",
            *_copied_options(json.loads(inspected)[0]["Spec"]["TaskTemplate"]),
        ]
        try:
            self._docker.run("service", "create", *options, *command)
            while not (ended := self._ended_task(name)):
                if self._is_guarded:
                    _require_read_only(self)
                time.sleep(1)
            if not ended["CurrentState"].startswith("Complete"):
                output = self._docker.run(*logs, include_stderr=True).strip()
                yield from output.splitlines()
                raise CommandError(f"on {ended['Node']}: {output or ended['Error']}")
            yield from self._docker.lines(*logs)
        finally:
            end_collection(self._stack.name, self._docker)

    def _ended_task(self, service: str) -> Mapping[str, str] | None:
        tasks = self._tasks(service)
        return next((task for task in tasks if not is_active(task["CurrentState"])), None)

    def _node(self) -> str:
        """Return the id of a node with a running replica."""
        for task in self._tasks(self._service):
            if task["CurrentState"].startswith("Running"):
                node = self._docker.run("inspect", "--format", "{{.NodeID}}", task["ID"])
                return node.strip()
        raise CommandError(f"no replica of {self._service} runs")

    def _tasks(self, service: str) -> Sequence[Mapping[str, str]]:
        command = ("service", "ps", "--no-trunc", "--format", "{{json .}}", service)
        return [json.loads(line) for line in self._docker.run(*command).splitlines()]


def _require_read_only(collector: Collector) -> None:
    if not collector.is_read_only():
        raise CommandError("the registry takes pushes again: someone else has changed it meanwhile")


def _is_outdated(task: Mapping[str, str]) -> bool:
    """Return whether a replica should have ended, but is still active."""
    return task["DesiredState"] != "Running" and is_active(task["CurrentState"])


def _copied_options(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options and the image with which `docker service create` copies a service.

    `task` is the `TaskTemplate` of that service.
    """
    container = task["ContainerSpec"]
    yield f"--user={container.get('User', '')}"
    for variable in container.get("Env", ()):
        yield f"--env={variable}"
    if container.get("ReadOnly"):
        yield "--read-only"
    for capability in container.get("CapabilityDrop", ()):
        yield f"--cap-drop={capability}"
    for mount in container.get("Mounts", ()):
        source = f",source={mount['Source']}" if mount.get("Source") else ""
        yield f"--mount=type={mount['Type']},target={mount['Target']}{source}"
    for kind in ("Secret", "Config"):
        for reference in container.get(f"{kind}s", ()):
            file = reference["File"]
            target = f"target={file['Name']},uid={file['UID']},gid={file['GID']}"
            source = reference[f"{kind}Name"]
            yield f"--{kind.lower()}=source={source},{target},mode={file['Mode']:o}"
    for network in task.get("Networks", ()):
        yield f"--network={network['Target']}"
    yield container["Image"]


def end_collection(stack: str, docker: Docker) -> None:
    """Remove the service that collects garbage, and wait until it has ended.

    It must not run while the registry accepts pushes. Raises CommandError if it does not end.
    """
    services = docker.labelled("service", stack)
    name = collector_name(stack)
    found = next((service for service, each in services.items() if each == name), None)
    if not found:
        return
    docker.run("service", "rm", found)
    wait_until_ended(
        "a collection of garbage on {} is not seen to have ended",
        lambda: _nodes_with_active_tasks(found, docker),
        END_TIMEOUT,
    )


def _nodes_with_active_tasks(service: str, docker: Docker) -> Sequence[str]:
    """Return the nodes with active tasks of a removed service. `service` is its id."""
    nodes = []
    for node in docker.run("node", "ls", "--quiet").split():
        command = ("node", "ps", "--no-trunc", "--format", "{{json .}}", node)
        for line in docker.run(*command).splitlines():
            task = json.loads(line)
            # The names of the tasks of a removed service start with its id.
            if task["Name"].startswith(service) and is_active(task["CurrentState"]):
                nodes.append(task["Node"])
    return nodes
