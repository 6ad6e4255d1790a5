"""A client for the objects in a bucket."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from components.storage.backend import AccessKey
from components.storage.oss.driver import Bucket
from components.storage.oss.errors import BY_NETWORK, OssError, Times


def create_client(region: str, host: str, key: AccessKey, signature: str = "v4") -> Any:  # noqa: ANN401
    """Return Alibaba Cloud's client for an endpoint of OSS, with the `signature` v1 or v4."""
    # Imported here, because it takes half a second, and stacks without a bucket do not need it.
    import alibabacloud_oss_v2 as oss

    # The provider and the program read SSL_CERT_FILE. This client uses `requests`, which does not.
    if bundle := os.environ.get("SSL_CERT_FILE"):
        os.environ["REQUESTS_CA_BUNDLE"] = bundle
    settings = oss.config.load_default()
    settings.region, settings.endpoint = region, f"https://{host}"
    settings.signature_version, settings.retry_max_attempts = signature, 2
    settings.connect_timeout, settings.readwrite_timeout = 5, 10
    provider = oss.credentials.StaticCredentialsProvider(key.id, key.secret)
    settings.credentials_provider = provider
    return oss.Client(settings)


def public_host(region: str) -> str:
    """Return the public endpoint of OSS in a region."""
    return f"oss-{region}.aliyuncs.com"


def find_endpoint(bucket: Bucket, key: AccessKey) -> str:
    """Return the endpoint that accepts calls from this machine: the public or the registry's one.

    If both fail, raises the OssError of the registry's endpoint. If that endpoint does not answer,
    raises the error of the public endpoint, unless the answer depends on the network.
    """
    failures = []
    for host in dict.fromkeys((public_host(bucket.region), bucket.host)):
        try:
            first_object(bucket.region, host, bucket.name, bucket.object_prefix, key)
        except OssError as failure:
            failures.append(failure)
        else:
            return host
    public, own = failures[0], failures[-1]
    if not own.answered and public.answered and public.code not in BY_NETWORK:
        raise public
    own.answered_elsewhere = public.answered
    raise own


def list_objects(bucket: Bucket, prefix: str, key: AccessKey) -> Iterator[tuple[str, int]]:
    """Yield the name and size in bytes of each object below `prefix`. Raises OssError."""
    client = create_client(bucket.region, find_endpoint(bucket, key), key)
    request = _list_request(bucket.name, prefix, max_keys=1000)
    with _translated_errors():
        for page in client.list_objects_v2_paginator().iter_page(request):
            yield from ((str(each.key), int(each.size)) for each in page.contents or ())


def first_object(region: str, host: str, bucket: str, prefix: str, key: AccessKey) -> str | None:
    """Return the name of an object below `prefix`, or None if there is none. Raises OssError."""
    request = _list_request(bucket, prefix, max_keys=1)
    with _translated_errors():
        listed = create_client(region, host, key).list_objects_v2(request).contents or ()
    return next((str(entry.key) for entry in listed), None)


def require_readable(bucket: Bucket, host: str, name: str, key: AccessKey) -> None:
    """Raise OssError if `key` cannot read the object `name`."""
    from alibabacloud_oss_v2 import GetObjectRequest

    request = GetObjectRequest(bucket=bucket.name, key=name)
    with _translated_errors():
        create_client(bucket.region, host, key).get_object(request).body.close()


def _list_request(bucket: str, prefix: str, max_keys: int) -> Any:  # noqa: ANN401
    from alibabacloud_oss_v2 import ListObjectsV2Request

    return ListObjectsV2Request(bucket=bucket, prefix=prefix, max_keys=max_keys)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise OssError in place of the errors of the vendor's client."""
    from alibabacloud_oss_v2.exceptions import BaseError

    try:
        yield
    except BaseError as failure:
        raise _translate(failure) from failure


def _translate(failure: Exception) -> OssError:
    from alibabacloud_oss_v2.exceptions import ServiceError

    cause = _cause(failure)
    if not isinstance(cause, ServiceError):
        return OssError(error_code(failure))
    fields = cause.error_fileds or {}  # as the client spells it
    signed, answered = (_time(fields.get(name)) for name in ("RequestTime", "ServerTime"))
    times = Times(signed or datetime.now(UTC), answered or cause.timestamp)
    return OssError(error_code(failure), str(cause.message or ""), answered=True, times=times)


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def error_code(failure: Exception) -> str:
    """Return OSS's code for a failure of the vendor's client, or the name of its class."""
    cause = _cause(failure)
    return str(getattr(cause, "code", "") or type(cause).__name__)


def _cause(failure: Exception) -> Exception:
    from alibabacloud_oss_v2.exceptions import OperationError

    cause: Exception = failure.unwrap() if isinstance(failure, OperationError) else failure
    return cause
