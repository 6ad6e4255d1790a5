"""`make up` and `make down` show what they would do, ask, and stop where images would be lost."""

import os
import pty
import secrets
import subprocess

import pytest

from tests.aliyun.aliyun import Aliyun
from tests.integration.api import Api
from tests.integration.cloud import REGION, CloudDeployment
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.ops
DEV = {"protect": False, "force_destroy": True}


@pytest.fixture
def stack(in_cloud: CloudDeployment) -> CloudDeployment:
    """One that is up, with an image that may go with its bucket."""
    in_cloud.configure(storage={**DEV, "access_keys": ["a"]})
    in_cloud.up()
    Api(in_cloud.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))
    return in_cloud


def _pulls(stack: CloudDeployment) -> None:
    Api(stack.outputs()["endpoint"]).pull("team/app")


def test_an_empty_bucket_may_go_and_what_is_meant_is_done(stack: CloudDeployment) -> None:
    first, second, third = stack.bucket, f"second-{stack.stack}", f"third-{stack.stack}"
    stack.configure(storage={"bucket": second})
    done = stack.make("up", f"LOSE={first}")
    assert done.returncode == 0, done.stdout
    assert first not in stack.aliyun.oss.buckets
    stack.configure(storage={"bucket": third})
    done = stack.make("up")  # nothing was pushed to the second one
    assert done.returncode == 0, done.stdout
    assert second not in stack.aliyun.oss.buckets
    assert third in stack.aliyun.oss.buckets


def test_the_key_in_use_is_not_taken_away_in_one_step(stack: CloudDeployment) -> None:
    stack.configure(storage={"access_keys": ["b"]})
    done = stack.make("up")
    assert done.returncode != 0
    assert "The access key a would be gone, which the registry uses" in done.stdout
    assert f"`make rotate STACK={stack.stack}`" in done.stdout
    assert len(stack.aliyun.ram.users[stack.prefix].keys) == 1
    _pulls(stack)


def test_a_stack_does_not_leave_oss_by_mistake(stack: CloudDeployment) -> None:
    bucket, before = stack.bucket, stack.settings["storage"]
    stack.settings["storage"] = {"kind": "filesystem"}
    stack.configure()
    done = stack.make("up")
    assert done.returncode != 0
    for lost in (f"The bucket {bucket}", f"The RAM user {stack.prefix}", "The access key a"):
        assert f"- {lost}" in done.stdout
    names = done.stdout.rpartition("LOSE=")[2].split()[0]
    assert set(names.split(",")) == {bucket, stack.prefix, "a"}
    stack.settings["storage"] = before
    stack.configure()
    _pulls(stack)


def test_a_protected_bucket_fails_the_plan_before_anything_is_changed(
    in_cloud: CloudDeployment,
) -> None:
    in_cloud.up()
    in_cloud.configure(storage={"bucket": f"other-{in_cloud.stack}"})
    done = in_cloud.make("up", f"LOSE={in_cloud.bucket}")
    assert done.returncode != 0
    assert "protect" in done.stdout
    assert "stopped, and nothing was changed: the plan fails" in done.stdout
    assert f"other-{in_cloud.stack}" not in in_cloud.aliyun.oss.buckets


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


def test_up_asks_and_does_only_what_it_was_told(undeployed: Deployment) -> None:
    code, said = _asked(undeployed, "no")
    assert code != 0
    assert "create   container registry" in said
    assert "+REGISTRY_HTTP_ADDR=:5000" in said
    assert "Do it?" in said
    assert "nothing was changed" in said
    assert not undeployed.made("container")
    done = undeployed.make("up", consent="")
    assert done.returncode != 0
    assert "there is nobody to ask; YES=1 says yes" in done.stdout
    assert not undeployed.made("container")
    code, said = _asked(undeployed, "yes")
    assert code == 0, said
    assert undeployed.healthy("registry")
    # Where nothing would change there is nothing to ask.
    done = undeployed.make("up", consent="")
    assert done.returncode == 0, done.stdout
    assert f"{undeployed.stack}: no change\n" in done.stdout


@pytest.mark.parametrize("elsewhere", [{"volume": "oss-registry-{}-other"}, {"kind": "oss"}])
def test_a_volume_with_images_is_not_left_unless_it_is_meant(
    undeployed: Deployment, aliyun: Aliyun, elsewhere: dict[str, str]
) -> None:
    undeployed.up()
    api = Api(undeployed.outputs()["endpoint"])
    api.push("team/app", secrets.token_bytes(1000))
    before = undeployed.settings.get("storage", {})
    storage = {key: value.format(undeployed.stack) for key, value in elsewhere.items()}
    if "kind" in storage:
        undeployed.environment.update(aliyun.environment)
        undeployed.write({"alicloud:region": REGION})
        storage["bucket"] = f"images-{undeployed.stack}"
    undeployed.configure(storage=storage)

    done = undeployed.make("up")

    volume = f"{undeployed.prefix}-data"
    assert done.returncode != 0
    assert f"The images in the volume {volume} would stay there" in done.stdout
    assert f"make up STACK={undeployed.stack} LOSE={volume}" in done.stdout
    api.pull("team/app")
    undeployed.settings["storage"] = dict(before)
    undeployed.configure()
    assert undeployed.make("up").returncode == 0
    api.pull("team/app")
