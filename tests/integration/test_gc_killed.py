"""`make gc` that is killed while a client is at work: nothing is lost, and the next run heals."""

import os
import random
import secrets
import signal
import subprocess
from collections.abc import Callable, Sequence

import pytest

from operations.gc import TAG
from tests.integration.api import Api
from tests.integration.busy import BusyClient
from tests.integration.deployment import Deployment, proc_files, wait_until
from tests.integration.garbage import stored_blobs

pytestmark = pytest.mark.ops


def _all(collecting: "subprocess.Popen[str]", _: str) -> None:
    os.killpg(collecting.pid, signal.SIGKILL)


def _ours(_: "subprocess.Popen[str]", stack: str) -> None:
    """Its own process alone, as the kernel does when memory is short."""
    for pid in _running("-m", "operations", "gc", stack):
        os.kill(pid, signal.SIGKILL)


def _running(*words: str) -> Sequence[int]:
    """The processes that have these `words` among theirs."""
    lines = proc_files("cmdline").items()
    return [pid for pid, line in lines if "\0".join(["", *words, ""]) in "\0" + line]


def test_killed_at_any_moment_it_loses_nothing_and_the_next_up_or_gc_heals(
    stack_on_each_storage: Deployment, seeded_random: random.Random
) -> None:
    stack, endpoint = stack_on_each_storage, stack_on_each_storage.outputs()["endpoint"]
    api, client = Api(endpoint), BusyClient(endpoint, random.Random(seeded_random.random()))

    def healed(kill: Callable[["subprocess.Popen[str]", str], None], heal: str) -> None:
        with stack.start_make("gc") as collecting:
            try:
                collecting.wait(seeded_random.uniform(2, 18))
            except subprocess.TimeoutExpired:
                kill(collecting, stack.stack)
        stack.make_succeeds(heal)
        api.push("team/healed", secrets.token_bytes(1000))

    with client.working():
        healed(_all, "up")
    client.check_images()
    healed(_ours, "gc")
    client.check_images()
    assert not client.unneeded_blobs() & stored_blobs(stack)
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_killed_while_it_heals_what_an_earlier_one_left_it_is_in_nobodys_way(
    new_stack: Deployment,
) -> None:
    stack = new_stack
    stack.up()
    stack.pulumi("stack", "tag", "set", TAG, "yes")
    stack.configure(registry={"log_level": "error"})  # so that there is something to do
    with stack.start_make("gc") as collecting:
        wait_until(lambda: _running("pulumi", "up", "--stack", stack.stack))
        _ours(collecting, stack.stack)
    for done in (stack.make("gc"), stack.make("status")):
        assert done.returncode == 0, done.stdout
