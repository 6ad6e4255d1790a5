"""Tests of the emulator with third-party clients: those of Alibaba Cloud and of AWS."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss
import oss2
import pytest
from alibabacloud_oss_v2 import exceptions
from alibabacloud_ram20150501 import models
from alibabacloud_ram20150501.client import Client as RamClient
from alibabacloud_tea_openapi.models import Config as RamConfig
from botocore.exceptions import ClientError
from darabonba.exceptions import DaraException

from components.storage.oss import OssBackend
from components.storage.oss.driver import Bucket
from components.storage.oss.policy import registry_policy
from tests.emulator.__main__ import config
from tests.emulator.clients import s3 as s3_client
from tests.emulator.emulator import Emulator
from tests.emulator.ram import AccessKey
from tests.unit.stack_files import load

pytestmark = pytest.mark.oss
REGION = "cn-hangzhou"
HOST = f"oss-{REGION}-internal.aliyuncs.com"
PART = bytes(range(250)) * 800
BUCKET = Bucket(region=REGION, host=HOST, name="images", prefix="registry", access_key="1")


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator with an old bucket, `images`. This process calls it instead of the cloud."""
    emulator = Emulator(tmp_path)
    emulator.add_bucket("images", REGION)
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca))
    yield emulator
    emulator.close()


@pytest.fixture
def key(emulator: Emulator) -> AccessKey:
    """The access key of a user with the policy of a registry."""
    policy = registry_policy(BUCKET, None)
    emulator.ram.call("CreateUser", {"UserName": "registry"})
    emulator.ram.call("CreatePolicy", {"PolicyName": "registry", "PolicyDocument": policy})
    attached = {"UserName": "registry", "PolicyName": "registry", "PolicyType": "Custom"}
    emulator.ram.call("AttachPolicyToUser", attached)
    created = emulator.ram.call("CreateAccessKey", {"UserName": "registry"})["AccessKey"]
    access_key = emulator.ram.key(created["AccessKeyId"])
    assert access_key
    return access_key


def _oss_client(key_id: str, secret: str, signature: str = "v4") -> Any:  # noqa: ANN401
    settings = oss.config.load_default()
    settings.credentials_provider = oss.credentials.StaticCredentialsProvider(key_id, secret)
    settings.region, settings.endpoint = REGION, f"https://{HOST}"
    settings.signature_version, settings.retry_max_attempts = signature, 1
    return oss.Client(settings)


def _open(address: str) -> Any:  # noqa: ANN401
    # `urlopen` would keep the proxy of the first test.
    return urllib.request.build_opener().open(address)


def _error_code(failure: "pytest.ExceptionInfo[exceptions.OperationError]") -> str:
    return str(failure.value.unwrap().code)


@pytest.mark.parametrize("signature", ["v1", "v4"])
def test_the_vendors_new_client_stores_lists_copies_and_deletes_objects(
    emulator: Emulator, key: AccessKey, signature: str
) -> None:
    client, name = _oss_client(key.id, key.secret, signature), "registry/a b/ü+~"
    client.put_object(oss.PutObjectRequest(bucket="images", key=name, body=b"content"))
    client.copy_object(oss.CopyObjectRequest(bucket="images", key="registry/copy", source_key=name))
    assert client.get_object(oss.GetObjectRequest(bucket="images", key=name)).body.read() == (
        b"content"
    )
    part = client.get_object(
        oss.GetObjectRequest(bucket="images", key="registry/copy", range_header="bytes=3-")
    )
    assert part.body.read() == b"tent"
    listed = client.list_objects_v2(
        oss.ListObjectsV2Request(bucket="images", prefix="registry/", delimiter="/")
    )
    assert [entry.key for entry in listed.contents] == ["registry/copy"]
    assert [group.prefix for group in listed.common_prefixes] == ["registry/a b/"]
    objects = [oss.DeleteObject(key=name), oss.DeleteObject(key="registry/copy")]
    client.delete_multiple_objects(
        oss.DeleteMultipleObjectsRequest(bucket="images", objects=objects)
    )
    assert emulator.oss.buckets["images"].names() == []
    with pytest.raises(exceptions.OperationError) as failure:
        client.get_object(oss.GetObjectRequest(bucket="images", key=name))
    assert _error_code(failure) == "NoSuchKey"


