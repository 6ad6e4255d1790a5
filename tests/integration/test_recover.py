"""What `make up` finds: a run that goes on elsewhere, and what hands and `make down` left."""

from pathlib import Path

import pytest

from tests.integration.clients import skopeo_pull, skopeo_push
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.local


def test_down_leaves_the_images_and_says_how_to_remove_them(new_stack: Deployment) -> None:
    new_stack.make_succeeds("up")
    output = new_stack.make_succeeds("down")
    assert f"docker volume rm {new_stack.prefix}-data" in output
    assert new_stack.docker_objects("container") == []
    assert new_stack.docker_objects("network") == []
    assert new_stack.docker_objects("volume") == [f"{new_stack.prefix}-data"]


def test_another_up_of_the_same_stack_is_not_disturbed(new_stack: Deployment) -> None:
    with new_stack.start_pulumi("up", "--yes", "--skip-preview") as up:
        locks = new_stack.folder / ".pulumi/locks"
        while not [*locks.rglob("*.json")] and up.poll() is None:
            pass
        result = new_stack.make("up")
    assert up.returncode == 0
    assert result.returncode != 0
    assert f"process {up.pid} of" in result.stdout
    assert "wait until it has ended" in result.stdout


def test_what_was_removed_or_stopped_by_hand_is_back_with_the_next_up(
    new_stack: Deployment, archive: Path, tmp_path: Path
) -> None:
    new_stack.make_succeeds("up")
    skopeo_push(new_stack, archive, "kept")
    kept = skopeo_pull(new_stack, "kept", tmp_path / "kept")
    new_stack.docker("container", "rm", "--force", "--volumes", f"{new_stack.prefix}-redis")
    new_stack.docker("container", "stop", f"{new_stack.prefix}-registry")
    new_stack.make_succeeds("up")
    assert new_stack.is_healthy("registry")
    assert new_stack.is_healthy("redis")
    assert skopeo_pull(new_stack, "kept", tmp_path / "again") == kept


def test_a_volume_that_was_there_before_is_taken_with_its_images(
    new_stack: Deployment, archive: Path, tmp_path: Path
) -> None:
    volume = f"{new_stack.prefix}-data"
    new_stack.docker("volume", "create", "--label", "mine=1", volume)
    try:
        new_stack.make_succeeds("up")
        skopeo_push(new_stack, archive, "kept")
        kept = skopeo_pull(new_stack, "kept", tmp_path / "kept")
        for _ in range(2):  # the first one reads the volume's own labels
            new_stack.make_succeeds("up")
        new_stack.pulumi("preview", "--refresh", "--expect-no-changes")
        assert skopeo_pull(new_stack, "kept", tmp_path / "again") == kept
        down = new_stack.make("down")
        assert f"docker volume rm {volume}" in down.stdout
        new_stack.pulumi("stack", "rm", "--yes", "--preserve-config")
        new_stack.pulumi("stack", "init")
        new_stack.make_succeeds("up")
        assert skopeo_pull(new_stack, "kept", tmp_path / "at last") == kept
    finally:
        new_stack.remove()
        new_stack.docker("volume", "rm", volume)
