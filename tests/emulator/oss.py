"""OSS: buckets, what is set on them, and objects; for its own door and for the S3 one."""

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
from tests.emulator.ram import Refused

LEAST_PART = 100 * 1024  # of all but the last one: "UploadPart"
LARGEST_COPY = 2**30  # in one call: "UploadPartCopy"


# Each API's page says under "Permissions" which action it needs.
PAGES = "https://www.alibabacloud.com/help/en/oss/developer-reference/"


class Api(NamedTuple):
    """An API, the action that policies call it, and what it acts on: bucket, object or service."""

    name: str
    action: str
    on: str


# Data plane: by level, method and what marks the call, the query's or a header's. The actions are
# those of "RAM Policy" (https://www.alibabacloud.com/help/en/oss/user-guide/ram-policy-overview),
# which lists them by API.
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
# What can be set on a bucket: its sub-resource, as APIs and actions call it, and what a GET answers
# where nothing was set: an error code, or a document.
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


def api_of(request: Request, bucket: str) -> Api:
    """Raises Refused for a call that the emulator does not know."""
    if not bucket:
        if (request.method, request.key) != ("GET", ""):
            raise Refused(405, "MethodNotAllowed")
        return Api("ListBuckets", "oss:ListBuckets", "service")
    level = "object" if request.key else "bucket"
    if level == "bucket":
        for setting, (name, _) in _SETTINGS.items():
            if setting in request.query and request.method in _VERBS:
                called = f"{_VERBS[request.method]}Bucket{name}"
                return Api(called, f"oss:{called}", "bucket")
        if request.method in ("PUT", "DELETE") and not request.query:
            called = f"{_VERBS[request.method]}Bucket"
            return Api(called, f"oss:{called}", "bucket")
    marks = [m for m in ("list-type", "versions", "uploads", "delete") if m in request.query]
    marks += ["uploadId"] * ("uploadId" in request.query)
    marks += ["copy-source"] * bool(request.extension("copy-source"))
    api = _DATA.get((level, request.method, " ".join(marks)))
    if api is None:
        raise Refused(405, "MethodNotAllowed", f"the emulator knows no such call: {request}")
    return api


@dataclass
class Version:
    """A version of an object; without content it is a delete marker."""

    id: str
    content: Content | None = field(repr=False)
    etag: str
    kind: str = "application/octet-stream"
    modified: float = field(default_factory=time.time)


@dataclass
class Upload:
    id: str
    key: str
    kind: str
    parts: dict[int, Version] = field(default_factory=dict)
    begun: float = field(default_factory=time.time)


@dataclass
class Bucket:
    """`owner` is an account; `takes_v1` is whether it is old enough for Signature V1."""

    name: str
    owner: str
    region: str
    takes_v1: bool
    acl: str = "private"
    created: float = field(default_factory=time.time)
    settings: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, list[Version]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    @property
    def versioned(self) -> bool:
        return b"Enabled" in self.settings.get("versioning", b"")

    @property
    def kms(self) -> str:
        """The id of the KMS key that new objects are encrypted with."""
        rule = self.settings.get("encryption", b"")
        found = re.search(rb"<KMSMasterKeyID>(.+?)</", rule) if b"KMS" in rule else None
        return found[1].decode() if found else ""

    def current(self, key: str) -> Version | None:
        versions = self.objects.get(key)
        return versions[-1] if versions and versions[-1].content is not None else None

    def names(self) -> list[str]:
        """The objects that are there."""
        return sorted(key for key in self.objects if self.current(key))

    def put(self, key: str, version: Version) -> None:
        if self.versioned:
            self.objects.setdefault(key, []).append(version)
        else:
            self.objects[key] = [version]

    def delete(self, key: str, version_id: str = "") -> None:
        if version_id:
            kept = [v for v in self.objects.get(key, ()) if v.id != version_id]
        elif self.versioned:
            kept = [*self.objects.get(key, ()), Version(_id(), None, "")]
        else:
            kept = []
        self.objects[key] = kept
        if not kept:
            del self.objects[key]


