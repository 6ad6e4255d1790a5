"""`make gc` deletes the blobs that no image needs, also while clients push and pull."""

import random
import re
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.emulator.http import Content
from tests.emulator.oss import Version
from tests.integration.api import MANIFEST, Api, RequestError, digest_of
from tests.integration.busy import BusyClient
from tests.integration.clients import redis_cli
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment
from tests.integration.garbage import collect_garbage, push_garbage, stored_blobs

pytestmark = pytest.mark.ops


def _spans(times: Collection[float]) -> list[tuple[float, float]]:
    """Group times that are less than five seconds apart, and return the start and end of each."""
    spans: list[tuple[float, float]] = []
    for moment in sorted(times):
        if spans and moment - spans[-1][1] < 5:
            spans[-1] = (spans[-1][0], moment)
        else:
            spans.append((moment, moment))
    return spans


def test_garbage_collection_refuses_pushes_but_serves_pulls(
    stack_on_each_storage: Deployment, seeded_random: random.Random
) -> None:
    stack, endpoint = stack_on_each_storage, stack_on_each_storage.outputs()["endpoint"]
    api, client = Api(endpoint), BusyClient(endpoint, seeded_random)
    content = secrets.token_bytes(100_000)
    deleted = api.push("team/again", content)
    api.pull("team/again")
    body = api.manifest("team/again", "1")
    api.delete("team/again", deleted)
    with client.working():
        time.sleep(5)
        output = collect_garbage(stack)
        time.sleep(2)
    assert re.search(r"gc: freed [1-9][\d,]* of [\d,]+ blobs, ", output)
    # Between two restarts, the registry refuses pushes with status 405, and serves pulls.
    first, last = client.read_only_responses[0], client.read_only_responses[-1]
    assert not [push for push in client.pushes if first < push < last]
    assert [pull for pull in client.pulls if first < pull < last]
    assert client.pushes[-1] > last
    # Connections fail during the two restarts only.
    assert not [error for error in client.connection_errors if first < error < last]
    spans = _spans(client.connection_errors)
    assert len(spans) <= 2
    downtimes = " and ".join(f"{end - start:.1f} s" for start, end in spans)
    failed = len(client.connection_errors)
    print(f"{failed} connections failed in {downtimes}, {last - first:.1f} s of 405")
    client.check_images()
    # The registry does not report deleted blobs as existing, even if an image is pushed again.
    assert deleted not in stored_blobs(stack)
    with pytest.raises(RequestError) as error:
        api.put_manifest("team/again", "1", body, MANIFEST)
    assert set(error.value.codes) == {"MANIFEST_BLOB_UNKNOWN"}
    client.push("team/again", content)
    api.pull("team/again")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_dry_run_reports_what_would_be_deleted_and_changes_nothing(
    stack: CloudDeployment,
) -> None:
    api = push_garbage(stack)
    before, registry = stored_blobs(stack), stack.inspect("registry", ".Id")
    output = collect_garbage(stack, "DRY_RUN=1")
    assert re.search(
        r"gc: would free [\d,]+ of [\d,]+ blobs, .* of .*; what is being pushed", output
    )
    assert stored_blobs(stack) == before
    assert stack.inspect("registry", ".Id") == registry
    api.push("team/other", secrets.token_bytes(1000))
    # If this machine cannot get the sizes from OSS, the registry's own output is used.
    with stack.emulator.failing(
        matches=lambda call: call.agent.startswith("alibabacloud-python"),
        status=403,
        code="AccessDenied",
    ):
        output = collect_garbage(stack, "DRY_RUN=1")
    assert "gc: OSS does not tell how large they are: AccessDenied" in output
    assert re.search(r"gc: would free [\d,]+ blobs; what is being pushed", output)


