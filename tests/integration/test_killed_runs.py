"""The next `make up` finishes a run of Pulumi that was killed."""

import json
import random
import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.clients import skopeo_pull, skopeo_push
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.local


def _run_and_kill(deployment: Deployment, seconds: float, *words: str) -> None:
    """Run pulumi with `words`, and kill it with SIGKILL after `seconds`."""
    with deployment.start_pulumi(*words) as pulumi:
        try:
            pulumi.wait(seconds)
        except subprocess.TimeoutExpired:
            pulumi.kill()


@pytest.mark.parametrize(("verb", "max_seconds", "runs"), [("up", 6, 4), ("destroy", 3, 2)])
def test_the_next_up_succeeds_after_killed_runs(
    new_stack: Deployment,
    archive: Path,
    tmp_path: Path,
    seeded_random: random.Random,
    verb: str,
    max_seconds: float,
    runs: int,
) -> None:
    new_stack.make_succeeds("up")
    skopeo_push(new_stack, archive, "kept")
    before = skopeo_pull(new_stack, "kept", tmp_path / "kept")
    for number in range(runs):
        new_stack.configure(registry={"log_level": ("info", "error")[number % 2]})
        _run_and_kill(
            new_stack, seeded_random.uniform(0.3, max_seconds), verb, "--yes", "--skip-preview"
        )
        new_stack.make_succeeds("up")
    assert skopeo_pull(new_stack, "kept", tmp_path / "again") == before
    new_stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_state_with_an_incomplete_attributes_file_is_repaired(new_stack: Deployment) -> None:
    new_stack.up()
    states = new_stack.folder / ".pulumi/stacks/oss-registry"
    # Pulumi writes a checkpoint in two steps. A kill between them leaves this file.
    (states / f"{new_stack.stack}.json.attrs").write_text("")
    with subprocess.Popen(["true"]) as ended:
        pass  # its process id belongs to no running process
    lock_content = {"pid": ended.pid, "username": "me", "hostname": socket.gethostname()}
    lock = states.parent.parent / f"locks/organization/oss-registry/{new_stack.stack}/1.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({**lock_content, "timestamp": "2026-01-01T00:00:00Z"}))
    new_stack.make_succeeds("up")
    new_stack.pulumi("preview", "--refresh", "--expect-no-changes")