class Oss:
    """All of OSS: the buckets of every account."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.new_take_v1 = False  # whether buckets that are created take Signature V1

    def answer(
        self, api: Api, request: Request, bucket: str, region: str, account: str
    ) -> Response:
        """Raises Refused."""
        if api.on == "service":
            return self._list_buckets(request, account)
        if api.name == "PutBucket":
            return self._put_bucket(request, bucket, region, account)
        there = self.buckets[bucket]
        if api.name == "DeleteBucket":
            if there.objects or there.uploads:
                raise Refused(409, "BucketNotEmpty", "The bucket you tried to delete is not empty.")
            del self.buckets[bucket]
            return Response(status=204)
        for setting, (name, missing) in _SETTINGS.items():
            if api.name.endswith(f"Bucket{name}"):
                return self._setting(there, setting, missing, request)
        handle: Callable[[Bucket, Request], Response] = getattr(self, f"_{api.name}")
        return handle(there, request)

    def _list_buckets(self, request: Request, account: str) -> Response:
        prefix = request.query.get("prefix", "")
        own = [b for b in self.buckets.values() if b.owner == account and b.name.startswith(prefix)]
        entries = [
            {
                "Name": b.name,
                "Location": f"oss-{b.region}",
                "CreationDate": _iso(b.created),
                "ExtranetEndpoint": f"oss-{b.region}.aliyuncs.com",
                "IntranetEndpoint": f"oss-{b.region}-internal.aliyuncs.com",
                "StorageClass": "Standard",
                "Region": b.region,
            }
            for b in own
        ]
        owner = {"ID": account, "DisplayName": account}
        return document("ListAllMyBucketsResult", {"Owner": owner, "Buckets": {"Bucket": entries}})

    def _put_bucket(self, request: Request, name: str, region: str, account: str) -> Response:
        there = self.buckets.get(name)
        if there and there.owner != account:
            raise Refused(409, "BucketAlreadyExists", "The requested bucket name is not available.")
        if not there:
            there = self.buckets[name] = Bucket(name, account, region, self.new_take_v1)
        there.acl = request.headers.get("x-oss-acl", there.acl)
        return Response()

    def _setting(self, there: Bucket, setting: str, missing: str, request: Request) -> Response:
        if request.method == "PUT":
            if setting == "acl":
                there.acl = request.headers["x-oss-acl"]
            there.settings[setting] = request.body
            return Response()
        if request.method == "DELETE":
            there.settings.pop(setting, None)
            return Response(status=204)
        owner = {"ID": there.owner, "DisplayName": there.owner}
        if setting == "acl":
            content = {"Owner": owner, "AccessControlList": {"Grant": there.acl}}
            return document("AccessControlPolicy", content)
        if setting == "bucketInfo":
            return self._info(there, owner)
        if setting in there.settings:
            return _document(there.settings[setting].decode())
        if missing.startswith("<"):
            return _document(missing)
        raise Refused(404, missing, "It is not set.")

    def _info(self, there: Bucket, owner: Mapping[str, str]) -> Response:
        rule = there.settings.get("encryption", b"").decode()
        algorithm = re.search(r"<SSEAlgorithm>(.+?)</", rule)
        status = re.search(r"<Status>(.+?)</", there.settings.get("versioning", b"").decode())
        content = {
            "CreationDate": _iso(there.created),
            "ExtranetEndpoint": f"oss-{there.region}.aliyuncs.com",
            "IntranetEndpoint": f"oss-{there.region}-internal.aliyuncs.com",
            "Location": f"oss-{there.region}",
            "Name": there.name,
            "StorageClass": "Standard",
            "DataRedundancyType": "LRS",
            "Owner": owner,
            "AccessControlList": {"Grant": there.acl},
            "ServerSideEncryptionRule": {
                "SSEAlgorithm": algorithm[1] if algorithm else "None",
                **({"KMSMasterKeyID": there.kms} if there.kms else {}),
            },
            **({"Versioning": status[1]} if status else {}),
        }
        return document("BucketInfo", {"Bucket": content})

    def _PutObject(self, there: Bucket, request: Request) -> Response:
        kind = request.headers.get("content-type", "application/octet-stream")
        version = Version(_id(), request.content, _etag(request.md5), kind)
        there.put(request.key, version)
        return Response(headers={"ETag": version.etag})

    def _GetObject(self, there: Bucket, request: Request) -> Response:
        version = _existing(there, request.key)
        content = version.content or Content()
        headers = _facts(version)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not span:
            return Response(headers=headers, body=content)
        first, last = int(span[1]), int(span[2] or len(content) - 1)
        if first >= len(content):
            raise Refused(416, "InvalidRange", "The requested range cannot be satisfied.")
        part = content.part(first, last + 1)
        headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return Response(status=206, headers=headers, body=part)

    def _HeadObject(self, there: Bucket, request: Request) -> Response:
        version = _existing(there, request.key)
        return Response(headers=_facts(version), length=len(version.content or ()))

    def _CopyObject(self, there: Bucket, request: Request) -> Response:
        source = self._source(request)
        if len(source.content or ()) > LARGEST_COPY:
            raise Refused(400, "EntityTooLarge", "What is larger is copied part by part.")
        there.put(request.key, Version(_id(), source.content, source.etag, source.kind))
        content = {"ETag": source.etag, "LastModified": _iso(time.time())}
        return document("CopyObjectResult", content)

    def _source(self, request: Request) -> Version:
        bucket, key = source(request)
        if bucket not in self.buckets:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
        return _existing(self.buckets[bucket], key)

    def _DeleteObject(self, there: Bucket, request: Request) -> Response:
        there.delete(request.key, request.query.get("versionId", ""))
        return Response(status=204)

    def _DeleteMultipleObjects(self, there: Bucket, request: Request) -> Response:
        gone = [*to_delete(request)]
        if not gone:
            raise Refused(400, "MalformedXML", "The XML you provided was not well-formed.")
        for key, version in gone:
            there.delete(key, version)
        entries = [{"Key": quote(key, safe="")} for key, _ in gone]
        quiet = re.search(rb"<Quiet>true</Quiet>", request.body)
        content = {"EncodingType": "url", "Deleted": [] if quiet else entries}
        return document("DeleteResult", content)

    def _InitiateMultipartUpload(self, there: Bucket, request: Request) -> Response:
        kind = request.headers.get("content-type", "application/octet-stream")
        upload = Upload(_id(), request.key, kind)
        there.uploads[upload.id] = upload
        content = {"Bucket": there.name, "Key": upload.key, "UploadId": upload.id}
        return document("InitiateMultipartUploadResult", content)

    def _UploadPart(self, there: Bucket, request: Request) -> Response:
        upload, number = _upload(there, request), int(request.query["partNumber"])
        part = Version("", request.content, _etag(request.md5))
        upload.parts[number] = part
        return Response(headers={"ETag": part.etag})

    def _UploadPartCopy(self, there: Bucket, request: Request) -> Response:
        upload, number = _upload(there, request), int(request.query["partNumber"])
        origin, asked = self._source(request), request.extension("copy-source-range")
        content = origin.content or Content()
        if span := re.fullmatch(r"bytes=(\d+)-(\d+)", asked):
            content = content.part(int(span[1]), int(span[2]) + 1)
        # Not of the content, which would take as long here as an upload: OSS copies elsewhere.
        etag = _etag(hashlib.md5(f"{origin.etag} {asked}".encode()).digest())
        part = upload.parts[number] = Version("", content, etag)
        return document("CopyPartResult", {"ETag": part.etag, "LastModified": _iso(part.modified)})

    def _CompleteMultipartUpload(self, there: Bucket, request: Request) -> Response:
        upload = _upload(there, request)
        asked = [
            (int(_text(part, "PartNumber")), _text(part, "ETag").strip('"'))
            for part in _elements(request.body, "Part")
        ]
        parts = [upload.parts.get(number) for number, _ in asked]
        if not asked or asked != sorted(asked):
            raise Refused(400, "InvalidPartOrder", "The parts are not in ascending order.")
        for part, (_, etag) in zip(parts, asked, strict=True):
            if part is None or part.etag.strip('"') != etag.upper():
                raise Refused(400, "InvalidPart", "One or more of the parts could not be found.")
        contents = [part.content for part in parts if part and part.content is not None]
        if any(len(content) < LEAST_PART for content in contents[:-1]):
            raise Refused(400, "EntityTooSmall", "A part is smaller than the minimum size.")
        content = Content(*(piece for content in contents for piece in content.pieces))
        etags = hashlib.md5("".join(etag for _, etag in asked).encode()).digest()
        etag = f'{_etag(etags)[:-1]}-{len(contents)}"'
        there.put(upload.key, Version(_id(), content, etag, upload.kind))
        del there.uploads[upload.id]
        result = {"Bucket": there.name, "Key": upload.key, "ETag": etag}
        return document("CompleteMultipartUploadResult", result)

    def _AbortMultipartUpload(self, there: Bucket, request: Request) -> Response:
        del there.uploads[_upload(there, request).id]
        return Response(status=204)

    def _ListParts(self, there: Bucket, request: Request) -> Response:
        upload = _upload(there, request)
        after = int(request.query.get("part-number-marker") or 0)
        numbers = sorted(number for number in upload.parts if number > after)
        most = int(request.query.get("max-parts") or 1000)
        parts = [
            {
                "PartNumber": number,
                "LastModified": _iso(upload.parts[number].modified),
                "ETag": upload.parts[number].etag,
                "Size": len(upload.parts[number].content or ()),
            }
            for number in numbers[:most]
        ]
        content = {
            "Bucket": there.name,
            "Key": upload.key,
            "UploadId": upload.id,
            "NextPartNumberMarker": numbers[:most][-1] if parts else 0,
            "MaxParts": most,
            "IsTruncated": len(numbers) > most,
            "Part": parts,
        }
        return document("ListPartsResult", content)

    def _ListMultipartUploads(self, there: Bucket, request: Request) -> Response:
        prefix = request.query.get("prefix", "")
        key_marker = request.query.get("key-marker", "")
        id_marker = request.query.get("upload-id-marker", "")
        found = sorted(
            (upload.key, upload.id)
            for upload in there.uploads.values()
            if upload.key.startswith(prefix)
        )
        left = [
            (key, id_)
            for key, id_ in found
            if key > key_marker or (key == key_marker and id_marker and id_ > id_marker)
        ]
        most = int(request.query.get("max-uploads") or 1000)
        page = left[:most]
        uploads = [
            {"Key": key, "UploadId": id_, "Initiated": _iso(there.uploads[id_].begun)}
            for key, id_ in page
        ]
        content = {
            "Bucket": there.name,
            "Prefix": prefix,
            "KeyMarker": key_marker,
            "UploadIdMarker": id_marker,
            "NextKeyMarker": page[-1][0] if page else "",
            "NextUploadIdMarker": page[-1][1] if page else "",
            "MaxUploads": most,
            "IsTruncated": len(left) > most,
            "Upload": uploads,
        }
        return document("ListMultipartUploadsResult", content)

    def _ListObjects(self, there: Bucket, request: Request) -> Response:
        entries, last, more, content = _listing(there, request, request.query.get("marker", ""))
        content |= {"Marker": request.query.get("marker", "")}
        if more:
            content["NextMarker"] = _shown(last, request)
        return document("ListBucketResult", {**content, **entries})

    def _ListObjectsV2(self, there: Bucket, request: Request) -> Response:
        token = request.query.get("continuation-token", "")
        after = base64.b64decode(token).decode() if token else request.query.get("start-after", "")
        entries, last, more, content = _listing(there, request, after)
        content |= {"KeyCount": sum(map(len, entries.values()))}
        if more:
            content["NextContinuationToken"] = base64.b64encode(last.encode()).decode()
        return document("ListBucketResult", {**content, **entries})

    def _ListObjectVersions(self, there: Bucket, request: Request) -> Response:
        prefix = request.query.get("prefix", "")
        versions, markers = [], []
        for key, every in sorted(there.objects.items()):
            if not key.startswith(prefix):
                continue
            for version in reversed(every):
                entry = {
                    "Key": _shown(key, request),
                    "VersionId": version.id,
                    "IsLatest": version is every[-1],
                    "LastModified": _iso(version.modified),
                    "Owner": {"ID": there.owner, "DisplayName": there.owner},
                }
                if version.content is None:
                    markers.append(entry)
                else:
                    entry |= {"ETag": version.etag, "Size": len(version.content)}
                    versions.append({**entry, "StorageClass": "Standard"})
        content = {"Name": there.name, "Prefix": prefix, "IsTruncated": False}
        return document(
            "ListVersionsResult", {**content, "Version": versions, "DeleteMarker": markers}
        )


def source(request: Request) -> tuple[str, str]:
    """The bucket and the key that a call copies from."""
    path = unquote(request.extension("copy-source")).lstrip("/")
    bucket, _, key = path.partition("/")
    return bucket, key.partition("?versionId=")[0]


def to_delete(request: Request) -> Iterator[tuple[str, str]]:
    """The keys that a DeleteMultipleObjects names, each with its version, or none."""
    for entry in _elements(request.body, "Object"):
        yield _text(entry, "Key"), _text(entry, "VersionId")


def _listing(
    there: Bucket, request: Request, after: str
) -> tuple[dict[str, list[dict[str, Any]]], str, bool, dict[str, Any]]:
    """Entries, the last name on the page, whether more come, and what both versions say."""
    prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
    most = int(request.query.get("max-keys") or 100)
    names = [name for name in there.names() if name.startswith(prefix)]
    whole, groups = _grouped(names, prefix, delimiter)
    left = sorted(name for name in (*whole, *groups) if name > after)
    page = left[:most]
    contents = [
        {
            "Key": _shown(name, request),
            "LastModified": _iso(version.modified),
            "ETag": version.etag,
            "Type": "Normal",
            "Size": len(version.content or ()),
            "StorageClass": "Standard",
            "Owner": {"ID": there.owner, "DisplayName": there.owner},
        }
        for name in page
        if name in whole and (version := there.current(name))
    ]
    entries: dict[str, list[dict[str, Any]]] = {
        "Contents": contents,
        "CommonPrefixes": [{"Prefix": _shown(name, request)} for name in page if name in groups],
    }
    content = {
        "Name": there.name,
        "Prefix": _shown(prefix, request),
        "MaxKeys": most,
        "Delimiter": _shown(delimiter, request),
        "IsTruncated": len(left) > most,
        **({"EncodingType": "url"} if "encoding-type" in request.query else {}),
    }
    return entries, page[-1] if page else "", len(left) > most, content


def _grouped(names: Iterable[str], prefix: str, delimiter: str) -> tuple[set[str], set[str]]:
    """Names, and what those that have the delimiter after the prefix begin with."""
    whole, groups = set(), set()
    for name in names:
        head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
        if found:
            groups.add(prefix + head + found)
        else:
            whole.add(name)
    return whole, groups


def _shown(name: str, request: Request) -> str:
    return quote(name, safe="/") if "encoding-type" in request.query else name


def _existing(there: Bucket, key: str) -> Version:
    version = there.current(key)
    if version is None:
        raise Refused(404, "NoSuchKey", "The specified key does not exist.")
    return version


def _upload(there: Bucket, request: Request) -> Upload:
    upload = there.uploads.get(request.query["uploadId"])
    if upload is None or upload.key != request.key:
        raise Refused(404, "NoSuchUpload", "The specified upload does not exist.")
    return upload


def check_digest(request: Request) -> None:
    """Raises Refused where the content is not what its headers say."""
    md5 = request.headers.get("content-md5")
    if md5 and base64.b64encode(request.md5).decode() != md5:
        raise Refused(400, "InvalidDigest", "The Content-MD5 is not that of the content.")
    sha256 = request.extension("content-sha256")
    if re.fullmatch("[0-9a-f]{64}", sha256) and request.sha256 != sha256:
        raise Refused(400, "XAmzContentSHA256Mismatch", "The SHA-256 is not that of the content.")


def _facts(version: Version) -> dict[str, str]:
    return {
        "ETag": version.etag,
        "Last-Modified": formatdate(version.modified, usegmt=True),
        "Content-Type": version.kind,
        "Accept-Ranges": "bytes",
        "x-oss-object-type": "Normal",
        "x-oss-storage-class": "Standard",
    }


def _id() -> str:
    return secrets.token_hex(16).upper()


def _etag(md5: bytes) -> str:
    return f'"{md5.hex().upper()}"'


def _iso(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when))


def _elements(body: bytes, name: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(body).iter() if e.tag.rpartition("}")[2] == name]


def _text(element: ElementTree.Element, name: str) -> str:
    texts = (child.text for child in element if child.tag.rpartition("}")[2] == name)
    return next(texts, None) or ""


def _document(text: str) -> Response:
    kind = "application/json" if text.startswith("{") else "application/xml"
    return Response(headers={"Content-Type": kind}, body=Content(text.encode()))


def document(name: str, content: Mapping[str, Any]) -> Response:
    return _document(f'<?xml version="1.0" encoding="UTF-8"?>\n{_element(name, content)}')


def _element(name: str, content: Any) -> str:  # noqa: ANN401
    if isinstance(content, list):
        return "".join(_element(name, item) for item in content)
    if isinstance(content, Mapping):
        inner = "".join(_element(*item) for item in content.items())
    else:
        text = str(content).lower() if isinstance(content, bool) else str(content)
        inner = escape(text)
    return f"<{name}>{inner}</{name}>"
