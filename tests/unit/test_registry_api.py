"""The registry is asked as its stack file configures it."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import trustme

from config.stack import Stack
from operations import NotChecked, registry_api
from tests.unit.stack_files import load_stack

AUTHORITY = trustme.CA().cert_pem.bytes().decode()
MUTUAL = {"http": {"tls": {"clientcas": ["/etc/clients.pem"]}}}


def _stack(config: dict[str, Any] | None = None, **sections: Any) -> Stack:  # noqa: ANN401
    registry = {"config": config or {}, "files": {"/etc/clients.pem": AUTHORITY}}
    return load_stack(registry=registry, **sections)


def _secure(clientauth: str | None = None) -> Stack:
    tls: dict[str, Any] = {"clientcas": ["/etc/clients.pem"]}
    tls |= {"clientauth": clientauth} if clientauth else {}
    return _stack({"http": {"tls": tls}}, tls={"self_signed": True})


class _Registry(BaseHTTPRequestHandler):
    """Answers 401 to the version check of a registry below /registry/, else 404."""

    def do_GET(self) -> None:
        self.send_response(401 if self.path == "/registry/v2/" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _serving(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Registry)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("endpoint", "prefix", "url"),
    [
        ("http://127.0.0.1:5000", None, "http://127.0.0.1:5000/v2/"),
        ("http://127.0.0.1:5000", "/", "http://127.0.0.1:5000/v2/"),
        ("https://[::1]:5000", "/registry/", "https://[::1]:5000/registry/v2/"),
        ("https://r.example.com/", "/a/b/", "https://r.example.com/a/b/v2/"),
    ],
)
def test_the_configured_prefix_is_part_of_the_address(
    endpoint: str, prefix: str | None, url: str
) -> None:
    stack = _stack({"http": {"prefix": prefix}} if prefix else {})
    assert registry_api.address(stack, endpoint) == url


def test_a_registry_below_a_prefix_answers() -> None:
    with _serving() as endpoint:
        below = _stack({"http": {"prefix": "/registry/"}})
        assert registry_api.http_status(below, endpoint) == 401
        assert registry_api.http_status(_stack(), endpoint) == 404


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_is_not_used_for_an_address_of_this_machine(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    below = _stack({"http": {"prefix": "/registry/"}})
    with _serving() as endpoint:
        assert registry_api.http_status(below, endpoint) == 401
        by_name = endpoint.replace("127.0.0.1", "localhost")
        assert registry_api.http_status(below, by_name) == 401


@contextmanager
def _asking_for_a_certificate(verify: ssl.VerifyMode) -> Iterator[str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = verify
    with _serving(context) as endpoint:
        yield endpoint


def test_a_registry_that_asks_for_a_client_certificate_is_not_checked() -> None:
    with (
        _asking_for_a_certificate(ssl.CERT_REQUIRED) as endpoint,
        pytest.raises(NotChecked, match=r"registry\.config\.http\.tls\.clientcas"),
    ):
        registry_api.http_status(_secure(), endpoint)


def test_a_registry_that_takes_clients_without_a_certificate_is_asked() -> None:
    with _asking_for_a_certificate(ssl.CERT_OPTIONAL) as endpoint:
        assert registry_api.http_status(_secure("verify-client-cert-if-given"), endpoint) == 404


@pytest.mark.parametrize("stack", [_stack(), _secure()])
def test_a_registry_that_does_not_run_does_not_answer(stack: Stack) -> None:
    with _serving() as endpoint:
        pass
    with pytest.raises(OSError, match="refused"):
        registry_api.http_status(stack, endpoint)


def test_a_certificate_that_only_a_proxy_could_show_is_not_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_route(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(ssl, "get_server_certificate", no_route)
    monkeypatch.setenv("https_proxy", "http://proxy.lan:3128")
    with pytest.raises(NotChecked, match=r"reaches r\.example\.com by a proxy only"):
        registry_api.server_certificate(_stack(), "https://r.example.com")
    with pytest.raises(OSError, match="no route to host"):
        registry_api.server_certificate(_stack(), "https://127.0.0.1:5000")
