"""OSS as the registry of a stack sees it: with the stack's own access key."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from components.distribution import OssFacts
from operations.state import ACCESS_KEY, plain, resource


class OssError(Exception):
    """OSS refused a call, or did not answer; the text is its error code, or the kind of failure."""


@dataclass(frozen=True)
class Key:
    id: str
    secret: str = field(repr=False)


def key_in_use(stack: str, label: str) -> Key:
    """The stack's access key `label`, from its state. Raises Blocked where there is none."""
    key = resource(stack, ACCESS_KEY, f"access-key-{label}")
    return Key(key["id"], plain(key["outputs"]["secret"]))


def client(region: str, host: str, key: Key, signature: str = "v4") -> Any:  # noqa: ANN401
    """The vendor's client at OSS's `host`; `signature` is v1 or v4."""
    # Imported here: it takes half a second, which stacks without a bucket need not spend.
    import alibabacloud_oss_v2 as oss

    # As the provider and the program have it; this client looks where `requests` does.
    if bundle := os.environ.get("SSL_CERT_FILE"):
        os.environ["REQUESTS_CA_BUNDLE"] = bundle
    settings = oss.config.load_default()
    settings.region, settings.endpoint = region, f"https://{host}"
    settings.signature_version, settings.retry_max_attempts = signature, 2
    settings.connect_timeout = settings.readwrite_timeout = 10
    provider = oss.credentials.StaticCredentialsProvider(key.id, key.secret)
    settings.credentials_provider = provider
    return oss.Client(settings)


def reachable(facts: OssFacts, key: Key) -> str:
    """OSS's host that takes calls from here with `key`: its public one, or the registry's.

    Raises OssError.
    """
    hosts = [*dict.fromkeys((f"oss-{facts.region}.aliyuncs.com", facts.host))]
    for host in hosts:
        try:
            first_object(facts.region, host, facts.bucket, facts.below, key)
        except OssError:
            if host == hosts[-1]:
                raise
        else:
            break
    return host


def objects(facts: OssFacts, prefix: str, key: Key) -> Iterator[tuple[str, int]]:
    """Name and bytes of each object below `prefix`. Raises OssError."""
    reached = client(facts.region, reachable(facts, key), key)
    request = _list_request(facts.bucket, prefix, max_keys=1000)
    with _calls():
        for page in reached.list_objects_v2_paginator().iter_page(request):
            yield from ((str(each.key), int(each.size)) for each in page.contents or ())


def first_object(region: str, host: str, bucket: str, prefix: str, key: Key) -> str | None:
    """The name of some object that begins with `prefix`, None where there is none.

    Raises OssError.
    """
    request = _list_request(bucket, prefix, max_keys=1)
    with _calls():
        listed = client(region, host, key).list_objects_v2(request).contents or ()
    return next((str(entry.key) for entry in listed), None)


def _list_request(bucket: str, prefix: str, max_keys: int) -> Any:  # noqa: ANN401
    from alibabacloud_oss_v2 import ListObjectsV2Request

    return ListObjectsV2Request(bucket=bucket, prefix=prefix, max_keys=max_keys)


@contextmanager
def _calls() -> Iterator[None]:
    """Raise OssError in place of what the vendor's client raises."""
    from alibabacloud_oss_v2.exceptions import BaseError

    try:
        yield
    except BaseError as failure:
        raise OssError(reason(failure)) from failure


def reason(failure: Exception) -> str:
    """OSS's code for what failed, or what kind of failure it was."""
    from alibabacloud_oss_v2.exceptions import OperationError

    cause = failure.unwrap() if isinstance(failure, OperationError) else failure
    return str(getattr(cause, "code", "") or type(cause).__name__)
