"""Check that the registry has access to its images in OSS."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from components.storage.backend import AccessKey, NotChecked, RunDocker, Unreachable
from components.storage.oss.driver import Bucket
from components.storage.oss.error_hints import explain
from components.storage.oss.errors import OssError, Times
from components.storage.oss.objects import find_endpoint, require_readable
from config.stack import STACK_LABEL

SKEW = timedelta(minutes=15)  # OSS refuses requests that were signed earlier or later than this


def access_problem(
    bucket: Bucket, key: AccessKey, docker: RunDocker, names: Mapping[str, str]
) -> str | None:
    """Return why the registry has no access to its images, or None.

    The check lists and reads with `key`, the registry's access key. `docker` runs commands on the
    registry's engine, whose clock is that of the registry's signatures. `names` are the label of
    the key, the stack, and the RAM user.

    Raises NotChecked if the registry's endpoint of OSS does not answer from here, and Unreachable
    if no endpoint does.
    """
    names = {**names, "bucket": bucket.name}
    try:
        _read(bucket, find_endpoint(bucket, key), key)
    except OssError as error:
        if error.answered:
            return explain(error, names)
        kind = NotChecked if error.answered_elsewhere else Unreachable
        raise kind(f"OSS does not answer at {bucket.host} from here: {error}") from None
    engine_time, own_time = _engine_time(docker), datetime.now(UTC)
    if abs(engine_time - own_time) > SKEW:
        skewed = OssError("RequestTimeTooSkewed", times=Times(engine_time, own_time))
        return explain(skewed, names)
    return None


def _read(bucket: Bucket, host: str, key: AccessKey) -> None:
    """Read an object that does not exist. Raises OssError if OSS refuses to."""
    try:
        require_readable(bucket, host, f"{bucket.object_prefix}{STACK_LABEL}", key)
    except OssError as error:
        if error.code != "NoSuchKey":
            raise


def _engine_time(docker: RunDocker) -> datetime:
    """Return the time of the engine's clock, or of this machine's if the engine reports none."""
    text = docker("info", "--format", "{{.SystemTime}}").strip()
    return datetime.fromisoformat(text) if text else datetime.now(UTC)
