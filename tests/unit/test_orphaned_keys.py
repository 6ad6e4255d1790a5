"""Tests of orphaned access keys: those that RAM has, and the stack's state does not."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from config.resource_names import ACCESS_KEY
from operations import orphaned_keys
from operations.clients import ram
from operations.commands import status
from operations.context import StackContext
from operations.errors import CommandError
from tests.unit.contexts import FakePulumi, fake_context
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


def _context(state: Mapping[str, Any]) -> StackContext:
    context = StackContext("dev")
    context.pulumi = FakePulumi("dev", state)
    return context


@pytest.fixture
def deleted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the access keys that RAM is asked to delete."""
    keys: list[str] = []

    def delete(user: str, key: str) -> None:
        assert user == USER
        keys.append(key)

    monkeypatch.setattr(ram, "delete_access_key", delete)
    return keys


def _set_keys_of_ram(ids: Collection[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def list_keys(user: str) -> Mapping[str, datetime]:
        assert user == USER
        return dict.fromkeys(ids, NOW)

    monkeypatch.setattr(ram, "list_access_keys", list_keys)


@pytest.mark.parametrize(
    ("listed", "earlier", "state", "orphaned"),
    [
        pytest.param(["a"], [], _state("a"), [], id="no response was lost"),
        pytest.param(["a", "b"], [], _state("b"), ["a"], id="one response was lost"),
        pytest.param(["a", "b"], [], _state(), ["a", "b"], id="each response was lost"),
        pytest.param(["a", "b"], ["a"], _state("b"), [], id="the key existed before the update"),
        pytest.param(
            ["a", "b"], [], _state("b", pending=True), [], id="another operation is pending"
        ),
        pytest.param(["a"], [], _state("a", "b"), [], id="a key was deleted by hand"),
    ],
)
def test_an_orphaned_key_is_deleted_only_if_this_update_created_it(
    listed: list[str],
    earlier: list[str],
    state: Mapping[str, Any],
    orphaned: list[str],
    deleted: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _set_keys_of_ram(listed, monkeypatch)
    orphaned_keys.delete_after_update(_context(state), earlier)
    assert deleted == orphaned
    printed = capsys.readouterr().err
    assert all(f"deleted the access key {key} of {USER}" in printed for key in orphaned)


def test_keys_are_compared_with_the_state_after_the_update(
    deleted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _context(_state())
    _set_keys_of_ram([], monkeypatch)
    earlier = orphaned_keys.list_before_update(context)
    assert earlier is not None
    assert isinstance(context.pulumi, FakePulumi)
    context.pulumi.deployment = _state("a")
    _set_keys_of_ram(["a", "b"], monkeypatch)
    orphaned_keys.delete_after_update(context, earlier)
    assert deleted == ["b"]


def test_an_orphaned_key_from_before_the_update_is_reported_with_the_command_that_deletes_it(
    deleted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _set_keys_of_ram(["a", "b"], monkeypatch)
    orphaned_keys.delete_after_update(_context(_state("b")), ["a"])
    assert not deleted
    command = f"`aliyun ram DeleteAccessKey --UserName {USER} --UserAccessKeyId a`"
    assert command in capsys.readouterr().err


def test_an_orphaned_key_that_leaves_no_room_for_a_new_one_is_reported_before_the_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set_keys_of_ram(["a", "b"], monkeypatch)
    with pytest.raises(CommandError, match="does not have the access key a of oss-registry-dev"):
        orphaned_keys.list_before_update(_context(_state("b")))
    # Two keys in the state are no orphans, so RAM's limit of two is not reported here.
    assert orphaned_keys.list_before_update(_context(_state("a", "b"))) is not None
    _set_keys_of_ram(["a"], monkeypatch)
    assert orphaned_keys.list_before_update(_context(_state())) is not None


def _raise_ram_error(user: str) -> Mapping[str, datetime]:
    raise ram.RamError("no credentials")


def test_without_access_to_ram_the_update_continues_and_no_key_is_deleted(
    deleted: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ram, "list_access_keys", _raise_ram_error)
    assert orphaned_keys.list_before_update(_context(_state())) is None
    orphaned_keys.delete_after_update(_context(_state()), ())
    assert not deleted
    assert capsys.readouterr().err.count("were not checked: no credentials") == 2


def test_status_warns_about_an_orphaned_key(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = load_stack(region="cn-hangzhou", storage={"kind": "oss", "bucket": "images"})
    key = {**_state("b")["resources"][0], "created": NOW.isoformat()}
    context = fake_context(stack, [key], outputs={"access_key": "0"})
    _set_keys_of_ram(["b"], monkeypatch)
    assert status._key(context) == (status.OK, "the access key 0 is 0 days old")
    _set_keys_of_ram(["a", "b"], monkeypatch)
    state, text = status._key(context)
    assert state == status.WARN
    assert "--UserAccessKeyId a`" in text
    monkeypatch.setattr(ram, "list_access_keys", _raise_ram_error)
    state, text = status._key(context)
    assert state == status.OK
    assert text.endswith("not checked: other access keys of oss-registry-dev (no credentials)")
