"""A stack like `prod` with images in OSS, through the native API and the S3-compatible API."""

import re
import secrets
from collections import Counter
from collections.abc import Iterator

import pytest

from config.releases import RELEASES
from config.stack import STACK_LABEL
from tests.emulator.emulator import Emulator
from tests.integration.api import Api
from tests.integration.clients import docker_push, random_image, remove_and_pull
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import image_id, run, run_checked, wait_until

pytestmark = pytest.mark.oss
# By release: the API of OSS that the registry uses, and the version of its signatures.
APIS = {"2.8.3": ("oss", "oss-v1"), "3.0.0": ("s3", "s3-v4"), "3.1.2": ("s3", "s3-v4")}


@pytest.fixture(scope="module", params=RELEASES)
def prod(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CloudDeployment]:
    deployment = CloudDeployment(tmp_path_factory.mktemp("project"), emulator)
    with deployment.use_release(request.param).deployed():
        yield deployment


@pytest.fixture(scope="module")
def large_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Load an image with four layers, one of 200 MiB, and provide its reference."""
    sizes = (200 * 2**20, 3_000_000, 10_000, 0)
    archive = random_image(tmp_path_factory.mktemp("image") / "large", sizes)
    reference = run_checked("docker", "load", "--input", archive).split()[-1]
    archive.unlink()
    identity = image_id(reference)
    yield reference
    run_checked("docker", "image", "rm", "--force", identity)


def test_a_pushed_image_is_stored_below_the_prefix_and_can_be_pulled(
    prod: CloudDeployment, large_image: str
) -> None:
    reference, digest = docker_push(prod, large_image, "team/large")
    names = prod.emulator.oss.buckets[prod.bucket].names()
    assert all(name.startswith("registry/docker/registry/v2/") for name in names)
    digests = {name.split("/")[-2] for name in names if name.endswith("/data")}
    assert digest.removeprefix("sha256:") in digests
    assert len(digests) == 6  # four layers, the image's configuration and its manifest
    assert remove_and_pull(prod, reference) == digest
    run_checked("docker", "tag", reference, large_image)


def test_the_registry_uses_the_api_of_its_release_and_only_its_own_key(
    prod: CloudDeployment,
) -> None:
    calls = [call for call in prod.emulator.calls if call.bucket == prod.bucket]
    # The program itself made one call with the registry's key, to check that OSS accepts the key.
    check = f"registry/{STACK_LABEL}"
    data = [call for call in calls if call.user == prod.prefix and call.key != check]
    release, key_id = prod.outputs()["release"], prod.key_in_use()
    assert {(call.service, call.scheme) for call in data} == {APIS[release]}
    written = [call for call in calls if call.api in ("PutObject", "CompleteMultipartUpload")]
    assert {call.key_id for call in written} == {key_id}
    assert not [call for call in data if call.code in ("AccessDenied", "SignatureDoesNotMatch")]


def test_a_second_up_and_a_refreshed_preview_change_nothing(prod: CloudDeployment) -> None:
    output = prod.up()
    assert "unchanged" in output
    assert not re.search(r"created|updated|replaced", output.partition("Resources:")[2])
    prod.pulumi("preview", "--refresh", "--expect-no-changes")


def test_with_redis_each_blob_descriptor_is_requested_from_oss_once(prod: CloudDeployment) -> None:
    api = Api(prod.outputs()["endpoint"])
    digests = [api.push(f"asked/{name}", secrets.token_bytes(1000)) for name in ("a", "b")]
    prod.docker("restart", f"{prod.prefix}-redis")  # empties the cache
    wait_until(lambda: prod.is_healthy("redis"))
    earlier_calls = len(prod.emulator.calls)
    for _ in range(3):
        prod.docker("restart", f"{prod.prefix}-registry")
        wait_until(lambda: prod.is_healthy("registry"))
        for name, digest in zip(("a", "b"), digests, strict=True):
            api.pull(f"asked/{name}", digest)
    requests = Counter(
        (call.key or call.prefix).removesuffix("/data")
        for call in prod.emulator.calls[earlier_calls:]
        if (call.api == "HeadObject" or call.api.startswith("ListObjects"))
        and call.code != "NoSuchKey"
        and "/blobs/sha256/" in call.key + call.prefix
    )
    assert len(requests) == 6  # two manifests, each with a configuration and a layer
    assert set(requests.values()) == {1}, requests


def test_a_protected_bucket_is_not_destroyed(prod: CloudDeployment) -> None:
    output = prod.pulumi_fails("destroy", "--yes")
    assert "protect" in output
    assert prod.bucket in prod.emulator.oss.buckets
    assert run("docker", "container", "inspect", f"{prod.prefix}-registry").returncode == 0
