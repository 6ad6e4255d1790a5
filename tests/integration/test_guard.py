"""`make up` and `make down` show changes, ask for confirmation, and refuse to lose images."""

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
DELETABLE = {"protect": False, "force_destroy": True}


@pytest.fixture
def stack(new_cloud_stack: CloudDeployment) -> CloudDeployment:
    """Deploy a stack with an image in a bucket that may be deleted."""
    new_cloud_stack.configure(storage={**DELETABLE, "access_keys": ["a"]})
    new_cloud_stack.up()
    Api(new_cloud_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))
    return new_cloud_stack


def _assert_pulls(stack: CloudDeployment) -> None:
    Api(stack.outputs()["endpoint"]).pull("team/app")


def test_up_deletes_an_empty_bucket_and_one_named_in_allow_loss(stack: CloudDeployment) -> None:
    first, second, third = stack.bucket, f"second-{stack.stack}", f"third-{stack.stack}"
    stack.configure(storage={"bucket": second})
    stack.make_succeeds("up", f"ALLOW_LOSS={first}")
    assert first not in stack.emulator.oss.buckets
    stack.configure(storage={"bucket": third})
    stack.make_succeeds("up")  # nothing was pushed to the second bucket
    assert second not in stack.emulator.oss.buckets
    assert third in stack.emulator.oss.buckets


def test_the_access_key_in_use_is_not_deleted_in_one_step(stack: CloudDeployment) -> None:
    stack.configure(storage={"access_keys": ["b"]})
    output = stack.make_fails("up")
    assert "The access key a would be gone, which the registry uses" in output
    assert f"`make rotate STACK={stack.stack}`" in output
    assert len(stack.emulator.ram.users[stack.prefix].keys) == 1
    _assert_pulls(stack)


def test_a_refused_change_from_oss_to_a_volume_reports_all_losses(stack: CloudDeployment) -> None:
    bucket, before = stack.bucket, stack.settings["storage"]
    stack.settings["storage"] = {"kind": "filesystem"}
    stack.configure()
    output = stack.make_fails("up")
    for lost in (f"The bucket {bucket}", f"The RAM user {stack.prefix}", "The access key a"):
        assert f"- {lost}" in output
    names = output.rpartition("ALLOW_LOSS=")[2].split()[0]
    assert set(names.split(",")) == {bucket, stack.prefix, "a"}
    stack.settings["storage"] = before
    stack.configure()
    _assert_pulls(stack)


def test_a_protected_bucket_fails_the_plan_before_any_change(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.up()
    new_cloud_stack.configure(storage={"bucket": f"other-{new_cloud_stack.stack}"})
    output = new_cloud_stack.make_fails("up", f"ALLOW_LOSS={new_cloud_stack.bucket}")
    assert "protect" in output
    assert "stopped, and nothing was changed: the plan fails" in output
    assert f"other-{new_cloud_stack.stack}" not in new_cloud_stack.emulator.oss.buckets


def _answer_up(deployment: Deployment, answer: str) -> tuple[int, str]:
    """Run `make up` at a terminal, type `answer`, and return the exit code and the output."""
    terminal, other_end = pty.openpty()
    words = ["make", "-C", str(deployment.folder), "up", f"STACK={deployment.stack}"]
    with subprocess.Popen(
        words,
        env={**os.environ, **deployment.environment},
        stdin=other_end,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        os.write(terminal, f"{answer}\n".encode())
        output = running.communicate(timeout=900)[0]
    os.close(terminal)
    os.close(other_end)
    return running.returncode, output


def test_up_asks_for_confirmation_and_changes_nothing_without_it(new_stack: Deployment) -> None:
    code, output = _answer_up(new_stack, "no")
    assert code != 0
    assert "create   container registry" in output
    assert "+REGISTRY_HTTP_ADDR=:5000" in output
    assert "Do it?" in output
    assert "nothing was changed" in output
    assert not new_stack.docker_objects("container")
    output = new_stack.make_fails("up", yes="")
    assert "there is nobody to ask; YES=1 says yes" in output
    assert not new_stack.docker_objects("container")
    code, output = _answer_up(new_stack, "yes")
    assert code == 0, output
    assert new_stack.is_healthy("registry")
    # Without changes, no confirmation is needed.
    output = new_stack.make_succeeds("up", yes="")
    assert f"{new_stack.stack}: no change\n" in output


@pytest.mark.parametrize("other_storage", [{"volume": "oss-registry-{}-other"}, {"kind": "oss"}])
def test_a_change_that_leaves_a_volume_with_images_is_refused(
    new_stack: Deployment, emulator: Emulator, other_storage: dict[str, str]
) -> None:
    new_stack.up()
    api = Api(new_stack.outputs()["endpoint"])
    api.push("team/app", secrets.token_bytes(1000))
    before = new_stack.settings.get("storage", {})
    storage = {key: value.format(new_stack.stack) for key, value in other_storage.items()}
    if "kind" in storage:
        new_stack.environment.update(emulator.environment)
        new_stack.write_config({"alicloud:region": REGION})
        storage["bucket"] = f"images-{new_stack.stack}"
    new_stack.configure(storage=storage)

    output = new_stack.make_fails("up")

    volume = f"{new_stack.prefix}-data"
    assert f"The images in the volume {volume} would stay there" in output
    assert f"make up STACK={new_stack.stack} ALLOW_LOSS={volume}" in output
    api.pull("team/app")
    new_stack.settings["storage"] = dict(before)
    new_stack.configure()
    new_stack.make_succeeds("up")
    api.pull("team/app")
