"""`make gc`: what no image needs goes, and nothing else does, whoever pushes meanwhile."""

import random
import re
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.aliyun.http import Content
from tests.aliyun.oss import Version
from tests.integration.api import MANIFEST, Api, Refusal, digest_of
from tests.integration.busy import Busy
from tests.integration.clients import redis
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment
from tests.integration.garbage import blobs, collected, with_garbage

pytestmark = pytest.mark.ops


def _spans(moments: Collection[float]) -> list[tuple[float, float]]:
    """First and last of those that lie less than five seconds apart."""
    spans: list[tuple[float, float]] = []
    for moment in sorted(moments):
        if spans and moment - spans[-1][1] < 5:
            spans[-1] = (spans[-1][0], moment)
        else:
            spans.append((moment, moment))
    return spans


def test_what_was_deleted_goes_while_a_client_goes_on_and_its_pushes_alone_wait(
    in_each_place: Deployment, moments: random.Random
) -> None:
    stack, endpoint = in_each_place, in_each_place.outputs()["endpoint"]
    api, client = Api(endpoint), Busy(endpoint, moments)
    content = secrets.token_bytes(100_000)
    swept = api.push("team/again", content)
    api.pull("team/again")
    body = api.manifest("team/again", "1")
    api.delete("team/again", swept)
    with client.at_work():
        time.sleep(5)
        said = collected(stack)
        time.sleep(2)
    assert re.search(r"gc: freed [1-9][\d,]* of [\d,]+ blobs, ", said)
    # A push is refused from the first restart to the second, by the registry's own 405.
    first, last = client.read_only[0], client.read_only[-1]
    assert not [moment for moment in client.pushes if first < moment < last]
    assert [moment for moment in client.pulls if first < moment < last]
    assert client.pushes[-1] > last
    # Connections are refused by the restarts alone.
    assert not [moment for moment in client.refused if first < moment < last]
    spans = _spans(client.refused)
    assert len(spans) <= 2
    away = " and ".join(f"{end - begin:.1f} s" for begin, end in spans)
    print(f"{len(client.refused)} connections refused in {away}, {last - first:.1f} s of 405")
    client.check()
    # What is not there is not taken for there: neither a blob nor, pushed again, an image.
    assert swept not in blobs(stack)
    with pytest.raises(Refusal) as refusal:
        api.put("team/again", "1", body, MANIFEST)
    assert set(refusal.value.codes) == {"MANIFEST_BLOB_UNKNOWN"}
    client.push("team/again", content)
    api.pull("team/again")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_dry_run_says_what_would_go_and_touches_nothing(stack: CloudDeployment) -> None:
    api = with_garbage(stack)
    before, registry = blobs(stack), stack.inspect("registry", ".Id")
    said = collected(stack, "DRY_RUN=1")
    assert re.search(r"gc: would free [\d,]+ of [\d,]+ blobs, .* of .*; what is being pushed", said)
    assert blobs(stack) == before
    assert stack.inspect("registry", ".Id") == registry
    api.push("team/other", secrets.token_bytes(1000))
    # Where OSS can't be asked from here, the registry's own word is enough.
    with stack.aliyun.failing(
        hits=lambda call: call.agent.startswith("alibabacloud-python"),
        status=403,
        code="AccessDenied",
    ):
        said = collected(stack, "DRY_RUN=1")
    assert "gc: OSS does not tell how large they are: AccessDenied" in said
    assert re.search(r"gc: would free [\d,]+ blobs; what is being pushed", said)


def test_what_the_registry_cannot_read_is_named_and_nothing_is_deleted(
    stack: CloudDeployment,
) -> None:
    with_garbage(stack)
    manifest = b'{"schemaVersion": 1, "name": "team/old", "tag": "1"}'
    digest = digest_of(manifest)
    hexes, revisions = digest.partition(":")[2], "repositories/team/old/_manifests/revisions"
    blob = f"blobs/sha256/{hexes[:2]}/{hexes}/data"
    link = f"{revisions}/sha256/{hexes}/link"
    before = blobs(stack)
    for content, said in (
        (digest.encode(), f"the manifest team/old@{digest} has schemaVersion 1"),
        (b"", f"{link} in the bucket {stack.bucket} is no link"),
    ):
        with _planted(stack, {blob: manifest, link: content}):
            done = stack.make("gc", "DRY_RUN=1")
        assert done.returncode != 0
        assert said in done.stdout
        assert "Nothing was deleted." in done.stdout
    assert blobs(stack) == before


@contextmanager
def _planted(stack: CloudDeployment, files: Mapping[str, bytes]) -> Iterator[None]:
    """The registry's files in the bucket are joined by `files`."""
    bucket = stack.aliyun.oss.buckets[stack.bucket]
    root = f"{stack.settings['storage'].get('prefix', 'registry')}/docker/registry/v2"
    for path, content in files.items():
        bucket.put(f"{root}/{path}", Version("planted", Content(content), "etag"))
    try:
        yield
    finally:
        for path in files:
            del bucket.objects[f"{root}/{path}"]


def test_where_more_would_change_it_is_left_to_up(stack: CloudDeployment) -> None:
    api = with_garbage(stack)
    stack.configure(registry={"log_level": "error"})
    try:
        done = stack.make("gc")
        assert done.returncode != 0
        assert f"`make up STACK={stack.stack}` first" in done.stdout
        api.push("team/other", secrets.token_bytes(1000))
    finally:
        stack.forget("registry", "log_level")


@pytest.mark.parametrize("release", ["3.0.0", "3.1.2"])
def test_untagged_images_go_where_that_is_wanted_but_never_a_part_of_a_tagged_one(
    in_cloud: CloudDeployment, release: str
) -> None:
    in_cloud.as_release(release).configure(maintenance={"delete_untagged": True})
    in_cloud.up()
    client = Api(in_cloud.outputs()["endpoint"])
    for words in ((), ("DRY_RUN=1",)):
        assert "gc: there is nothing to sweep" in collected(in_cloud, *words)
    contents = [secrets.token_bytes(10_000) for _ in range(4)]
    client.push_index("team/app", {"amd64": contents[0], "arm64": contents[1]})
    untagged = client.push("team/app", contents[2], tag="")
    replaced = client.push("team/app", contents[3], tag="2")
    client.push("team/app", contents[0], tag="2")
    collected(in_cloud)
    client.pull("team/app")
    client.pull("team/app", "2")
    for digest in (untagged, replaced):
        client.call("GET", f"/v2/team/app/manifests/{digest}", [404])
        assert digest not in blobs(in_cloud)


def test_redis_forgets_the_registrys_entries_and_nothing_else(undeployed: Deployment) -> None:
    password = 'of "my own" \\'
    undeployed.configure(cache={"db": 3}, registry={"delivery": "file"})
    undeployed.secret("redis-password", password)
    undeployed.up()
    with_garbage(undeployed).pull("team/kept")

    def said(*words: str) -> list[str]:
        return redis(undeployed, *words, password=password).split()

    for db in ("0", "3"):
        said("-n", db, "SET", "another's", "1")
    assert said("-n", "3", "KEYS", "blobs::*")
    assert said("-n", "3", "KEYS", "repository::*")
    collected(undeployed)
    assert said("-n", "3", "KEYS", "*") == ["another's"]
    assert said("-n", "0", "KEYS", "*") == ["another's"]
