"""What `make up` finds: a run that goes on elsewhere, and what hands and `make down` left."""

from pathlib import Path

import pytest

from tests.integration.clients import copy_in, copy_out
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.local


def test_down_leaves_the_images_and_says_how_to_remove_them(undeployed: Deployment) -> None:
    assert undeployed.make("up").returncode == 0
    done = undeployed.make("down")
    assert done.returncode == 0, done.stdout
    assert f"docker volume rm {undeployed.prefix}-data" in done.stdout
    assert undeployed.made("container") == []
    assert undeployed.made("network") == []
    assert undeployed.made("volume") == [f"{undeployed.prefix}-data"]


def test_another_up_of_the_same_stack_is_not_disturbed(undeployed: Deployment) -> None:
    with undeployed.started("up", "--yes", "--skip-preview") as up:
        locks = undeployed.folder / ".pulumi/locks"
        while not [*locks.rglob("*.json")] and up.poll() is None:
            pass
        done = undeployed.make("up")
    assert up.returncode == 0
    assert done.returncode != 0
    assert f"process {up.pid} of" in done.stdout
    assert "wait until it has ended" in done.stdout


def test_what_was_removed_or_stopped_by_hand_is_back_with_the_next_up(
    undeployed: Deployment, archive: Path, tmp_path: Path
) -> None:
    assert undeployed.make("up").returncode == 0
    copy_in(undeployed, archive, "kept")
    kept = copy_out(undeployed, "kept", tmp_path / "kept")
    undeployed.docker("container", "rm", "--force", "--volumes", f"{undeployed.prefix}-redis")
    undeployed.docker("container", "stop", f"{undeployed.prefix}-registry")
    done = undeployed.make("up")
    assert done.returncode == 0, done.stdout
    assert undeployed.healthy("registry")
    assert undeployed.healthy("redis")
    assert copy_out(undeployed, "kept", tmp_path / "again") == kept


def test_a_volume_that_was_there_before_is_taken_with_its_images(
    undeployed: Deployment, archive: Path, tmp_path: Path
) -> None:
    volume = f"{undeployed.prefix}-data"
    undeployed.docker("volume", "create", "--label", "mine=1", volume)
    try:
        assert undeployed.make("up").returncode == 0
        copy_in(undeployed, archive, "kept")
        kept = copy_out(undeployed, "kept", tmp_path / "kept")
        for _ in range(2):  # the first one reads the volume's own labels
            assert undeployed.make("up").returncode == 0
        undeployed.pulumi("preview", "--refresh", "--expect-no-changes")
        assert copy_out(undeployed, "kept", tmp_path / "again") == kept
        down = undeployed.make("down")
        assert f"docker volume rm {volume}" in down.stdout
        undeployed.pulumi("stack", "rm", "--yes", "--preserve-config")
        undeployed.pulumi("stack", "init")
        assert undeployed.make("up").returncode == 0
        assert copy_out(undeployed, "kept", tmp_path / "at last") == kept
    finally:
        undeployed.remove()
        undeployed.docker("volume", "rm", volume)
