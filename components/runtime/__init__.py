"""Runtimes: a module for each `registry.runtime`. Only this package imports pulumi_docker."""

from collections.abc import Callable, Mapping

from components.runtime.container import ContainerRuntime
from components.runtime.swarm import SwarmRuntime
from components.runtime.workload import Runtime
from config.stack import Stack

_RUNTIMES: Mapping[str, Callable[[Stack], Runtime]] = {
    "container": ContainerRuntime,
    "swarm": SwarmRuntime,
}


def create_runtime(stack: Stack) -> Runtime:
    """Create the network of `stack`, and return its runtime."""
    return _RUNTIMES[stack.settings.registry.runtime](stack)
