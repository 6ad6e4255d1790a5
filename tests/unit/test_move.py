"""Tests of `make move`, which changes the runtime only and refuses a plan with other changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from config.resource_names import (
    BUCKET,
    CONTAINER,
    NETWORK,
    RAM_POLICY,
    SERVICE,
    STASH,
    SWARM_SECRET,
    VOLUME,
)
from config.stack import Stack
from operations import stack_file
from operations.commands import move
from operations.errors import CommandError
from operations.recovery import Recovery
from operations.review import Change, Review
from tests.unit.contexts import FakePulumi, fake_context
from tests.unit.stack_files import load_stack

OPEN = {"exposure": "open"}
OSS: Mapping[str, Any] = {"region": "cn-hangzhou", "storage": {"kind": "oss", "bucket": "images"}}


def _stack(runtime: str, registry: Mapping[str, Any] | None = None, **sections: Any) -> Stack:  # noqa: ANN401
    return load_stack(registry={**OPEN, "runtime": runtime, **(registry or {})}, **sections)


def _outputs(stack: Stack) -> Mapping[str, Any]:
    return {
        "endpoint": stack.registry.endpoint,
        "release": stack.registry.release.version,
        "images": stack.registry.storage.location,
        "environment": stack.registry.redacted,
    }


def _change(action: str, kind: str, name: str) -> Change:
    return Change(action=action, kind=kind, name=name, details=(), old={}, new={})


MOVE_CHANGES = (
    _change("delete", CONTAINER, "registry"),
    _change("create", SERVICE, "registry"),
    _change("create", SWARM_SECRET, "registry-file-0"),
    _change("replace", NETWORK, "network"),
    _change("create", STASH, "registry-files"),
)


def _check_plan(
    stack: Stack,
    before: Mapping[str, Any],
    changes: Sequence[Change] = MOVE_CHANGES,
    **fields: Any,  # noqa: ANN401
) -> None:
    review = Review(stack="dev", changes=changes, **fields)
    move._require_no_other_changes(stack, before, review, Recovery().stop_message)


@pytest.mark.parametrize("sections", [{}, OSS])
@pytest.mark.parametrize("runtimes", [("container", "swarm"), ("swarm", "container")])
def test_a_plan_that_only_changes_the_runtime_is_accepted(
    runtimes: tuple[str, str], sections: Mapping[str, Any]
) -> None:
    old, new = runtimes
    _check_plan(_stack(new, **sections), _outputs(_stack(old, **sections)))
    # The runtime has changed already if the move was killed at its end.
    _check_plan(_stack(new, **sections), _outputs(_stack(new, **sections)))


@pytest.mark.parametrize(
    ("sections", "difference"),
    [
        ({"registry": {"log_level": "error"}}, "environment"),
        ({"registry": {"port": 5001}}, "endpoint"),
        ({"registry": {"release": "3.0.0"}}, "release"),
        ({"storage": {"volume": "others"}}, "images"),
        ({"cache": {"enabled": False}}, "environment"),
    ],
)
@pytest.mark.parametrize("runtimes", [("container", "swarm"), ("swarm", "container")])
def test_a_plan_with_another_changed_setting_is_refused(
    runtimes: tuple[str, str], sections: Mapping[str, Any], difference: str
) -> None:
    old, new = runtimes
    with pytest.raises(CommandError) as failure:
        _check_plan(_stack(new, **sections), _outputs(_stack(old)))
    error = str(failure.value)
    assert error.startswith(
        "stopped, and nothing was changed: more would change than the runtime ("
    )
    assert difference in error
    assert "Run `make up STACK=dev` with the present runtime first." in error


@pytest.mark.parametrize(
    "kind", [VOLUME, BUCKET, RAM_POLICY, "docker:index/remoteImage:RemoteImage"]
)
def test_a_plan_that_changes_another_resource_is_refused(kind: str) -> None:
    with pytest.raises(CommandError, match="than the runtime"):
        _check_plan(
            _stack("swarm"),
            _outputs(_stack("container")),
            [*MOVE_CHANGES, _change("change", kind, "x")],
        )


def test_a_failed_plan_is_refused_and_a_stack_without_resources_is_created() -> None:
    with pytest.raises(CommandError, match="the plan fails"):
        _check_plan(_stack("swarm"), {}, errors=["no"])
    _check_plan(_stack("swarm"), {}, [_change("create", VOLUME, "data")])


def test_a_registry_that_has_the_runtime_already_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text(
        "config: {oss-registry:registry: {runtime: swarm, exposure: open}}"
    )
    service = {"type": SERVICE, "urn": "urn:pulumi:dev::x::x::registry"}
    context = fake_context(load_stack(), [service])
    move.move(context, "swarm", consent=True, stop_message=Recovery().stop_message)
    assert isinstance(context.pulumi, FakePulumi)
    assert [words[0] for words in context.pulumi.commands] == ["stack export", "config set"]
    assert "runs by runtime: swarm already" in capsys.readouterr().out
