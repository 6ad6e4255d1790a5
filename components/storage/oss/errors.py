"""The causes of OSS's errors and the next steps, for commands.

The hints for errors during `pulumi up` are ERROR_HINTS in `resources.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from components.storage.backend import StorageError

# Patterns for the error code and for the message, and the cause. The first match counts.
# Codes and messages: https://www.alibabacloud.com/help/en/oss/support/http-status-code
_CAUSES = (
    (
        "RequestTimeTooSkewed",
        "",
        "the clock of the machine that signs the requests is wrong: it has {signed}, OSS has "
        "{answered}. Set that clock, for example by NTP",
    ),
    (
        "UserDisable",
        "",
        "the Alibaba Cloud account is disabled or has an overdue payment. Check its balance and "
        "its status in the Alibaba Cloud console",
    ),
    (
        "AccessDenied",
        "(?i)endpoint",
        "the bucket {bucket} is in another region. Check alicloud:region and storage.endpoint",
    ),
    (
        "AccessDenied",
        "(?i)belong|bucket acl",
        "the bucket {bucket} is another account's. Check storage.bucket",
    ),
    (
        "AccessDenied",
        "(?i)bucket policy",
        "the bucket policy of {bucket} denies the access. Change it in the OSS console",
    ),
    (
        "AccessDenied",
        "",
        "the bucket policy of {bucket} or the RAM policy of the user {user} denies the access. "
        "`make drift STACK={stack}` shows what was changed in both, and `make up STACK={stack}` "
        "restores it. Check the policy of an adopted bucket in the OSS console",
    ),
    (
        "InvalidAccessKeyId",
        "",
        "the access key {label} is deleted or disabled. Enable it in the RAM console, or run "
        "`make up STACK={stack}`, which replaces a deleted key",
    ),
    (
        "SignatureDoesNotMatch",
        "",
        "the state has another secret for the access key {label} than RAM. Run "
        "`make rotate STACK={stack}`",
    ),
    (
        "NoSuchBucket",
        "",
        "the bucket {bucket} does not exist. Check storage.bucket and alicloud:region. If it was "
        "deleted: docs/operations.md#the-bucket-was-deleted",
    ),
    (
        "PublicEndpointForbidden",
        "",
        "OSS serves no data on the public endpoint of this region. Set storage.internal: true and "
        "run the registry inside the region",
    ),
    ("InternalError|ServiceUnavailable|SlowDown", "", "OSS fails at present. Try again later"),
)
# With these codes, other machines may get another answer. A policy or an endpoint may allow some
# networks only.
BY_NETWORK = frozenset({"AccessDenied", "PublicEndpointForbidden"})


@dataclass(frozen=True)
class Times:
    """The times of the signature and of the answer, by the clocks of the signer and of OSS."""

    signed: datetime | None = None
    answered: datetime | None = None


class OssError(StorageError):
    """OSS refused a call, or did not answer.

    `code` is the error code of OSS, or the kind of failure. `message` is the text of OSS.
    `answered` is false if there was no answer, and `answered_elsewhere` is true if another endpoint
    of OSS did answer.
    """

    service = "OSS"

    def __init__(
        self, code: str, message: str = "", *, answered: bool = False, times: Times | None = None
    ) -> None:
        super().__init__(code)
        self.code, self.message, self.answered = code, message, answered
        self.times = times or Times()
        self.answered_elsewhere = False


def explain(error: OssError, names: Mapping[str, str]) -> str:
    """Return `error` with its cause. `names` are bucket, label, stack and user."""
    clocks = {"signed": _shown(error.times.signed), "answered": _shown(error.times.answered)}
    for code_pattern, message_pattern, cause in _CAUSES:
        if re.fullmatch(code_pattern, error.code) and re.search(message_pattern, error.message):
            return f"OSS answers {error.code}: {cause.format_map({**names, **clocks})}"
    message = f": {error.message}" if error.message else ""
    return f"OSS answers {error.code}{message}"


def _shown(time: datetime | None) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if time else "an unknown time"
