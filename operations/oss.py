"""OSS as the registry of a stack sees it: with the stack's own access key."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from components.storage.oss import OssBackend
from components.storage.oss.bucket import Bucket
from config.stack import STACK_LABEL, Stack
from operations.clients import docker as engine
from operations.clients.pulumi import ACCESS_KEY, plain, resource
from operations.errors import NotChecked
from operations.oss_errors import BY_NETWORK, Times, explanation

SKEW = timedelta(minutes=15)  # OSS refuses requests that were signed earlier or later than this


class OssError(Exception):
    """OSS refused a call, or did not answer; the text is its error code, or the kind of failure.

    `message` is OSS's own, and `answered` is false if there was no answer; `elsewhere` is whether
    another host of OSS answered.
    """

    elsewhere = False

    def __init__(
        self, code: str, message: str = "", *, answered: bool = False, times: Times | None = None
    ) -> None:
        super().__init__(code)
        self.code, self.message, self.answered = code, message, answered
        self.times = times or Times()


class Unreachable(NotChecked):
    """No host of OSS answers here; the registry may have the same trouble."""


@dataclass(frozen=True)
class Key:
    id: str
    secret: str = field(repr=False)


def bucket_of(stack: Stack) -> Bucket:
    """Return the bucket of the registry that clients push to."""
    return OssBackend(stack.registry).bucket


def key_in_use(stack: str, label: str) -> Key:
    """The stack's access key `label`, from its state. Raises CommandError where there is none."""
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
    settings.connect_timeout, settings.readwrite_timeout = 5, 10
    provider = oss.credentials.StaticCredentialsProvider(key.id, key.secret)
    settings.credentials_provider = provider
    return oss.Client(settings)


def reachable(bucket: Bucket, key: Key) -> str:
    """Return OSS's host that takes calls from here with `key`: its public one, or the registry's.

    Raises OssError: the answer of the registry's host. If that host does not answer here, it is the
    public one's answer, unless the registry may get another one.
    """
    failures = []
    for host in dict.fromkeys((f"oss-{bucket.region}.aliyuncs.com", bucket.host)):
        try:
            first_object(bucket.region, host, bucket.name, bucket.object_prefix, key)
        except OssError as failure:
            failures.append(failure)
        else:
            return host
    public, own = failures[0], failures[-1]
    if not own.answered and public.answered and public.code not in BY_NETWORK:
        raise public
    own.elsewhere = public.answered
    raise own


def check(stack: Stack, label: str, variables: Mapping[str, str]) -> str | None:
    """Return why OSS refuses the registry of `stack` its images; None if it does not.

    It lists and reads with the access key `label`, which the registry uses. `variables` lead to the
    registry's engine, whose clock counts for the registry's signatures.

    Raises NotChecked if the registry's host of OSS does not answer from here, Unreachable if none
    does, CommandError if the state has no such key.
    """
    bucket, key = bucket_of(stack), key_in_use(stack.name, label)
    names = {"bucket": bucket.name, "label": label, "stack": stack.name, "user": stack.prefix}
    try:
        host = reachable(bucket, key)
        _read(bucket, host, key)
    except OssError as failure:
        if not failure.answered:
            kind = NotChecked if failure.elsewhere else Unreachable
            raise kind(f"OSS does not answer at {bucket.host} from here: {failure}") from None
        return explanation(failure.code, failure.message, failure.times, names)
    there, here = _clock(variables), datetime.now(UTC)
    if abs(there - here) > SKEW:
        return explanation("RequestTimeTooSkewed", "", Times(there, here), names)
    return None


def _read(bucket: Bucket, host: str, key: Key) -> None:
    """Read an object that does not exist. Raises OssError if OSS refuses that."""
    from alibabacloud_oss_v2 import GetObjectRequest

    request = GetObjectRequest(bucket=bucket.name, key=f"{bucket.object_prefix}{STACK_LABEL}")
    try:
        with _calls():
            client(bucket.region, host, key).get_object(request).body.close()
    except OssError as failure:
        if failure.code != "NoSuchKey":
            raise


def _clock(variables: Mapping[str, str]) -> datetime:
    """Return the time by the engine's clock."""
    shown = engine.docker(variables, "info", "--format", "{{.SystemTime}}").strip()
    return datetime.fromisoformat(shown) if shown else datetime.now(UTC)


def objects(bucket: Bucket, prefix: str, key: Key) -> Iterator[tuple[str, int]]:
    """Name and bytes of each object below `prefix`. Raises OssError."""
    reached = client(bucket.region, reachable(bucket, key), key)
    request = _list_request(bucket.name, prefix, max_keys=1000)
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
        raise _error(failure) from failure


def _error(failure: Exception) -> OssError:
    from alibabacloud_oss_v2.exceptions import OperationError, ServiceError

    cause = failure.unwrap() if isinstance(failure, OperationError) else failure
    if not isinstance(cause, ServiceError):
        return OssError(reason(failure))
    fields = cause.error_fileds or {}  # as the client spells it
    signed, answered = (_time(fields.get(name)) for name in ("RequestTime", "ServerTime"))
    times = Times(signed or datetime.now(UTC), answered or cause.timestamp)
    return OssError(reason(failure), str(cause.message or ""), answered=True, times=times)


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def reason(failure: Exception) -> str:
    """OSS's code for what failed, or what kind of failure it was."""
    from alibabacloud_oss_v2.exceptions import OperationError

    cause = failure.unwrap() if isinstance(failure, OperationError) else failure
    return str(getattr(cause, "code", "") or type(cause).__name__)
