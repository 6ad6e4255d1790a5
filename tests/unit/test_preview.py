"""A preview shows what `make up` would change."""

from collections.abc import Mapping
from typing import Any

import pytest

from operations import preview, stack_file
from tests.unit.stack_files import load_stack


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The flags with which Pulumi is asked for plans, which are empty."""
    flags: list[tuple[str, ...]] = []
    stack = load_stack()
    urn = "urn:pulumi:dev::oss-registry::pulumi:pulumi:Stack::oss-registry-dev"
    outputs = {"environment": stack.redacted}
    step: Mapping[str, Any] = {"op": "same", "urn": urn, "oldState": {"outputs": outputs}}

    def plan(name: str, *given: str) -> Mapping[str, Any]:
        flags.append(given)
        return {"steps": [step]}

    monkeypatch.setattr(preview, "_plan", plan)
    monkeypatch.setattr(stack_file, "stack", lambda name: stack)
    return flags


def test_it_looks_at_what_is_there_as_up_does(
    asked: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview.main("dev", "text") == 0
    assert asked == [("--refresh",)]
    assert capsys.readouterr().out == "dev: no change\n"


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_where_it_does_not_look_it_says_so(
    form: str, asked: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert preview.main("dev", form, "--no-refresh") == 0
    assert asked == [()]
    assert "compares the stack file with the state only" in capsys.readouterr().out
