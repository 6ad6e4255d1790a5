"""Buckets that are made, adopted, taken, emptied, or changed behind the program's back."""

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


def test_an_adopted_bucket_is_used_as_it_is_and_survives_the_stack(
    new_cloud_stack: CloudDeployment,
) -> None:
    bucket = new_cloud_stack.emulator.add_bucket(new_cloud_stack.bucket, REGION)
    bucket.settings["lifecycle"] = before = b"<LifecycleConfiguration/>"
    new_cloud_stack.remove_setting("storage", "versioning")
    # The tutorial's readers: an old bucket, the old release, the old signature.
    new_cloud_stack.configure(registry={"release": "2.8.3"}, storage={"adopt": True})
    new_cloud_stack.up()
    Api(new_cloud_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))
    new_cloud_stack.pulumi("preview", "--refresh", "--expect-no-changes")
    said = new_cloud_stack.make("down").stdout
    assert f"The images are kept in the bucket {new_cloud_stack.bucket}, below registry/." in said
    assert bucket.names()
    assert bucket.settings == {"lifecycle": before}
    assert not new_cloud_stack.emulator.ram.users
    assert not new_cloud_stack.emulator.ram.policies


def test_a_bucket_to_adopt_that_is_not_there_is_one_clear_sentence(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.remove_setting("storage", "versioning")
    new_cloud_stack.configure(storage={"adopt": True})
    said = new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert new_cloud_stack.bucket in said
    assert new_cloud_stack.bucket not in new_cloud_stack.emulator.oss.buckets


def test_a_name_that_another_account_has_is_said_with_what_to_do(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.emulator.add_bucket(new_cloud_stack.bucket, REGION, owner="someone else")
    said = new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert f"the bucket {new_cloud_stack.bucket} is another account's: choose another" in said


def test_a_bucket_of_ones_own_is_not_taken_over_unless_it_is_said(
    new_cloud_stack: CloudDeployment,
) -> None:
    bucket = new_cloud_stack.emulator.add_bucket(new_cloud_stack.bucket, REGION)
    said = new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert (
        f"the bucket {new_cloud_stack.bucket} is there already, and yours: set storage.adopt"
        in said
    )
    assert not bucket.settings


def test_a_dev_stack_ends_with_its_bucket_whatever_is_in_it(
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
        # A push that broke off: the provider empties a bucket of objects, but not of these.
        bucket.uploads["1"] = Upload("1", "registry/x", "")
        assert "MalformedXML" in dev.pulumi_fails(
            "destroy", "--yes"
        )  # docs/production.md explains it
        bucket.uploads.clear()
        dev.pulumi("destroy", "--yes")
        assert dev.bucket not in emulator.oss.buckets
        assert dev.prefix not in emulator.ram.users
        assert dev.prefix not in emulator.ram.policies
    finally:
        dev.remove()


def test_two_stacks_in_one_cloud_read_nothing_of_each_other(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Also where they share a bucket, each below a prefix of its own."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    shared = f"shared-{secrets.token_hex(4)}"
    emulator.add_bucket(shared, REGION)
    one = CloudDeployment(tmp_path / "one", emulator, like="staging")
    two = CloudDeployment(tmp_path / "two", emulator, like="staging")
    for deployment, prefix in ((one, "team/one"), (two, "team/two")):
        deployment.configure(storage={"bucket": shared, "adopt": True, "prefix": prefix})
    try:
        for deployment in (one, two):
            deployment.up()
            Api(deployment.outputs()["endpoint"]).push("app", secrets.token_bytes(1000))
        (key,) = emulator.ram.users[one.prefix].keys.values()
        names = emulator.oss.buckets[shared].names()
        theirs = next(name for name in names if name.startswith("team/two/"))
        ours = next(name for name in names if name.startswith("team/one/"))
        with closing(s3_client(emulator, key, REGION)) as s3:
            assert s3.get_object(Bucket=shared, Key=ours)["Body"].read()
            assert s3.list_objects_v2(Bucket=shared, Prefix="team/one/")["KeyCount"]
            attempts: list[Callable[[], object]] = [
                lambda: s3.get_object(Bucket=shared, Key=theirs),
                lambda: s3.put_object(Bucket=shared, Key=theirs, Body=b""),
                lambda: s3.delete_object(Bucket=shared, Key=theirs),
                lambda: s3.copy_object(
                    Bucket=shared, Key=ours, CopySource={"Bucket": shared, "Key": theirs}
                ),
                lambda: s3.list_objects_v2(Bucket=shared, Prefix="team/two/"),
                lambda: s3.list_objects_v2(Bucket=shared, Prefix="team/one-and-more/"),
                lambda: s3.list_objects_v2(Bucket=shared),
            ]
            for attempt in attempts:
                with pytest.raises(ClientError, match="AccessDenied"):
                    attempt()
    finally:
        one.remove()
        two.remove()


def _change_all(bucket: Bucket) -> None:
    for setting in ("lifecycle", "policy", "encryption", "publicAccessBlock", "httpsConfig"):
        del bucket.settings[setting]
    bucket.acl = "public-read"
    bucket.settings["versioning"] = (
        b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
    )


def _elements(document: bytes) -> list[bytes]:
    """The provider writes them in any order."""
    return sorted(re.findall(rb"[^<]+", document))


def test_what_is_changed_by_hand_is_shown_by_a_refreshed_preview_and_mended_by_up(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.up()
    bucket = new_cloud_stack.emulator.oss.buckets[new_cloud_stack.bucket]
    policy = new_cloud_stack.emulator.ram.policies[new_cloud_stack.prefix]
    before, whole = dict(bucket.settings), policy.versions[policy.current]
    _change_all(bucket)
    policy.versions[policy.current] = '{"Statement":[],"Version":"1"}'
    said = new_cloud_stack.pulumi_fails("preview", "--refresh", "--expect-no-changes")
    for changed in (
        *("bucket", "acl", "bucket-policy", "encryption", "https-config"),
        *("public-access-block", "versioning", "ram-policy"),
    ):
        assert re.search(rf" [~+] .*:\w+ {changed} (update|create)", said), changed
    new_cloud_stack.make_succeeds("up")
    assert bucket.acl == "private"
    assert bucket.settings.keys() == before.keys()
    assert bucket.versioned
    for setting in ("lifecycle", "policy", "encryption", "publicAccessBlock", "httpsConfig"):
        assert _elements(bucket.settings[setting]) == _elements(before[setting])
    assert json.loads(policy.versions[policy.current]) == json.loads(whole)
    new_cloud_stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_bucket_with_images_is_not_deleted_unless_the_preview_said_so(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.configure(storage={"protect": False})
    new_cloud_stack.up()
    Api(new_cloud_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))
    said = new_cloud_stack.pulumi_fails("destroy", "--yes")
    assert "The bucket you tried to delete is not empty" in said
    assert new_cloud_stack.emulator.oss.buckets[new_cloud_stack.bucket].names()
    new_cloud_stack.configure(storage={"force_destroy": True})
    assert "forceDestroy" in new_cloud_stack.pulumi("preview", "--diff")


def test_a_bucket_that_was_deleted_by_hand_is_made_anew(new_cloud_stack: CloudDeployment) -> None:
    new_cloud_stack.up()
    del new_cloud_stack.emulator.oss.buckets[new_cloud_stack.bucket]
    new_cloud_stack.pulumi_fails("preview", "--refresh", "--expect-no-changes")
    new_cloud_stack.make_succeeds("up")
    assert new_cloud_stack.emulator.oss.buckets[new_cloud_stack.bucket].settings.keys() >= {
        "lifecycle",
        "policy",
    }
    Api(new_cloud_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))


def test_a_policy_that_was_changed_as_often_as_ram_keeps_versions_still_changes(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.up()
    policy = new_cloud_stack.emulator.ram.policies[new_cloud_stack.prefix]
    whole = policy.versions[policy.current]
    policy.versions = {f"v{number}": whole for number in range(1, 6)}
    new_cloud_stack.configure(storage={"prefix": "elsewhere"})
    new_cloud_stack.up()
    assert len(policy.versions) == 5
    assert "/elsewhere/*" in policy.versions[policy.current]
