"""Check by calls to both APIs of OSS that it has the features that the registry needs.

The clients are development dependencies.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import alibabacloud_oss_v2 as oss
import boto3
from alibabacloud_oss_v2.exceptions import OperationError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from components.storage.backend import AccessKey
from components.storage.oss.driver import Bucket
from components.storage.oss.objects import create_client, error_code

PART = b"x" * (5 * 2**20)  # the smallest size for a part that is not the last one
YES = "yes"
# The checks that must pass for a release, by its `oss_driver`.
NEEDED = {
    "oss": ("V1", "ListMultipartUploads", "multipart push"),
    "s3": ("S3 V4", "S3 ListMultipartUploads", "S3 multipart push"),
}


class NativeApi:
    """OSS's own API, with the signature v1 or v4."""

    def __init__(self, bucket: Bucket, key: AccessKey, signature: str) -> None:
        self._client = create_client(bucket.region, bucket.host, key, signature)
        self._bucket = bucket.name

    def write_and_read(self, name: str) -> None:
        target = {"bucket": self._bucket, "key": name}
        self._client.put_object(oss.PutObjectRequest(**target, body=b"x"))
        self._client.get_object(oss.GetObjectRequest(**target)).body.close()
        self._client.delete_object(oss.DeleteObjectRequest(**target))

    def list_uploads(self, prefix: str) -> None:
        request = oss.ListMultipartUploadsRequest(bucket=self._bucket, prefix=prefix)
        self._client.list_multipart_uploads(request)

    def upload_in_parts(self, name: str) -> None:
        target: dict[str, Any] = {"bucket": self._bucket, "key": name}
        upload = self._client.initiate_multipart_upload(
            oss.InitiateMultipartUploadRequest(**target)
        )
        target["upload_id"] = upload.upload_id
        try:
            parts = []
            for number in (1, 2):
                request = oss.UploadPartRequest(**target, part_number=number, body=PART)
                etag = self._client.upload_part(request).etag
                parts.append(oss.UploadPart(part_number=number, etag=etag))
            self._client.list_parts(oss.ListPartsRequest(**target))
            complete = oss.CompleteMultipartUpload(parts=parts)
            self._client.complete_multipart_upload(
                oss.CompleteMultipartUploadRequest(**target, complete_multipart_upload=complete)
            )
        except OperationError:
            self._client.abort_multipart_upload(oss.AbortMultipartUploadRequest(**target))
            raise
        self._client.delete_object(oss.DeleteObjectRequest(bucket=self._bucket, key=name))


class S3Api:
    """The S3-compatible API, which accepts Signature V4 only."""

    def __init__(self, bucket: Bucket, key: AccessKey) -> None:
        self._bucket = bucket.name
        self._client = boto3.client(
            "s3",
            endpoint_url=bucket.s3_endpoint,
            region_name=bucket.region,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            config=Config(
                s3={"addressing_style": "virtual"},
                retries={"total_max_attempts": 2},
                # Otherwise the client signs each chunk of the content, which OSS does not support.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def write_and_read(self, name: str) -> None:
        target = {"Bucket": self._bucket, "Key": name}
        self._client.put_object(**target, Body=b"x")
        self._client.get_object(**target)["Body"].close()
        self._client.delete_object(**target)

    def list_uploads(self, prefix: str) -> None:
        self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix)

    def upload_in_parts(self, name: str) -> None:
        target = {"Bucket": self._bucket, "Key": name}
        upload = self._client.create_multipart_upload(**target)["UploadId"]
        try:
            parts = []
            for number in (1, 2):
                response = self._client.upload_part(
                    **target, UploadId=upload, PartNumber=number, Body=PART
                )
                parts.append({"PartNumber": number, "ETag": response["ETag"]})
            self._client.list_parts(**target, UploadId=upload)
            self._client.complete_multipart_upload(
                **target, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except (BotoCoreError, ClientError):
            self._client.abort_multipart_upload(**target, UploadId=upload)
            raise
        self._client.delete_object(**target)


def verify(bucket: Bucket, key: AccessKey) -> Mapping[str, str]:
    """Return the result of each check by its name: `yes`, or the code of OSS's error.

    The checks write objects below the prefix of the registry, and delete them.
    """
    v1, v4 = NativeApi(bucket, key, "v1"), NativeApi(bucket, key, "v4")
    s3 = S3Api(bucket, key)
    name = f"{bucket.object_prefix}verify-{secrets.token_hex(4)}"
    checks: Mapping[str, Callable[[], None]] = {
        "V1": lambda: v1.write_and_read(name),
        "V4": lambda: v4.write_and_read(name),
        "S3 V4": lambda: s3.write_and_read(name),
        "ListMultipartUploads": lambda: v1.list_uploads(name),
        "S3 ListMultipartUploads": lambda: s3.list_uploads(name),
        "multipart push": lambda: v1.upload_in_parts(name),
        "S3 multipart push": lambda: s3.upload_in_parts(name),
    }
    return {title: _result(check) for title, check in checks.items()}


def _result(check: Callable[[], None]) -> str:
    try:
        check()
    except OperationError as failure:
        return error_code(failure)
    except ClientError as failure:
        return str(failure.response["Error"]["Code"])
    except BotoCoreError as failure:
        return type(failure).__name__
    return YES