def test_an_unreadable_manifest_or_link_is_reported_and_nothing_is_deleted(
    stack: CloudDeployment,
) -> None:
    push_garbage(stack)
    manifest = b'{"schemaVersion": 1, "name": "team/old", "tag": "1"}'
    digest = digest_of(manifest)
    hexes, revisions = digest.partition(":")[2], "repositories/team/old/_manifests/revisions"
    blob = f"blobs/sha256/{hexes[:2]}/{hexes}/data"
    link = f"{revisions}/sha256/{hexes}/link"
    before = stored_blobs(stack)
    for content, message in (
        (digest.encode(), f"the manifest team/old@{digest} has schemaVersion 1"),
        (b"", f"{link} in the bucket {stack.bucket} is no link"),
    ):
        with _with_files(stack, {blob: manifest, link: content}):
            output = stack.make_fails("gc", "DRY_RUN=1")
        assert message in output
        assert "Nothing was deleted." in output
    assert stored_blobs(stack) == before


@contextmanager
def _with_files(stack: CloudDeployment, files: Mapping[str, bytes]) -> Iterator[None]:
    """Add `files` to the registry's files in the bucket, until the end of the block."""
    bucket = stack.emulator.oss.buckets[stack.bucket]
    root = f"{stack.settings['storage'].get('prefix', 'registry')}/docker/registry/v2"
    for path, content in files.items():
        bucket.put(f"{root}/{path}", Version("planted", Content(content), "etag"))
    try:
        yield
    finally:
        for path in files:
            del bucket.objects[f"{root}/{path}"]


def test_garbage_collection_refuses_to_apply_pending_changes(stack: CloudDeployment) -> None:
    api = push_garbage(stack)
    stack.configure(registry={"log_level": "error"})
    try:
        output = stack.make_fails("gc")
        assert f"`make up STACK={stack.stack}` first" in output
        api.push("team/other", secrets.token_bytes(1000))
    finally:
        stack.remove_setting("registry", "log_level")


@pytest.mark.parametrize("release", ["3.0.0", "3.1.2"])
def test_untagged_images_are_deleted_on_request_except_parts_of_tagged_images(
    new_cloud_stack: CloudDeployment, release: str
) -> None:
    new_cloud_stack.use_release(release).configure(maintenance={"delete_untagged": True})
    new_cloud_stack.up()
    client = Api(new_cloud_stack.outputs()["endpoint"])
    for words in ((), ("DRY_RUN=1",)):
        assert "gc: there is nothing to sweep" in collect_garbage(new_cloud_stack, *words)
    contents = [secrets.token_bytes(10_000) for _ in range(4)]
    client.push_index("team/app", {"amd64": contents[0], "arm64": contents[1]})
    untagged = client.push("team/app", contents[2], tag="")
    replaced = client.push("team/app", contents[3], tag="2")
    client.push("team/app", contents[0], tag="2")
    collect_garbage(new_cloud_stack)
    client.pull("team/app")
    client.pull("team/app", "2")
    for digest in (untagged, replaced):
        client.call("GET", f"/v2/team/app/manifests/{digest}", [404])
        assert digest not in stored_blobs(new_cloud_stack)


def test_only_the_entries_of_the_registry_are_removed_from_redis(new_stack: Deployment) -> None:
    password = 'of "my own" \\'
    new_stack.configure(cache={"db": 3}, registry={"delivery": "file"})
    new_stack.set_secret("redis-password", password)
    new_stack.up()
    push_garbage(new_stack).pull("team/kept")

    def ask(*words: str) -> list[str]:
        return redis_cli(new_stack, *words, password=password).split()

    for db in ("0", "3"):
        ask("-n", db, "SET", "another's", "1")
    assert ask("-n", "3", "KEYS", "blobs::*")
    assert ask("-n", "3", "KEYS", "repository::*")
    collect_garbage(new_stack)
    assert ask("-n", "3", "KEYS", "*") == ["another's"]
    assert ask("-n", "0", "KEYS", "*") == ["another's"]
