"""`make status` reports the state of each part, and fails if a part does not work."""

import json
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.integration.api import Api, RequestError
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, proc_files, run, run_checked, wait_until
from tests.integration.secured import SecuredDeployment, configure_certificate

pytestmark = pytest.mark.ops


def _status(deployment: Deployment) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run `make status`, and return its exit code and the state and text of each part."""
    result = deployment.make("--silent", "status", separate_stderr=True)
    rows = [re.split(r" +", line, maxsplit=2) for line in result.stdout.splitlines()]
    return result.returncode, {part: (state, text) for state, part, text in rows}


def _assert_fails(deployment: Deployment, part: str, message: str) -> None:
    """Assert that `make status` fails and reports `message` for `part`."""
    code, rows = _status(deployment)
    assert code != 0
    assert rows[part][0] == "fail"
    assert message in rows[part][1]


def test_status_shows_no_secret_and_leaves_no_container(stack: CloudDeployment) -> None:
    (key,) = stack.emulator.ram.users[stack.prefix].keys.values()
    secrets = (key.secret, *stack.generated_values().values())
    texts: set[str] = set()
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.02):
            texts.update(proc_files("cmdline").values())
            named = ("container", "ls", "--quiet", "--filter", f"name={stack.prefix}-redis-cli")
            for container in stack.docker(*named).split():
                inspected = run("docker", "container", "inspect", container)
                if inspected.returncode == 0:
                    texts.add(inspected.stdout)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        texts.add(stack.make("status").stdout)
    finally:
        finished.set()
        watcher.join()
    assert any("redis-cli" in text for text in texts)
    assert not [secret for secret in secrets for text in texts if secret in text]
    assert len(stack.docker_objects("container")) == 2


def test_a_refused_access_key_is_reported_with_the_error_code_of_oss(
    stack: CloudDeployment,
) -> None:
    (key,) = stack.emulator.ram.users[stack.prefix].keys.values()
    key.active = False
    try:
        _assert_fails(stack, "storage", "InvalidAccessKeyId")
    finally:
        key.active = True
    policy = stack.emulator.ram.policies[stack.prefix]
    original = policy.versions[policy.current]
    policy.versions[policy.current] = '{"Statement":[],"Version":"1"}'
    try:
        _assert_fails(stack, "storage", "AccessDenied")
    finally:
        policy.versions[policy.current] = original
    wait_until(lambda: _serves(stack))


def _serves(stack: CloudDeployment) -> bool:
    """Return whether the registry serves requests.

    After an error of OSS, it does so again when its next storage check succeeds.
    """
    try:
        Api(stack.outputs()["endpoint"]).call("GET", "/v2/", [200])
    except RequestError:
        return False
    return True


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "UserDisable", "AccessDenied"])
def test_status_reports_why_oss_refuses_all_requests(stack: CloudDeployment, code: str) -> None:
    causes = {
        "RequestTimeTooSkewed": "the clock of the machine that signs the requests is wrong",
        "UserDisable": "the Alibaba Cloud account is disabled or has an overdue payment",
        "AccessDenied": "the bucket policy of",
    }
    with stack.emulator.failing(matches=lambda call: call.service != "ram", status=403, code=code):
        _assert_fails(stack, "storage", f"OSS answers {code}: {causes[code]}")
    wait_until(lambda: _serves(stack))


def test_up_fails_if_oss_refuses_the_registry(stack: CloudDeployment) -> None:
    reads = ("ListObjectsV2", "ListObjects", "GetObject", "HeadObject")
    with stack.emulator.failing(*reads, status=403, code="UserDisable"):
        output = stack.make_fails("up")
    assert "OSS answers UserDisable: the Alibaba Cloud account is disabled" in output
    wait_until(lambda: _serves(stack))


def test_status_works_with_the_internal_endpoint_only(stack: CloudDeployment) -> None:
    stack.emulator.public_endpoints_open = False
    try:
        code, rows = _status(stack)
    finally:
        stack.emulator.public_endpoints_open = True
    assert (code, rows["storage"][0]) == (0, "ok")


def test_a_redis_that_hangs_or_is_stopped_is_reported(stack: CloudDeployment) -> None:
    redis = f"{stack.prefix}-redis"
    stack.docker("container", "pause", redis)
    try:
        _assert_fails(stack, "cache", "answers nothing")
    finally:
        stack.docker("container", "unpause", redis)
    stack.docker("container", "stop", redis)
    try:
        _assert_fails(stack, "cache", redis)
    finally:
        stack.docker("container", "start", redis)
    assert len(stack.docker_objects("container")) == 2


def test_a_stopped_or_removed_registry_is_reported(stack: CloudDeployment) -> None:
    registry = f"{stack.prefix}-registry"
    stack.docker("container", "stop", registry)
    _assert_fails(stack, "health", "not running")
    _assert_fails(stack, "endpoint", "does not answer")
    stack.docker("container", "rm", "--force", "--volumes", registry)
    _assert_fails(stack, "health", "No such container")
    stack.make_succeeds("up")
    assert _status(stack)[0] == 0


def test_status_warns_about_a_different_release_and_an_old_access_key(
    stack: CloudDeployment,
) -> None:
    exported = json.loads(stack.pulumi("stack", "export"))
    for resource in exported["deployment"]["resources"]:
        if resource["type"] == "alicloud:ram/accessKey:AccessKey":
            old = datetime.now(UTC) - timedelta(days=90, hours=1)
            resource["created"] = old.isoformat().replace("+00:00", "Z")
    stack_import = stack.pulumi_command("stack", "import")
    run_checked(*stack_import, env=stack.environment, stdin=json.dumps(exported))
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


def test_status_reports_a_stack_that_is_not_deployed(new_stack: Deployment) -> None:
    output = new_stack.make_fails("status")
    assert f"status: the stack {new_stack.stack} is not up" in output


def test_status_reports_the_certificate_that_clients_get(
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
