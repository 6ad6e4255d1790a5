"""`make up` and `make down` show what they would do, ask, and stop where images would be lost."""

import os
import pty
import secrets
import subprocess

import pytest

from tests.emulator.emulator import Emulator
from tests.integration.api import Api
from tests.integration.cloud import REGION, CloudDeployment
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.ops
DEV = {"protect": False, "force_destroy": True}


@pytest.fixture
def stack(new_cloud_stack: CloudDeployment) -> CloudDeployment:
    """One that is up, with an image that may go with its bucket."""
    new_cloud_stack.configure(storage={**DEV, "access_keys": ["a"]})
    new_cloud_stack.up()
    Api(new_cloud_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))
    return new_cloud_stack


def _pulls(stack: CloudDeployment) -> None:
    Api(stack.outputs()["endpoint"]).pull("team/app")


def test_an_empty_bucket_may_go_and_what_is_meant_is_done(stack: CloudDeployment) -> None:
    first, second, third = stack.bucket, f"second-{stack.stack}", f"third-{stack.stack}"
    stack.configure(storage={"bucket": second})
    stack.make_succeeds("up", f"LOSE={first}")
    assert first not in stack.emulator.oss.buckets
    stack.configure(storage={"bucket": third})
    done = stack.make("up")  # nothing was pushed to the second one
    assert done.returncode == 0, done.stdout
    assert second not in stack.emulator.oss.buckets
    assert third in stack.emulator.oss.buckets


def test_the_key_in_use_is_not_taken_away_in_one_step(stack: CloudDeployment) -> None:
    stack.configure(storage={"access_keys": ["b"]})
    output = stack.make_fails("up")
    assert "The access key a would be gone, which the registry uses" in output
    assert f"`make rotate STACK={stack.stack}`" in output
    assert len(stack.emulator.ram.users[stack.prefix].keys) == 1
    _pulls(stack)


def test_a_stack_does_not_leave_oss_by_mistake(stack: CloudDeployment) -> None:
    bucket, before = stack.bucket, stack.settings["storage"]
    stack.settings["storage"] = {"kind": "filesystem"}
    stack.configure()
    output = stack.make_fails("up")
    for lost in (f"The bucket {bucket}", f"The RAM user {stack.prefix}", "The access key a"):
        assert f"- {lost}" in output
    names = output.rpartition("LOSE=")[2].split()[0]
    assert set(names.split(",")) == {bucket, stack.prefix, "a"}
    stack.settings["storage"] = before
    stack.configure()
    _pulls(stack)


def test_a_protected_bucket_fails_the_plan_before_anything_is_changed(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.up()
    new_cloud_stack.configure(storage={"bucket": f"other-{new_cloud_stack.stack}"})
    output = new_cloud_stack.make_fails("up", f"LOSE={new_cloud_stack.bucket}")
    assert "protect" in output
    assert "stopped, and nothing was changed: the plan fails" in output
    assert f"other-{new_cloud_stack.stack}" not in new_cloud_stack.emulator.oss.buckets


def _asked(deployment: Deployment, answer: str) -> tuple[int, str]:
    """How `make up` at a terminal ends when that is typed, and what it prints."""
    terminal, theirs = pty.openpty()
    words = ["make", "-C", str(deployment.folder), "up", f"STACK={deployment.stack}"]
    with subprocess.Popen(
        words,
        env={**os.environ, **deployment.environment},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        os.write(terminal, f"{answer}\n".encode())
        said = running.communicate(timeout=900)[0]
    os.close(terminal)
    os.close(theirs)
    return running.returncode, said


def test_up_asks_and_does_only_what_it_was_told(new_stack: Deployment) -> None:
    code, said = _asked(new_stack, "no")
    assert code != 0
    assert "create   container registry" in said
    assert "+REGISTRY_HTTP_ADDR=:5000" in said
    assert "Do it?" in said
    assert "nothing was changed" in said
    assert not new_stack.docker_objects("container")
    output = new_stack.make_fails("up", yes="")
    assert "there is nobody to ask; YES=1 says yes" in output
    assert not new_stack.docker_objects("container")
    code, said = _asked(new_stack, "yes")
    assert code == 0, said
    assert new_stack.is_healthy("registry")
    # Where nothing would change there is nothing to ask.
    output = new_stack.make_succeeds("up", yes="")
    assert f"{new_stack.stack}: no change\n" in output


@pytest.mark.parametrize("elsewhere", [{"volume": "oss-registry-{}-other"}, {"kind": "oss"}])
def test_a_volume_with_images_is_not_left_unless_it_is_meant(
    new_stack: Deployment, emulator: Emulator, elsewhere: dict[str, str]
) -> None:
    new_stack.up()
    api = Api(new_stack.outputs()["endpoint"])
    api.push("team/app", secrets.token_bytes(1000))
    before = new_stack.settings.get("storage", {})
    storage = {key: value.format(new_stack.stack) for key, value in elsewhere.items()}
    if "kind" in storage:
        new_stack.environment.update(emulator.environment)
        new_stack.write_config({"alicloud:region": REGION})
        storage["bucket"] = f"images-{new_stack.stack}"
    new_stack.configure(storage=storage)

    done = new_stack.make("up")

    volume = f"{new_stack.prefix}-data"
    assert done.returncode != 0
    assert f"The images in the volume {volume} would stay there" in done.stdout
    assert f"make up STACK={new_stack.stack} LOSE={volume}" in done.stdout
    api.pull("team/app")
    new_stack.settings["storage"] = dict(before)
    new_stack.configure()
    new_stack.make_succeeds("up")
    api.pull("team/app")
