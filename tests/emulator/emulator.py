"""An emulator of Alibaba Cloud: OSS by both its doors and RAM, as far as this program calls them.

It believes nobody: each call's signature is checked, and each is allowed only by what policies say
of the key's user. It answers for whole hosts, so clients come by HTTP(S)_PROXY and trust its CA.
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
from tests.emulator.oss import Api, Bucket, Oss, api_of, check_digest, document, source, to_delete
from tests.emulator.policy import ALL, Ask, allowed
from tests.emulator.ram import AccessKey, Ram, Refused

ACCOUNT = "1000000000000001"  # whose RAM it is
_OSS_HOST = re.compile(r"(?:([a-z0-9-]+)\.)??(s3\.)?oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com")
_SERVICE_HOST = re.compile(r"(\w+)(?:[.-][a-z0-9.-]+)?\.aliyuncs\.com")


@dataclass
class Call:
    """One call: by which door (`oss`, `s3`, `ram` …), what, by whom, and what came of it."""

    door: str
    api: str = ""
    bucket: str = ""
    key: str = ""
    prefix: str = ""  # of what is listed
    user: str = ""
    key_id: str = ""
    scheme: str = ""
    decision: str = ""
    status: int = 0
    code: str = ""
    agent: str = ""
    at: float = field(default_factory=time.time)

    @property
    def to_oss(self) -> bool:
        return self.door in ("oss", "s3")


@dataclass
class Fault:
    """What goes wrong with the calls that `hits`, `times` times (None: each time)."""

    hits: Callable[[Call], bool]
    times: int | None = None
    status: int = 0  # answered in place of doing it
    code: str = "InternalError"
    seconds: float = 0  # it takes that much longer
    cut: bool = False  # the connection breaks off before it is done
    cut_answer: bool = False  # … after it is done, with half of the answer gone
    then: Callable[[], object] | None = None  # called when it is done, before the answer
    met: int = 0

    def meets(self, call: Call) -> bool:
        if not self.hits(call) or (self.times is not None and self.met >= self.times):
            return False
        self.met += 1
        return True


class _Place(NamedTuple):
    door: str
    bucket: str
    region: str
    internal: bool


class Emulator:
    """The emulator, reached as a proxy at `addresses`; its CA is kept in `folder`.

    They are 127.0.0.1 and where containers find this machine (`host`, else the engine's bridge), on
    `port` or free ones. `key_id` and `key_secret` are the account's own access key.
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
        self.public_data = True  # whether public endpoints take calls for data
        self.s3_lists_uploads = True  # ListMultipartUploads by the S3 door
        self.cnames: dict[str, str] = {}  # buckets by the host that is a CNAME of theirs
        self._lock = threading.RLock()
        self.certificates = Certificates(folder)
        self.ca = folder / "ca.pem"
        hosts = ("127.0.0.1", host or engines_address())
        addresses = [(host, port) for host in hosts]
        self._server = Server(addresses, self.certificates, self._answer)

    @property
    def addresses(self) -> list[str]:
        return self._server.addresses

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of a process on this machine to which this is the cloud."""
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
    def registry(self) -> Mapping[str, Any]:
        """The settings of a registry in a container here, to which this is the cloud."""
        proxy = f"http://{self.addresses[1]}"
        environment = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
        return {"environment": environment, "ca_certificates": self.certificates.pem}

    def close(self) -> None:
        self._server.close()

    @contextmanager
    def away(self, latency: float, rate: float, round_trip: float = 0) -> Iterator[None]:
        """At a distance: `latency` seconds for each call, at most `rate` bytes a second each way
        (0: as many as can), and for each new connection two times `round_trip` seconds."""
        line = self._server.line
        line.upward.rate = line.downward.rate = rate
        line.round_trip = round_trip
        try:
            with self.failing(seconds=latency):
                yield
        finally:
            line.upward.rate = line.downward.rate = line.round_trip = 0

    @contextmanager
    def failing(
        self,
        *apis: str,
        hits: Callable[[Call], bool] = lambda _: True,
        **how: Any,  # noqa: ANN401
    ) -> Iterator[Fault]:
        """Calls of `apis` (all, if none is named) that `hits` go wrong, as `Fault` says."""
        fault = Fault(lambda call: (not apis or call.api in apis) and hits(call), **how)
        self.faults.append(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)

    def add_bucket(self, name: str, region: str, owner: str = ACCOUNT) -> Bucket:
        """A bucket that was there before, old enough for Signature V1."""
        bucket = self.oss.buckets[name] = Bucket(name, owner, region, takes_v1=True)
        return bucket

    @property
    def calls(self) -> Sequence[Call]:
        """A copy of the record of calls, to which other threads append."""
        return [*self._calls]

    def clear_calls(self) -> None:
        """Empty the record of calls."""
        self._calls.clear()

    def counted(self) -> "Counter[str]":
        """The calls to OSS by their names."""
        return Counter(call.api for call in self.calls if call.to_oss)

    def _answer(self, request: Request) -> Response:
        place = self._place(request)
        if not place:
            return page.answer(self, request)
        agent = request.headers.get("user-agent", "")
        call = Call(place.door, bucket=place.bucket, agent=agent)
        self._calls.append(call)
        try:
            response = self._oss(request, place, call) if call.to_oss else self._rpc(request, call)
        except Refused as refused:
            call.code = refused.code
            response = (_oss_error if call.to_oss else _rpc_error)(refused, request)
        call.status = response.status
        identity = {"x-oss-request-id": secrets.token_hex(12).upper()}
        return replace(response, headers={**identity, **response.headers})

    def _place(self, request: Request) -> _Place | None:
        if request.host in self.cnames:
            bucket = self.cnames[request.host]
            door = "s3" if "x-amz-signature" in request.raw_query.lower() else "oss"
            return _Place(door, bucket, self.oss.buckets[bucket].region, internal=True)
        if found := _OSS_HOST.fullmatch(request.host):
            bucket, s3, region, internal = found.groups()
            return _Place("s3" if s3 else "oss", bucket or "", region, bool(internal))
        if found := _SERVICE_HOST.fullmatch(request.host):
            return _Place(found[1], "", "", internal=False)
        return None

    def _fail(self, call: Call, do: Callable[[], Response]) -> Response:
        met = [fault for fault in list(self.faults) if fault.meets(call)]
        for fault in met:
            time.sleep(fault.seconds)
            if fault.cut:
                return Response(cut=True)
            if fault.status:
                raise Refused(fault.status, fault.code, "The emulator was told to fail.")
        with self._lock:
            response = do()
        for fault in met:
            if fault.then:
                fault.then()
        if any(fault.cut_answer for fault in met):
            return replace(response, cut=True)
        return response

    def _rpc(self, request: Request, call: Call) -> Response:
        signed, parameters = signature.rpc(request)
        call.api = parameters.get("Action", "")
        who = self._signer(signed, call)
        if call.door in ("location", "business"):
            return self._fail(call, lambda: _json({"Endpoints": {"Endpoint": []}, "Success": True}))
        if call.door != "ram":
            raise Refused(404, "InvalidAction.NotFound", f"the emulator knows no {call.door}")
        asked = [(f"ram:{call.api}", resource) for resource in self.ram.resources(parameters)]
        self._authorise(call, who, asked, {}, request)
        return self._fail(call, lambda: _json(self.ram.call(call.api, parameters)))

    def _oss(self, request: Request, place: _Place, call: Call) -> Response:
        if place.door == "s3" and not place.bucket and request.key:
            message = "Please use virtual hosted style to access."
            raise Refused(403, "SecondLevelDomainForbidden", message)
        if request.extension("content-sha256").startswith("STREAMING-"):
            message = "Content in chunks that are signed one by one is not supported."
            raise Refused(400, "InvalidArgument", message)
        api = api_of(request, place.bucket)
        call.api, call.key = api.name, request.key
        call.prefix = request.query.get("prefix", "")
        data = _is_data(api)
        if data and not (place.internal or self.public_data):
            raise Refused(400, "PublicEndpointForbidden", "Access by a public endpoint is closed.")
        signed = signature.found(request, place.bucket)
        who = self._signer(signed, call)
        bucket = self.oss.buckets.get(place.bucket)
        if api.on != "service" and api.name != "PutBucket":
            if not bucket:
                raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
            if bucket.region != place.region:
                raise Refused(403, "AccessDenied", "The bucket must be addressed at its endpoint.")
            if call.scheme == "oss-v1" and not bucket.takes_v1:
                raise Refused(403, "InvalidRequest", "The bucket takes no Signature V1.")
        asked = [(api.action, self._resource(api, place.bucket, request.key))]
        if api.name in ("CopyObject", "UploadPartCopy"):
            asked.append(("oss:GetObject", "acs:oss:*:*:{}/{}".format(*source(request))))
        if api.name == "DeleteMultipleObjects":
            asked = [
                (api.action + "Version" * bool(version), f"acs:oss:*:*:{place.bucket}/{key}")
                for key, version in to_delete(request)
            ]
        if bucket and bucket.kms and data and api.on == "object":
            kms = f"acs:kms:*:*:key/{bucket.kms}"
            asked += [("kms:GenerateDataKey", kms)] * (api.action == "oss:PutObject")
            asked += [("kms:Decrypt", kms)] * (api.action in ("oss:GetObject", "oss:PutObject"))
        facts = {"oss:Prefix": call.prefix}
        self._authorise(call, who, asked, facts, request, bucket)
        if api.name == "ListMultipartUploads" and place.door == "s3" and not self.s3_lists_uploads:
            raise Refused(501, "NotImplemented", "A header you provided implies what is not there.")
        check_digest(request)  # and not while nobody else may do anything, as it takes long
        return self._fail(
            call, lambda: self.oss.answer(api, request, place.bucket, place.region, ACCOUNT)
        )

    @staticmethod
    def _resource(api: Api, bucket: str, key: str) -> str:
        if api.on == "service":
            return "acs:oss:*:*:*"
        return f"acs:oss:*:*:{bucket}" + (f"/{key}" if api.on == "object" else "")

    def _signer(self, signed: signature.Signature | None, call: Call) -> AccessKey | None:
        """The key that signed, None for the account's own. Raises Refused."""
        if signed is None:
            raise Refused(403, "AccessDenied", "Anonymous access is forbidden for this operation.")
        call.key_id, call.scheme = signed.key_id, signed.scheme
        if signed.key_id == self.key_id:
            call.user, key, secret = "root", None, self.key_secret
        else:
            key = self.ram.key(signed.key_id)
            young = key and time.time() < key.taken_from and call.to_oss
            if key is None or not key.active or young:
                call.user = key.user if key else ""
                code = "InvalidAccessKeyId" if call.to_oss else "InvalidAccessKeyId.NotFound"
                message = "The OSS Access Key Id you provided does not exist in our records."
                raise Refused(403 if call.to_oss else 404, code, message)
            call.user, secret = key.user, key.secret
        if not signed.by(secret):
            message = "The request signature we calculated does not match the one you provided."
            raise Refused(403, "SignatureDoesNotMatch", message)
        return key

    def _authorise(
        self,
        call: Call,
        who: AccessKey | None,
        asked: list[tuple[str, str]],
        facts: Mapping[str, str],
        request: Request,
        bucket: Bucket | None = None,
    ) -> None:
        facts = {**facts, "acs:SecureTransport": str(request.secure).lower()}
        own = json.loads(bucket.settings.get("policy", b"{}")) if bucket else {}
        for action, resource in asked:
            ask = Ask(action, resource, facts)
            let = allowed(ask, self.ram.documents(who.user) if who else [ALL], own)
            foreign = bucket and bucket.owner != ACCOUNT and action != "oss:PutBucket"
            if foreign or not let:
                call.decision = f"refused: {action} on {resource}"
                message = f"You have no right to access this object: {action}"
                raise Refused(403, "AccessDenied", message)
        call.decision = "allowed"


def engines_address() -> str:
    """This machine's address on the bridge that its Docker engine always has."""
    command = ["docker", "network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (config,) = json.loads(listed)
    # An engine that has just made the bridge names no gateway: it is the first address.
    return str(config.get("Gateway") or ipaddress.ip_network(config["Subnet"])[1])


def _is_data(api: Api) -> bool:
    return api.on == "object" or (api.on == "bucket" and api.name.startswith("List"))


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    text = json.dumps({"RequestId": secrets.token_hex(16).upper(), **content})
    return Response(
        status=status, headers={"Content-Type": "application/json"}, body=Content(text.encode())
    )


def _rpc_error(refused: Refused, request: Request) -> Response:
    content = {"Code": refused.code, "Message": refused.message, "HostId": request.host}
    return _json(content, refused.status)


def _oss_error(refused: Refused, request: Request) -> Response:
    content = {
        "Code": refused.code,
        "Message": refused.message,
        "RequestId": secrets.token_hex(12).upper(),
        "HostId": request.host,
    }
    return replace(document("Error", content), status=refused.status)
