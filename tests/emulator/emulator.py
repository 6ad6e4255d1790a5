"""An emulator of Alibaba Cloud: the calls to OSS and RAM that this project and the registry make.

It serves OSS through the native API and the S3-compatible API. It checks the signature of each
call, and allows a call only if the policies of the access key's user allow it. Clients use it as a
proxy (HTTP_PROXY, HTTPS_PROXY) and trust its CA, because it answers in the place of the cloud's
hosts.
"""

import ipaddress
import json
import re
import secrets
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.emulator import page, signature
from tests.emulator.http import Certificates, Content, Request, Response, Server
from tests.emulator.oss import (
    Api,
    Bucket,
    Oss,
    check_digest,
    copy_source,
    find_api,
    objects_to_delete,
    xml_response,
)
from tests.emulator.policy import ALLOW_ALL, AccessRequest, is_allowed
from tests.emulator.ram import AccessKey, ApiError, Ram

ACCOUNT = "1000000000000001"  # The account that owns the users, policies and new buckets.
_OSS_HOST = re.compile(r"(?:([a-z0-9-]+)\.)??(s3\.)?oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com")
_SERVICE_HOST = re.compile(r"(\w+)(?:[.-][a-z0-9.-]+)?\.aliyuncs\.com")


@dataclass
class Call:
    """A recorded call: what was called, who signed it, whether it was allowed, and the response."""

    service: str  # `oss` (native API), `s3` (S3-compatible API), `ram` and others
    api: str = ""  # such as PutObject
    bucket: str = ""
    key: str = ""  # the object's name
    prefix: str = ""  # of a list call
    user: str = ""
    key_id: str = ""
    scheme: str = ""  # of the signature, such as `oss-v4`
    decision: str = ""  # `allowed`, or `refused: …` with the action and the resource
    status: int = 0
    code: str = ""
    agent: str = ""
    at: float = field(default_factory=time.time)

    @property
    def to_oss(self) -> bool:
        """Whether it is a call to one of the two APIs of OSS."""
        return self.service in ("oss", "s3")


@dataclass
class Fault:
    """A fault that the emulator injects into the calls for which `matches` holds.

    `times` is the maximum number of calls that have the fault. None means no limit.
    """

    matches: Callable[[Call], bool]
    times: int | None = None
    status: int = 0  # If set, the response has this status, and the call is not executed.
    code: str = "InternalError"
    seconds: float = 0  # a delay before the call is executed
    disconnect: bool = False  # The connection breaks before the call is executed.
    truncate: bool = False  # The call is executed, but the response breaks off in the middle.
    before_response: Callable[[], object] | None = None  # Runs after the call is executed.
    count: int = 0  # calls that had this fault

    def applies_to(self, call: Call) -> bool:
        """Whether `call` has this fault. If so, it is counted."""
        if not self.matches(call):
            return False
        if self.times is not None and self.count >= self.times:
            return False
        self.count += 1
        return True


class _Target(NamedTuple):
    """The service, bucket and region that the host of a request names."""

    service: str
    bucket: str
    region: str
    internal: bool


