"""Signatures of requests: OSS V1 and V4, S3 V4, and RPC calls in their old and new (V3) form.

The sources are these pages of the vendors: "Include signatures in the Authorization header" and
"Include signatures in the URL" (OSS, V1 and V4), "Signature Version 4" (S3), "Request syntax and
signature method V3" and "RPC mechanism" (OpenAPI).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote_plus

from tests.emulator.http import Request

# The query parameters that V1 signs. It ignores the others.
_V1_PARAMETERS = frozenset(
    "accessPoint acl append bucketInfo callback callback-var cname comp continuation-token cors "
    "delete encryption endTime httpsConfig img inventory inventoryId lifecycle live location "
    "logging metaQuery objectInfo objectMeta partNumber policy policyStatus position "
    "publicAccessBlock qos qosInfo referer regionList replication replicationLocation "
    "replicationProgress requestPayment resourceGroup response-cache-control "
    "response-content-disposition response-content-encoding response-content-language "
    "response-content-type response-expires restore security-token sequential startTime stat "
    "status style styleName symlink tagging transferAcceleration uploadId uploads versionId "
    "versioning versions vod website worm wormExtend wormId x-oss-process".split()
)


@dataclass(frozen=True)
class Signature:
    """The signature of a request by an access key."""

    key_id: str
    scheme: str  # `oss-v1`, `oss-v4`, `s3-v4`, `rpc` or `acs3`
    value: str  # as in the request
    text: str  # the text that is signed
    scope: tuple[str, ...] = ()  # date, region and service (V4 only)

    def is_valid(self, secret: str) -> bool:
        """Whether it was made with `secret`."""
        return hmac.compare_digest(self.value, _SIGNERS[self.scheme](self, secret))


class _V4Variant(NamedTuple):
    """A variant of Signature V4."""

    algorithm: str
    key_prefix: str  # precedes the secret, from which the signing key is derived
    parameter_prefix: str  # the prefix of its headers and query parameters


_OSS_V4, _AWS_V4 = (
    _V4Variant("OSS4-HMAC-SHA256", "aliyun_v4", "x-oss-"),
    _V4Variant("AWS4-HMAC-SHA256", "AWS4", "x-amz-"),
)


def find_signature(request: Request, bucket: str) -> Signature | None:
    """The signature of a request to either API of OSS, or None if it has none.

    `bucket` is the one that the host of the request names, or an empty text.
    """
    header = request.headers.get("authorization", "")
    if header.startswith("OSS "):
        return _v1_signature(request, bucket, header[4:], request.headers.get("date", ""))
    if "OSSAccessKeyId" in request.query:
        query = request.query
        credentials = f"{query['OSSAccessKeyId']}:{query.get('Signature', '')}"
        return _v1_signature(request, bucket, credentials, query.get("Expires", ""))
    for v4 in (_OSS_V4, _AWS_V4):
        if header.startswith(v4.algorithm):
            fields = dict(re.findall(r"(\w+)=([^,\s]+)", header))
            return _v4_signature(request, bucket, v4, fields, "")
        signed = {name.lower(): value for name, value in request.query.items()}
        if f"{v4.parameter_prefix}signature" in signed:
            fields = {
                "Credential": signed[f"{v4.parameter_prefix}credential"],
                "Signature": signed[f"{v4.parameter_prefix}signature"],
                "SignedHeaders": signed.get("x-amz-signedheaders", ""),
                "AdditionalHeaders": signed.get("x-oss-additional-headers", ""),
            }
            return _v4_signature(request, bucket, v4, fields, signed[f"{v4.parameter_prefix}date"])
    return None


def _v1_signature(request: Request, bucket: str, credentials: str, date: str) -> Signature:
    """An OSS V1 signature. `credentials` is KEY_ID:SIGNATURE."""
    key_id, _, signature = credentials.partition(":")
    headers = request.headers
    oss_headers = sorted((name, headers[name]) for name in headers if name.startswith("x-oss-"))
    signed = sorted(
        (name, value)
        for name, value in request.query.items()
        if name in _V1_PARAMETERS or name.startswith("x-oss-")
    )
    query = "&".join(f"{name}={value}" if value else name for name, value in signed)
    resource = (f"/{bucket}/" if bucket else "/") + request.key + ("?" + query if query else "")
    text = "\n".join(
        (
            request.method,
            headers.get("content-md5", ""),
            headers.get("content-type", ""),
            date,
            *(f"{name}:{value.strip()}" for name, value in oss_headers),
            resource,
        )
    )
    return Signature(key_id, "oss-v1", signature, text)


def _v4_signature(
    request: Request, bucket: str, v4: _V4Variant, fields: Mapping[str, str], query_date: str
) -> Signature:
    """A V4 signature. `fields` are the fields of the header or URL that has it.

    `query_date` is the date in the URL, or an empty text.
    """
    key_id, *scope = fields.get("Credential", "").split("/")
    is_oss, headers = v4 is _OSS_V4, request.headers
    additional = [name for name in fields.get("AdditionalHeaders", "").split(";") if name]
    if is_oss:
        names = {*additional, *(name for name in headers if _is_always_signed(name))}
        path = (f"/{bucket}/" if bucket else "/") + quote(request.key, safe="/~")
    else:
        names = set(fields.get("SignedHeaders", "").split(";"))
        path = "/" + quote(request.key, safe="/~")
    query = sorted(
        (_percent_encode(unquote_plus(name)), _percent_encode(unquote_plus(value)))
        for name, _, value in (part.partition("=") for part in request.raw_query.split("&") if part)
        if name.lower() != f"{v4.parameter_prefix}signature"
    )
    parameters = []
    for name, value in query:
        if is_oss and not value:
            parameters.append(name)
        else:
            parameters.append(f"{name}={value}")
    payload = headers.get(f"{v4.parameter_prefix}content-sha256") or "UNSIGNED-PAYLOAD"
    canonical = "\n".join(
        (
            request.method,
            path,
            "&".join(parameters),
            *(f"{name}:{' '.join(_header(request, name).split())}" for name in sorted(names)),
            "",
            ";".join(sorted(additional if is_oss else names)),
            payload,
        )
    )
    date = query_date or headers.get(f"{v4.parameter_prefix}date") or headers.get("date", "")
    text = "\n".join((v4.algorithm, date, "/".join(scope), _sha256(canonical.encode())))
    scheme = "oss-v4" if is_oss else "s3-v4"
    return Signature(key_id, scheme, fields.get("Signature", ""), text, tuple(scope))


def _is_always_signed(header: str) -> bool:
    """Whether a V4 signature of OSS covers this header in each request."""
    return header in ("content-type", "content-md5") or header.startswith("x-oss-")


def _header(request: Request, name: str) -> str:
    """The value of a header. `host` comes from the URL if a proxied request has no such header."""
    default = request.host if name == "host" else ""
    return request.headers.get(name, default)


def find_rpc_signature(request: Request) -> tuple[Signature | None, Mapping[str, str]]:
    """The signature of a call to an OpenAPI service, if it has one, and the call's parameters."""
    form = dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True))
    parameters = {**request.query, **form}
    header = request.headers.get("authorization", "")
    if header.startswith("ACS3-HMAC-SHA256"):
        fields = dict(re.findall(r"(\w+)=([^,\s]+)", header))
        names = fields.get("SignedHeaders", "")
        canonical = "\n".join(
            (
                request.method,
                "/",
                _canonical_query(request.query.items()),
                *(f"{name}:{_header(request, name).strip()}" for name in names.split(";")),
                "",
                names,
                request.sha256,
            )
        )
        text = f"ACS3-HMAC-SHA256\n{_sha256(canonical.encode())}"
        action = {"Action": request.headers.get("x-acs-action", "")}
        signature = Signature(fields.get("Credential", ""), "acs3", fields["Signature"], text)
        return signature, {**parameters, **action}
    if "Signature" not in parameters:
        return None, parameters
    signed = _canonical_query((n, v) for n, v in parameters.items() if n != "Signature")
    text = f"{request.method}&%2F&{_percent_encode(signed)}"
    return Signature(parameters["AccessKeyId"], "rpc", parameters["Signature"], text), parameters


def _canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(
        f"{_percent_encode(name)}={_percent_encode(value)}" for name, value in sorted(pairs)
    )


def _percent_encode(text: str) -> str:
    return quote(text, safe="~")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hmac(key: bytes, text: str, algorithm: str = "sha256") -> bytes:
    return hmac.new(key, text.encode(), algorithm).digest()


def _v4_signer(key_prefix: str) -> Callable[[Signature, str], str]:
    """Return a function that computes V4 signatures."""

    def sign(signature: Signature, secret: str) -> str:
        key = f"{key_prefix}{secret}".encode()
        for part in signature.scope:
            key = _hmac(key, part)
        return _hmac(key, signature.text).hex()

    return sign


_SIGNERS: Mapping[str, Callable[[Signature, str], str]] = {
    "oss-v1": lambda signature, secret: _base64(_hmac(secret.encode(), signature.text, "sha1")),
    "oss-v4": _v4_signer(_OSS_V4.key_prefix),
    "s3-v4": _v4_signer(_AWS_V4.key_prefix),
    "rpc": lambda signature, secret: _base64(_hmac(f"{secret}&".encode(), signature.text, "sha1")),
    "acs3": lambda signature, secret: _hmac(secret.encode(), signature.text).hex(),
}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
