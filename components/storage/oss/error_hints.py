"""Hints for errors of OSS and RAM, during `pulumi up` and in commands."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from components.storage.oss.errors import OssError
from config import credentials

# RAM may answer from a server that does not have a new user or policy yet.
NOT_YET = r"EntityNotExist\.(User|Policy)\b(?!\.)"
# For errors of `pulumi up`: a pattern, and what users can do.
ERROR_HINTS = (
    (
        "BucketAlreadyExists",
        "the bucket {bucket} is another account's: choose another storage.bucket",
    ),
    (
        # The provider looks for the bucket in the account before it creates one.
        "bucket namespace is shared",
        "the bucket {bucket} is there already, and yours: set storage.adopt: true to use it as it "
        "is; if an `up` that failed has made it, it is empty: delete it, and `up` again",
    ),
    (
        r"LimitExceeded\.User\.AccessKey",
        "the RAM user {userName} has two access keys, RAM's limit: leave one label in "
        "storage.access_keys, `up`, and add the new one then; a key that no label stands for is "
        "to be deleted in RAM's console",
    ),
    (
        r"EntityAlreadyExists\.(User|Policy)\b(?!\.)",
        "{name} is in RAM already, from another stack of this name or a state that was lost: "
        "delete it there, or choose another stack name",
    ),
    (
        r"EntityAlreadyExists\.User\.Policy",
        "{policyName} is attached already: an `up` that failed has done it; `aliyun ram "
        "DetachPolicyFromUser --PolicyType Custom --PolicyName {policyName} --UserName "
        "{userName}`, and `up` again",
    ),
    (
        NOT_YET,
        "RAM does not find the user or the policy that it has just made: run `make up` again in a "
        "minute",
    ),
    (
        "InvalidTimeStamp|RequestTimeTooSkewed",
        "the clock of this machine is wrong: set it, for example by NTP",
    ),
    (
        "UserDisable",
        "the Alibaba Cloud account is disabled or has an overdue payment: check its balance and "
        "status in the Alibaba Cloud console",
    ),
    (
        r"NoSuchBucket|bucket does not exist",
        "there is no such bucket in this region: see storage.bucket and alicloud:region",
    ),
    (
        r"NoPermission|Forbidden\.RAM|AccessDenied",
        "the deployer's own access key is not allowed to do this: see docs/production.md",
    ),
    ("(?i)invalid type option", credentials.NO_KEY),
    (
        "InvalidAccessKeyId|SignatureDoesNotMatch|no valid credential|get credential failed",
        "the deployer's own access key is not right: see ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET",
    ),
)
# For errors of commands: patterns for the code and for the message, and the cause. The first match
# counts.
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


def explain(error: OssError, names: Mapping[str, str]) -> str:
    """Return the text for `error`: its code, the cause, and the fix.

    `names` has the values of {bucket}, {label}, {stack} and {user} in the causes.
    """
    clocks = {"signed": _shown(error.times.signed), "answered": _shown(error.times.answered)}
    for code_pattern, message_pattern, cause in _CAUSES:
        if re.fullmatch(code_pattern, error.code) and re.search(message_pattern, error.message):
            return f"OSS answers {error.code}: {cause.format_map({**names, **clocks})}"
    message = f": {error.message}" if error.message else ""
    return f"OSS answers {error.code}{message}"


def _shown(time: datetime | None) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if time else "an unknown time"
