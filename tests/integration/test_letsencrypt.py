"""Certificates that the registry requests from Pebble, the test server of Let's Encrypt."""

import contextlib
import http.client
import http.server
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.emulator.emulator import engine_bridge_address
from tests.integration.deployment import free_port, is_listening, wait_until
from tests.integration.secured import SecuredDeployment
from toolchain.golang import GoProgram

pytestmark = pytest.mark.secure
HOST_NAME = "registry.example.com"
PACKAGES_PREFIX = "github.com/letsencrypt/pebble/v2/cmd"


def _build(name: str) -> Path:
    """Build a program of Pebble, unless the cache has it, and return its path."""
    sources = Path(__file__).with_name("pebble")
    program = GoProgram(
        binary=name,
        sources=sources,
        version="2.10.1",
        package=f"{PACKAGES_PREFIX}/{name}",
        minutes=1,
    )
    return program.build()


@pytest.fixture
def authority() -> trustme.CA:
    """Provide the authority of Pebble's own certificate."""
    return trustme.CA()


class _Relay(http.server.BaseHTTPRequestHandler):
    """A reverse proxy of Pebble that adds the header Location to responses to "finalize" requests.

    The header has the order's URL. Go's client needs it (golang.org/x/crypto/acme,
    CreateOrderCert). Boulder, the server of Let's Encrypt, sends it, but Pebble does not.
    """

    pebble_port = 0
    trusted = ssl.create_default_context()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pebble = http.client.HTTPSConnection("127.0.0.1", self.pebble_port, context=self.trusted)
        pebble.request(self.command, self.path, body, dict(self.headers.items()))
        response = pebble.getresponse()
        content = response.read()
        pebble.close()
        self.send_response(response.status)
        for name, value in response.getheaders():
            self.send_header(name, value)
        if self.path.startswith("/finalize-order/"):
            order = self.path.replace("/finalize-order/", "/my-order/")
            self.send_header("Location", f"https://{self.headers['Host']}{order}")
        self.end_headers()
        self.wfile.write(content)

    do_HEAD = do_POST = do_GET  # noqa: N815  # names that the base class expects

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pebble(secured: SecuredDeployment, authority: trustme.CA, tmp_path: Path) -> Iterator[str]:
    """Run Pebble, which resolves all names to 127.0.0.1, and provide the URL of its directory."""
    address = engine_bridge_address()
    port, management, dns = free_port(), free_port(), f"127.0.0.1:{free_port()}"
    certificate = authority.issue_cert(address, "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "crt")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(tmp_path / "crt"),
        "privateKey": str(tmp_path / "key"),
        "tlsPort": secured.settings["registry"]["port"],
        "keyAlgorithm": "ecdsa",
        "profiles": {"default": {"description": "", "validityPeriod": 7776000}},
    }
    (tmp_path / "pebble.json").write_text(json.dumps({"pebble": settings}))
    disabled = [
        word for kind in ("doh", "http01", "https01", "tlsalpn01") for word in (f"-{kind}", "")
    ]
    names = [
        "-defaultIPv6",
        "",
        "-dnsserver",
        dns,
        "-management",
        f"127.0.0.1:{free_port()}",
        *disabled,
    ]
    with contextlib.ExitStack() as running:
        for program, words in (
            ("pebble-challtestsrv", names),
            ("pebble", ["-config", str(tmp_path / "pebble.json"), "-dnsserver", dns]),
        ):
            log = running.enter_context((tmp_path / f"{program}.log").open("w"))
            started = [str(_build(program)), *words]
            process = subprocess.Popen(started, stdout=log, stderr=subprocess.STDOUT)
            running.callback(process.wait)
            running.callback(process.kill)
        wait_until(lambda: is_listening(port) and is_listening(management))
        _Relay.pebble_port = port
        _Relay.trusted = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        _save_root(management, _Relay.trusted, tmp_path / "root")
        relay = running.enter_context(http.server.ThreadingHTTPServer((address, 0), _Relay))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        relay.socket = context.wrap_socket(relay.socket, server_side=True)
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        running.callback(relay.shutdown)
        yield f"https://{address}:{relay.server_port}/dir"


def _save_root(management: int, trusted: ssl.SSLContext, file: Path) -> None:
    """Save the root certificate that Pebble has created for this run."""
    connection = http.client.HTTPSConnection("127.0.0.1", management, context=trusted)
    connection.request("GET", "/roots/0")
    file.write_bytes(connection.getresponse().read())
    connection.close()


def _served_certificate(port: int, root: Path, name: str = HOST_NAME) -> bytes:
    """Return the certificate that a client gets for `name` if it trusts `root`."""
    context = ssl.create_default_context(cafile=root)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
        context.wrap_socket(connection, server_hostname=name) as encrypted,
    ):
        return encrypted.getpeercert(binary_form=True) or b""


def test_the_registry_requests_a_certificate_once_and_keeps_it(
    secured: SecuredDeployment, pebble: str, authority: trustme.CA, tmp_path: Path
) -> None:
    port = secured.settings["registry"]["port"]
    secured.remove_setting("tls", "self_signed")
    secured.configure(
        registry={
            "external_url": f"https://{HOST_NAME}",
            "ca_certificates": authority.cert_pem.bytes().decode(),
        },
        tls={
            "letsencrypt": {
                "hosts": [HOST_NAME],
                "email": "ops@example.com",
                "directory_url": pebble,
            }
        },
    )
    secured.up()
    first = _served_certificate(port, tmp_path / "root")
    assert first
    # The registry refuses connections for other names.
    with pytest.raises(ssl.SSLError):
        _served_certificate(port, tmp_path / "root", "other.example.com")

    secured.configure(registry={"log_level": "error"})
    secured.up()
    assert _served_certificate(port, tmp_path / "root") == first
    secured.pulumi("preview", "--refresh", "--expect-no-changes")
    assert f"docker volume rm {secured.prefix}-letsencrypt" in secured.make("down").stdout
