"""Where `registry garbage-collect` runs: with the registry's own image, configuration and access.

It must never be at work beside a registry that takes pushes, whatever becomes of who started it.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from config.plan import drain_seconds
from config.stack import READ_ONLY_LABEL, STACK_LABEL, Stack
from operations import swarm
from operations.clients import docker as engine
from operations.errors import CommandError


class Collector(Protocol):
    def read_only(self) -> bool:
        """Whether the registry that is there takes no pushes."""

    def alone(self) -> None:
        """Return once only read-only registries run. Raises CommandError."""

    def run(self, *command: str) -> Iterator[str]:
        """The lines that `command` prints. Raises CommandError, CalledProcessError."""


class _InContainer:
    """In the registry's own container: whoever replaces it, by an `up`, ends the command too."""

    def __init__(self, stack: Stack, variables: Mapping[str, str]) -> None:
        self._name, self._variables = f"{stack.prefix}-registry", variables
        self._found = self._id()

    def _id(self) -> str:
        words = ("container", "inspect", "--format", "{{.Id}}", self._name)
        return engine.docker(self._variables, *words).strip()

    def read_only(self) -> bool:
        return engine.marked(READ_ONLY_LABEL, "container", self._found, self._variables)

    def alone(self) -> None:
        self._found = self._id()
        _see(self)

    def run(self, *command: str) -> Iterator[str]:
        # Not by name: that may be another container's by now, which takes pushes.
        return engine.printed(self._variables, "exec", self._found, *command)


class _InService:
    """A service that runs once, made like the registry's: its replicas may be out of reach.

    It is removed when it ends, as soon as the service takes pushes, and by each `make up`.
    """

    def __init__(self, stack: Stack, variables: Mapping[str, str]) -> None:
        self._service, self._variables = f"{stack.prefix}-registry", variables
        self._stack, self._only_read_only = stack, False
        self._patience = drain_seconds(stack.registry.tree) + 60

    def read_only(self) -> bool:
        return engine.marked(READ_ONLY_LABEL, "service", self._service, self._variables)

    def alone(self) -> None:
        self._only_read_only = True
        _see(self)
        swarm.see_end(
            "a replica on {} is not seen to have ended, and may still take pushes",
            lambda: [task["Node"] for task in self._tasks() if _outlives(task)],
            self._patience,
        )

    def run(self, *command: str) -> Iterator[str]:
        swarm.end_collection(self._stack.name, self._variables)
        name = swarm.collection(self._stack.name)
        logs = ("service", "logs", "--raw", name)
        inspected = engine.docker(self._variables, "service", "inspect", self._service)
        flags = _flags(json.loads(inspected)[0]["Spec"]["TaskTemplate"])
        label = f"--label={STACK_LABEL}={self._stack.name}"
        # Where a replica is, there are its image and its volume.
        where = f"--constraint=node.id=={self._machine()}"
        # No job of the swarm's own: it goes on when it is removed (moby issues 42789, 44312).
        how = ("--restart-condition=none", "--stop-signal=SIGKILL")
        words = ("--detach", "--quiet", "--no-resolve-image", f"--name={name}", label, where, *how)
        try:
            engine.docker(self._variables, "service", "create", *words, *flags, *command)
            while not (ended := self._ended(name)):
                if self._only_read_only:
                    _see(self)
                time.sleep(1)
            if not ended["CurrentState"].startswith("Complete"):
                said = engine.docker(self._variables, *logs, both=True).strip()
                yield from said.splitlines()
                raise CommandError(f"on {ended['Node']}: {said or ended['Error']}")
            yield from engine.printed(self._variables, *logs)
        finally:
            swarm.end_collection(self._stack.name, self._variables)

    def _ended(self, name: str) -> Mapping[str, str] | None:
        tasks = self._tasks(name)
        return next((task for task in tasks if not swarm.goes_on(task["CurrentState"])), None)

    def _machine(self) -> str:
        """The id of one where a replica runs."""
        for task in self._tasks():
            if task["CurrentState"].startswith("Running"):
                return engine.docker(
                    self._variables, "inspect", "--format", "{{.NodeID}}", task["ID"]
                ).strip()
        raise CommandError(f"no replica of {self._service} runs")

    def _tasks(self, service: str = "") -> Sequence[Mapping[str, str]]:
        words = ("service", "ps", "--no-trunc", "--format", "{{json .}}", service or self._service)
        return [json.loads(line) for line in engine.docker(self._variables, *words).splitlines()]


def _see(collector: Collector) -> None:
    if not collector.read_only():
        raise CommandError("the registry takes pushes again: someone else has changed it meanwhile")


def _outlives(task: Mapping[str, str]) -> bool:
    """Whether a replica that is to be no more still is."""
    return task["DesiredState"] != "Running" and swarm.goes_on(task["CurrentState"])


def _flags(task: Mapping[str, Any]) -> Iterator[str]:
    """What makes another service run as `task` does, as `docker service create` takes it."""
    container = task["ContainerSpec"]
    yield f"--user={container.get('User', '')}"
    yield from (f"--env={variable}" for variable in container.get("Env", ()))
    yield from ("--read-only" for on in [container.get("ReadOnly")] if on)
    yield from (f"--cap-drop={one}" for one in container.get("CapabilityDrop", ()))
    for mount in container.get("Mounts", ()):
        source = f",source={mount['Source']}" if mount.get("Source") else ""
        yield f"--mount=type={mount['Type']},target={mount['Target']}{source}"
    for kind in ("Secret", "Config"):
        for each in container.get(f"{kind}s", ()):
            file = each["File"]
            where = f"target={file['Name']},uid={file['UID']},gid={file['GID']}"
            yield f"--{kind.lower()}=source={each[f'{kind}Name']},{where},mode={file['Mode']:o}"
    yield from (f"--network={network['Target']}" for network in task.get("Networks", ()))
    yield container["Image"]


_COLLECTORS: Mapping[str, Callable[[Stack, Mapping[str, str]], Collector]] = {
    "container": _InContainer,
    "swarm": _InService,
}


def collector(stack: Stack, variables: Mapping[str, str]) -> Collector:
    """That of the stack's runtime. Raises CalledProcessError where its registry is not there."""
    return _COLLECTORS[stack.settings.registry.runtime](stack, variables)
