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

from tests.integration.api import Api, RequestError
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, wait_until
from tests.integration.garbage import collect_garbage, push_garbage, read_until, stored_blobs

pytestmark = pytest.mark.ops


@contextmanager
def _collecting(stack: CloudDeployment) -> Iterator["subprocess.Popen[str]"]:
    """Run `make gc`, whose first deletion gets no answer until the end of the block."""
    over = threading.Event()
    with (
        stack.emulator.failing("DeleteMultipleObjects", times=1, then=over.wait),
        stack.start_make("gc", output=subprocess.PIPE) as collecting,
    ):
        try:
            yield collecting
        finally:
            over.set()


@pytest.mark.parametrize("met", ["making the registry read-only", "sweeping"])
def test_ctrl_c_lets_pushes_in_again_and_another_one_does_not_keep_it_from_that(
    stack: CloudDeployment, met: str
) -> None:
    api = push_garbage(stack)
    with _collecting(stack) as collecting:
        for moment in (met, "letting pushes in again"):
            read_until(collecting, f"gc: {moment}")
            time.sleep(1)
            os.killpg(collecting.pid, signal.SIGINT)  # a terminal's, for all that it started
        read_until(collecting, "gc: interrupted")
    assert collecting.returncode != 0
    _is_as_before(stack, api)


def test_a_service_manager_that_stops_it_finds_pushes_let_in(stack: CloudDeployment) -> None:
    api = push_garbage(stack)
    with _collecting(stack) as collecting:
        read_until(collecting, "gc: sweeping")
        os.kill(collecting.pid, signal.SIGTERM)
        read_until(collecting, "gc: interrupted")
    assert collecting.returncode != 0
    _is_as_before(stack, api)


def test_someone_elses_up_ends_the_sweep_before_it_lets_pushes_in(stack: CloudDeployment) -> None:
    api = push_garbage(stack)
    before = stack.emulator.counted()["DeleteMultipleObjects"]
    with _collecting(stack) as collecting:
        # The push below deletes objects too. Let the collection's deletion be the unanswered one.
        wait_until(lambda: stack.emulator.counted()["DeleteMultipleObjects"] > before)
        stack.make_succeeds("up")
        api.push("team/other", secrets.token_bytes(1000))
        swept = stack.emulator.counted()["DeleteMultipleObjects"]
        assert collecting.stdout
        collecting.stdout.read()
        assert stack.emulator.counted()["DeleteMultipleObjects"] == swept
    assert collecting.returncode != 0
    _is_as_before(stack, api)
    assert "gc: freed " in collect_garbage(stack)


def _is_as_before(stack: CloudDeployment, api: Api) -> None:
    api.push("team/other", secrets.token_bytes(1000))
    api.pull("team/kept")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_after_one_that_was_killed_the_status_says_that_pushes_are_refused(
    stack: CloudDeployment,
) -> None:
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


def test_storage_that_refuses_to_delete_ends_it_with_the_reason_and_the_images_whole(
    stack: CloudDeployment,
) -> None:
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


def test_a_redis_that_does_not_answer_ends_it_before_anything_is_swept(
    new_stack: Deployment,
) -> None:
    new_stack.up()
    api = push_garbage(new_stack)
    before = stored_blobs(new_stack)
    new_stack.docker("container", "pause", f"{new_stack.prefix}-redis")
    try:
        done = new_stack.make("gc")
    finally:
        new_stack.docker("container", "unpause", f"{new_stack.prefix}-redis")
    assert done.returncode != 0
    assert "does not forget what it knows: nothing" in done.stdout
    assert stored_blobs(new_stack) == before
    wait_until(lambda: new_stack.is_healthy("registry"))
    api.push("team/other", secrets.token_bytes(1000))
