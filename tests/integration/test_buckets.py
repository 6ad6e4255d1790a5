"""Buckets that are created, adopted, owned by others, deleted, or changed manually."""

import json
import re
import secrets
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.emulator.clients import s3 as s3_client
from tests.emulator.emulator import Emulator
from tests.emulator.oss import Bucket, Upload
from tests.integration.api import Api
from tests.integration.cloud import REGION, CloudDeployment

pytestmark = pytest.mark.oss


def test_an_adopted_bucket_stays_unchanged_even_after_down(
    new_cloud_stack: CloudDeployment,
) -> None:
    bucket = new_cloud_stack.emulator.add_bucket(new_cloud_stack.bucket, REGION)
    bucket.settings["lifecycle"] = before = b"<LifecycleConfiguration/>"
    new_cloud_stack.remove_setting("storage", "versioning")
    # As in the tutorial: an existing bucket, the old release and the old signature version.
    new_cloud_stack.configure(registry={"release": "2.8.3"}, storage={"adopt": True})
    new_cloud_stack.up()
    Api(new_cloud_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))
    new_cloud_stack.pulumi("preview", "--refresh", "--expect-no-changes")
    output = new_cloud_stack.make("down").stdout
    assert f"The images are kept in the bucket {new_cloud_stack.bucket}, below registry/." in output
    assert bucket.names()
    assert bucket.settings == {"lifecycle": before}
    assert not new_cloud_stack.emulator.ram.users
    assert not new_cloud_stack.emulator.ram.policies


