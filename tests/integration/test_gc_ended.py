"""`make gc` that is ended: pushes are let in again, and what is wrong is said."""

import os
import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.api import Api, Refusal
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, eventually
from tests.integration.garbage import blobs, collected, read_until, with_garbage

pytestmark = pytest.mark.ops


@contextmanager
def _collecting(stack: CloudDeployment) -> Iterator["subprocess.Popen[str]"]:
    """Run `make gc`, whose first deletion gets no answer until the end of the block."""
    over = threading.Event()
    with (
        stack.aliyun.failing("DeleteMultipleObjects", times=1, then=over.wait),
        stack.making("gc", output=subprocess.PIPE) as collecting,
    ):
        try:
            yield collecting
        finally:
            over.set()


@pytest.mark.parametrize("met", ["making the registry read-only", "sweeping"])
def test_ctrl_c_lets_pushes_in_again_and_another_one_does_not_keep_it_from_that(
    stack: CloudDeployment, met: str
) -> None:
    api = with_garbage(stack)
    with _collecting(stack) as collecting:
        for moment in (met, "letting pushes in again"):
            read_until(collecting, f"gc: {moment}")
            time.sleep(1)
            os.killpg(collecting.pid, signal.SIGINT)  # a terminal's, for all that it started
        read_until(collecting, "gc: interrupted")
    assert collecting.returncode != 0
    _is_as_before(stack, api)


def test_a_service_manager_that_stops_it_finds_pushes_let_in(stack: CloudDeployment) -> None:
    api = with_garbage(stack)
    with _collecting(stack) as collecting:
        read_until(collecting, "gc: sweeping")
        os.kill(collecting.pid, signal.SIGTERM)
        read_until(collecting, "gc: interrupted")
    assert collecting.returncode != 0
    _is_as_before(stack, api)


def test_someone_elses_up_ends_the_sweep_before_it_lets_pushes_in(stack: CloudDeployment) -> None:
    api = with_garbage(stack)
    before = stack.aliyun.counted()["DeleteMultipleObjects"]
    with _collecting(stack) as collecting:
        # The push below deletes objects too. Let the collection's deletion be the unanswered one.
        eventually(lambda: stack.aliyun.counted()["DeleteMultipleObjects"] > before)
        done = stack.make("up")
        assert done.returncode == 0, done.stdout
        api.push("team/other", secrets.token_bytes(1000))
        swept = stack.aliyun.counted()["DeleteMultipleObjects"]
        assert collecting.stdout
        collecting.stdout.read()
        assert stack.aliyun.counted()["DeleteMultipleObjects"] == swept
    assert collecting.returncode != 0
    _is_as_before(stack, api)
    assert "gc: freed " in collected(stack)


def _is_as_before(stack: CloudDeployment, api: Api) -> None:
    api.push("team/other", secrets.token_bytes(1000))
    api.pull("team/kept")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_after_one_that_was_killed_the_status_says_that_pushes_are_refused(
    stack: CloudDeployment,
) -> None:
    api = with_garbage(stack)
    with _collecting(stack) as collecting:
        read_until(collecting, "gc: sweeping")
        os.killpg(collecting.pid, signal.SIGKILL)
    with pytest.raises(Refusal) as refusal:
        api.push("team/other", secrets.token_bytes(1000))
    assert refusal.value.status == 405
    api.pull("team/kept")
    status = stack.make("status")
    assert status.returncode != 0
    assert re.search(rf"fail  pushes  .* refused .*: make up STACK={stack.stack}\n", status.stdout)
    assert stack.make("up").returncode == 0
    api.push("team/other", secrets.token_bytes(1000))
    status = stack.make("status")
    assert status.returncode == 0, status.stdout
    assert re.search(r"ok    pushes  .* are taken\n", status.stdout)


def test_storage_that_refuses_to_delete_ends_it_with_the_reason_and_the_images_whole(
    stack: CloudDeployment,
) -> None:
    api = with_garbage(stack)
    before = blobs(stack)
    refused = ("DeleteMultipleObjects", "DeleteObject")
    with stack.aliyun.failing(*refused, status=403, code="AccessDenied"):
        done = stack.make("gc")
    assert done.returncode != 0
    assert "failed to delete blob" in done.stdout
    assert "AccessDenied" in done.stdout
    assert "Traceback" not in done.stdout
    assert blobs(stack) == before
    api.pull("team/kept")
    api.push("team/other", secrets.token_bytes(1000))
    assert "gc: freed " in collected(stack)
    api.pull("team/kept")


def test_a_redis_that_does_not_answer_ends_it_before_anything_is_swept(
    undeployed: Deployment,
) -> None:
    undeployed.up()
    api = with_garbage(undeployed)
    before = blobs(undeployed)
    undeployed.docker("container", "pause", f"{undeployed.prefix}-redis")
    try:
        done = undeployed.make("gc")
    finally:
        undeployed.docker("container", "unpause", f"{undeployed.prefix}-redis")
    assert done.returncode != 0
    assert "does not forget what it knows: nothing" in done.stdout
    assert blobs(undeployed) == before
    eventually(lambda: undeployed.healthy("registry"))
    api.push("team/other", secrets.token_bytes(1000))
