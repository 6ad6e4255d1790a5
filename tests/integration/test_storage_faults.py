"""OSS fails during pushes and pulls: what a client is told, and that no image is ever wrong."""

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
HOW: dict[str, dict[str, Any]] = {
    "503": {"status": 503, "code": "ServiceUnavailable"},
    "slow": {"seconds": 1},
    "cut": {"cut": True},
    "answer cut": {"cut_answer": True},
}
# On these Docker gives up, all else it tries again (moby, distribution/errors.go: retryOnError).
GIVES_UP = {"UNAUTHORIZED", "UNSUPPORTED", "DENIED"}
PUSHING = (
    *("PutObject", "HeadObject", "GetObject", "ListObjects", "ListObjectsV2", "CopyObject"),
    *("InitiateMultipartUpload", "UploadPart", "ListMultipartUploads", "ListParts"),
    *("CompleteMultipartUpload", "DeleteMultipleObjects"),
)
PULLING = ("GetObject", "HeadObject", "ListObjects", "ListObjectsV2")


@pytest.fixture(scope="module", params=["2.8.3", "3.1.2"])
def stack(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CloudDeployment]:
    made = CloudDeployment(tmp_path_factory.mktemp("project"), emulator)
    with made.use_release(request.param).deployed():
        yield made


def _met(api: Api, repository: str, content: bytes) -> list[RequestError]:
    """What a push in two chunks was refused with, until it was done."""
    refusals: list[RequestError] = []
    while len(refusals) < 5:
        try:
            api.push(repository, content, chunks=2)
            return refusals
        except RequestError as error:
            refusals.append(error)
    raise AssertionError(f"the push never came through: {refusals}")


@pytest.mark.parametrize("how", HOW)
def test_a_push_that_meets_a_fault_is_refused_for_now_or_comes_through_whole(
    stack: CloudDeployment, how: str
) -> None:
    api, met = Api(stack.outputs()["endpoint"]), 0
    for number, name in enumerate(PUSHING):
        repository = f"push-{how.replace(' ', '-')}-{number}"
        content = secrets.token_bytes(12 * MEBIBYTE)
        with stack.emulator.failing(name, times=1, **HOW[how]) as fault:
            refusals = _met(api, repository, content)
        met += fault.met
        assert not [r for r in refusals if GIVES_UP.intersection(r.codes)], (name, refusals)
        api.pull(repository)
    assert met >= 8
    assert stack.is_healthy("registry")


def test_dockers_own_client_comes_through_a_push_that_meets_a_fault(
    stack: CloudDeployment, image: str
) -> None:
    with stack.emulator.failing("UploadPart", times=1, **HOW["503"]) as fault:
        reference, digest = docker_push(stack, image, "docker/app")
    assert fault.met
    assert remove_and_pull(stack, reference) == digest


@pytest.mark.parametrize("how", HOW)
def test_a_pull_that_meets_a_fault_is_refused_or_whole_and_never_wrong(
    stack: CloudDeployment, how: str
) -> None:
    api = Api(stack.outputs()["endpoint"])
    repository = f"pull-{how.replace(' ', '-')}"
    api.push(repository, secrets.token_bytes(3 * MEBIBYTE))
    for name, position in itertools.product(PULLING, range(3)):
        # Another one of the calls that a pull makes.
        nth = _nth(position)
        with (
            stack.emulator.failing(name, hits=nth, times=1, **HOW[how]),
            suppress(RequestError),  # ValueError is what comes wrong
        ):
            api.pull(repository)
        api.pull(repository)


def _nth(position: int) -> Callable[[Call], bool]:
    skipped = iter(range(position))
    return lambda _: next(skipped, None) is None


def test_a_push_without_content_lengths_comes_through_whole(stack: CloudDeployment) -> None:
    """As from behind a proxy that passes bodies on in chunks."""
    api = Api(stack.outputs()["endpoint"], chunked=True)
    api.push("chunked", secrets.token_bytes(12 * MEBIBYTE), chunks=2)
    api.pull("chunked")


def test_storage_that_is_away_for_long_loses_nothing(stack: CloudDeployment) -> None:
    api = Api(stack.outputs()["endpoint"])
    api.push("kept", secrets.token_bytes(MEBIBYTE))
    with stack.emulator.failing(hits=lambda call: call.door != "ram", status=503):
        for step in (lambda: api.push("lost", b"x"), lambda: api.pull("kept", "1")):
            with pytest.raises(RequestError):
                step()
    _met(api, "after", secrets.token_bytes(MEBIBYTE))
    api.pull("kept")
    api.pull("after")


def test_an_oss_that_takes_no_signature_v1_is_seen_at_up(
    emulator: Emulator, new_cloud_stack: CloudDeployment
) -> None:
    new_cloud_stack.use_release("2.8.3")
    emulator.oss.new_take_v1 = False
    output = new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert f"{new_cloud_stack.prefix}-registry was not healthy within 60 s: `docker logs" in output
    assert "The bucket takes no Signature V1" in new_cloud_stack.log("registry")


def test_an_s3_door_without_list_multipart_uploads_refuses_pushes_and_serves_pulls(
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
