"""Workloads, which a runtime runs, and the bindings that components provide for the registry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pulumi import Input, Resource

HEALTHY_SECONDS = 60  # within which a workload must be healthy


@dataclass(frozen=True, kw_only=True)
class File:
    path: str
    content: Input[str]
    secret: bool


@dataclass(frozen=True, kw_only=True)
class Mount:
    volume: Input[str]
    path: str


@dataclass(frozen=True, kw_only=True)
class Port:
    """The port `container`, published on the port `host` of the IP address `address`.

    A Swarm service ignores `address` and publishes the port on all addresses.
    """

    address: str
    host: int
    container: int


@dataclass(frozen=True, kw_only=True)
class Bindings:
    """The values, mounts and stack outputs that a component provides for the registry.

    `values` are the values of placeholders, by label. `outputs` are outputs of the stack.
    """

    values: Mapping[str, Input[str]] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    outputs: Mapping[str, Input[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A program to run.

    `health` is a command without a shell. `stop_seconds` is the time that the program has to stop.
    `memory` (bytes) and `cpus` are limits. A container ignores `replicas`. `labels` are added to
    those of the stack.
    """

    name: str
    image: str
    health: Sequence[str]
    stop_seconds: int
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str | None = None
    environment: Mapping[str, Input[str]] = field(default_factory=dict)
    files: Sequence[File] = ()
    mounts: Sequence[Mount] = ()
    ports: Sequence[Port] = ()
    memory: int | None = None
    cpus: float | None = None
    replicas: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)


class Runtime(Protocol):
    """Runs workloads on a network of the stack."""

    def run(self, name: str, workload: Workload, parent: Resource) -> None:
        """Create the resource `name` for `workload`, and wait until it is healthy."""