def test_a_missing_bucket_to_adopt_is_reported_and_not_created(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.remove_setting("storage", "versioning")
    new_cloud_stack.configure(storage={"adopt": True})
    output = new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert new_cloud_stack.bucket in output
    assert new_cloud_stack.bucket not in new_cloud_stack.emulator.oss.buckets


def test_a_bucket_name_that_another_account_uses_is_reported(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.emulator.add_bucket(new_cloud_stack.bucket, REGION, owner="someone else")
    output = new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert f"the bucket {new_cloud_stack.bucket} is another account's: choose another" in output


def test_an_existing_bucket_is_not_used_without_the_setting_adopt(
    new_cloud_stack: CloudDeployment,
) -> None:
    bucket = new_cloud_stack.emulator.add_bucket(new_cloud_stack.bucket, REGION)
    output = new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert (
        f"the bucket {new_cloud_stack.bucket} is there already, and yours: set storage.adopt"
        in output
    )
    assert not bucket.settings


def test_destroying_a_dev_stack_deletes_its_bucket_with_all_images(
    emulator: Emulator, tmp_path: Path
) -> None:
    dev = CloudDeployment(tmp_path, emulator, like="dev")
    dev.write_config({"alicloud:region": "ap-southeast-1"})
    dev.configure(storage={"versioning": {"noncurrent_days": 1}})
    try:
        dev.up()
        api = Api(dev.outputs()["endpoint"])
        digest = api.push("team/app", secrets.token_bytes(1000))
        api.delete("team/app", digest)
        bucket = emulator.oss.buckets[dev.bucket]
        assert any(len(versions) > 1 for versions in bucket.objects.values())
        # The provider deletes all objects of a bucket, but not the upload of an interrupted push.
        bucket.uploads["1"] = Upload("1", "registry/x", "")
        assert "MalformedXML" in dev.pulumi_fails("destroy", "--yes")  # see docs/production.md
        bucket.uploads.clear()
        dev.pulumi("destroy", "--yes")
        assert dev.bucket not in emulator.oss.buckets
        assert dev.prefix not in emulator.ram.users
        assert dev.prefix not in emulator.ram.policies
    finally:
        dev.remove()


def test_two_stacks_in_one_bucket_cannot_access_each_others_objects(
    emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    shared = f"shared-{secrets.token_hex(4)}"
    emulator.add_bucket(shared, REGION)
    first = CloudDeployment(tmp_path / "one", emulator, like="staging")
    second = CloudDeployment(tmp_path / "two", emulator, like="staging")
    for deployment, prefix in ((first, "team/one"), (second, "team/two")):
        deployment.configure(storage={"bucket": shared, "adopt": True, "prefix": prefix})
    try:
        for deployment in (first, second):
            deployment.up()
            Api(deployment.outputs()["endpoint"]).push("app", secrets.token_bytes(1000))
        (key,) = emulator.ram.users[first.prefix].keys.values()
        names = emulator.oss.buckets[shared].names()
        other_object = next(name for name in names if name.startswith("team/two/"))
        own_object = next(name for name in names if name.startswith("team/one/"))
        with closing(s3_client(emulator, key, REGION)) as s3:
            assert s3.get_object(Bucket=shared, Key=own_object)["Body"].read()
            assert s3.list_objects_v2(Bucket=shared, Prefix="team/one/")["KeyCount"]
            attempts: list[Callable[[], object]] = [
                lambda: s3.get_object(Bucket=shared, Key=other_object),
                lambda: s3.put_object(Bucket=shared, Key=other_object, Body=b""),
                lambda: s3.delete_object(Bucket=shared, Key=other_object),
                lambda: s3.copy_object(
                    Bucket=shared,
                    Key=own_object,
                    CopySource={"Bucket": shared, "Key": other_object},
                ),
                lambda: s3.list_objects_v2(Bucket=shared, Prefix="team/two/"),
                lambda: s3.list_objects_v2(Bucket=shared, Prefix="team/one-and-more/"),
                lambda: s3.list_objects_v2(Bucket=shared),
            ]
            for attempt in attempts:
                with pytest.raises(ClientError, match="AccessDenied"):
                    attempt()
    finally:
        first.remove()
        second.remove()


def _change_all_settings(bucket: Bucket) -> None:
    for setting in ("lifecycle", "policy", "encryption", "publicAccessBlock", "httpsConfig"):
        del bucket.settings[setting]
    bucket.acl = "public-read"
    bucket.settings["versioning"] = (
        b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
    )


def _elements(document: bytes) -> list[bytes]:
    """Return the sorted elements of an XML document. The provider writes them in any order."""
    return sorted(re.findall(rb"[^<]+", document))


def test_manual_changes_are_shown_by_a_refreshed_preview_and_undone_by_up(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.up()
    bucket = new_cloud_stack.emulator.oss.buckets[new_cloud_stack.bucket]
    policy = new_cloud_stack.emulator.ram.policies[new_cloud_stack.prefix]
    before, original = dict(bucket.settings), policy.versions[policy.current]
    _change_all_settings(bucket)
    policy.versions[policy.current] = '{"Statement":[],"Version":"1"}'
    output = new_cloud_stack.pulumi_fails("preview", "--refresh", "--expect-no-changes")
    for changed in (
        *("bucket", "acl", "bucket-policy", "encryption", "https-config"),
        *("public-access-block", "versioning", "ram-policy"),
    ):
        assert re.search(rf" [~+] .*:\w+ {changed} (update|create)", output), changed
    new_cloud_stack.make_succeeds("up")
    assert bucket.acl == "private"
    assert bucket.settings.keys() == before.keys()
    assert bucket.versioned
    for setting in ("lifecycle", "policy", "encryption", "publicAccessBlock", "httpsConfig"):
        assert _elements(bucket.settings[setting]) == _elements(before[setting])
    assert json.loads(policy.versions[policy.current]) == json.loads(original)
    new_cloud_stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_bucket_with_images_is_deleted_only_with_force_destroy(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.configure(storage={"protect": False})
    new_cloud_stack.up()
    Api(new_cloud_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))
    output = new_cloud_stack.pulumi_fails("destroy", "--yes")
    assert "The bucket you tried to delete is not empty" in output
    assert new_cloud_stack.emulator.oss.buckets[new_cloud_stack.bucket].names()
    new_cloud_stack.configure(storage={"force_destroy": True})
    assert "forceDestroy" in new_cloud_stack.pulumi("preview", "--diff")


def test_a_bucket_that_was_deleted_manually_is_created_again(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.up()
    del new_cloud_stack.emulator.oss.buckets[new_cloud_stack.bucket]
    new_cloud_stack.pulumi_fails("preview", "--refresh", "--expect-no-changes")
    new_cloud_stack.make_succeeds("up")
    assert new_cloud_stack.emulator.oss.buckets[new_cloud_stack.bucket].settings.keys() >= {
        "lifecycle",
        "policy",
    }
    Api(new_cloud_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))


def test_a_policy_with_the_maximum_number_of_versions_can_still_be_updated(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.up()
    policy = new_cloud_stack.emulator.ram.policies[new_cloud_stack.prefix]
    original = policy.versions[policy.current]
    policy.versions = {f"v{number}": original for number in range(1, 6)}
    new_cloud_stack.configure(storage={"prefix": "elsewhere"})
    new_cloud_stack.up()
    assert len(policy.versions) == 5
    assert "/elsewhere/*" in policy.versions[policy.current]
