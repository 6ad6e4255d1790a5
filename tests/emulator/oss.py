"""The emulated OSS: buckets, their settings, and objects, for the native and the S3 API."""

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.emulator.http import Content, Request, Response
from tests.emulator.ram import ApiError

# The sizes are from the pages "UploadPart" and "UploadPartCopy" of the API reference.
MIN_PART_SIZE = 100 * 1024  # bytes, of each part but the last
MAX_COPY_SIZE = 2**30  # bytes, in one call

# The page of each API lists the action that it needs under "Permissions".
API_REFERENCE = "https://www.alibabacloud.com/help/en/oss/developer-reference/"


class Api(NamedTuple):
    """An API of OSS."""

    name: str
    action: str  # its name in policies
    on: str  # what the call acts on: `bucket`, `object` or `service`


# APIs that list, read or write objects, by level, HTTP method and marks. A mark is a query
# parameter that selects an API, or `copy-source` for the header of that name. The actions are from
# the page "RAM Policy", which lists them by API:
# https://www.alibabacloud.com/help/en/oss/user-guide/ram-policy-overview
_DATA = {
    ("bucket", "GET", ""): Api("ListObjects", "oss:ListObjects", "bucket"),
    ("bucket", "GET", "list-type"): Api("ListObjectsV2", "oss:ListObjects", "bucket"),
    ("bucket", "GET", "versions"): Api("ListObjectVersions", "oss:ListObjectVersions", "bucket"),
    ("bucket", "GET", "uploads"): Api("ListMultipartUploads", "oss:ListMultipartUploads", "bucket"),
    ("bucket", "POST", "delete"): Api("DeleteMultipleObjects", "oss:DeleteObject", "object"),
    ("object", "GET", ""): Api("GetObject", "oss:GetObject", "object"),
    ("object", "HEAD", ""): Api("HeadObject", "oss:GetObject", "object"),
    ("object", "PUT", ""): Api("PutObject", "oss:PutObject", "object"),
    ("object", "PUT", "copy-source"): Api("CopyObject", "oss:PutObject", "object"),
    ("object", "DELETE", ""): Api("DeleteObject", "oss:DeleteObject", "object"),
    ("object", "POST", "uploads"): Api("InitiateMultipartUpload", "oss:PutObject", "object"),
    ("object", "PUT", "uploadId"): Api("UploadPart", "oss:PutObject", "object"),
    ("object", "PUT", "uploadId copy-source"): Api("UploadPartCopy", "oss:PutObject", "object"),
    ("object", "POST", "uploadId"): Api("CompleteMultipartUpload", "oss:PutObject", "object"),
    ("object", "GET", "uploadId"): Api("ListParts", "oss:ListParts", "object"),
    ("object", "DELETE", "uploadId"): Api(
        "AbortMultipartUpload", "oss:AbortMultipartUpload", "object"
    ),
}
# Settings of a bucket, by query parameter: their name in APIs and actions, and the response to a
# GET if nothing was set. The response is an error code or a document.
_SETTINGS: Mapping[str, tuple[str, str]] = {
    "acl": ("Acl", ""),
    "bucketInfo": ("Info", ""),
    "cors": ("Cors", "NoSuchCORSConfiguration"),
    "encryption": ("Encryption", "NoSuchServerSideEncryptionRule"),
    "httpsConfig": (
        "HttpsConfig",
        "<HttpsConfiguration><TLS><Enable>false</Enable></TLS></HttpsConfiguration>",
    ),
    "lifecycle": ("Lifecycle", "NoSuchLifecycle"),
    "logging": ("Logging", "<BucketLoggingStatus/>"),
    "policy": ("Policy", "NoSuchBucketPolicy"),
    "publicAccessBlock": (
        "PublicAccessBlock",
        "<PublicAccessBlockConfiguration><BlockPublicAccess>false</BlockPublicAccess>"
        "</PublicAccessBlockConfiguration>",
    ),
    "referer": (
        "Referer",
        "<RefererConfiguration><AllowEmptyReferer>true</AllowEmptyReferer><RefererList/>"
        "</RefererConfiguration>",
    ),
    "resourceGroup": (
        "ResourceGroup",
        "<BucketResourceGroupConfiguration><ResourceGroupId>rg-emulator</ResourceGroupId>"
        "</BucketResourceGroupConfiguration>",
    ),
    "tagging": ("Tagging", "<Tagging><TagSet/></Tagging>"),
    "transferAcceleration": ("TransferAcceleration", "NoSuchTransferAccelerationConfiguration"),
    "versioning": ("Versioning", "<VersioningConfiguration/>"),
    "website": ("Website", "NoSuchWebsiteConfiguration"),
}
_VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}


