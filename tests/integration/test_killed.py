"""A run of Pulumi that was killed is finished by the next `make up`."""

import json
import random
import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.clients import copy_in, copy_out
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.local


def _killed(deployment: Deployment, seconds: float, *words: str) -> None:
    """Run pulumi with `words`, and kill it (-9) after `seconds`."""
    with deployment.started(*words) as pulumi:
        try:
            pulumi.wait(seconds)
        except subprocess.TimeoutExpired:
            pulumi.kill()


@pytest.mark.parametrize(("verb", "longest", "times"), [("up", 6, 4), ("destroy", 3, 2)])
def test_after_runs_that_were_killed_the_next_up_ends_well(
    undeployed: Deployment,
    archive: Path,
    tmp_path: Path,
    moments: random.Random,
    verb: str,
    longest: float,
    times: int,
) -> None:
    assert undeployed.make("up").returncode == 0
    copy_in(undeployed, archive, "kept")
    kept = copy_out(undeployed, "kept", tmp_path / "kept")
    for number in range(times):
        undeployed.configure(registry={"log_level": ("info", "error")[number % 2]})
        _killed(undeployed, moments.uniform(0.3, longest), verb, "--yes", "--skip-preview")
        done = undeployed.make("up")
        assert done.returncode == 0, done.stdout
    assert copy_out(undeployed, "kept", tmp_path / "again") == kept
    undeployed.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_state_whose_attributes_are_torn_is_read_again(undeployed: Deployment) -> None:
    undeployed.up()
    states = undeployed.folder / ".pulumi/stacks/oss-registry"
    # What a kill between the two writes of a checkpoint leaves.
    (states / f"{undeployed.stack}.json.attrs").write_text("")
    with subprocess.Popen(["true"]) as gone:
        pass
    held = {"pid": gone.pid, "username": "me", "hostname": socket.gethostname()}
    lock = states.parent.parent / f"locks/organization/oss-registry/{undeployed.stack}/1.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({**held, "timestamp": "2026-01-01T00:00:00Z"}))
    done = undeployed.make("up")
    assert done.returncode == 0, done.stdout
    undeployed.pulumi("preview", "--refresh", "--expect-no-changes")
