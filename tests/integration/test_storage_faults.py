"""Faults of OSS during pushes and pulls cause errors that clients can retry, and no wrong image."""

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.emulator.emulator import Call, Emulator
from tests.integration.api import Api, RequestError
from tests.integration.clients import docker_push, remove_and_pull
from tests.integration.cloud import CloudDeployment

pytestmark = pytest.mark.oss
MEBIBYTE = 2**20
FAULTS: dict[str, dict[str, Any]] = {
    "503": {"status": 503, "code": "ServiceUnavailable"},
    "slow": {"seconds": 1},
    "cut": {"disconnect": True},
    "answer cut": {"truncate": True},
}
# Error codes after which Docker does not retry (moby, distribution/errors.go: retryOnError).
FATAL_CODES = {"UNAUTHORIZED", "UNSUPPORTED", "DENIED"}
# The APIs of OSS that pushes and pulls use.
PUSH_CALLS = (
    *("PutObject", "HeadObject", "GetObject", "ListObjects", "ListObjectsV2", "CopyObject"),
    *("InitiateMultipartUpload", "UploadPart", "ListMultipartUploads", "ListParts"),
    *("CompleteMultipartUpload", "DeleteMultipleObjects"),
)
PULL_CALLS = ("GetObject", "HeadObject", "ListObjects", "ListObjectsV2")


@pytest.fixture(scope="module", params=["2.8.3", "3.1.2"])
def stack(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CloudDeployment]:
    deployment = CloudDeployment(tmp_path_factory.mktemp("project"), emulator)
    with deployment.use_release(request.param).deployed():
        yield deployment


def _push_until_done(api: Api, repository: str, content: bytes) -> list[RequestError]:
    """Push an image in two chunks, with at most five attempts.

    Returns the errors of the failed pushes.
    """
    errors: list[RequestError] = []
    while len(errors) < 5:
        try:
            api.push(repository, content, chunks=2)
            return errors
        except RequestError as error:
            errors.append(error)
    raise AssertionError(f"the push did not succeed: {errors}")


@pytest.mark.parametrize("fault_name", FAULTS)
def test_clients_can_retry_a_push_after_a_fault_of_oss(
    stack: CloudDeployment, fault_name: str
) -> None:
    api, faults_met = Api(stack.outputs()["endpoint"]), 0
    for number, name in enumerate(PUSH_CALLS):
        repository = f"push-{fault_name.replace(' ', '-')}-{number}"
        content = secrets.token_bytes(12 * MEBIBYTE)
        with stack.emulator.failing(name, times=1, **FAULTS[fault_name]) as fault:
            errors = _push_until_done(api, repository, content)
        faults_met += fault.count
        assert not [r for r in errors if FATAL_CODES.intersection(r.codes)], (name, errors)
        api.pull(repository)
    assert faults_met >= 8
    assert stack.is_healthy("registry")


def test_the_docker_client_finishes_a_push_with_a_fault(stack: CloudDeployment, image: str) -> None:
    with stack.emulator.failing("UploadPart", times=1, **FAULTS["503"]) as fault:
        reference, digest = docker_push(stack, image, "docker/app")
    assert fault.count
    assert remove_and_pull(stack, reference) == digest


@pytest.mark.parametrize("fault_name", FAULTS)
def test_a_pull_never_returns_wrong_content_after_a_fault_of_oss(
    stack: CloudDeployment, fault_name: str
) -> None:
    api = Api(stack.outputs()["endpoint"])
    repository = f"pull-{fault_name.replace(' ', '-')}"
    api.push(repository, secrets.token_bytes(3 * MEBIBYTE))
    for name, position in itertools.product(PULL_CALLS, range(3)):
        # A pull calls the same API several times. Let the call at `position` fail.
        nth = _nth(position)
        with (
            stack.emulator.failing(name, matches=nth, times=1, **FAULTS[fault_name]),
            suppress(RequestError),  # ValueError would mean wrong content
        ):
            api.pull(repository)
        api.pull(repository)


def _nth(position: int) -> Callable[[Call], bool]:
    """Return a function that returns False for its first `position` calls, and then True."""
    skipped = iter(range(position))
    return lambda _: next(skipped, None) is None


def test_a_push_without_content_lengths_succeeds(stack: CloudDeployment) -> None:
    # A proxy may forward bodies in chunks.
    api = Api(stack.outputs()["endpoint"], chunked=True)
    api.push("chunked", secrets.token_bytes(12 * MEBIBYTE), chunks=2)
    api.pull("chunked")


def test_a_long_outage_of_oss_loses_no_image(stack: CloudDeployment) -> None:
    api = Api(stack.outputs()["endpoint"])
    api.push("kept", secrets.token_bytes(MEBIBYTE))
    with stack.emulator.failing(matches=lambda call: call.service != "ram", status=503):
        for step in (lambda: api.push("lost", b"x"), lambda: api.pull("kept", "1")):
            with pytest.raises(RequestError):
                step()
    _push_until_done(api, "after", secrets.token_bytes(MEBIBYTE))
    api.pull("kept")
    api.pull("after")


def test_a_bucket_that_refuses_signature_v1_fails_the_up(
    emulator: Emulator, new_cloud_stack: CloudDeployment
) -> None:
    new_cloud_stack.use_release("2.8.3")
    emulator.oss.new_buckets_accept_v1 = False
    output = new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert f"{new_cloud_stack.prefix}-registry was not healthy within 60 s: `docker logs" in output
    assert "The bucket takes no Signature V1" in new_cloud_stack.log("registry")


def test_an_s3_api_without_list_multipart_uploads_refuses_pushes_and_serves_pulls(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.up()
    api = Api(new_cloud_stack.outputs()["endpoint"])
    api.push("before", secrets.token_bytes(MEBIBYTE))
    new_cloud_stack.emulator.s3_lists_uploads = False
    try:
        with pytest.raises(RequestError) as error:
            api.push("after", secrets.token_bytes(MEBIBYTE))
        assert error.value.status >= 500
        api.pull("before")
        assert "NotImplemented" in new_cloud_stack.log("registry")
    finally:
        new_cloud_stack.emulator.s3_lists_uploads = True
    api.push("after", secrets.token_bytes(MEBIBYTE))
    api.pull("after")
