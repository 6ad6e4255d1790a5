"""What the registry's RAM user may do, as RAM policies say it.

Pure. tests/integration/test_access.py shows each action to be needed, and all of them to be enough.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from config.releases import OssFacts

LIST_OBJECTS, LIST_UPLOADS = "oss:ListObjects", "oss:ListMultipartUploads"
ON_OBJECTS = (
    "oss:AbortMultipartUpload",
    "oss:DeleteObject",
    "oss:GetObject",
    "oss:ListParts",
    "oss:PutObject",
)
WITH_KMS = ("kms:Decrypt", "kms:GenerateDataKey")


def registry_policy(oss: OssFacts, kms_key_id: str | None) -> str:
    """The policy of the user that the registry is: its bucket, and there its prefix, only."""
    bucket = f"acs:oss:*:*:{oss.bucket}"
    # OSS knows this condition for ListObjects alone. The registry also lists the prefix itself.
    below = {"StringLike": {"oss:Prefix": [oss.prefix, f"{oss.below}*"]}}
    statements = [
        _allow([LIST_OBJECTS], bucket, **({"Condition": below} if oss.prefix else {})),
        _allow([LIST_UPLOADS], bucket),
        _allow(ON_OBJECTS, f"{bucket}/{oss.below}*"),
    ]
    if kms_key_id:
        statements.append(_allow(WITH_KMS, f"acs:kms:*:*:key/{kms_key_id}"))
    return document(statements)


def encrypted_only(bucket: str) -> str:
    """The bucket's own policy: nobody may do anything without TLS."""
    resources = [f"acs:oss:*:*:{bucket}", f"acs:oss:*:*:{bucket}/*"]
    plain = {"Bool": {"acs:SecureTransport": ["false"]}}
    statement = {"Effect": "Deny", "Principal": ["*"], "Action": ["oss:*"], "Resource": resources}
    return document([{**statement, "Condition": plain}])


def _allow(actions: Sequence[str], resource: str, **more: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"Effect": "Allow", "Action": [*actions], "Resource": [resource], **more}


def document(statements: Sequence[Mapping[str, Any]]) -> str:
    """A policy document, as the provider reads it back."""
    return json.dumps(
        {"Version": "1", "Statement": statements}, sort_keys=True, separators=(",", ":")
    )
