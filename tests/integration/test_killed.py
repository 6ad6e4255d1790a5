"""A run of Pulumi that was killed is finished by the next `make up`."""

import json
import random
import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.clients import skopeo_pull, skopeo_push
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.local


def _killed(deployment: Deployment, seconds: float, *words: str) -> None:
    """Run pulumi with `words`, and kill it (-9) after `seconds`."""
    with deployment.start_pulumi(*words) as pulumi:
        try:
            pulumi.wait(seconds)
        except subprocess.TimeoutExpired:
            pulumi.kill()


@pytest.mark.parametrize(("verb", "longest", "times"), [("up", 6, 4), ("destroy", 3, 2)])
def test_after_runs_that_were_killed_the_next_up_ends_well(
    new_stack: Deployment,
    archive: Path,
    tmp_path: Path,
    seeded_random: random.Random,
    verb: str,
    longest: float,
    times: int,
) -> None:
    new_stack.make_succeeds("up")
    skopeo_push(new_stack, archive, "kept")
    kept = skopeo_pull(new_stack, "kept", tmp_path / "kept")
    for number in range(times):
        new_stack.configure(registry={"log_level": ("info", "error")[number % 2]})
        _killed(new_stack, seeded_random.uniform(0.3, longest), verb, "--yes", "--skip-preview")
        new_stack.make_succeeds("up")
    assert skopeo_pull(new_stack, "kept", tmp_path / "again") == kept
    new_stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_state_whose_attributes_are_torn_is_read_again(new_stack: Deployment) -> None:
    new_stack.up()
    states = new_stack.folder / ".pulumi/stacks/oss-registry"
    # What a kill between the two writes of a checkpoint leaves.
    (states / f"{new_stack.stack}.json.attrs").write_text("")
    with subprocess.Popen(["true"]) as gone:
        pass
    held = {"pid": gone.pid, "username": "me", "hostname": socket.gethostname()}
    lock = states.parent.parent / f"locks/organization/oss-registry/{new_stack.stack}/1.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({**held, "timestamp": "2026-01-01T00:00:00Z"}))
    new_stack.make_succeeds("up")
    new_stack.pulumi("preview", "--refresh", "--expect-no-changes")