class Emulator:
    """The emulator, a proxy at `addresses` that runs until `close`. Its CA is stored in `folder`.

    It listens on 127.0.0.1 and on `host`, an address that containers can reach. By default, `host`
    is this machine's address on the bridge network of its Docker engine. `port` 0 means free ports.
    `key` is the ID and the secret of the account's own access key, which may do everything.
    Buckets, users and policies are in memory.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        key: tuple[str, str] | None = None,
        host: str | None = None,
    ) -> None:
        self.key_id, self.key_secret = key or ("LTAI5tRoot", secrets.token_urlsafe(24)[:30])
        self.ram, self.oss = Ram(), Oss()
        self._calls: deque[Call] = deque(maxlen=200_000)
        self.faults: list[Fault] = []
        self.public_endpoints_open = True  # for calls that list, read or write objects
        self.s3_lists_uploads = True  # The S3-compatible API has ListMultipartUploads.
        self.cnames: dict[str, str] = {}  # buckets by their custom domains (CNAMEs)
        self._lock = threading.RLock()
        self.certificates = Certificates(folder)
        self.ca = folder / "ca.pem"
        hosts = ("127.0.0.1", host or engine_bridge_address())
        addresses = [(host, port) for host in hosts]
        self._server = Server(addresses, self.certificates, self._answer)

    @property
    def addresses(self) -> list[str]:
        """HOST:PORT of the proxy for this machine, and for containers."""
        return self._server.addresses

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that make a process on this machine use the emulator."""
        proxy = f"http://{self.addresses[0]}"
        return {
            "HTTP_PROXY": proxy,
            "HTTPS_PROXY": proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            "SSL_CERT_FILE": str(self.ca),
            "ALIBABA_CLOUD_ACCESS_KEY_ID": self.key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": self.key_secret,
        }

    @property
    def registry_settings(self) -> Mapping[str, Any]:
        """Settings for `registry` in a stack file that make the registry use the emulator."""
        proxy = f"http://{self.addresses[1]}"
        environment = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
        return {"environment": environment, "ca_certificates": self.certificates.pem}

    def close(self) -> None:
        """Stop the emulator."""
        self._server.close()

    @contextmanager
    def simulated_network(
        self, latency: float, rate: float, round_trip: float = 0
    ) -> Iterator[None]:
        """Simulate the network between clients and the cloud.

        Each call takes `latency` seconds longer. Each new connection takes two round trips of
        `round_trip` seconds. `rate` is the limit of each direction in bytes per second, or 0 for no
        limit.
        """
        line = self._server.line
        line.to_cloud.rate = line.from_cloud.rate = rate
        line.round_trip = round_trip
        try:
            with self.failing(seconds=latency):
                yield
        finally:
            line.to_cloud.rate = line.from_cloud.rate = line.round_trip = 0

    @contextmanager
    def failing(
        self,
        *apis: str,
        matches: Callable[[Call], bool] = lambda _: True,
        **fields: Any,  # noqa: ANN401
    ) -> Iterator[Fault]:
        """Inject a fault into the calls to `apis` for which `matches` holds.

        Without `apis`, it applies to every API. `fields` are the other fields of the `Fault`.
        """

        def fault_matches(call: Call) -> bool:
            if apis and call.api not in apis:
                return False
            return matches(call)

        fault = Fault(fault_matches, **fields)
        self.faults.append(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)

    def add_bucket(self, name: str, region: str, owner: str = ACCOUNT) -> Bucket:
        """Add a bucket that is old enough to accept Signature V1."""
        bucket = self.oss.buckets[name] = Bucket(name, owner, region, accepts_v1=True)
        return bucket

    @property
    def calls(self) -> Sequence[Call]:
        """A copy of the record of calls, to which other threads append."""
        return [*self._calls]

    def clear_calls(self) -> None:
        """Empty the record of calls."""
        self._calls.clear()

    def count_oss_calls(self) -> "Counter[str]":
        """The number of recorded calls to each API of OSS."""
        return Counter(call.api for call in self.calls if call.to_oss)

    def _answer(self, request: Request) -> Response:
        """Answer and record a call to the cloud. Show the web page on any other host."""
        target = self._target(request)
        if not target:
            return page.answer(self, request)
        agent = request.headers.get("user-agent", "")
        call = Call(target.service, bucket=target.bucket, agent=agent)
        self._calls.append(call)
        try:
            if call.to_oss:
                response = self._answer_oss(request, target, call)
            else:
                response = self._answer_rpc(request, call)
        except ApiError as error:
            call.code = error.code
            response = _oss_error(error, request) if call.to_oss else _rpc_error(error, request)
        call.status = response.status
        identity = {"x-oss-request-id": secrets.token_hex(12).upper()}
        return replace(response, headers={**identity, **response.headers})

    def _target(self, request: Request) -> _Target | None:
        """The target of a request, or None if its host is not one of the cloud's."""
        if request.host in self.cnames:
            bucket = self.cnames[request.host]
            service = "s3" if "x-amz-signature" in request.raw_query.lower() else "oss"
            return _Target(service, bucket, self.oss.buckets[bucket].region, internal=True)
        if found := _OSS_HOST.fullmatch(request.host):
            bucket, s3, region, internal = found.groups()
            return _Target("s3" if s3 else "oss", bucket or "", region, bool(internal))
        if found := _SERVICE_HOST.fullmatch(request.host):
            return _Target(found[1], "", "", internal=False)
        return None

    def _execute(self, call: Call, operation: Callable[[], Response]) -> Response:
        """Execute `operation`, with the faults that apply to `call`. Raises ApiError."""
        faults = [fault for fault in list(self.faults) if fault.applies_to(call)]
        for fault in faults:
            time.sleep(fault.seconds)
            if fault.disconnect:
                return Response(disconnect=True)
            if fault.status:
                raise ApiError(fault.status, fault.code, "The emulator was told to fail.")
        with self._lock:
            response = operation()
        for fault in faults:
            if fault.before_response:
                fault.before_response()
        if any(fault.truncate for fault in faults):
            return replace(response, disconnect=True)
        return response

    def _answer_rpc(self, request: Request, call: Call) -> Response:
        """Answer a call to a service other than OSS. Raises ApiError."""
        signed, parameters = signature.find_rpc_signature(request)
        call.api = parameters.get("Action", "")
        key = self._authenticate(signed, call)
        if call.service in ("location", "business"):
            no_endpoints = _json_response({"Endpoints": {"Endpoint": []}, "Success": True})
            return self._execute(call, lambda: no_endpoints)
        if call.service != "ram":
            raise ApiError(404, "InvalidAction.NotFound", f"the emulator knows no {call.service}")
        required = [(f"ram:{call.api}", resource) for resource in self.ram.resources(parameters)]
        self._authorize(call, key, required, {}, request)
        return self._execute(call, lambda: _json_response(self.ram.call(call.api, parameters)))

    def _answer_oss(self, request: Request, target: _Target, call: Call) -> Response:
        """Answer a call to OSS. Raises ApiError."""
        if target.service == "s3" and not target.bucket and request.key:
            message = "Please use virtual hosted style to access."
            raise ApiError(403, "SecondLevelDomainForbidden", message)
        if request.vendor_header("content-sha256").startswith("STREAMING-"):
            message = "Content in chunks that are signed one by one is not supported."
            raise ApiError(400, "InvalidArgument", message)
        api = find_api(request, target.bucket)
        call.api, call.key = api.name, request.key
        call.prefix = request.query.get("prefix", "")
        if _accesses_objects(api) and not (target.internal or self.public_endpoints_open):
            raise ApiError(400, "PublicEndpointForbidden", "Access by a public endpoint is closed.")
        signed = signature.find_signature(request, target.bucket)
        key = self._authenticate(signed, call)
        bucket = self.oss.buckets.get(target.bucket)
        if api.on != "service" and api.name != "PutBucket":
            if not bucket:
                raise ApiError(404, "NoSuchBucket", "The specified bucket does not exist.")
            if bucket.region != target.region:
                raise ApiError(403, "AccessDenied", "The bucket must be addressed at its endpoint.")
            if call.scheme == "oss-v1" and not bucket.accepts_v1:
                raise ApiError(403, "InvalidRequest", "The bucket takes no Signature V1.")
        required = _required_permissions(api, request, bucket, target.bucket)
        self._authorize(call, key, required, {"oss:Prefix": call.prefix}, request, bucket)
        lists_uploads = api.name == "ListMultipartUploads"
        if lists_uploads and target.service == "s3" and not self.s3_lists_uploads:
            message = "A header you provided implies what is not there."
            raise ApiError(501, "NotImplemented", message)
        check_digest(request)
        return self._execute(
            call, lambda: self.oss.answer(api, request, target.bucket, target.region, ACCOUNT)
        )

    def _authenticate(self, signed: signature.Signature | None, call: Call) -> AccessKey | None:
        """Verify a signature, and return its access key, or None if it is the account's own.

        Raises ApiError if the key is unknown or inactive, or the signature is wrong.
        """
        if signed is None:
            raise ApiError(403, "AccessDenied", "Anonymous access is forbidden for this operation.")
        call.key_id, call.scheme = signed.key_id, signed.scheme
        if signed.key_id == self.key_id:
            call.user, key, secret = "root", None, self.key_secret
        else:
            key = self.ram.key(signed.key_id)
            too_new = key and time.time() < key.usable_from and call.to_oss
            if key is None or not key.active or too_new:
                call.user = key.user if key else ""
                code = "InvalidAccessKeyId" if call.to_oss else "InvalidAccessKeyId.NotFound"
                message = "The OSS Access Key Id you provided does not exist in our records."
                raise ApiError(403 if call.to_oss else 404, code, message)
            call.user, secret = key.user, key.secret
        if not signed.is_valid(secret):
            message = "The request signature we calculated does not match the one you provided."
            raise ApiError(403, "SignatureDoesNotMatch", message)
        return key

    def _authorize(
        self,
        call: Call,
        key: AccessKey | None,
        required: Sequence[tuple[str, str]],
        context: Mapping[str, str],
        request: Request,
        bucket: Bucket | None = None,
    ) -> None:
        """Raise ApiError unless the policies allow `key` every (action, resource) of `required`.

        `context` has the values of the policies' condition keys.
        """
        context = {**context, "acs:SecureTransport": str(request.secure).lower()}
        user_policies = self.ram.documents(key.user) if key else [ALLOW_ALL]
        bucket_policy = json.loads(bucket.settings.get("policy", b"{}")) if bucket else {}
        for action, resource in required:
            access = AccessRequest(action, resource, context)
            foreign = bucket and bucket.owner != ACCOUNT and action != "oss:PutBucket"
            if foreign or not is_allowed(access, user_policies, bucket_policy):
                call.decision = f"refused: {action} on {resource}"
                message = f"You have no right to access this object: {action}"
                raise ApiError(403, "AccessDenied", message)
        call.decision = "allowed"


