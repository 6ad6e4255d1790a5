"""AWS's S3 client, configured for OSS's S3-compatible API."""

from typing import Any

import boto3
from botocore.config import Config

from tests.emulator.emulator import Emulator
from tests.emulator.ram import AccessKey


def s3(emulator: Emulator, key: AccessKey, region: str, style: str = "virtual") -> Any:  # noqa: ANN401
    """A client with the access key `key`. `style` is its addressing style, `virtual` or `path`."""
    return boto3.client(
        "s3",
        endpoint_url=f"https://s3.oss-{region}-internal.aliyuncs.com",
        region_name=region,
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        verify=str(emulator.ca),
        config=Config(
            s3={"addressing_style": style},
            proxies={"https": emulator.environment["HTTPS_PROXY"]},
            retries={"max_attempts": 1},
            # OSS does not support content in chunks that are signed one by one.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
