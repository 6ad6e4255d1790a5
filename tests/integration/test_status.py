"""`make status` says what works, from where it matters, and fails where something does not."""

import json
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.integration.api import Api, RequestError
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, proc_files, run, wait_until
from tests.integration.secured import SecuredDeployment, configure_certificate

pytestmark = pytest.mark.ops


def _status(deployment: Deployment) -> tuple[int, dict[str, tuple[str, str]]]:
    """How it ended; and state and text by what they are of."""
    result = deployment.make("--silent", "status", separate_stderr=True)
    rows = [re.split(r" +", line, maxsplit=2) for line in result.stdout.splitlines()]
    return result.returncode, {part: (state, text) for state, part, text in rows}


def _fails(deployment: Deployment, part: str, why: str) -> None:
    code, rows = _status(deployment)
    assert code != 0
    assert rows[part][0] == "fail"
    assert why in rows[part][1]


def test_nothing_secret_is_shown_to_anyone_and_nothing_is_left(stack: CloudDeployment) -> None:
    (key,) = stack.emulator.ram.users[stack.prefix].keys.values()
    secrets = (key.secret, *stack.generated_values().values())
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            seen.update(proc_files("cmdline").values())
            named = ("container", "ls", "--quiet", "--filter", f"name={stack.prefix}-redis-cli")
            for checking in stack.docker(*named).split():
                inspected = run("docker", "container", "inspect", checking)
                seen.update([inspected.stdout] * (inspected.returncode == 0))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        seen.add(stack.make("status").stdout)
    finally:
        over.set()
        looking.join()
    assert any("redis-cli" in text for text in seen)
    assert not [secret for secret in secrets for text in seen if secret in text]
    assert len(stack.docker_objects("container")) == 2


def test_storage_that_refuses_the_key_is_named_by_osss_own_code(stack: CloudDeployment) -> None:
    (key,) = stack.emulator.ram.users[stack.prefix].keys.values()
    key.active = False
    try:
        _fails(stack, "storage", "InvalidAccessKeyId")
    finally:
        key.active = True
    policy = stack.emulator.ram.policies[stack.prefix]
    whole = policy.versions[policy.current]
    policy.versions[policy.current] = '{"Statement":[],"Version":"1"}'
    try:
        _fails(stack, "storage", "AccessDenied")
    finally:
        policy.versions[policy.current] = whole
    wait_until(lambda: _serves(stack))


def _serves(stack: CloudDeployment) -> bool:
    """A registry that noticed a refusal of OSS serves again after its next storage check."""
    try:
        Api(stack.outputs()["endpoint"]).call("GET", "/v2/", [200])
    except RequestError:
        return False
    return True


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "UserDisable", "AccessDenied"])
def test_an_oss_that_refuses_every_call_for_data_is_named_with_the_cause(
    stack: CloudDeployment, code: str
) -> None:
    causes = {
        "RequestTimeTooSkewed": "the clock of the machine that signs the requests is wrong",
        "UserDisable": "the Alibaba Cloud account is disabled or has an overdue payment",
        "AccessDenied": "the bucket policy of",
    }
    with stack.emulator.failing(hits=lambda call: call.door != "ram", status=403, code=code):
        _fails(stack, "storage", f"OSS answers {code}: {causes[code]}")
    wait_until(lambda: _serves(stack))


def test_up_fails_if_oss_refuses_the_registry(stack: CloudDeployment) -> None:
    reads = ("ListObjectsV2", "ListObjects", "GetObject", "HeadObject")
    with stack.emulator.failing(*reads, status=403, code="UserDisable"):
        output = stack.make_fails("up")
    assert "OSS answers UserDisable: the Alibaba Cloud account is disabled" in output
    wait_until(lambda: _serves(stack))


def test_an_internal_endpoint_alone_is_enough(stack: CloudDeployment) -> None:
    stack.emulator.public_data = False
    try:
        code, rows = _status(stack)
    finally:
        stack.emulator.public_data = True
    assert (code, rows["storage"][0]) == (0, "ok")


def test_a_redis_that_hangs_stops_or_has_another_password_fails(stack: CloudDeployment) -> None:
    redis = f"{stack.prefix}-redis"
    stack.docker("container", "pause", redis)
    try:
        _fails(stack, "cache", "answers nothing")
    finally:
        stack.docker("container", "unpause", redis)
    stack.docker("container", "stop", redis)
    try:
        _fails(stack, "cache", redis)
    finally:
        stack.docker("container", "start", redis)
    assert len(stack.docker_objects("container")) == 2


def test_a_registry_that_was_stopped_or_removed_fails(stack: CloudDeployment) -> None:
    registry = f"{stack.prefix}-registry"
    stack.docker("container", "stop", registry)
    _fails(stack, "health", "not running")
    _fails(stack, "endpoint", "does not answer")
    stack.docker("container", "rm", "--force", "--volumes", registry)
    _fails(stack, "health", "No such container")
    stack.make_succeeds("up")
    assert _status(stack)[0] == 0


def test_a_release_that_is_not_up_yet_and_a_key_of_ninety_days_are_warned_of(
    stack: CloudDeployment,
) -> None:
    exported = json.loads(stack.pulumi("stack", "export"))
    for resource in exported["deployment"]["resources"]:
        if resource["type"] == "alicloud:ram/accessKey:AccessKey":
            old = datetime.now(UTC) - timedelta(days=90, hours=1)
            resource["created"] = old.isoformat().replace("+00:00", "Z")
    result = run(
        *stack.pulumi_command("stack", "import"), env=stack.environment, stdin=json.dumps(exported)
    )
    assert result.returncode == 0, result.stdout
    stack.configure(registry={"release": "3.0.0"})
    try:
        code, rows = _status(stack)
    finally:
        stack.configure(registry={"release": "3.1.2"})
    assert code == 0
    assert rows["release"] == (
        "warn",
        f"3.1.2 runs, and the stack file says 3.0.0: make up STACK={stack.stack}",
    )
    assert rows["key"][0] == "warn"
    assert rows["key"][1].endswith(f"is 90 days old: make rotate STACK={stack.stack}")


def test_a_stack_that_is_not_up_is_told_so(new_stack: Deployment) -> None:
    output = new_stack.make_fails("status")
    assert f"status: the stack {new_stack.stack} is not up" in output


def test_a_certificate_is_the_one_that_clients_see(
    secured: SecuredDeployment, tmp_path: Path
) -> None:
    authority, now = trustme.CA(), datetime.now(UTC)
    configure_certificate(secured, authority, not_after=now + timedelta(days=20, hours=1))
    secured.up()
    code, rows = _status(secured)
    assert code == 0
    state, text = rows["certificate"]
    assert state == "warn"
    assert text.endswith("for 20 days")
    assert rows["endpoint"] == ("ok", f"{secured.outputs()['endpoint']} answers 401")
    assert rows["storage"] == ("ok", f"the volume {secured.prefix}-data is there")
    assert rows["key"] == ("ok", "none")