def find_api(request: Request, bucket: str) -> Api:
    """The API that `request` calls. Raises ApiError if the emulator does not have it."""
    if not bucket:
        if (request.method, request.key) != ("GET", ""):
            raise ApiError(405, "MethodNotAllowed")
        return Api("ListBuckets", "oss:ListBuckets", "service")
    level = "object" if request.key else "bucket"
    if level == "bucket":
        for setting, (name, _) in _SETTINGS.items():
            if setting in request.query and request.method in _VERBS:
                api_name = f"{_VERBS[request.method]}Bucket{name}"
                return Api(api_name, f"oss:{api_name}", "bucket")
        if request.method in ("PUT", "DELETE") and not request.query:
            api_name = f"{_VERBS[request.method]}Bucket"
            return Api(api_name, f"oss:{api_name}", "bucket")
    parameters = ("list-type", "versions", "uploads", "delete", "uploadId")
    marks = [parameter for parameter in parameters if parameter in request.query]
    if request.vendor_header("copy-source"):
        marks.append("copy-source")
    api = _DATA.get((level, request.method, " ".join(marks)))
    if api is None:
        raise ApiError(405, "MethodNotAllowed", f"the emulator knows no such call: {request}")
    return api


@dataclass
class Version:
    """A version of an object. A version without content is a delete marker."""

    id: str
    content: Content | None = field(repr=False)
    etag: str
    content_type: str = "application/octet-stream"
    modified: float = field(default_factory=time.time)


@dataclass
class Upload:
    """A multipart upload that is not completed, with its parts by number."""

    id: str
    key: str
    content_type: str
    parts: dict[int, Version] = field(default_factory=dict)
    started: float = field(default_factory=time.time)


@dataclass
class Bucket:
    """A bucket. `owner` is an account. In OSS, only old buckets accept Signature V1 (`accepts_v1`).

    `settings` maps query parameters to documents. `objects` maps keys to versions, oldest first.
    """

    name: str
    owner: str
    region: str
    accepts_v1: bool
    acl: str = "private"
    created: float = field(default_factory=time.time)
    settings: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, list[Version]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    @property
    def versioned(self) -> bool:
        """Whether versioning is enabled."""
        return b"Enabled" in self.settings.get("versioning", b"")

    @property
    def kms_key_id(self) -> str:
        """The ID of the KMS key that encrypts new objects, or an empty text."""
        rule = self.settings.get("encryption", b"")
        found = re.search(rb"<KMSMasterKeyID>(.+?)</", rule) if b"KMS" in rule else None
        return found[1].decode() if found else ""

    def current(self, key: str) -> Version | None:
        """The latest version of an object, or None if the object does not exist."""
        versions = self.objects.get(key)
        if not versions or versions[-1].content is None:
            return None
        return versions[-1]

    def names(self) -> list[str]:
        """The keys of the existing objects, sorted."""
        return sorted(key for key in self.objects if self.current(key))

    def put(self, key: str, version: Version) -> None:
        """Store a version of an object. Without versioning, it replaces the existing one."""
        if self.versioned:
            self.objects.setdefault(key, []).append(version)
        else:
            self.objects[key] = [version]

    def delete(self, key: str, version_id: str = "") -> None:
        """Delete an object or one of its versions. With versioning, add a delete marker."""
        versions = self.objects.pop(key, [])
        if version_id:
            versions = [version for version in versions if version.id != version_id]
        elif self.versioned:
            versions = [*versions, Version(_new_id(), None, "")]
        else:
            versions = []
        if versions:
            self.objects[key] = versions


