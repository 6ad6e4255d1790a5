"""A `make gc` killed while a client works loses no image, and a later command allows pushes."""

import os
import random
import secrets
import signal
import subprocess
from collections.abc import Callable, Sequence

import pytest

from operations.commands.gc import TAG
from tests.integration.api import Api
from tests.integration.busy import BusyClient
from tests.integration.deployment import Deployment, proc_files, wait_until
from tests.integration.garbage import stored_blobs

pytestmark = pytest.mark.ops


def _kill_all(collecting: "subprocess.Popen[str]", _: str) -> None:
    os.killpg(collecting.pid, signal.SIGKILL)


def _kill_python(_: "subprocess.Popen[str]", stack: str) -> None:
    """Kill only the process of `python -m operations`, as the kernel does when memory is short."""
    for pid in _process_ids("-m", "operations", "gc", stack):
        os.kill(pid, signal.SIGKILL)


def _process_ids(*words: str) -> Sequence[int]:
    """Return the ids of the processes whose command line has these consecutive words."""
    lines = proc_files("cmdline").items()
    return [pid for pid, line in lines if "\0".join(["", *words, ""]) in "\0" + line]


def test_a_killed_collection_loses_no_image_and_up_or_gc_repairs_it(
    stack_on_each_storage: Deployment, seeded_random: random.Random
) -> None:
    stack, endpoint = stack_on_each_storage, stack_on_each_storage.outputs()["endpoint"]
    api, client = Api(endpoint), BusyClient(endpoint, random.Random(seeded_random.random()))

    def kill_and_repair(kill: Callable[["subprocess.Popen[str]", str], None], repair: str) -> None:
        with stack.start_make("gc") as collecting:
            try:
                collecting.wait(seeded_random.uniform(2, 18))
            except subprocess.TimeoutExpired:
                kill(collecting, stack.stack)
        stack.make_succeeds(repair)
        api.push("team/healed", secrets.token_bytes(1000))

    with client.working():
        kill_and_repair(_kill_all, "up")
    client.check_images()
    kill_and_repair(_kill_python, "gc")
    client.check_images()
    assert not client.unneeded_blobs() & stored_blobs(stack)
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_collection_killed_during_a_repair_does_not_block_later_commands(
    new_stack: Deployment,
) -> None:
    stack = new_stack
    stack.up()
    stack.pulumi("stack", "tag", "set", TAG, "yes")
    stack.configure(registry={"log_level": "error"})  # so that a repair changes something
    with stack.start_make("gc") as collecting:
        wait_until(lambda: _process_ids("pulumi", "up", "--stack", stack.stack))
        _kill_python(collecting, stack.stack)
    stack.make_succeeds("gc")
    stack.make_succeeds("status")
