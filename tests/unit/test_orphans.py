"""Keys of RAM's that a state does not have are deleted only where no run can be using them."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from operations import Blocked, orphans, ram, status
from operations.state import ACCESS_KEY, STACK
from tests.unit.stack_files import load_stack

USER = "oss-registry-dev"
NOW = datetime.now(UTC)


def _state(*ids: str, pending: bool = False) -> Mapping[str, Any]:
    resources = [
        {"type": ACCESS_KEY, "urn": f"urn::access-key-{number}", "id": key}
        for number, key in enumerate(ids)
    ]
    operation = {"resource": resources[0] if resources else {}, "type": "creating"}
    return {"resources": resources, "pending_operations": [operation] if pending else []}


@pytest.fixture
def deleted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(ram, "delete", lambda user, key: found.append(key))
    return found


def _ram_has(ids: Collection[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ram, "keys", lambda user: dict.fromkeys(ids, NOW))


@pytest.mark.parametrize(
    ("listed", "earlier", "state", "lost"),
    [
        pytest.param(["a"], [], _state("a"), [], id="nothing was lost"),
        pytest.param(["a", "b"], [], _state("b"), ["a"], id="one answer was lost"),
        pytest.param(["a", "b"], [], _state(), ["a", "b"], id="each answer was lost"),
        pytest.param(["a", "b"], ["a"], _state("b"), [], id="it was there before"),
        pytest.param(["a", "b"], [], _state("b", pending=True), [], id="another run goes on"),
        pytest.param(["a"], [], _state("a", "b"), [], id="one was deleted by hand"),
    ],
)
def test_only_a_key_that_this_update_made_and_lost_is_deleted(
    listed: list[str],
    earlier: list[str],
    state: Mapping[str, Any],
    lost: list[str],
    deleted: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _ram_has(listed, monkeypatch)
    monkeypatch.setattr(orphans, "deployment", lambda stack: state)
    orphans.drop("dev", USER, earlier)
    assert deleted == lost
    said = capsys.readouterr().err
    assert all(f"deleted the access key {key} of {USER}" in said for key in lost)


def test_a_key_that_was_there_before_is_named_with_the_command(
    deleted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _ram_has(["a", "b"], monkeypatch)
    monkeypatch.setattr(orphans, "deployment", lambda stack: _state("b"))
    orphans.drop("dev", USER, ["a"])
    assert not deleted
    command = f"`aliyun ram DeleteAccessKey --UserName {USER} --UserAccessKeyId a`"
    assert command in capsys.readouterr().err


def test_a_key_that_takes_a_new_ones_place_is_named_before_the_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _ram_has(["a", "b"], monkeypatch)
    with pytest.raises(Blocked, match="does not have the access key a of oss-registry-dev"):
        orphans.before(USER, _state("b")["resources"])
    # RAM's refusal of a third key of the state's is the stack file's matter.
    assert orphans.before(USER, _state("a", "b")["resources"]) is not None
    _ram_has(["a"], monkeypatch)
    assert orphans.before(USER, _state()["resources"]) is not None


def _unasked(user: str) -> Mapping[str, datetime]:
    raise ram.Unasked("no credentials")


def test_a_ram_that_can_t_be_asked_keeps_nothing_from_being_done(
    deleted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ram, "keys", _unasked)
    assert orphans.before(USER, ()) is None
    orphans.drop("dev", USER, ())
    assert not deleted
    assert capsys.readouterr().err.count("were not checked: no credentials") == 2


def test_status_warns_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = load_stack(region="cn-hangzhou", storage={"kind": "oss", "bucket": "images"})
    key = {**_state("b")["resources"][0], "created": NOW.isoformat()}
    outputs = {"type": STACK, "outputs": {"access_key": "0"}}
    running = status.Running(stack, {}, [outputs, key], {})
    _ram_has(["b"], monkeypatch)
    assert status._key(running) == (status.OK, "the access key 0 is 0 days old")
    _ram_has(["a", "b"], monkeypatch)
    state, text = status._key(running)
    assert state == status.WARN
    assert "--UserAccessKeyId a`" in text
    monkeypatch.setattr(ram, "keys", _unasked)
    state, text = status._key(running)
    assert state == status.OK
    assert text.endswith("not checked: other access keys of oss-registry-dev (no credentials)")