@pytest.mark.parametrize("auth", [oss2.Auth, oss2.AuthV4])
def test_the_vendors_old_client_uploads_in_parts_and_resumes(
    emulator: Emulator,
    key: AccessKey,
    auth: Any,  # noqa: ANN401
) -> None:
    bucket = oss2.Bucket(auth(key.id, key.secret), f"https://{HOST}", "images", region=REGION)
    name = "registry/large"
    upload = bucket.init_multipart_upload(name).upload_id
    parts = [
        oss2.models.PartInfo(number, bucket.upload_part(name, upload, number, PART).etag)
        for number in (1, 2)
    ]
    assert [open_.upload_id for open_ in bucket.list_multipart_uploads().upload_list] == [upload]
    assert [part.part_number for part in bucket.list_parts(name, upload).parts] == [1, 2]
    bucket.complete_multipart_upload(name, upload, parts)
    assert bucket.get_object(name).read() == PART * 2
    middle = (len(PART) - 5, len(PART) + 4)
    assert bucket.get_object(name, byte_range=middle).read() == PART[-5:] + PART[:5]
    assert bucket.list_multipart_uploads().upload_list == []
    aborted = bucket.init_multipart_upload(name).upload_id
    bucket.abort_multipart_upload(name, aborted)
    assert not emulator.oss.buckets["images"].uploads
    signed = bucket.sign_url("GET", name, 60, slash_safe=True)
    with _open(signed) as answer:
        assert answer.read() == PART * 2
    with pytest.raises(urllib.error.HTTPError, match="403"):
        _open(signed.replace("large", "other"))


def test_the_aws_client_works_only_with_virtual_hosted_addresses(
    emulator: Emulator, key: AccessKey
) -> None:
    s3 = s3_client(emulator, key, REGION)
    name = "registry/a b/+~ü"
    s3.put_object(Bucket="images", Key=name, Body=b"content")
    assert s3.get_object(Bucket="images", Key=name)["Body"].read() == b"content"
    upload = s3.create_multipart_upload(Bucket="images", Key="registry/large")["UploadId"]
    etags = [
        s3.upload_part(
            Bucket="images", Key="registry/large", PartNumber=number, UploadId=upload, Body=PART
        )["ETag"]
        for number in (1, 2)
    ]
    (open_,) = s3.list_multipart_uploads(Bucket="images", Prefix="registry/")["Uploads"]
    assert open_["UploadId"] == upload
    s3.complete_multipart_upload(
        Bucket="images",
        Key="registry/large",
        UploadId=upload,
        MultipartUpload={
            "Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, start=1)]
        },
    )
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="images", Prefix="registry/", PaginationConfig={"PageSize": 1}
    )
    keys = [entry["Key"] for page in pages for entry in page["Contents"]]
    assert keys == [name, "registry/large"]
    signed = s3.generate_presigned_url("get_object", {"Bucket": "images", "Key": name})
    with _open(signed) as answer:
        assert answer.read() == b"content"
    with pytest.raises(ClientError, match="SecondLevelDomainForbidden"):
        s3_client(emulator, key, REGION, style="path").list_objects_v2(
            Bucket="images", Prefix="registry"
        )
    emulator.s3_lists_uploads = False
    with pytest.raises(ClientError, match="NotImplemented"):
        s3.list_multipart_uploads(Bucket="images")
    emulator.cnames["images.example.com"] = "images"
    cname = signed.replace(f"images.s3.{HOST}", "images.example.com")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        _open(cname)  # The signature covers the host.


def test_a_call_that_no_policy_allows_is_refused(emulator: Emulator, key: AccessKey) -> None:
    client = _oss_client(key.id, key.secret)
    forbidden: list[tuple[Any, Any]] = [
        (client.put_object, oss.PutObjectRequest(bucket="images", key="other/x", body=b"")),
        (client.get_object, oss.GetObjectRequest(bucket="images", key="registry")),
        (client.list_objects_v2, oss.ListObjectsV2Request(bucket="images")),
        (client.list_objects_v2, oss.ListObjectsV2Request(bucket="images", prefix="registry2/")),
        (client.get_bucket_acl, oss.GetBucketAclRequest(bucket="images")),
        (client.delete_bucket, oss.DeleteBucketRequest(bucket="images")),
        (client.list_buckets, oss.ListBucketsRequest()),
    ]
    for call, request in forbidden:
        with pytest.raises(exceptions.OperationError) as failure:
            call(request)
        assert _error_code(failure) == "AccessDenied"
    client.list_objects_v2(oss.ListObjectsV2Request(bucket="images", prefix="registry"))
    assert {call.decision.partition(":")[0] for call in emulator.calls} == {"refused", "allowed"}


