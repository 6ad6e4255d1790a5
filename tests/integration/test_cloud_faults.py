"""RAM and OSS that fail while a stack is made, and runs that die in the middle of it."""

import os
import secrets
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.api import Api
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import run

pytestmark = pytest.mark.oss
BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "RAM answers 500": ("CreateUser", {"status": 500, "times": 2}),
    "RAM is slow": ("CreatePolicy", {"seconds": 4, "times": 1}),
    "RAM cuts a call": ("AttachPolicyToUser", {"cut": True, "times": 1}),
    "RAM cuts an answer": ("CreateAccessKey", {"cut_answer": True, "times": 1}),
    "RAM does not find the user yet": (
        "AttachPolicyToUser",
        {"status": 404, "code": "EntityNotExist.User", "times": 2},
    ),
    "OSS answers 503": ("PutBucketLifecycle", {"status": 503, "times": 2}),
    "OSS cuts a call": ("PutBucketEncryption", {"cut": True, "times": 1}),
    "RAM cuts the answer to the attachment": (
        "AttachPolicyToUser",
        {"cut_answer": True, "times": 1},
    ),
    "OSS cuts an answer": ("PutBucket", {"cut_answer": True, "times": 1}),
}


def _delete_bucket(deployment: CloudDeployment) -> None:
    del deployment.aliyun.oss.buckets[deployment.bucket]


def _detach_policy(deployment: CloudDeployment) -> None:
    deployment.aliyun.ram.users[deployment.prefix].policies.clear()


# The next `up` can't know that it was this stack that did it: it says what to undo.
BY_HAND: dict[str, tuple[str, Callable[[CloudDeployment], None]]] = {
    "OSS cuts an answer": (
        "if an `up` that failed has made it, it is empty: delete it, and `up` again",
        _delete_bucket,
    ),
    "RAM cuts the answer to the attachment": (
        "is attached already: an `up` that failed has done it",
        _detach_policy,
    ),
}


def _works(deployment: CloudDeployment) -> None:
    api = Api(deployment.outputs()["endpoint"])
    api.push("team/app", secrets.token_bytes(1000))
    api.pull("team/app")
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


@pytest.mark.parametrize("what", BROKEN)
def test_an_up_that_meets_a_fault_ends_well_or_says_so_and_the_next_one_does(
    in_cloud: CloudDeployment, what: str
) -> None:
    api, how = BROKEN[what]
    with in_cloud.aliyun.failing(api, **how) as fault:
        first = run(*in_cloud.command("up", "--yes", "--skip-preview"), env=in_cloud.environment)
    assert fault.met
    assert first.returncode == 0 or "error:" in first.stdout
    if what in BY_HAND:
        sentence, undo = BY_HAND[what]
        assert sentence in in_cloud.make("up").stdout
        undo(in_cloud)
    if first.returncode != 0:
        again = in_cloud.make("up")
        assert again.returncode == 0, again.stdout
    if what == "RAM cuts an answer":
        said = in_cloud.make("status").stdout
        assert "The state does not have the access key" in said
    _works(in_cloud)


@pytest.mark.parametrize(
    "api",
    [
        "PutBucket",
        "PutBucketPolicy",
        "CreateUser",
        "CreatePolicy",
        "AttachPolicyToUser",
        "CreateAccessKey",
    ],
)
def test_an_up_that_was_killed_when_the_cloud_had_done_it_is_finished_by_the_next_one(
    in_cloud: CloudDeployment, api: str
) -> None:
    processes: list[int] = []

    def kill() -> None:
        for group in processes:
            os.killpg(group, signal.SIGKILL)

    with (
        in_cloud.aliyun.failing(api, times=1, then=kill) as fault,
        in_cloud.started("up", "--yes", "--skip-preview", own_group=True) as up,
    ):
        processes.append(up.pid)
    assert fault.met
    assert up.returncode == -signal.SIGKILL
    said = in_cloud.make("up")
    assert said.returncode == 0, said.stdout
    if api == "CreateAccessKey":
        assert f" of {in_cloud.prefix}, whose secret was lost" in said.stdout
        assert len(in_cloud.aliyun.ram.users[in_cloud.prefix].keys) == 1
    _works(in_cloud)
