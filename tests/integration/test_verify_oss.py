"""`make verify-oss` with emulated clouds that have all or some of the required features."""

import json
from collections.abc import Iterator

import pytest

from components.storage.oss.compatibility import YES
from operations.__main__ import main
from operations.context import StackContext
from operations.errors import CommandError
from tests.emulator.emulator import Emulator
from tests.integration.cloud import REGION, CloudDeployment

pytestmark = pytest.mark.oss


@pytest.fixture(scope="module")
def stack(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CloudDeployment]:
    emulator.oss.new_buckets_accept_v1 = True
    deployment = CloudDeployment(tmp_path_factory.mktemp("project"), emulator)
    with deployment.deployed():
        yield deployment


def _verify(stack: CloudDeployment) -> tuple[int, dict[str, str], str]:
    """Run `make verify-oss`, and return its exit code, the printed row, and all of the output."""
    bundle = str(stack.emulator.ca)
    trust = {"REQUESTS_CA_BUNDLE": bundle, "AWS_CA_BUNDLE": bundle}
    result = stack.make("verify-oss", env={**stack.environment, **trust})
    head, _, row = [line for line in result.stdout.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, row)]
    return result.returncode, dict(zip(*cells, strict=True)), result.stdout


def test_a_cloud_with_all_features_passes_and_nothing_is_left_in_it(stack: CloudDeployment) -> None:
    code, row, output = _verify(stack)
    assert code == 0, output
    assert row.pop("region") == REGION
    assert row.pop("host") == f"oss-{REGION}-internal.aliyuncs.com"
    assert set(row.values()) == {YES}
    assert len(row) == 7
    bucket = stack.emulator.oss.buckets[stack.bucket]
    assert bucket.names() == []
    assert not bucket.uploads
    (key,) = stack.emulator.ram.users[stack.prefix].keys.values()
    assert key.secret not in output


def test_a_missing_feature_is_reported_with_the_error_code_of_the_cloud(
    stack: CloudDeployment,
) -> None:
    emulator = stack.emulator
    bucket = emulator.oss.buckets[stack.bucket]
    bucket.accepts_v1, emulator.s3_lists_uploads = False, False
    try:
        code, row, output = _verify(stack)
    finally:
        bucket.accepts_v1, emulator.s3_lists_uploads = True, True
    assert code != 0
    refused = {name: cell for name, cell in row.items() if cell != YES}
    assert json.dumps(refused) == json.dumps(
        {
            "region": REGION,
            "host": f"oss-{REGION}-internal.aliyuncs.com",
            "V1": "InvalidRequest",
            "ListMultipartUploads": "InvalidRequest",
            "S3 ListMultipartUploads": "NotImplemented",
            "multipart push": "InvalidRequest",
        }
    )
    assert "verify-oss: release 3.1.2 needs S3 ListMultipartUploads" in output


def test_a_stack_without_a_bucket_or_an_access_key_is_reported(
    stack: CloudDeployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["verify-oss", "local"]) == 1
    assert "the stack local has no bucket" in capsys.readouterr().err
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(stack.folder)
    with pytest.raises(CommandError, match="has no access-key-other: `make up"):
        StackContext(stack.stack).access_key("other")
