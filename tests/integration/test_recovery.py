"""`make up` during another `up`, after manual changes, and after `make down`."""

from pathlib import Path

import pytest

from tests.integration.clients import skopeo_pull, skopeo_push
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.local


def test_down_keeps_the_images_and_prints_the_command_to_delete_them(new_stack: Deployment) -> None:
    new_stack.make_succeeds("up")
    output = new_stack.make_succeeds("down")
    assert f"docker volume rm {new_stack.prefix}-data" in output
    assert new_stack.docker_objects("container") == []
    assert new_stack.docker_objects("network") == []
    assert new_stack.docker_objects("volume") == [f"{new_stack.prefix}-data"]


def test_a_second_up_is_refused_and_the_first_one_succeeds(new_stack: Deployment) -> None:
    with new_stack.start_pulumi("up", "--yes", "--skip-preview") as up:
        locks = new_stack.folder / ".pulumi/locks"
        while not [*locks.rglob("*.json")] and up.poll() is None:
            pass
        output = new_stack.make_fails("up")
    assert up.returncode == 0
    assert f"process {up.pid} of" in output
    assert "wait until it has ended" in output


def test_the_next_up_restores_removed_and_stopped_containers(
    new_stack: Deployment, archive: Path, tmp_path: Path
) -> None:
    new_stack.make_succeeds("up")
    skopeo_push(new_stack, archive, "kept")
    before = skopeo_pull(new_stack, "kept", tmp_path / "kept")
    new_stack.docker("container", "rm", "--force", "--volumes", f"{new_stack.prefix}-redis")
    new_stack.docker("container", "stop", f"{new_stack.prefix}-registry")
    new_stack.make_succeeds("up")
    assert new_stack.is_healthy("registry")
    assert new_stack.is_healthy("redis")
    assert skopeo_pull(new_stack, "kept", tmp_path / "again") == before


def test_an_existing_volume_is_used_with_its_images(
    new_stack: Deployment, archive: Path, tmp_path: Path
) -> None:
    volume = f"{new_stack.prefix}-data"
    new_stack.docker("volume", "create", "--label", "mine=1", volume)
    try:
        new_stack.make_succeeds("up")
        skopeo_push(new_stack, archive, "kept")
        before = skopeo_pull(new_stack, "kept", tmp_path / "kept")
        for _ in range(2):  # the first run reads the labels of the volume
            new_stack.make_succeeds("up")
        new_stack.pulumi("preview", "--refresh", "--expect-no-changes")
        assert skopeo_pull(new_stack, "kept", tmp_path / "again") == before
        down = new_stack.make("down")
        assert f"docker volume rm {volume}" in down.stdout
        new_stack.pulumi("stack", "rm", "--yes", "--preserve-config")
        new_stack.pulumi("stack", "init")
        new_stack.make_succeeds("up")
        assert skopeo_pull(new_stack, "kept", tmp_path / "at last") == before
    finally:
        new_stack.remove()
        new_stack.docker("volume", "rm", volume)
