"""The double's HTTP: a proxy that answers for every host itself, also inside TLS."""

import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import trustme


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came: `path` still encoded, names of `headers` in lower case."""

    method: str
    secure: bool
    host: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

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
    body: bytes = b""
    length: int | None = None  # of a HEAD's object
    cut: bool = False  # the connection breaks off, in the middle of the body if there is one


Answer = Callable[[Request], Response]


class Certificates:
    """A CA, kept in `folder`, and a certificate of it for every host."""

    def __init__(self, folder: Path) -> None:
        certificate, key = folder / "ca.pem", folder / "ca.key"
        if certificate.exists() and key.exists():
            self._ca = trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())
        else:
            self._ca = trustme.CA(organization_name="oss-registry's double of Alibaba Cloud")
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
    tunnel = ""

    def log_message(self, *_: object) -> None:
        """The double keeps its own record."""

    def do_CONNECT(self) -> None:
        host = self.path.rpartition(":")[0]
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
        request = Request(
            method=self.command,
            secure=bool(self.tunnel),
            host=re.sub(r":\d+$", "", address.netloc or headers.get("host", "")).lower(),
            path=address.path or "/",
            raw_query=address.query,
            headers=headers,
            body=self._body(headers),
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
            self.wfile.write(response.body[: len(response.body) // 2])
            self._cut()
        elif self.command != "HEAD":
            self.wfile.write(response.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = _do

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(headers.get("content-length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _cut(self) -> None:
        self.close_connection = True
        # Without TLS's own good-bye, as when a cable is pulled.
        socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
