"""The emulator's HTTP: a proxy that answers for every host itself, also inside TLS."""

import hashlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import trustme


class Line:
    """The line between the emulator and its clients.

    A new connection takes two times `round_trip` seconds: one for TCP and one for TLS.
    """

    def __init__(self) -> None:
        self.upward, self.downward = Link(), Link()
        self.round_trip = 0.0


class Content:
    """Bytes in pieces: what is put together of others, or is a part of one, copies none of them."""

    def __init__(self, *pieces: bytes | memoryview) -> None:
        self.pieces = [memoryview(piece) for piece in pieces]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def part(self, first: int, end: int) -> "Content":
        """The bytes from `first` to before `end`."""
        found, at = Content(), 0
        for piece in self.pieces:
            if inside := piece[max(0, first - at) : max(0, end - at)]:
                found.pieces.append(inside)
            at += len(piece)
        return found


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came: `path` still encoded, names of `headers` in lower case."""

    method: str
    secure: bool
    host: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    content: Content = field(repr=False)
    md5: bytes  # of the content
    sha256: str

    @cached_property
    def body(self) -> bytes:
        return b"".join(self.content.pieces)

    @cached_property
    def query(self) -> Mapping[str, str]:
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    @cached_property
    def key(self) -> str:
        """The object's name."""
        return unquote(self.path.lstrip("/"))

    def extension(self, name: str) -> str:
        """The header that OSS calls x-oss-`name`, and S3 x-amz-`name`."""
        return self.headers.get(f"x-oss-{name}") or self.headers.get(f"x-amz-{name}", "")


@dataclass(frozen=True, kw_only=True)
class Response:
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Content = field(default_factory=Content)
    length: int | None = None  # of a HEAD's object
    cut: bool = False  # the connection breaks off, in the middle of the body if there is one


Answer = Callable[[Request], Response]


class Link:
    """One direction of the line to the emulator.

    All transfers share `rate` bytes a second. Without a rate, the link is as fast as this machine.
    """

    piece = 256 * 1024  # bytes that go at once

    def __init__(self) -> None:
        self.rate = 0.0
        self._lock = threading.Lock()
        self._free = 0.0  # when what was let on has passed

    def carry(self, size: int, since: float) -> None:
        """Wait until `size` bytes have passed of what has been on its way `since` then."""
        if not self.rate:
            return
        with self._lock:
            self._free = max(self._free, since) + size / self.rate
            passed = self._free
        time.sleep(max(0.0, passed - time.monotonic()))


class Certificates:
    """A CA, kept in `folder`, and a certificate of it for every host."""

    def __init__(self, folder: Path) -> None:
        certificate, key = folder / "ca.pem", folder / "ca.key"
        if certificate.exists() and key.exists():
            self._ca = trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())
        else:
            self._ca = trustme.CA(organization_name="oss-registry's emulator of Alibaba Cloud")
            folder.mkdir(parents=True, exist_ok=True)
            self._ca.cert_pem.write_to_path(certificate)
            self._ca.private_key_pem.write_to_path(key)
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    @property
    def pem(self) -> str:
        """The CA's certificate, for those that shall trust it."""
        return self._ca.cert_pem.bytes().decode()

    def context(self, host: str) -> ssl.SSLContext:
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._ca.issue_cert(host).configure_cert(context)
            return self._contexts[host]


class Server:
    """Answers on each of `addresses` (host, port; port 0 is a free one) until it is closed."""

    def __init__(
        self, addresses: list[tuple[str, int]], certificates: Certificates, answer: Answer
    ) -> None:
        class Bound(_Handler):
            pass

        Bound.line = self.line = Line()
        Bound.certificates, Bound.answer = certificates, staticmethod(answer)
        self._servers = [_Threads(address, Bound) for address in addresses]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def addresses(self) -> list[str]:
        return ["{}:{}".format(*server.server_address[:2]) for server in self._servers]

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no fault of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 1 << 20
    certificates: Certificates
    answer: Answer
    line: Line
    tunnel = ""

    def log_message(self, *_: object) -> None:
        """The emulator keeps its own record."""

    def do_CONNECT(self) -> None:
        host = self.path.rpartition(":")[0]
        time.sleep(2 * self.line.round_trip)
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        plain = self.connection
        self.connection = self.certificates.context(host).wrap_socket(plain, server_side=True)
        self.rfile = self.connection.makefile("rb", self.rbufsize)
        self.wfile = self.connection.makefile("wb", 0)
        self.tunnel = host
        self.close_connection = False

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.rfile.close()
            self.connection.close()

    def _do(self) -> None:
        address = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        # While it comes in, as a service of many machines would: afterwards the caller would wait.
        digests = hashlib.md5(), hashlib.sha256()
        content = self._content(headers, digests)
        request = Request(
            method=self.command,
            secure=bool(self.tunnel),
            host=re.sub(r":\d+$", "", address.netloc or headers.get("host", "")).lower(),
            path=address.path or "/",
            raw_query=address.query,
            headers=headers,
            content=content,
            md5=digests[0].digest(),
            sha256=digests[1].hexdigest(),
        )
        response = self.answer(request)
        if response.cut and not response.body:
            self._cut()
            return
        self.send_response(response.status)
        length = len(response.body) if response.length is None else response.length
        for name, value in {"Content-Length": str(length), **response.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if response.cut:
            self._write(response.body.part(0, len(response.body) // 2))
            self._cut()
        elif self.command != "HEAD":
            self._write(response.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = _do

    def _content(self, headers: Mapping[str, str], digests: "Iterable[hashlib._Hash]") -> Content:
        pieces, since = [], time.monotonic()
        for piece in self._pieces(headers):
            self.line.upward.carry(len(piece), since)
            for digest in digests:
                digest.update(piece)
            pieces.append(piece)
        return Content(*pieces)

    def _pieces(self, headers: Mapping[str, str]) -> Iterator[bytes]:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            yield from self._read(int(headers.get("content-length") or 0))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield from self._read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _read(self, size: int) -> Iterator[bytes]:
        while size > 0 and (piece := self.rfile.read(min(size, Link.piece))):
            yield piece
            size -= len(piece)

    def _write(self, body: Content) -> None:
        since = time.monotonic()
        for piece in body.pieces:
            for start in range(0, len(piece), Link.piece):
                some = piece[start : start + Link.piece]
                self.line.downward.carry(len(some), since)
                self.wfile.write(some)

    def _cut(self) -> None:
        self.close_connection = True
        # Without TLS's own good-bye, as when a cable is pulled.
        socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