class Oss:
    """The buckets of all accounts."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.new_buckets_accept_v1 = False  # Signature V1

    def answer(self, api: Api, request: Request, name: str, region: str, account: str) -> Response:
        """Execute a call of `account` for the bucket `name`. Raises ApiError."""
        if api.on == "service":
            return self._list_buckets(request, account)
        if api.name == "PutBucket":
            return self._put_bucket(request, name, region, account)
        bucket = self.buckets[name]
        if api.name == "DeleteBucket":
            if bucket.objects or bucket.uploads:
                message = "The bucket you tried to delete is not empty."
                raise ApiError(409, "BucketNotEmpty", message)
            del self.buckets[name]
            return Response(status=204)
        for setting, (setting_name, missing) in _SETTINGS.items():
            if api.name.endswith(f"Bucket{setting_name}"):
                return self._setting(bucket, setting, missing, request)
        handle: Callable[[Bucket, Request], Response] = getattr(self, f"_{api.name}")
        return handle(bucket, request)

    def _list_buckets(self, request: Request, account: str) -> Response:
        prefix = request.query.get("prefix", "")
        own = [b for b in self.buckets.values() if b.owner == account and b.name.startswith(prefix)]
        entries = [
            {
                "Name": b.name,
                "Location": f"oss-{b.region}",
                "CreationDate": _iso_time(b.created),
                "ExtranetEndpoint": f"oss-{b.region}.aliyuncs.com",
                "IntranetEndpoint": f"oss-{b.region}-internal.aliyuncs.com",
                "StorageClass": "Standard",
                "Region": b.region,
            }
            for b in own
        ]
        owner = {"ID": account, "DisplayName": account}
        return xml_response(
            "ListAllMyBucketsResult", {"Owner": owner, "Buckets": {"Bucket": entries}}
        )

    def _put_bucket(self, request: Request, name: str, region: str, account: str) -> Response:
        bucket = self.buckets.get(name)
        if bucket and bucket.owner != account:
            message = "The requested bucket name is not available."
            raise ApiError(409, "BucketAlreadyExists", message)
        if not bucket:
            bucket = self.buckets[name] = Bucket(name, account, region, self.new_buckets_accept_v1)
        bucket.acl = request.headers.get("x-oss-acl", bucket.acl)
        return Response()

    def _setting(self, bucket: Bucket, setting: str, missing: str, request: Request) -> Response:
        if request.method == "PUT":
            if setting == "acl":
                bucket.acl = request.headers["x-oss-acl"]
            bucket.settings[setting] = request.body
            return Response()
        if request.method == "DELETE":
            bucket.settings.pop(setting, None)
            return Response(status=204)
        owner = {"ID": bucket.owner, "DisplayName": bucket.owner}
        if setting == "acl":
            content = {"Owner": owner, "AccessControlList": {"Grant": bucket.acl}}
            return xml_response("AccessControlPolicy", content)
        if setting == "bucketInfo":
            return self._bucket_info(bucket, owner)
        if setting in bucket.settings:
            return _document_response(bucket.settings[setting].decode())
        if missing.startswith("<"):
            return _document_response(missing)
        raise ApiError(404, missing, "It is not set.")

    def _bucket_info(self, bucket: Bucket, owner: Mapping[str, str]) -> Response:
        rule = bucket.settings.get("encryption", b"").decode()
        algorithm = re.search(r"<SSEAlgorithm>(.+?)</", rule)
        status = re.search(r"<Status>(.+?)</", bucket.settings.get("versioning", b"").decode())
        content = {
            "CreationDate": _iso_time(bucket.created),
            "ExtranetEndpoint": f"oss-{bucket.region}.aliyuncs.com",
            "IntranetEndpoint": f"oss-{bucket.region}-internal.aliyuncs.com",
            "Location": f"oss-{bucket.region}",
            "Name": bucket.name,
            "StorageClass": "Standard",
            "DataRedundancyType": "LRS",
            "Owner": owner,
            "AccessControlList": {"Grant": bucket.acl},
            "ServerSideEncryptionRule": {
                "SSEAlgorithm": algorithm[1] if algorithm else "None",
                **({"KMSMasterKeyID": bucket.kms_key_id} if bucket.kms_key_id else {}),
            },
            **({"Versioning": status[1]} if status else {}),
        }
        return xml_response("BucketInfo", {"Bucket": content})

    def _PutObject(self, bucket: Bucket, request: Request) -> Response:
        content_type = request.headers.get("content-type", "application/octet-stream")
        version = Version(_new_id(), request.content, _etag(request.md5), content_type)
        bucket.put(request.key, version)
        return Response(headers={"ETag": version.etag})

    def _GetObject(self, bucket: Bucket, request: Request) -> Response:
        version = _require_object(bucket, request.key)
        content = version.content or Content()
        headers = _object_headers(version)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not span:
            return Response(headers=headers, body=content)
        first, last = int(span[1]), int(span[2] or len(content) - 1)
        if first >= len(content):
            raise ApiError(416, "InvalidRange", "The requested range cannot be satisfied.")
        part = content.part(first, last + 1)
        headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return Response(status=206, headers=headers, body=part)

    def _HeadObject(self, bucket: Bucket, request: Request) -> Response:
        version = _require_object(bucket, request.key)
        return Response(headers=_object_headers(version), length=len(version.content or ()))

    def _CopyObject(self, bucket: Bucket, request: Request) -> Response:
        source = self._source(request)
        if len(source.content or ()) > MAX_COPY_SIZE:
            raise ApiError(400, "EntityTooLarge", "What is larger is copied part by part.")
        bucket.put(
            request.key, Version(_new_id(), source.content, source.etag, source.content_type)
        )
        content = {"ETag": source.etag, "LastModified": _iso_time(time.time())}
        return xml_response("CopyObjectResult", content)

    def _source(self, request: Request) -> Version:
        """The object that a call copies. Raises ApiError if it does not exist."""
        name, key = copy_source(request)
        if name not in self.buckets:
            raise ApiError(404, "NoSuchBucket", "The specified bucket does not exist.")
        return _require_object(self.buckets[name], key)

    def _DeleteObject(self, bucket: Bucket, request: Request) -> Response:
        bucket.delete(request.key, request.query.get("versionId", ""))
        return Response(status=204)

    def _DeleteMultipleObjects(self, bucket: Bucket, request: Request) -> Response:
        deleted = [*objects_to_delete(request)]
        if not deleted:
            raise ApiError(400, "MalformedXML", "The XML you provided was not well-formed.")
        for key, version in deleted:
            bucket.delete(key, version)
        entries = [{"Key": quote(key, safe="")} for key, _ in deleted]
        quiet = re.search(rb"<Quiet>true</Quiet>", request.body)
        content = {"EncodingType": "url", "Deleted": [] if quiet else entries}
        return xml_response("DeleteResult", content)

    def _InitiateMultipartUpload(self, bucket: Bucket, request: Request) -> Response:
        content_type = request.headers.get("content-type", "application/octet-stream")
        upload = Upload(_new_id(), request.key, content_type)
        bucket.uploads[upload.id] = upload
        content = {"Bucket": bucket.name, "Key": upload.key, "UploadId": upload.id}
        return xml_response("InitiateMultipartUploadResult", content)

    def _UploadPart(self, bucket: Bucket, request: Request) -> Response:
        upload, number = _require_upload(bucket, request), int(request.query["partNumber"])
        part = Version("", request.content, _etag(request.md5))
        upload.parts[number] = part
        return Response(headers={"ETag": part.etag})

    def _UploadPartCopy(self, bucket: Bucket, request: Request) -> Response:
        upload, number = _require_upload(bucket, request), int(request.query["partNumber"])
        source, byte_range = self._source(request), request.vendor_header("copy-source-range")
        content = source.content or Content()
        if span := re.fullmatch(r"bytes=(\d+)-(\d+)", byte_range):
            content = content.part(int(span[1]), int(span[2]) + 1)
        # Not a digest of the content, which would take as long as an upload. OSS copies faster.
        etag = _etag(hashlib.md5(f"{source.etag} {byte_range}".encode()).digest())
        part = upload.parts[number] = Version("", content, etag)
        return xml_response(
            "CopyPartResult", {"ETag": part.etag, "LastModified": _iso_time(part.modified)}
        )

    def _CompleteMultipartUpload(self, bucket: Bucket, request: Request) -> Response:
        upload = _require_upload(bucket, request)
        listed = [
            (int(_child_text(part, "PartNumber")), _child_text(part, "ETag").strip('"'))
            for part in _elements_named(request.body, "Part")
        ]
        parts = [upload.parts.get(number) for number, _ in listed]
        if not listed or listed != sorted(listed):
            raise ApiError(400, "InvalidPartOrder", "The parts are not in ascending order.")
        for part, (_, etag) in zip(parts, listed, strict=True):
            if part is None or part.etag.strip('"') != etag.upper():
                raise ApiError(400, "InvalidPart", "One or more of the parts could not be found.")
        contents = [part.content for part in parts if part and part.content is not None]
        if any(len(content) < MIN_PART_SIZE for content in contents[:-1]):
            raise ApiError(400, "EntityTooSmall", "A part is smaller than the minimum size.")
        content = Content(*(piece for content in contents for piece in content.pieces))
        etags = hashlib.md5("".join(etag for _, etag in listed).encode()).digest()
        etag = f'{_etag(etags)[:-1]}-{len(contents)}"'
        bucket.put(upload.key, Version(_new_id(), content, etag, upload.content_type))
        del bucket.uploads[upload.id]
        result = {"Bucket": bucket.name, "Key": upload.key, "ETag": etag}
        return xml_response("CompleteMultipartUploadResult", result)

    def _AbortMultipartUpload(self, bucket: Bucket, request: Request) -> Response:
        del bucket.uploads[_require_upload(bucket, request).id]
        return Response(status=204)

    def _ListParts(self, bucket: Bucket, request: Request) -> Response:
        upload = _require_upload(bucket, request)
        after = int(request.query.get("part-number-marker") or 0)
        numbers = sorted(number for number in upload.parts if number > after)
        limit = int(request.query.get("max-parts") or 1000)
        parts = [
            {
                "PartNumber": number,
                "LastModified": _iso_time(upload.parts[number].modified),
                "ETag": upload.parts[number].etag,
                "Size": len(upload.parts[number].content or ()),
            }
            for number in numbers[:limit]
        ]
        content = {
            "Bucket": bucket.name,
            "Key": upload.key,
            "UploadId": upload.id,
            "NextPartNumberMarker": numbers[:limit][-1] if parts else 0,
            "MaxParts": limit,
            "IsTruncated": len(numbers) > limit,
            "Part": parts,
        }
        return xml_response("ListPartsResult", content)

    def _ListMultipartUploads(self, bucket: Bucket, request: Request) -> Response:
        prefix = request.query.get("prefix", "")
        key_marker = request.query.get("key-marker", "")
        id_marker = request.query.get("upload-id-marker", "")
        found = sorted(
            (upload.key, upload.id)
            for upload in bucket.uploads.values()
            if upload.key.startswith(prefix)
        )
        remaining = [
            (key, id_)
            for key, id_ in found
            if key > key_marker or (key == key_marker and id_marker and id_ > id_marker)
        ]
        limit = int(request.query.get("max-uploads") or 1000)
        page = remaining[:limit]
        uploads = [
            {"Key": key, "UploadId": id_, "Initiated": _iso_time(bucket.uploads[id_].started)}
            for key, id_ in page
        ]
        content = {
            "Bucket": bucket.name,
            "Prefix": prefix,
            "KeyMarker": key_marker,
            "UploadIdMarker": id_marker,
            "NextKeyMarker": page[-1][0] if page else "",
            "NextUploadIdMarker": page[-1][1] if page else "",
            "MaxUploads": limit,
            "IsTruncated": len(remaining) > limit,
            "Upload": uploads,
        }
        return xml_response("ListMultipartUploadsResult", content)

    def _ListObjects(self, bucket: Bucket, request: Request) -> Response:
        entries, last, more, content = _listing(bucket, request, request.query.get("marker", ""))
        content |= {"Marker": request.query.get("marker", "")}
        if more:
            content["NextMarker"] = _encode_name(last, request)
        return xml_response("ListBucketResult", {**content, **entries})

    def _ListObjectsV2(self, bucket: Bucket, request: Request) -> Response:
        token = request.query.get("continuation-token", "")
        after = base64.b64decode(token).decode() if token else request.query.get("start-after", "")
        entries, last, more, content = _listing(bucket, request, after)
        content |= {"KeyCount": sum(map(len, entries.values()))}
        if more:
            content["NextContinuationToken"] = base64.b64encode(last.encode()).decode()
        return xml_response("ListBucketResult", {**content, **entries})

    def _ListObjectVersions(self, bucket: Bucket, request: Request) -> Response:
        prefix = request.query.get("prefix", "")
        versions, markers = [], []
        for key, stored in sorted(bucket.objects.items()):
            if not key.startswith(prefix):
                continue
            for version in reversed(stored):
                entry = {
                    "Key": _encode_name(key, request),
                    "VersionId": version.id,
                    "IsLatest": version is stored[-1],
                    "LastModified": _iso_time(version.modified),
                    "Owner": {"ID": bucket.owner, "DisplayName": bucket.owner},
                }
                if version.content is None:
                    markers.append(entry)
                else:
                    entry |= {"ETag": version.etag, "Size": len(version.content)}
                    versions.append({**entry, "StorageClass": "Standard"})
        content = {"Name": bucket.name, "Prefix": prefix, "IsTruncated": False}
        return xml_response(
            "ListVersionsResult", {**content, "Version": versions, "DeleteMarker": markers}
        )


def copy_source(request: Request) -> tuple[str, str]:
    """The bucket and the key of the object that a call copies."""
    path = unquote(request.vendor_header("copy-source")).lstrip("/")
    bucket, _, key = path.partition("/")
    return bucket, key.partition("?versionId=")[0]


def objects_to_delete(request: Request) -> Iterator[tuple[str, str]]:
    """The keys in a DeleteMultipleObjects call, each with a version ID or an empty text."""
    for entry in _elements_named(request.body, "Object"):
        yield _child_text(entry, "Key"), _child_text(entry, "VersionId")


def _listing(
    bucket: Bucket, request: Request, after: str
) -> tuple[dict[str, list[dict[str, Any]]], str, bool, dict[str, Any]]:
    """One page of a listing, which begins after the name `after`.

    Returns the entries, the last name on the page, whether there are more pages, and the fields
    that both versions of ListObjects have.
    """
    prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
    limit = int(request.query.get("max-keys") or 100)
    names = [name for name in bucket.names() if name.startswith(prefix)]
    objects, prefixes = _group(names, prefix, delimiter)
    remaining = sorted(name for name in (*objects, *prefixes) if name > after)
    page = remaining[:limit]
    contents = [
        {
            "Key": _encode_name(name, request),
            "LastModified": _iso_time(version.modified),
            "ETag": version.etag,
            "Type": "Normal",
            "Size": len(version.content or ()),
            "StorageClass": "Standard",
            "Owner": {"ID": bucket.owner, "DisplayName": bucket.owner},
        }
        for name in page
        if name in objects and (version := bucket.current(name))
    ]
    entries: dict[str, list[dict[str, Any]]] = {
        "Contents": contents,
        "CommonPrefixes": [
            {"Prefix": _encode_name(name, request)} for name in page if name in prefixes
        ],
    }
    content = {
        "Name": bucket.name,
        "Prefix": _encode_name(prefix, request),
        "MaxKeys": limit,
        "Delimiter": _encode_name(delimiter, request),
        "IsTruncated": len(remaining) > limit,
        **({"EncodingType": "url"} if "encoding-type" in request.query else {}),
    }
    return entries, page[-1] if page else "", len(remaining) > limit, content


def _group(names: Iterable[str], prefix: str, delimiter: str) -> tuple[set[str], set[str]]:
    """Split `names` into objects and common prefixes.

    A name with `delimiter` after `prefix` counts as a common prefix, which ends at the delimiter.
    """
    if not delimiter:
        return set(names), set()
    objects, prefixes = set(), set()
    for name in names:
        head, found, _ = name[len(prefix) :].partition(delimiter)
        if found:
            prefixes.add(prefix + head + found)
        else:
            objects.add(name)
    return objects, prefixes


def _encode_name(name: str, request: Request) -> str:
    """`name`, URL-encoded if `request` has the parameter `encoding-type`."""
    return quote(name, safe="/") if "encoding-type" in request.query else name


def _require_object(bucket: Bucket, key: str) -> Version:
    """The latest version of an object. Raises ApiError if the object does not exist."""
    version = bucket.current(key)
    if version is None:
        raise ApiError(404, "NoSuchKey", "The specified key does not exist.")
    return version


def _require_upload(bucket: Bucket, request: Request) -> Upload:
    """The multipart upload of a call. Raises ApiError if it does not exist."""
    upload = bucket.uploads.get(request.query["uploadId"])
    if upload is None or upload.key != request.key:
        raise ApiError(404, "NoSuchUpload", "The specified upload does not exist.")
    return upload


def check_digest(request: Request) -> None:
    """Raise ApiError if the content does not match the digests in the headers."""
    md5 = request.headers.get("content-md5")
    if md5 and base64.b64encode(request.md5).decode() != md5:
        raise ApiError(400, "InvalidDigest", "The Content-MD5 is not that of the content.")
    sha256 = request.vendor_header("content-sha256")
    if re.fullmatch("[0-9a-f]{64}", sha256) and request.sha256 != sha256:
        raise ApiError(400, "XAmzContentSHA256Mismatch", "The SHA-256 is not that of the content.")


def _object_headers(version: Version) -> dict[str, str]:
    return {
        "ETag": version.etag,
        "Last-Modified": formatdate(version.modified, usegmt=True),
        "Content-Type": version.content_type,
        "Accept-Ranges": "bytes",
        "x-oss-object-type": "Normal",
        "x-oss-storage-class": "Standard",
    }


def _new_id() -> str:
    return secrets.token_hex(16).upper()


def _etag(md5: bytes) -> str:
    return f'"{md5.hex().upper()}"'


def _iso_time(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when))


def _elements_named(body: bytes, name: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(body).iter() if e.tag.rpartition("}")[2] == name]


def _child_text(element: ElementTree.Element, name: str) -> str:
    texts = (child.text for child in element if child.tag.rpartition("}")[2] == name)
    return next(texts, None) or ""


def _document_response(text: str) -> Response:
    """A response with `text`, which is JSON or XML."""
    content_type = "application/json" if text.startswith("{") else "application/xml"
    return Response(headers={"Content-Type": content_type}, body=Content(text.encode()))


def xml_response(name: str, content: Mapping[str, Any]) -> Response:
    """A response with an XML document. A list in `content` is a repeated element."""
    return _document_response(
        f'<?xml version="1.0" encoding="UTF-8"?>\n{_xml_element(name, content)}'
    )


def _xml_element(name: str, content: Any) -> str:  # noqa: ANN401
    if isinstance(content, list):
        return "".join(_xml_element(name, item) for item in content)
    if isinstance(content, Mapping):
        inner = "".join(_xml_element(*item) for item in content.items())
    else:
        text = str(content).lower() if isinstance(content, bool) else str(content)
        inner = escape(text)
    return f"<{name}>{inner}</{name}>"
