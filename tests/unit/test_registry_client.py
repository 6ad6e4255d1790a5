"""Tests of the client for the registry's HTTP API. It derives the address from the stack file."""

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import trustme

from config.stack import RegistryConfig
from operations.clients import registry as registry_client
from operations.errors import NotChecked
from tests.unit.stack_files import load_stack

CA_CERTIFICATE = trustme.CA().cert_pem.bytes().decode()


def _registry(config: Mapping[str, Any] | None = None, **sections: Any) -> RegistryConfig:  # noqa: ANN401
    registry = {"config": config or {}, "files": {"/etc/clients.pem": CA_CERTIFICATE}}
    return load_stack(registry=registry, **sections).registry


def _registry_with_client_certificates(clientauth: str | None = None) -> RegistryConfig:
    tls: dict[str, Any] = {"clientcas": ["/etc/clients.pem"]}
    if clientauth:
        tls["clientauth"] = clientauth
    return _registry({"http": {"tls": tls}}, tls={"self_signed": True})


class _FakeRegistry(BaseHTTPRequestHandler):
    """Answers 401 to GET /registry/v2/, as a registry with that prefix does, and 404 otherwise."""

    def do_GET(self) -> None:
        self.send_response(401 if self.path == "/registry/v2/" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _running_registry(context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run the fake registry, with TLS if there is a context, and yield its address."""
    server = HTTPServer(("127.0.0.1", 0), _FakeRegistry)
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
def test_the_address_contains_the_configured_prefix(
    endpoint: str, prefix: str | None, url: str
) -> None:
    registry = _registry({"http": {"prefix": prefix}} if prefix else {})
    assert registry_client.version_check_url(registry, endpoint) == url


def test_a_registry_with_a_prefix_is_checked_below_it() -> None:
    with _running_registry() as endpoint:
        registry = _registry({"http": {"prefix": "/registry/"}})
        assert registry_client.http_status(registry, endpoint) == 401
        assert registry_client.http_status(_registry(), endpoint) == 404


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_is_not_used_for_an_address_of_this_machine(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    registry = _registry({"http": {"prefix": "/registry/"}})
    with _running_registry() as endpoint:
        assert registry_client.http_status(registry, endpoint) == 401
        by_name = endpoint.replace("127.0.0.1", "localhost")
        assert registry_client.http_status(registry, by_name) == 401


@contextmanager
def _running_registry_with_client_certificates(verify: ssl.VerifyMode) -> Iterator[str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = verify
    with _running_registry(context) as endpoint:
        yield endpoint


def test_a_registry_that_requires_a_client_certificate_is_reported_as_not_checked() -> None:
    with (
        _running_registry_with_client_certificates(ssl.CERT_REQUIRED) as endpoint,
        pytest.raises(NotChecked, match=r"registry\.config\.http\.tls\.clientcas"),
    ):
        registry_client.http_status(_registry_with_client_certificates(), endpoint)


def test_a_registry_with_optional_client_certificates_is_checked() -> None:
    with _running_registry_with_client_certificates(ssl.CERT_OPTIONAL) as endpoint:
        assert (
            registry_client.http_status(
                _registry_with_client_certificates("verify-client-cert-if-given"), endpoint
            )
            == 404
        )


@pytest.mark.parametrize("registry", [_registry(), _registry_with_client_certificates()])
def test_a_stopped_registry_is_reported_as_a_refused_connection(registry: RegistryConfig) -> None:
    with _running_registry() as endpoint:
        pass
    with pytest.raises(OSError, match="refused"):
        registry_client.http_status(registry, endpoint)


def test_a_certificate_that_is_only_reachable_by_a_proxy_is_reported_as_not_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_route(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(ssl, "get_server_certificate", no_route)
    monkeypatch.setenv("https_proxy", "http://proxy.lan:3128")
    with pytest.raises(NotChecked, match=r"reaches r\.example\.com by a proxy only"):
        registry_client.server_certificate(_registry(), "https://r.example.com")
    with pytest.raises(OSError, match="no route to host"):
        registry_client.server_certificate(_registry(), "https://127.0.0.1:5000")
