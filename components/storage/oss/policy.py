"""RAM and bucket policies of a registry.

tests/integration/test_access.py shows that each action is needed, and that they are sufficient.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.storage.oss.driver import Bucket

LIST_OBJECTS, LIST_UPLOADS = "oss:ListObjects", "oss:ListMultipartUploads"
ON_OBJECTS = (
    "oss:AbortMultipartUpload",
    "oss:DeleteObject",
    "oss:GetObject",
    "oss:ListParts",
    "oss:PutObject",
)
WITH_KMS = ("kms:Decrypt", "kms:GenerateDataKey")


def registry_policy(bucket: Bucket, kms_key_id: str | None) -> str:
    """Return the policy of the registry's RAM user, limited to the prefix in the bucket."""
    resource = f"acs:oss:*:*:{bucket.name}"
    list_objects = _allow([LIST_OBJECTS], resource)
    if bucket.prefix:
        # OSS supports this condition for ListObjects only. The registry also lists the prefix
        # itself.
        prefixes = [bucket.prefix, f"{bucket.object_prefix}*"]
        list_objects["Condition"] = {"StringLike": {"oss:Prefix": prefixes}}
    statements = [
        list_objects,
        _allow([LIST_UPLOADS], resource),
        _allow(ON_OBJECTS, f"{resource}/{bucket.object_prefix}*"),
    ]
    if kms_key_id:
        statements.append(_allow(WITH_KMS, f"acs:kms:*:*:key/{kms_key_id}"))
    return policy_document(statements)


def tls_only_policy(bucket: str) -> str:
    """Return the bucket policy that denies every request without TLS."""
    statement = {
        "Effect": "Deny",
        "Principal": ["*"],
        "Action": ["oss:*"],
        "Resource": [f"acs:oss:*:*:{bucket}", f"acs:oss:*:*:{bucket}/*"],
        "Condition": {"Bool": {"acs:SecureTransport": ["false"]}},
    }
    return policy_document([statement])


def _allow(actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [*actions], "Resource": [resource]}


def policy_document(statements: Sequence[Mapping[str, Any]]) -> str:
    """Return a policy as the provider reads it back."""
    policy = {"Version": "1", "Statement": statements}
    return json.dumps(policy, sort_keys=True, separators=(",", ":"))
