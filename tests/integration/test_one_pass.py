"""The life of a stack with images in OSS, from the first `make up` to `make down`.

The tests share one stack and run in the order of this file. Each one leaves it deployed.
"""

import json
import re
import secrets
from collections.abc import Iterator

import pytest

from tests.emulator.emulator import Emulator
from tests.integration.api import Api, RequestError
from tests.integration.clients import docker_push, remove_and_pull
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import run_checked
from tests.integration.garbage import collect_garbage, stored_blobs
from tests.integration.warm_host import cold_path

pytestmark = [pytest.mark.oss, pytest.mark.quick]
DELETABLE = {"protect": False, "force_destroy": True}


@pytest.fixture(scope="module", autouse=True)
def _cold_language_hosts() -> Iterator[None]:
    """Start language hosts as users do, also in a run that loads `warm_host`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", cold_path())
        yield


@pytest.fixture(scope="module")
def stack(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CloudDeployment]:
    deployment = CloudDeployment(tmp_path_factory.mktemp("project"), emulator)
    deployment.configure(storage={**DELETABLE, "access_keys": ["old"]})
    with deployment.deployed_with_make():
        yield deployment


@pytest.fixture(scope="module")
def api(stack: CloudDeployment) -> Api:
    return Api(stack.outputs()["endpoint"])


def test_the_outputs_have_the_bucket_the_user_and_the_key(stack: CloudDeployment) -> None:
    outputs = stack.outputs()
    assert outputs["bucket"] == stack.bucket
    assert outputs["storage_endpoint"] == "https://oss-cn-hangzhou-internal.aliyuncs.com"
    assert outputs["ram_user"] == stack.prefix
    assert outputs["access_key"] == "old"
    # `outputs()` reads the state file. Users read the outputs with this command.
    assert json.loads(stack.pulumi("stack", "output", "--json")) == outputs


def test_the_bucket_is_private_encrypted_versioned_and_aborts_unfinished_uploads(
    stack: CloudDeployment,
) -> None:
    bucket = stack.emulator.oss.buckets[stack.bucket]
    assert bucket.acl == "private"
    assert b"<BlockPublicAccess>true</" in bucket.settings["publicAccessBlock"]
    assert b"<SSEAlgorithm>AES256</" in bucket.settings["encryption"]
    assert bucket.versioned
    (rule,) = re.findall(rb"<Rule>.*?</Rule>", bucket.settings["lifecycle"])
    for part in (
        rb"<Prefix>registry/</Prefix>",
        rb"<Status>Enabled</Status>",
        rb"<AbortMultipartUpload><Days>7</Days></AbortMultipartUpload>",
        rb"<NoncurrentDays>14</NoncurrentDays>",
        rb"<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>",
    ):
        assert part in rule
    assert b"<TLSVersion>TLSv1.2</" in bucket.settings["httpsConfig"]
    assert json.loads(bucket.settings["policy"])["Statement"][0]["Effect"] == "Deny"


def test_docker_pulls_its_image_and_the_registry_uses_only_its_own_key(
    stack: CloudDeployment, image: str
) -> None:
    reference, digest = docker_push(stack, image, "team/docker")
    assert remove_and_pull(stack, reference) == digest
    calls = [call for call in stack.emulator.calls if call.bucket == stack.bucket]
    written = [call for call in calls if call.api in ("PutObject", "CompleteMultipartUpload")]
    assert {call.key_id for call in written} == {stack.key_in_use()}
    own = [call for call in calls if call.user == stack.prefix]
    assert not [call for call in own if call.code in ("AccessDenied", "SignatureDoesNotMatch")]


def test_the_policy_allows_chunked_and_cancelled_uploads_mounts_and_deletions(
    stack: CloudDeployment, api: Api
) -> None:
    api.push("team/parts", secrets.token_bytes(12 * 2**20), chunks=2)
    api.pull("team/parts")
    api.mount(
        "team/mounted", api.push_blob("team/parts", [secrets.token_bytes(1000)]), "team/parts"
    )
    api.cancel_upload("team/cancelled", secrets.token_bytes(2**20))
    uploads = stack.emulator.oss.buckets[stack.bucket].uploads.values()
    assert not [upload for upload in uploads if "/team/cancelled/" in upload.key]
    digest = api.push("team/deleted", secrets.token_bytes(1000))
    api.delete("team/deleted", digest)
    api.call("GET", f"/v2/team/deleted/manifests/{digest}", [404])


def test_a_second_up_and_a_refreshed_preview_change_nothing(stack: CloudDeployment) -> None:
    containers = stack.docker_objects("container")
    stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")
    assert stack.docker_objects("container") == containers


def test_status_reports_each_part_and_uses_the_access_key_of_the_registry(
    stack: CloudDeployment,
) -> None:
    earlier_calls = len(stack.emulator.calls)
    output = stack.make_succeeds("--silent", "status", separate_stderr=True)
    rows = [re.split(r" +", line, maxsplit=2) for line in output.splitlines()]
    assert {part: text for _, part, text in rows if part != "drift"} == {
        "health": "the registry is healthy",
        "endpoint": f"{stack.outputs()['endpoint']} answers",
        "pushes": "are taken",
        "release": "3.1.2",
        "storage": f"the bucket {stack.bucket} takes the access key old",
        "cache": f"redis at {stack.prefix}-redis:6379 answers PONG",
        "key": "the access key old is 0 days old",
        "certificate": "none",
    }
    calls = stack.emulator.calls[earlier_calls:]
    own_calls = [call for call in calls if call.agent.startswith("alibabacloud-python")]
    assert {call.key_id for call in own_calls} == {stack.key_in_use()}


def test_garbage_collection_frees_deleted_images_and_keeps_the_others(
    stack: CloudDeployment, api: Api
) -> None:
    api.push("team/kept", secrets.token_bytes(1000))
    deleted = api.push("team/garbage", secrets.token_bytes(200_000))
    api.delete("team/garbage", deleted)
    before = stored_blobs(stack)
    assert re.search(r"gc: would free [1-9]", collect_garbage(stack, "DRY_RUN=1"))
    assert stored_blobs(stack) == before
    assert re.search(r"gc: freed [1-9][\d,]* of [\d,]+ blobs, ", collect_garbage(stack))
    assert deleted not in stored_blobs(stack)
    api.pull("team/kept")
    api.push("team/garbage", secrets.token_bytes(1000))


def test_a_rotation_uses_the_new_key_before_it_deletes_the_old_one(
    stack: CloudDeployment, api: Api
) -> None:
    before = stack.key_in_use()
    earlier_calls = len(stack.emulator.calls)
    output = stack.make_succeeds("rotate", "LABEL=new")
    printed = [line for line in output.splitlines() if line.startswith("rotate: ")]
    assert printed[:3] == [
        "rotate: step 1 of 2: new beside old, and used …",
        "rotate: looking whether the registry works with it …",
        "rotate: step 2 of 2: new alone …",
    ]
    assert printed[3].startswith("rotate: the access key is new; done in ")
    (key,) = stack.emulator.ram.users[stack.prefix].keys.values()
    assert key.id != before
    assert stack.key_in_use() == key.id
    calls = stack.emulator.calls[earlier_calls:]
    steps = [
        call.api if call.api == "DeleteAccessKey" else call.key_id
        for call in calls
        if call.api == "DeleteAccessKey" or (call.to_oss and call.key_id in (before, key.id))
    ]
    assert key.id in steps[: steps.index("DeleteAccessKey")]
    assert before not in steps[steps.index("DeleteAccessKey") :]
    stack.configure(storage={"access_keys": ["new"]})  # the command has written this to the file
    api.pull("team/kept")
    api.push("team/rotated", secrets.token_bytes(1000))
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_the_access_key_secret_appears_in_no_output_log_command_line_or_state(
    stack: CloudDeployment,
) -> None:
    (secret,) = [key.secret for key in stack.emulator.ram.users[stack.prefix].keys.values()]
    stack.configure(registry={"log_level": "debug"})
    printed, command_lines = stack.watch_pulumi("up", "--yes", "--diff", "--show-full-output")
    shown = [printed, *command_lines, stack.state()]
    shown += [stack.pulumi("stack", "output", "--json", "--show-secrets")]
    shown += [stack.pulumi("stack", "export")]
    shown += [stack.log("registry"), stack.log("redis")]
    shown += [run_checked("docker", "top", f"{stack.prefix}-registry", "-eo", "pid,args")]
    assert not [text for text in shown if secret in text]
    # The search works, because it finds the secret in a variable of the registry.
    assert any(secret in variable for variable in stack.inspect("registry", ".Config.Env"))


def test_deleting_a_bucket_with_images_is_refused_unless_the_bucket_is_named(
    stack: CloudDeployment, api: Api
) -> None:
    bucket = stack.bucket
    stack.configure(storage={"bucket": f"other-{stack.stack}"})
    output = stack.make_fails("up")
    assert "REPLACE  bucket bucket" in output
    assert f"The bucket {bucket} would be deleted, and the images in it, such as" in output
    assert "stopped, and nothing was changed" in output
    assert f"make up STACK={stack.stack} ALLOW_LOSS={bucket}" in output
    assert f"other-{stack.stack}" not in stack.emulator.oss.buckets
    api.pull("team/kept")

    stack.configure(storage={"bucket": bucket})
    output = stack.make_fails("down")
    assert f"make down STACK={stack.stack} ALLOW_LOSS={bucket}" in output
    api.pull("team/kept")

    stack.make_succeeds("down", f"ALLOW_LOSS={bucket}")
    assert bucket not in stack.emulator.oss.buckets
    assert stack.prefix not in stack.emulator.ram.users
    assert not stack.docker_objects("container")
    with pytest.raises(RequestError):
        api.pull("team/kept")
