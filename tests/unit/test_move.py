"""A move changes the runtime and nothing else; what else would change is named before."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from config.stack import Stack
from operations import Blocked, move, stack_file
from operations.recover import Recovered
from operations.review import Change, Review
from operations.state import CONTAINER, NETWORK, SERVICE, STASH, VOLUME
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
    return Change(action=action, kind=kind, name=name, what=(), old={}, new={})


MOVED = (
    _change("delete", CONTAINER, "registry"),
    _change("create", SERVICE, "registry"),
    _change("create", "docker:index/secret:Secret", "registry-file-0"),
    _change("replace", NETWORK, "network"),
    _change("create", STASH, "registry-files"),
)


def _see(
    stack: Stack,
    before: Mapping[str, Any],
    changes: Sequence[Change] = MOVED,
    **review: Any,  # noqa: ANN401
) -> None:
    found = Review(stack="dev", changes=changes, **review)
    move._see_nothing_else(stack, before, found, Recovered(()).stopped)


@pytest.mark.parametrize("sections", [{}, OSS])
@pytest.mark.parametrize("runtimes", [("container", "swarm"), ("swarm", "container")])
def test_the_runtime_alone_may_change(
    runtimes: tuple[str, str], sections: Mapping[str, Any]
) -> None:
    old, new = runtimes
    _see(_stack(new, **sections), _outputs(_stack(old, **sections)))
    # Or it has changed already, where the move was killed at its end.
    _see(_stack(new, **sections), _outputs(_stack(new, **sections)))


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"registry": {"log_level": "error"}}, "environment"),
        ({"registry": {"port": 5001}}, "endpoint"),
        ({"registry": {"release": "3.0.0"}}, "release"),
        ({"storage": {"volume": "others"}}, "images"),
        ({"cache": {"enabled": False}}, "environment"),
    ],
)
@pytest.mark.parametrize("runtimes", [("container", "swarm"), ("swarm", "container")])
def test_another_setting_that_changed_is_refused(
    runtimes: tuple[str, str], sections: Mapping[str, Any], named: str
) -> None:
    old, new = runtimes
    with pytest.raises(Blocked) as blocked:
        _see(_stack(new, **sections), _outputs(_stack(old)))
    said = str(blocked.value)
    assert said.startswith("stopped, and nothing was changed: more would change than the runtime (")
    assert named in said
    assert "Run `make up STACK=dev` with the present runtime first." in said


@pytest.mark.parametrize(
    "kind",
    [
        VOLUME,
        "alicloud:oss/bucket:Bucket",
        "alicloud:ram/policy:Policy",
        "docker:index/remoteImage:RemoteImage",
    ],
)
def test_another_resource_that_would_change_is_refused(kind: str) -> None:
    with pytest.raises(Blocked, match="than the runtime"):
        _see(_stack("swarm"), _outputs(_stack("container")), [*MOVED, _change("change", kind, "x")])


def test_a_plan_that_fails_is_refused_and_a_stack_that_is_not_up_is_made() -> None:
    with pytest.raises(Blocked, match="the plan fails"):
        _see(_stack("swarm"), {}, errors=["no"])
    _see(_stack("swarm"), {}, [_change("create", VOLUME, "data")])


def test_a_registry_that_runs_so_already_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text(
        "config: {oss-registry:registry: {runtime: swarm, exposure: open}}"
    )
    run: list[tuple[str, ...]] = []
    monkeypatch.setattr(move, "pulumi_seen", lambda *words: run.append(words))
    service = {"type": SERVICE, "urn": "urn:pulumi:dev::x::x::registry"}
    move.move("dev", "swarm", Recovered([service]), consent=True)
    assert [words[:2] for words in run] == [("config", "set")]
    assert "runs by runtime: swarm already" in capsys.readouterr().out