def engine_bridge_address() -> str:
    """This machine's address on the default bridge of its Docker engine."""
    command = ["docker", "network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (config,) = json.loads(listed)
    # An engine that has just created the bridge reports no gateway. It is the first address.
    return str(config.get("Gateway") or ipaddress.ip_network(config["Subnet"])[1])


def _required_permissions(
    api: Api, request: Request, bucket: Bucket | None, name: str
) -> Sequence[tuple[str, str]]:
    """The (action, resource) pairs for which a call to OSS needs permission.

    `bucket` is the bucket called `name`, or None if it does not exist.
    """
    required = [(api.action, _resource(api, name, request.key))]
    if api.name in ("CopyObject", "UploadPartCopy"):
        source_bucket, source_key = copy_source(request)
        required.append(("oss:GetObject", f"acs:oss:*:*:{source_bucket}/{source_key}"))
    if api.name == "DeleteMultipleObjects":
        required = []
        for key, version in objects_to_delete(request):
            action = f"{api.action}Version" if version else api.action
            required.append((action, f"acs:oss:*:*:{name}/{key}"))
    if bucket and bucket.kms_key_id and _accesses_objects(api) and api.on == "object":
        kms = f"acs:kms:*:*:key/{bucket.kms_key_id}"
        if api.action == "oss:PutObject":
            required.append(("kms:GenerateDataKey", kms))
        if api.action in ("oss:GetObject", "oss:PutObject"):
            required.append(("kms:Decrypt", kms))
    return required


def _resource(api: Api, bucket: str, key: str) -> str:
    """The resource on which a call acts, in the notation of policies (acs:oss:…)."""
    match api.on:
        case "service":
            return "acs:oss:*:*:*"
        case "object":
            return f"acs:oss:*:*:{bucket}/{key}"
        case _:
            return f"acs:oss:*:*:{bucket}"


def _accesses_objects(api: Api) -> bool:
    """Whether a call lists, reads or writes objects."""
    return api.on == "object" or (api.on == "bucket" and api.name.startswith("List"))


def _json_response(content: Mapping[str, Any], status: int = 200) -> Response:
    text = json.dumps({"RequestId": secrets.token_hex(16).upper(), **content})
    return Response(
        status=status, headers={"Content-Type": "application/json"}, body=Content(text.encode())
    )


def _rpc_error(error: ApiError, request: Request) -> Response:
    content = {"Code": error.code, "Message": error.message, "HostId": request.host}
    return _json_response(content, error.status)


def _oss_error(error: ApiError, request: Request) -> Response:
    content = {
        "Code": error.code,
        "Message": error.message,
        "RequestId": secrets.token_hex(12).upper(),
        "HostId": request.host,
    }
    return replace(xml_response("Error", content), status=error.status)
