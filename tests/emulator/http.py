"""The emulator's HTTP server: a proxy that answers requests to all hosts itself, also over TLS."""

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
    """The simulated network between the emulator and its clients.

    A new connection takes two round trips of `round_trip` seconds: one for TCP and one for TLS.
    """

    def __init__(self) -> None:
        self.to_cloud, self.from_cloud = Link(), Link()
        self.round_trip = 0.0


class Content:
    """Bytes in chunks. Joining contents or taking a part of one does not copy the bytes."""

    def __init__(self, *pieces: bytes | memoryview) -> None:
        self.pieces = [memoryview(piece) for piece in pieces]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def part(self, first: int, end: int) -> "Content":
        """The bytes from `first` to before `end`."""
        part, position = Content(), 0
        for piece in self.pieces:
            overlap = piece[max(0, first - position) : max(0, end - position)]
            if overlap:
                part.pieces.append(overlap)
            position += len(piece)
        return part


@dataclass(frozen=True, kw_only=True)
class Request:
    """A received request. `path` is still URL-encoded, and names of `headers` are in lower case."""

    method: str
    secure: bool
    host: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    content: Content = field(repr=False)
    md5: bytes  # of the content
    sha256: str  # of the content, in hex

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

    def vendor_header(self, name: str) -> str:
        """The value of the header x-oss-`name` (OSS) or x-amz-`name` (S3), or an empty text."""
        return self.headers.get(f"x-oss-{name}") or self.headers.get(f"x-amz-{name}", "")


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response. With `disconnect`, the connection breaks in the middle of the body.

    `length` is the Content-Length of a response to HEAD.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Content = field(default_factory=Content)
    length: int | None = None
    disconnect: bool = False


Answer = Callable[[Request], Response]


class Link:
    """One direction of the line to the emulator.

    All transfers share `rate` bytes a second. Without a rate, the link is as fast as this machine.
    """

    piece_size = 256 * 1024  # bytes that are sent at once

    def __init__(self) -> None:
        self.rate = 0.0  # bytes per second, 0 for no limit
        self._lock = threading.Lock()
        self._free_at = 0.0  # the time (monotonic) when all accepted bytes have passed

    def carry(self, size: int, since: float) -> None:
        """Wait until `size` bytes have passed the link.

        `since` is the start of their transfer, a value of `time.monotonic`.
        """
        if not self.rate:
            return
        with self._lock:
            self._free_at = max(self._free_at, since) + size / self.rate
            passed_at = self._free_at
        time.sleep(max(0.0, passed_at - time.monotonic()))


class Certificates:
    """A CA, which is stored in `folder`, and its certificate for each requested host."""

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
        """The CA's certificate, for clients that are to trust it."""
        return self._ca.cert_pem.bytes().decode()

    def context(self, host: str) -> ssl.SSLContext:
        """The TLS context of a server that has a certificate for `host`."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._ca.issue_cert(host).configure_cert(context)
            return self._contexts[host]


class Server:
    """A proxy that listens on each of `addresses`, which are (host, port), until `close`.

    Port 0 means a free port.
    """

    def __init__(
        self, addresses: list[tuple[str, int]], certificates: Certificates, answer: Answer
    ) -> None:
        # http.server creates the handlers, so they get their attributes from this class.
        class Handler(_Handler):
            pass

        Handler.line = self.line = Line()
        Handler.certificates, Handler.answer = certificates, staticmethod(answer)
        self._servers = [_ThreadingServer(address, Handler) for address in addresses]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def addresses(self) -> list[str]:
        """HOST:PORT of each address."""
        return ["{}:{}".format(*server.server_address[:2]) for server in self._servers]

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _ThreadingServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors, such as a connection that the client closed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 1 << 20
    certificates: Certificates
    answer: Answer
    line: Line
    tunnel = ""  # the host of a TLS connection through the proxy

    def log_message(self, *_: object) -> None:
        """Print nothing, because the emulator records calls itself."""

    def do_CONNECT(self) -> None:
        """Open a TLS connection in the place of the requested host."""
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

    def _handle(self) -> None:
        """Read a request, and write the emulator's response."""
        address = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        # Compute digests while content arrives. Otherwise the client would wait for them at the
        # end, which would make the emulator slower than the real service.
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
        if response.disconnect and not response.body:
            self._disconnect()
            return
        self.send_response(response.status)
        length = len(response.body) if response.length is None else response.length
        for name, value in {"Content-Length": str(length), **response.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if response.disconnect:
            self._write(response.body.part(0, len(response.body) // 2))
            self._disconnect()
        elif self.command != "HEAD":
            self._write(response.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = _handle

    def _content(self, headers: Mapping[str, str], digests: "Iterable[hashlib._Hash]") -> Content:
        """Read the body at the rate of the line, and update `digests`."""
        pieces, since = [], time.monotonic()
        for piece in self._pieces(headers):
            self.line.to_cloud.carry(len(piece), since)
            for digest in digests:
                digest.update(piece)
            pieces.append(piece)
        return Content(*pieces)

    def _pieces(self, headers: Mapping[str, str]) -> Iterator[bytes]:
        """Yield the body in pieces. It may have the chunked transfer encoding."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            yield from self._read(int(headers.get("content-length") or 0))
            return
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield from self._read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _read(self, size: int) -> Iterator[bytes]:
        """Yield `size` bytes in pieces, or fewer if the client closes the connection."""
        while size > 0:
            piece = self.rfile.read(min(size, Link.piece_size))
            if not piece:
                return
            yield piece
            size -= len(piece)

    def _write(self, body: Content) -> None:
        """Write `body` at the rate of the line."""
        since = time.monotonic()
        for piece in body.pieces:
            for start in range(0, len(piece), Link.piece_size):
                part = piece[start : start + Link.piece_size]
                self.line.from_cloud.carry(len(part), since)
                self.wfile.write(part)

    def _disconnect(self) -> None:
        """Break the connection without TLS's closing message, as a network failure does."""
        self.close_connection = True
        socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
