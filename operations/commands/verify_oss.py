"""`make verify-oss STACK=…`: whether the real OSS does what each release needs of it.

With the stack's own access key, below its prefix, through both doors; what it writes it removes.
Prints a row of the table in docs/production.md. Its clients come with the development packages.
"""

import secrets
import sys
from collections.abc import Callable, Mapping
from typing import Any

import alibabacloud_oss_v2 as oss
import boto3
from alibabacloud_oss_v2.exceptions import OperationError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from components.storage.oss.bucket import Bucket
from operations import stack_file
from operations.errors import CommandError
from operations.oss import Key, bucket_of, client, key_in_use, reason

PART = b"x" * (5 * 2**20)  # the least that the S3 API takes of all but the last one
YES = "yes"


class Oss:
    """OSS's own door, with a signature: v1 or v4."""

    def __init__(self, bucket: Bucket, key: Key, signature: str) -> None:
        self._client = client(bucket.region, bucket.host, key, signature)
        self._bucket = bucket.name

    def objects(self, name: str) -> None:
        its = {"bucket": self._bucket, "key": name}
        self._client.put_object(oss.PutObjectRequest(**its, body=b"x"))
        self._client.get_object(oss.GetObjectRequest(**its)).body.close()
        self._client.delete_object(oss.DeleteObjectRequest(**its))

    def lists_uploads(self, prefix: str) -> None:
        request = oss.ListMultipartUploadsRequest(bucket=self._bucket, prefix=prefix)
        self._client.list_multipart_uploads(request)

    def multipart(self, name: str) -> None:
        its: dict[str, Any] = {"bucket": self._bucket, "key": name}
        begun = self._client.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(**its))
        its["upload_id"] = begun.upload_id
        try:
            parts = [
                oss.UploadPart(
                    part_number=number,
                    etag=self._client.upload_part(
                        oss.UploadPartRequest(**its, part_number=number, body=PART)
                    ).etag,
                )
                for number in (1, 2)
            ]
            self._client.list_parts(oss.ListPartsRequest(**its))
            complete = oss.CompleteMultipartUpload(parts=parts)
            self._client.complete_multipart_upload(
                oss.CompleteMultipartUploadRequest(**its, complete_multipart_upload=complete)
            )
        except OperationError:
            self._client.abort_multipart_upload(oss.AbortMultipartUploadRequest(**its))
            raise
        self._client.delete_object(oss.DeleteObjectRequest(bucket=self._bucket, key=name))


class S3:
    """The S3 door, which has Signature V4 only."""

    def __init__(self, bucket: Bucket, key: Key) -> None:
        self._bucket = bucket.name
        self._client = boto3.client(
            "s3",
            endpoint_url=f"https://s3.{bucket.host}",
            region_name=bucket.region,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            config=Config(
                s3={"addressing_style": "virtual"},
                retries={"total_max_attempts": 2},
                # Else content goes in chunks that are signed one by one, which OSS does not take.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def objects(self, name: str) -> None:
        its = {"Bucket": self._bucket, "Key": name}
        self._client.put_object(**its, Body=b"x")
        self._client.get_object(**its)["Body"].close()
        self._client.delete_object(**its)

    def lists_uploads(self, prefix: str) -> None:
        self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix)

    def multipart(self, name: str) -> None:
        its = {"Bucket": self._bucket, "Key": name}
        upload = self._client.create_multipart_upload(**its)["UploadId"]
        try:
            etags = [
                self._client.upload_part(**its, UploadId=upload, PartNumber=number, Body=PART)
                for number in (1, 2)
            ]
            self._client.list_parts(**its, UploadId=upload)
            parts = [{"PartNumber": n, "ETag": made["ETag"]} for n, made in enumerate(etags, 1)]
            self._client.complete_multipart_upload(
                **its, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except (BotoCoreError, ClientError):
            self._client.abort_multipart_upload(**its, UploadId=upload)
            raise
        self._client.delete_object(**its)


def verify(bucket: Bucket, key: Key) -> Mapping[str, str]:
    """Each column of the row: `yes`, or the code of what OSS answered."""
    v1, v4, s3 = Oss(bucket, key, "v1"), Oss(bucket, key, "v4"), S3(bucket, key)
    prefix = f"{bucket.object_prefix}verify-{secrets.token_hex(4)}"
    checks: Mapping[str, Callable[[], None]] = {
        "V1": lambda: v1.objects(prefix),
        "V4": lambda: v4.objects(prefix),
        "S3 V4": lambda: s3.objects(prefix),
        "ListMultipartUploads": lambda: v1.lists_uploads(prefix),
        "S3 ListMultipartUploads": lambda: s3.lists_uploads(prefix),
        "multipart push": lambda: v1.multipart(prefix),
        "S3 multipart push": lambda: s3.multipart(prefix),
    }
    return {name: _outcome(check) for name, check in checks.items()}


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except OperationError as failure:
        return reason(failure)
    except ClientError as failure:
        return str(failure.response["Error"]["Code"])
    except BotoCoreError as failure:
        return type(failure).__name__
    return YES


# What each release needs: those of the door that it comes by.
NEEDED = {
    "oss": ("V1", "ListMultipartUploads", "multipart push"),
    "s3": ("S3 V4", "S3 ListMultipartUploads", "S3 multipart push"),
}


def main(name: str) -> int:
    stack = stack_file.stack(name)
    if stack.settings.storage.kind != "oss":
        raise CommandError(f"the stack {name} has no bucket: its storage.kind is filesystem")
    bucket = bucket_of(stack)
    row = verify(bucket, key_in_use(name, bucket.access_key))
    cells = {"region": stack.region, "host": bucket.host, **row}
    print(f"| {' | '.join(cells)} |\n|{' --- |' * len(cells)}\n| {' | '.join(cells.values())} |")
    if missing := [need for need in NEEDED[stack.registry.release.oss_driver] if row[need] != YES]:
        release = stack.registry.release.version
        print(f"verify-oss: release {release} needs {', '.join(missing)}", file=sys.stderr)
    return bool(missing)
