"""`make gc` that is killed while a client is at work: nothing is lost, and the next run heals."""

import os
import random
import secrets
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.integration.api import Api
from tests.integration.busy import Busy
from tests.integration.deployment import Deployment, processes
from tests.integration.garbage import blobs

pytestmark = pytest.mark.ops


def _all(collecting: "subprocess.Popen[str]", _: str) -> None:
    os.killpg(collecting.pid, signal.SIGKILL)


def _ours(_: "subprocess.Popen[str]", stack: str) -> None:
    """Its own process alone, as the kernel does when memory is short."""
    for pid, line in processes("cmdline").items():
        if line.split("\0")[1:5] == ["-m", "operations", "gc", stack]:
            os.kill(pid, signal.SIGKILL)


def test_killed_at_any_moment_it_loses_nothing_and_the_next_up_or_gc_heals(
    in_each_place: Deployment, moments: random.Random
) -> None:
    stack, endpoint = in_each_place, in_each_place.outputs()["endpoint"]
    api, client = Api(endpoint), Busy(endpoint, random.Random(moments.random()))

    def healed(kill: Callable[["subprocess.Popen[str]", str], None], heal: str) -> None:
        with stack.making("gc") as collecting:
            try:
                collecting.wait(moments.uniform(2, 18))
            except subprocess.TimeoutExpired:
                kill(collecting, stack.stack)
        done = stack.make(heal)
        assert done.returncode == 0, done.stdout
        api.push("team/healed", secrets.token_bytes(1000))

    with client.at_work():
        healed(_all, "up")
    client.check()
    healed(_ours, "gc")
    client.check()
    assert not client.deleted() & blobs(stack)
    stack.pulumi("preview", "--refresh", "--expect-no-changes")