def test_wrong_signatures_and_unknown_new_or_inactive_keys_are_refused(
    emulator: Emulator, key: AccessKey
) -> None:
    request = oss.ListObjectsV2Request(bucket="images", prefix="registry/")

    def code(key_id: str, secret: str, signature: str = "v4") -> str:
        with pytest.raises(exceptions.OperationError) as failure:
            _oss_client(key_id, secret, signature).list_objects_v2(request)
        return _error_code(failure)

    assert code(key.id, "wrong") == "SignatureDoesNotMatch"
    assert code("LTAInobody", key.secret) == "InvalidAccessKeyId"
    emulator.oss.buckets["images"].accepts_v1 = False
    assert code(key.id, key.secret, "v1") == "InvalidRequest"
    key.active = False
    assert code(key.id, key.secret) == "InvalidAccessKeyId"
    key.active = True
    emulator.ram.settling_seconds = 60
    fresh = emulator.ram.call("CreateAccessKey", {"UserName": "registry"})["AccessKey"]
    assert code(fresh["AccessKeyId"], fresh["AccessKeySecret"]) == "InvalidAccessKeyId"


def test_closed_public_endpoints_and_forbidden_plain_http_are_refused(
    emulator: Emulator, key: AccessKey
) -> None:
    client = oss2.Bucket(oss2.Auth(key.id, key.secret), f"http://{HOST}", "images")
    client.put_object("registry/x", b"")
    deny = {
        "Effect": "Deny",
        "Principal": ["*"],
        "Action": ["oss:*"],
        "Resource": ["acs:oss:*:*:images/*"],
        "Condition": {"Bool": {"acs:SecureTransport": ["false"]}},
    }
    policy = json.dumps({"Version": "1", "Statement": [deny]})
    emulator.oss.buckets["images"].settings["policy"] = policy.encode()
    with pytest.raises(oss2.exceptions.AccessDenied):
        client.put_object("registry/x", b"")
    emulator.public_endpoints_open = False
    public = HOST.replace("-internal", "")
    client = oss2.Bucket(oss2.Auth(key.id, key.secret), f"https://{public}", "images")
    with pytest.raises(oss2.exceptions.ServerError, match="PublicEndpointForbidden"):
        client.get_object("registry/x")


def test_the_ram_client_creates_users_policies_and_at_most_two_keys(emulator: Emulator) -> None:
    client = RamClient(
        RamConfig(
            access_key_id=emulator.key_id,
            access_key_secret=emulator.key_secret,
            endpoint="ram.aliyuncs.com",
            https_proxy=emulator.environment["HTTPS_PROXY"],
            ca=str(emulator.ca),
        )
    )
    client.create_user(models.CreateUserRequest(user_name="bob"))
    policy = models.CreatePolicyRequest(policy_name="p", policy_document='{"Statement":[]}')
    with pytest.raises(DaraException, match="MalformedPolicyDocument"):
        client.create_policy(policy)
    policy.policy_document = registry_policy(BUCKET, None)
    client.create_policy(policy)
    attach = models.AttachPolicyToUserRequest(
        user_name="bob", policy_name="p", policy_type="Custom"
    )
    client.attach_policy_to_user(attach)
    request = models.CreateAccessKeyRequest(user_name="bob")
    created = [client.create_access_key(request).body.access_key for _ in range(2)]
    assert all(key.access_key_secret for key in created)
    with pytest.raises(DaraException, match="LimitExceeded"):
        client.create_access_key(request)
    with pytest.raises(DaraException, match="DeleteConflict"):
        client.delete_user(models.DeleteUserRequest(user_name="bob"))
    listed = client.list_access_keys(models.ListAccessKeysRequest(user_name="bob"))
    assert [key.access_key_id for key in listed.body.access_keys.access_key] == [
        key.access_key_id for key in created
    ]
    wrong = RamClient(
        RamConfig(
            access_key_id=emulator.key_id,
            access_key_secret="wrong",
            endpoint="ram.aliyuncs.com",
            https_proxy=emulator.environment["HTTPS_PROXY"],
            ca=str(emulator.ca),
        )
    )
    with pytest.raises(DaraException, match="SignatureDoesNotMatch"):
        wrong.create_user(models.CreateUserRequest(user_name="eve"))


def test_the_page_shows_objects_and_calls_but_no_secret(emulator: Emulator, key: AccessKey) -> None:
    client = _oss_client(key.id, key.secret)
    client.put_object(oss.PutObjectRequest(bucket="images", key="registry/<b>", body=b"1" * 2048))
    with pytest.raises(exceptions.OperationError):
        client.put_object(oss.PutObjectRequest(bucket="images", key="other", body=b""))
    with _open(f"http://{emulator.addresses[0]}/") as answer:
        page = answer.read().decode()
    for shown in ("registry/&lt;b&gt;", "2.0 KiB", "PutObject", "refused: oss:PutObject", key.id):
        assert shown in page
    assert key.secret not in page


def test_the_stack_file_of_the_trial_stack_is_valid(emulator: Emulator) -> None:
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in config(emulator.registry_settings).items()
    }
    assert OssBackend(load("trial", texts, set()).registry).bucket.name == "trial-images"
