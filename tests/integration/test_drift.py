"""`make drift`: red where someone changed something by hand, and it is named."""

import os
import shutil
from collections.abc import Callable, Mapping

import pytest

from tests.integration.cloud import CloudDeployment

pytestmark = pytest.mark.ops


def test_where_nothing_drifted_it_is_green_and_changes_nothing(stack: CloudDeployment) -> None:
    done = stack.make("--silent", "drift", separate_stderr=True)
    assert (done.returncode, done.stdout) == (0, f"{stack.stack}: no change\n")
    assert "ok    drift        no change (20" in stack.make("status").stdout


def _public(stack: CloudDeployment) -> None:
    stack.emulator.oss.buckets[stack.bucket].acl = "public-read"


def _without_lifecycle(stack: CloudDeployment) -> None:
    del stack.emulator.oss.buckets[stack.bucket].settings["lifecycle"]


def _may_nothing(stack: CloudDeployment) -> None:
    policy = stack.emulator.ram.policies[stack.prefix]
    policy.versions[policy.current] = '{"Statement":[],"Version":"1"}'


def _without_key(stack: CloudDeployment) -> None:
    stack.emulator.ram.users[stack.prefix].keys.clear()


def _without_redis(stack: CloudDeployment) -> None:
    stack.docker("container", "rm", "--force", "--volumes", f"{stack.prefix}-redis")


BY_HAND: Mapping[Callable[[CloudDeployment], None], str] = {
    _public: "change   bucket acl acl",
    _without_lifecycle: "change   bucket bucket",
    _may_nothing: "change   policy ram-policy",
    _without_key: "create   access key access-key-",
    _without_redis: "create   container redis",
}


def test_manual_changes_are_named_by_drift_and_undone_by_up(stack: CloudDeployment) -> None:
    for change in BY_HAND:
        change(stack)
    output = stack.make_fails("--silent", "drift", separate_stderr=True)
    for named in BY_HAND.values():
        assert named in output
    stack.make_succeeds("up")


def test_status_reports_what_the_last_drift_check_found(stack: CloudDeployment) -> None:
    # `make up` has undone what the test above changed by hand.
    stack.make_succeeds("drift")
    _public(stack)
    stack.make_fails("drift")
    assert "fail  drift " in stack.make("status").stdout
    stack.make_succeeds("up")


def test_who_may_only_read_the_state_still_looks(stack: CloudDeployment) -> None:
    pulumi = stack.folder / "bin/pulumi"
    pulumi.parent.mkdir()
    # Root may write everywhere, so the backend's refusal is played.
    pulumi.write_text(
        '#!/bin/sh\ncase "$*" in "stack tag set"*) echo AccessDenied >&2; exit 1 ;; esac\n'
        f'exec {shutil.which("pulumi")} "$@"\n'
    )
    pulumi.chmod(0o755)
    path = f"{pulumi.parent}:{os.environ['PATH']}"
    output = stack.make_succeeds("drift", f"PATH={path}")
    assert "drift: `make status` will not know of it: AccessDenied" in output
