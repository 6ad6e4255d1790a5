"""After an interrupted or failed `make gc`, pushes are allowed again and the cause is reported."""

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

from tests.integration.api import Api, RequestError
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, wait_until
from tests.integration.garbage import collect_garbage, push_garbage, read_until, stored_blobs

pytestmark = pytest.mark.ops


@contextmanager
def _collecting(stack: CloudDeployment) -> Iterator["subprocess.Popen[str]"]:
    """Run `make gc`. Its first deletion gets no response until the end of the block."""
    finished = threading.Event()
    with (
        stack.emulator.failing("DeleteMultipleObjects", times=1, before_response=finished.wait),
        stack.start_make("gc", output=subprocess.PIPE) as collecting,
    ):
        try:
            yield collecting
        finally:
            finished.set()


@pytest.mark.parametrize("step", ["making the registry read-only", "sweeping"])
def test_pushes_are_allowed_again_after_a_second_ctrl_c(stack: CloudDeployment, step: str) -> None:
    api = push_garbage(stack)
    with _collecting(stack) as collecting:
        for text in (step, "letting pushes in again"):
            read_until(collecting, f"gc: {text}")
            time.sleep(1)
            os.killpg(collecting.pid, signal.SIGINT)  # as a terminal does for all processes
        read_until(collecting, "gc: interrupted")
    assert collecting.returncode != 0
    _assert_works_as_before(stack, api)


def test_pushes_are_allowed_again_after_sigterm(stack: CloudDeployment) -> None:
    api = push_garbage(stack)
    with _collecting(stack) as collecting:
        read_until(collecting, "gc: sweeping")
        os.kill(collecting.pid, signal.SIGTERM)
        read_until(collecting, "gc: interrupted")
    assert collecting.returncode != 0
    _assert_works_as_before(stack, api)


def test_an_up_ends_a_running_collection_before_it_allows_pushes(stack: CloudDeployment) -> None:
    api = push_garbage(stack)
    before = stack.emulator.count_oss_calls()["DeleteMultipleObjects"]
    with _collecting(stack) as collecting:
        # The push below deletes objects too. Wait until the collection has requested its deletion.
        wait_until(lambda: stack.emulator.count_oss_calls()["DeleteMultipleObjects"] > before)
        stack.make_succeeds("up")
        api.push("team/other", secrets.token_bytes(1000))
        deletions = stack.emulator.count_oss_calls()["DeleteMultipleObjects"]
        assert collecting.stdout
        collecting.stdout.read()
        assert stack.emulator.count_oss_calls()["DeleteMultipleObjects"] == deletions
    assert collecting.returncode != 0
    _assert_works_as_before(stack, api)
    assert "gc: freed " in collect_garbage(stack)


def _assert_works_as_before(stack: CloudDeployment, api: Api) -> None:
    api.push("team/other", secrets.token_bytes(1000))
    api.pull("team/kept")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_status_reports_refused_pushes_after_a_killed_collection(stack: CloudDeployment) -> None:
    api = push_garbage(stack)
    with _collecting(stack) as collecting:
        read_until(collecting, "gc: sweeping")
        os.killpg(collecting.pid, signal.SIGKILL)
    with pytest.raises(RequestError) as error:
        api.push("team/other", secrets.token_bytes(1000))
    assert error.value.status == 405
    api.pull("team/kept")
    output = stack.make_fails("status")
    assert re.search(rf"fail  pushes  .* refused .*: make up STACK={stack.stack}\n", output)
    stack.make_succeeds("up")
    api.push("team/other", secrets.token_bytes(1000))
    output = stack.make_succeeds("status")
    assert re.search(r"ok    pushes  .* are taken\n", output)


def test_a_refused_deletion_is_reported_and_images_stay_complete(stack: CloudDeployment) -> None:
    api = push_garbage(stack)
    before = stored_blobs(stack)
    refused = ("DeleteMultipleObjects", "DeleteObject")
    with stack.emulator.failing(*refused, status=403, code="AccessDenied"):
        output = stack.make_fails("gc")
    assert "failed to delete blob" in output
    assert "AccessDenied" in output
    assert "Traceback" not in output
    assert stored_blobs(stack) == before
    api.pull("team/kept")
    api.push("team/other", secrets.token_bytes(1000))
    assert "gc: freed " in collect_garbage(stack)
    api.pull("team/kept")


def test_an_unreachable_redis_fails_the_collection_before_a_deletion(new_stack: Deployment) -> None:
    new_stack.up()
    api = push_garbage(new_stack)
    before = stored_blobs(new_stack)
    new_stack.docker("container", "pause", f"{new_stack.prefix}-redis")
    try:
        output = new_stack.make_fails("gc")
    finally:
        new_stack.docker("container", "unpause", f"{new_stack.prefix}-redis")
    assert "does not forget what it knows: nothing" in output
    assert stored_blobs(new_stack) == before
    wait_until(lambda: new_stack.is_healthy("registry"))
    api.push("team/other", secrets.token_bytes(1000))
