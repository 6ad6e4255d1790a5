"""Tests of `make preview`: the flags that it passes to Pulumi."""

import json
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from operations.commands import preview
from operations.context import StackContext
from tests.unit.contexts import FakePulumi, fake_context
from tests.unit.stack_files import load_stack


@pytest.fixture
def context() -> StackContext:
    """Return the context of a stack whose plans have no change."""
    stack = load_stack()
    urn = "urn:pulumi:dev::oss-registry::pulumi:pulumi:Stack::oss-registry-dev"
    outputs = {"environment": stack.registry.redacted}
    step: Mapping[str, Any] = {"op": "same", "urn": urn, "oldState": {"outputs": outputs}}

    context = fake_context(stack)
    context.pulumi = _PlanningPulumi("dev", {"steps": [step]})
    return context


class _PlanningPulumi(FakePulumi):
    """Prints its `deployment` as the plan."""

    def run(self, command: str, *options: str) -> str:
        self.commands.append((command, *options))
        return json.dumps(self.deployment)


def _preview(context: StackContext, *words: str) -> Sequence[str]:
    """Run the command with these arguments. Return the options that it passes to Pulumi."""
    parser = ArgumentParser()
    preview.add_arguments(parser)
    assert preview.run(context, parser.parse_args(words)) == 0
    assert isinstance(context.pulumi, FakePulumi)
    ((_, *options),) = context.pulumi.commands
    return options


def test_a_preview_refreshes_the_state_as_up_does(
    context: StackContext, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--refresh" in _preview(context)
    assert capsys.readouterr().out == "dev: no change\n"


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_a_preview_without_a_refresh_prints_a_note(
    form: str, context: StackContext, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--refresh" not in _preview(context, f"--format={form}", "--no-refresh")
    assert "compares the stack file with the state only" in capsys.readouterr().out
