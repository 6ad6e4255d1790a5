"""Tests of `make preview`: the flags that it passes to Pulumi."""

from collections.abc import Mapping
from typing import Any

import pytest

from operations import stack_file
from operations.commands import preview
from tests.unit.stack_files import load_stack


@pytest.fixture
def pulumi_flags(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Return the flags of each plan that Pulumi is asked for. The plans have no change."""
    flags: list[tuple[str, ...]] = []
    stack = load_stack()
    urn = "urn:pulumi:dev::oss-registry::pulumi:pulumi:Stack::oss-registry-dev"
    outputs = {"environment": stack.registry.redacted}
    step: Mapping[str, Any] = {"op": "same", "urn": urn, "oldState": {"outputs": outputs}}

    def plan(name: str, *given: str) -> Mapping[str, Any]:
        flags.append(given)
        return {"steps": [step]}

    monkeypatch.setattr(preview, "_plan", plan)
    monkeypatch.setattr(stack_file, "stack", lambda name: stack)
    return flags


def test_a_preview_refreshes_the_state_as_up_does(
    pulumi_flags: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview.main("dev", "text") == 0
    assert pulumi_flags == [("--refresh",)]
    assert capsys.readouterr().out == "dev: no change\n"


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_a_preview_without_a_refresh_prints_a_note(
    form: str, pulumi_flags: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview.main("dev", form, "--no-refresh") == 0
    assert pulumi_flags == [()]
    assert "compares the stack file with the state only" in capsys.readouterr().out
