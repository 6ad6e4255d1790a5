"""`make gc` that is killed while a client is at work: nothing is lost, and the next run heals."""

import os
import random
import secrets
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.aliyun.aliyun import Aliyun
from tests.integration.api import Api
from tests.integration.busy import Busy
from tests.integration.deployment import processes
from tests.integration.garbage import PLACES, blobs, placed

pytestmark = pytest.mark.ops


def _all(collecting: "subprocess.Popen[str]", _: str) -> None:
    os.killpg(collecting.pid, signal.SIGKILL)


def _ours(_: "subprocess.Popen[str]", stack: str) -> None:
    """Its own process alone, as the kernel does when memory is short."""
    for pid, line in processes("cmdline").items():
        if line.split("\0")[1:5] == ["-m", "operations", "gc", stack]:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("release", "kind"), PLACES)
def test_killed_at_any_moment_it_loses_nothing_and_the_next_up_or_gc_heals(
    aliyun: Aliyun, tmp_path: Path, release: str, kind: str
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    stack = placed(tmp_path, aliyun, release, kind)
    with stack.running():
        api, client = Api(stack.outputs()["endpoint"]), Busy(stack.outputs()["endpoint"], seed)

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
