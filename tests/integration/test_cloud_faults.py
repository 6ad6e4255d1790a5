"""Faults of RAM and OSS while a stack is created, and runs that are killed."""

import os
import secrets
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.integration.api import Api
from tests.integration.cloud import CloudDeployment

pytestmark = pytest.mark.oss
# By API: a fault after which a later `up` succeeds.
FAULTS: dict[str, dict[str, Any]] = {
    "CreateUser": {"status": 500, "times": 2},
    "CreatePolicy": {"disconnect": True, "times": 1},
    "AttachPolicyToUser": {"status": 404, "code": "EntityNotExist.User", "times": 2},
    "CreateAccessKey": {"truncate": True, "times": 1},
    "PutBucketLifecycle": {"status": 503, "times": 2},
    "PutBucketEncryption": {"disconnect": True, "times": 1},
    "PutBucketPolicy": {"seconds": 4, "times": 1},
}


def _delete_bucket(deployment: CloudDeployment) -> None:
    del deployment.emulator.oss.buckets[deployment.bucket]


def _detach_policy(deployment: CloudDeployment) -> None:
    deployment.emulator.ram.users[deployment.prefix].policies.clear()


# A failed `up` can leave objects that the next one cannot adopt. By API that creates the object:
# the message of the next `up`, which names what to delete, and a function that deletes it.
LEFTOVERS: dict[str, tuple[str, Callable[[CloudDeployment], None]]] = {
    "PutBucket": (
        "if an `up` that failed has made it, it is empty: delete it, and `up` again",
        _delete_bucket,
    ),
    "AttachPolicyToUser": ("is attached already: an `up` that failed has done it", _detach_policy),
}


def _assert_works(deployment: CloudDeployment) -> None:
    api = Api(deployment.outputs()["endpoint"])
    api.push("team/app", secrets.token_bytes(1000))
    api.pull("team/app")
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


def test_up_can_be_repeated_after_faults_of_ram_and_oss(new_cloud_stack: CloudDeployment) -> None:
    with ExitStack() as broken:
        faults = [
            broken.enter_context(new_cloud_stack.emulator.failing(call, **how))
            for call, how in FAULTS.items()
        ]
        up = new_cloud_stack.make("up")
        for _ in FAULTS:
            if up.returncode == 0:
                break
            assert "error:" in up.stdout
            up = new_cloud_stack.make("up")
    assert up.returncode == 0, up.stdout
    assert all(fault.count for fault in faults)
    assert len(new_cloud_stack.emulator.ram.users[new_cloud_stack.prefix].keys) == 1
    _assert_works(new_cloud_stack)


@pytest.mark.parametrize("call", LEFTOVERS)
def test_up_reports_how_to_remove_a_leftover_of_a_failed_up(
    new_cloud_stack: CloudDeployment, call: str
) -> None:
    message, remove = LEFTOVERS[call]
    with new_cloud_stack.emulator.failing(call, truncate=True, times=1) as fault:
        new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert fault.count
    assert message in new_cloud_stack.make("up").stdout
    remove(new_cloud_stack)
    new_cloud_stack.make_succeeds("up")
    _assert_works(new_cloud_stack)


# The second call of each pair needs the response to the first one.
@pytest.mark.parametrize(
    "calls",
    [
        ("PutBucket", "PutBucketPolicy"),
        ("CreateUser", "CreateAccessKey"),
        ("CreatePolicy", "AttachPolicyToUser"),
    ],
    ids="-".join,
)
def test_a_later_up_finishes_an_up_that_was_killed_twice(
    new_cloud_stack: CloudDeployment, calls: tuple[str, str]
) -> None:
    groups: list[int] = []

    def kill() -> None:
        os.killpg(groups[-1], signal.SIGKILL)

    for call in calls:
        with (
            new_cloud_stack.emulator.failing(call, times=1, before_response=kill) as fault,
            new_cloud_stack.start_make("up") as up,
        ):
            groups.append(up.pid)
        assert fault.count
        assert up.returncode == -signal.SIGKILL
    output = new_cloud_stack.make_succeeds("up")
    if "CreateAccessKey" in calls:
        assert f" of {new_cloud_stack.prefix}, whose secret was lost" in output
        assert len(new_cloud_stack.emulator.ram.users[new_cloud_stack.prefix].keys) == 1
    _assert_works(new_cloud_stack)
