"""`make gc`: what no image needs goes, nothing else does, whoever pushes and whatever ends it."""

import os
import random
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pytest

from tests.aliyun.aliyun import Aliyun
from tests.integration.api import MANIFEST, Api, Refusal
from tests.integration.busy import Busy
from tests.integration.clients import redis
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, eventually

pytestmark = pytest.mark.ops
BLOBS = "docker/registry/v2/blobs"
PLACES = [(release, kind) for release in ("2.8.3", "3.1.2") for kind in ("filesystem", "oss")]


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def registry(
    request: pytest.FixtureRequest, aliyun: Aliyun, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One that is up, of each release, its images in a volume and in a bucket."""
    release, kind = request.param
    folder = tmp_path_factory.mktemp("project")
    made: Deployment
    if kind == "oss":
        made = CloudDeployment(folder, aliyun).as_release(release)
    else:
        made = Deployment(folder, registry={"release": release})
    with made.running():
        yield made


@pytest.fixture(scope="module")
def client(registry: Deployment) -> Busy:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return Busy(registry.outputs()["endpoint"], seed)


def _blobs(deployment: Deployment) -> set[str]:
    """The digests of all blobs that the storage holds."""
    if isinstance(deployment, CloudDeployment):
        names = deployment.aliyun.oss.buckets[deployment.bucket].names()
    else:
        find = ("find", f"/var/lib/registry/{BLOBS}", "-name", "data")
        names = deployment.docker("exec", f"{deployment.prefix}-registry", *find).splitlines()
    found = [re.search(rf"{BLOBS}/(\w+)/\w\w/(\w+)/data$", name) for name in names]
    return {f"{match[1]}:{match[2]}" for match in found if match}


def _spans(moments: Collection[float]) -> list[tuple[float, float]]:
    """First and last of those that lie less than five seconds apart."""
    spans: list[tuple[float, float]] = []
    for moment in sorted(moments):
        if spans and moment - spans[-1][1] < 5:
            spans[-1] = (spans[-1][0], moment)
        else:
            spans.append((moment, moment))
    return spans


def _gc(deployment: Deployment, *words: str) -> str:
    done = deployment.make("gc", *words)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_what_was_deleted_goes_while_clients_go_on_and_only_pushes_wait(
    registry: Deployment, client: Busy
) -> None:
    with client.at_work():
        time.sleep(5)
        said = _gc(registry)
        time.sleep(2)
    assert re.search(r"gc: freed [1-9]\d* of \d+ blobs, ", said)
    # A push is refused from the first restart to the second, and by nothing but the registry's 405.
    assert client.read_only
    first, last = client.read_only[0], client.read_only[-1]
    assert not [moment for moment in client.pushes if first < moment < last]
    assert [moment for moment in client.pulls if first < moment < last]
    assert client.pushes[-1] > last
    # Connections are refused by these two alone.
    assert not [moment for moment in client.refused if first < moment < last]
    spans = _spans(client.refused)
    assert len(spans) <= 2
    away = " and ".join(f"{end - begin:.1f} s" for begin, end in spans)
    print(f"{len(client.refused)} refused connections, within {away}; {last - first:.1f} s of 405")
    client.check()
    registry.pulumi("preview", "--refresh", "--expect-no-changes")


def test_killed_at_any_moment_it_loses_nothing_and_the_next_up_heals(
    registry: Deployment, client: Busy
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    moments = random.Random(seed)
    with client.at_work():
        for heal in ("up", "up", "gc"):
            with _begun(registry) as collecting:
                try:
                    collecting.wait(moments.uniform(2, 18))
                except subprocess.TimeoutExpired:
                    os.killpg(collecting.pid, signal.SIGKILL)
            done = registry.make(heal)
            assert done.returncode == 0, done.stdout
            Api(client.endpoint).push("team/healed", secrets.token_bytes(1000))
    _gc(registry)
    client.check()
    assert not client.deleted() & _blobs(registry)
    registry.pulumi("preview", "--refresh", "--expect-no-changes")


def test_what_was_swept_can_be_pushed_again(registry: Deployment, client: Busy) -> None:
    content = secrets.token_bytes(100_000)
    for _ in range(2):
        digest = client.push("team/again", content)
        client.pull("team/again")
        body = client.manifest("team/again", "1")
        client.delete("team/again", digest)
        assert digest in _blobs(registry)
        _gc(registry)
        assert digest not in _blobs(registry)
        # Exactly the same: blobs, configuration and manifest.
        with pytest.raises(Refusal) as refusal:
            client.put("team/again", "1", body, MANIFEST)
        assert refusal.value.codes[0] == "MANIFEST_BLOB_UNKNOWN"
    client.push("team/again", content)
    client.pull("team/again")


@contextmanager
def _begun(deployment: Deployment) -> Iterator["subprocess.Popen[str]"]:
    """A collection in a group of its own with all that it starts, its words to be read."""
    words = ["make", "-C", str(deployment.folder), "gc", f"STACK={deployment.stack}"]
    with subprocess.Popen(
        words,
        env={**os.environ, **deployment.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as collecting:
        yield collecting


def _read_until(collecting: "subprocess.Popen[str]", words: str) -> None:
    assert collecting.stdout
    assert any(words in line for line in collecting.stdout)


def _with_garbage(stack: Deployment) -> Api:
    """The API of a registry with one image, and one that was deleted."""
    api = Api(stack.outputs()["endpoint"])
    api.push("team/kept", secrets.token_bytes(1000))
    api.delete("team/gone", api.push("team/gone", secrets.token_bytes(200_000)))
    return api


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_interrupted_lets_pushes_in_again(
    stack: CloudDeployment, ends: signal.Signals
) -> None:
    api = _with_garbage(stack)
    # It takes its time, so that it is met at work.
    with stack.aliyun.failing("DeleteMultipleObjects", seconds=2), _begun(stack) as collecting:
        _read_until(collecting, "gc: sweeping")
        os.killpg(collecting.pid, ends)
        _read_until(collecting, "gc: interrupted")
    assert collecting.returncode != 0
    api.push("team/other", secrets.token_bytes(1000))
    api.pull("team/kept")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_after_one_that_was_killed_the_status_says_that_pushes_are_refused(
    stack: CloudDeployment,
) -> None:
    api = _with_garbage(stack)
    with stack.aliyun.failing("DeleteMultipleObjects", seconds=2), _begun(stack) as collecting:
        _read_until(collecting, "gc: sweeping")
        os.killpg(collecting.pid, signal.SIGKILL)
    with pytest.raises(Refusal) as refusal:
        api.push("team/other", secrets.token_bytes(1000))
    assert refusal.value.status == 405
    api.pull("team/kept")
    status = stack.make("status")
    assert status.returncode != 0
    assert re.search(rf"fail  pushes  .* refused .*: make up STACK={stack.stack}\n", status.stdout)
    assert stack.make("up").returncode == 0
    api.push("team/other", secrets.token_bytes(1000))
    status = stack.make("status")
    assert status.returncode == 0, status.stdout
    assert re.search(r"ok    pushes  .* are taken\n", status.stdout)


def test_storage_that_refuses_to_delete_ends_it_with_the_reason_and_the_images_whole(
    stack: CloudDeployment,
) -> None:
    api = _with_garbage(stack)
    before = _blobs(stack)
    refused = ("DeleteMultipleObjects", "DeleteObject")
    with stack.aliyun.failing(*refused, status=403, code="AccessDenied"):
        done = stack.make("gc")
    assert done.returncode != 0
    assert "failed to delete blob" in done.stdout
    assert "AccessDenied" in done.stdout
    assert "Traceback" not in done.stdout
    assert _blobs(stack) == before
    api.pull("team/kept")
    api.push("team/other", secrets.token_bytes(1000))
    assert "gc: freed " in _gc(stack)
    api.pull("team/kept")


def test_a_dry_run_says_what_would_go_and_touches_nothing(stack: CloudDeployment) -> None:
    api = _with_garbage(stack)
    before, registry = _blobs(stack), stack.inspect("registry", ".Id")
    said = _gc(stack, "DRY_RUN=1")
    assert re.search(r"gc: would free \d+ of \d+ blobs, .* of .*; what is being pushed", said)
    assert _blobs(stack) == before
    assert stack.inspect("registry", ".Id") == registry
    api.push("team/other", secrets.token_bytes(1000))


def test_where_more_would_change_it_is_left_to_up(stack: CloudDeployment) -> None:
    api = _with_garbage(stack)
    level = stack.settings["registry"]["log_level"]
    stack.configure(registry={"log_level": "error" if level != "error" else "warn"})
    try:
        done = stack.make("gc")
        assert done.returncode != 0
        assert f"`make up STACK={stack.stack}` first" in done.stdout
        api.push("team/other", secrets.token_bytes(1000))
    finally:
        stack.configure(registry={"log_level": level})


def test_untagged_images_go_where_that_is_wanted_but_never_a_part_of_a_tagged_one(
    in_cloud: CloudDeployment,
) -> None:
    in_cloud.configure(maintenance={"delete_untagged": True})
    in_cloud.up()
    client = Busy(in_cloud.outputs()["endpoint"], 1)
    assert "nothing was ever pushed" in _gc(in_cloud)
    contents = [secrets.token_bytes(10_000) for _ in range(4)]
    client.push_index("team/app", {"amd64": contents[0], "arm64": contents[1]})
    untagged = client.push("team/app", contents[2], tag="")
    replaced = client.push("team/app", contents[3], tag="2")
    client.push("team/app", contents[0], tag="2")
    _gc(in_cloud)
    client.pull("team/app")
    client.pull("team/app", "2")
    for digest in (untagged, replaced):
        client.call("GET", f"/v2/team/app/manifests/{digest}", [404])
        assert digest not in _blobs(in_cloud)


def test_redis_forgets_the_registrys_entries_and_nothing_else(undeployed: Deployment) -> None:
    undeployed.configure(cache={"db": 3})
    undeployed.up()
    _with_garbage(undeployed).pull("team/kept")
    password = undeployed.stashed()["redis-password"]

    def said(*words: str) -> list[str]:
        return redis(undeployed, *words, password=password).split()

    for db in ("0", "3"):
        said("-n", db, "SET", "another's", "1")
    assert said("-n", "3", "KEYS", "blobs::*")
    assert said("-n", "3", "KEYS", "repository::*")
    _gc(undeployed)
    assert said("-n", "3", "KEYS", "*") == ["another's"]
    assert said("-n", "0", "KEYS", "*") == ["another's"]


def test_a_redis_that_does_not_answer_ends_it_before_anything_is_swept(
    undeployed: Deployment,
) -> None:
    undeployed.up()
    api = _with_garbage(undeployed)
    before = _blobs(undeployed)
    undeployed.docker("container", "pause", f"{undeployed.prefix}-redis")
    try:
        done = undeployed.make("gc")
    finally:
        undeployed.docker("container", "unpause", f"{undeployed.prefix}-redis")
    assert done.returncode != 0
    assert "does not forget what it knows: nothing" in done.stdout
    assert _blobs(undeployed) == before
    eventually(lambda: undeployed.healthy("registry"))
    api.push("team/other", secrets.token_bytes(1000))
