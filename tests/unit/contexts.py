"""Contexts in which commands run without a Docker engine and without Pulumi."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from config.resource_names import STACK
from config.stack import Stack
from operations.clients.docker import Docker
from operations.clients.pulumi import Pulumi
from operations.context import StackContext
from operations.stack_file import Configuration


class FakePulumi(Pulumi):
    """A pulumi command that records what it runs. `deployment` is the state that it exports."""

    def __init__(self, stack: str, deployment: Mapping[str, Any]) -> None:
        super().__init__(stack)
        self.deployment = deployment
        self.commands: list[tuple[str, ...]] = []

    def run(self, command: str, *options: str) -> str:
        self.commands.append((command, *options))
        return json.dumps({"deployment": self.deployment})

    def run_visibly(self, command: str, *options: str) -> None:
        self.commands.append((command, *options))


class FakeDocker(Docker):
    """A docker command whose output is what `answer` returns for its arguments."""

    def __init__(self, answer: Callable[..., str] = lambda *_: "") -> None:
        super().__init__({})
        self.answer = answer

    def run(self, *words: str, **_: Any) -> str:  # noqa: ANN401
        return self.answer(*words)


def fake_context(
    stack: Stack,
    resources: Sequence[Mapping[str, Any]] = (),
    outputs: Mapping[str, Any] | None = None,
    docker: Docker | None = None,
) -> StackContext:
    """Return the context of a stack with these resources and outputs."""
    context = StackContext(stack.name)
    context.stack = stack
    context.configuration = Configuration({}, set())
    context.docker = docker or FakeDocker()
    deployed = [*resources]
    if outputs is not None:
        deployed.append({"type": STACK, "outputs": outputs})
    context.pulumi = FakePulumi(stack.name, {"resources": deployed})
    return context
