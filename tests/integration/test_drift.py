"""`make drift` reports manual changes."""

import os
import shutil
from collections.abc import Callable, Mapping

import pytest

from tests.integration.cloud import CloudDeployment

pytestmark = pytest.mark.ops


def test_drift_succeeds_without_changes(stack: CloudDeployment) -> None:
    output = stack.make_succeeds("--silent", "drift", separate_stderr=True)
    assert output == f"{stack.stack}: no change\n"
    assert "ok    drift        no change (20" in stack.make("status").stdout


def _make_bucket_public(stack: CloudDeployment) -> None:
    stack.emulator.oss.buckets[stack.bucket].acl = "public-read"


def _delete_lifecycle_rule(stack: CloudDeployment) -> None:
    del stack.emulator.oss.buckets[stack.bucket].settings["lifecycle"]


def _revoke_permissions(stack: CloudDeployment) -> None:
    policy = stack.emulator.ram.policies[stack.prefix]
    policy.versions[policy.current] = '{"Statement":[],"Version":"1"}'


def _delete_access_key(stack: CloudDeployment) -> None:
    stack.emulator.ram.users[stack.prefix].keys.clear()


def _remove_redis(stack: CloudDeployment) -> None:
    stack.docker("container", "rm", "--force", "--volumes", f"{stack.prefix}-redis")


# Functions that make a change, each with the row that reports the change.
MANUAL_CHANGES: Mapping[Callable[[CloudDeployment], None], str] = {
    _make_bucket_public: "change   bucket acl acl",
    _delete_lifecycle_rule: "change   bucket bucket",
    _revoke_permissions: "change   policy ram-policy",
    _delete_access_key: "create   access key access-key-",
    _remove_redis: "create   container redis",
}


def test_manual_changes_are_reported_by_drift_and_undone_by_up(stack: CloudDeployment) -> None:
    for change in MANUAL_CHANGES:
        change(stack)
    output = stack.make_fails("--silent", "drift", separate_stderr=True)
    for row in MANUAL_CHANGES.values():
        assert row in output
    stack.make_succeeds("up")


def test_status_reports_the_result_of_the_last_drift_check(stack: CloudDeployment) -> None:
    # `make up` has undone the manual changes of the test above.
    stack.make_succeeds("drift")
    _make_bucket_public(stack)
    stack.make_fails("drift")
    assert "fail  drift " in stack.make("status").stdout
    stack.make_succeeds("up")


def test_drift_works_with_read_only_access_to_the_state(stack: CloudDeployment) -> None:
    pulumi = stack.folder / "bin/pulumi"
    pulumi.parent.mkdir()
    # The tests may run as root, who can write everywhere, so a script simulates the refusal.
    pulumi.write_text(
        '#!/bin/sh\ncase "$*" in "stack tag set"*) echo AccessDenied >&2; exit 1 ;; esac\n'
        f'exec {shutil.which("pulumi")} "$@"\n'
    )
    pulumi.chmod(0o755)
    path = f"{pulumi.parent}:{os.environ['PATH']}"
    output = stack.make_succeeds("drift", f"PATH={path}")
    assert "drift: `make status` will not know of it: AccessDenied" in output
