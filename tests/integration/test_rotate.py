"""`make rotate` replaces the access key in two steps, and resumes an interrupted rotation."""

import json
import os
import random
import secrets
import signal
import subprocess
import time

import pytest

from tests.integration.api import Api
from tests.integration.cloud import CloudDeployment

pytestmark = pytest.mark.ops


@pytest.fixture
def stack(new_cloud_stack: CloudDeployment) -> CloudDeployment:
    """Deploy a stack with an image and the access key `old`."""
    new_cloud_stack.configure(storage={"access_keys": ["old"]})
    _deploy_with_an_image(new_cloud_stack)
    return new_cloud_stack


def _deploy_with_an_image(stack: CloudDeployment) -> None:
    stack.up()
    Api(stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))


def _labels(stack: CloudDeployment) -> list[str]:
    """Return the labels of the access keys in the stack file."""
    keys = stack.pulumi("config", "get", "--path", "oss-registry:storage.access_keys")
    return [str(label) for label in json.loads(keys)]


def _assert_rotated(stack: CloudDeployment, before: str, label: str = "new") -> None:
    """Assert that the registry works with the key `label`, and that the key `before` is deleted.

    `before` is the id of a key.
    """
    ram = stack.emulator.ram
    (key,) = ram.users[stack.prefix].keys.values()
    assert key.id != before
    assert stack.key_in_use() == key.id
    assert _labels(stack) == [label]
    assert stack.outputs()["access_key"] == label
    api = Api(stack.outputs()["endpoint"])
    api.pull("team/app")
    api.push("team/other", secrets.token_bytes(1000))
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


@pytest.mark.parametrize("api", ["CreateAccessKey", "DeleteAccessKey"])
def test_a_rotation_killed_after_a_call_to_ram_is_resumed(stack: CloudDeployment, api: str) -> None:
    before, groups = stack.key_in_use(), list[int]()

    def kill() -> None:
        for group in groups:
            os.killpg(group, signal.SIGKILL)

    with (
        stack.emulator.failing(api, times=1, before_response=kill) as fault,
        stack.start_make("rotate", "LABEL=new") as rotating,
    ):
        groups.append(rotating.pid)
    assert fault.count
    assert rotating.returncode == -signal.SIGKILL
    Api(stack.outputs()["endpoint"]).pull("team/app")
    output = stack.make_succeeds("rotate", "LABEL=new")
    assert "a rotation to new is under way: going on with it" in output
    if api == "CreateAccessKey":
        assert "whose secret was lost" in output
    _assert_rotated(stack, before)


def test_an_access_key_whose_secret_was_lost_is_deleted(stack: CloudDeployment) -> None:
    before = stack.key_in_use()
    with stack.emulator.failing("CreateAccessKey", truncate=True, times=1) as fault:
        # The provider retries, but RAM refuses a third key beside the old and the lost one.
        output = stack.make_fails("rotate", "LABEL=new")
    assert fault.count
    assert f" of {stack.prefix}: RAM's answer with it was lost" in output
    assert len(stack.emulator.ram.users[stack.prefix].keys) == 1
    stack.make_succeeds("rotate", "LABEL=new")
    _assert_rotated(stack, before)


def test_a_rotation_killed_several_times_is_finished(
    stack: CloudDeployment, seeded_random: random.Random
) -> None:
    before = stack.key_in_use()
    for _ in range(3):
        with stack.start_make("rotate", "LABEL=new") as rotating:
            try:
                rotating.wait(seeded_random.uniform(1, 14))
            except subprocess.TimeoutExpired:
                os.killpg(rotating.pid, signal.SIGKILL)
        if _labels(stack) == ["new"] and len(stack.emulator.ram.users[stack.prefix].keys) == 1:
            break
    result = stack.make("rotate", "LABEL=new")
    finished = "the access key in use is new already" in result.stdout
    assert result.returncode == 0 or finished, result.stdout
    _assert_rotated(stack, before)


def test_the_old_key_is_kept_if_the_new_one_does_not_work(stack: CloudDeployment) -> None:
    before = stack.key_in_use()
    refused = ("ListObjectsV2",)
    with stack.emulator.failing(*refused, status=403, code="AccessDenied"):
        output = stack.make_fails("rotate", "LABEL=new")
    assert "rotate: the old key is kept, as " in output
    assert before in stack.emulator.ram.users[stack.prefix].keys
    assert _labels(stack) == ["old", "new"]
    stack.make_succeeds("rotate")
    _assert_rotated(stack, before)


def test_without_a_label_the_new_key_is_named_after_the_month(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.remove_setting("storage", "access_keys")
    _deploy_with_an_image(new_cloud_stack)
    before = new_cloud_stack.key_in_use()
    new_cloud_stack.make_succeeds("rotate")
    _assert_rotated(new_cloud_stack, before, time.strftime("%Y-%m", time.gmtime()))
    # A second rotation in the same month needs a label.
    output = new_cloud_stack.make_fails("rotate")
    assert "already: name another one, as in LABEL=" in output


def test_a_rotation_refuses_to_apply_other_changes(stack: CloudDeployment) -> None:
    stack.configure(registry={"log_level": "error"})
    output = stack.make_fails("rotate", "LABEL=new")
    assert f"more would change than the key: `make up STACK={stack.stack}` first" in output
    assert _labels(stack) == ["old"]


def test_an_invalid_label_is_refused(stack: CloudDeployment) -> None:
    output = stack.make_fails("rotate", "LABEL=No_Label")
    assert "LABEL must be of a-z, 0-9 and -" in output
