"""The registry trusts configured certificate authorities when it calls other servers."""

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from config.stack import CA_CERTIFICATES_PATH
from tests.integration.clients import skopeo_pull, skopeo_push
from tests.integration.deployment import Deployment, run_checked, wait_until

pytestmark = pytest.mark.local


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def deployment(tmp_path: Path, authority: trustme.CA) -> Iterator[Deployment]:
    folder = tmp_path / "project"
    folder.mkdir()
    deployment = Deployment(folder)
    try:
        deployment.up()
        yield deployment
    finally:
        deployment.remove()


def test_events_reach_a_server_with_a_certificate_of_a_configured_authority(
    deployment: Deployment, authority: trustme.CA, archive: Path
) -> None:
    gateway = deployment.docker(
        *("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}"), deployment.prefix
    ).strip()
    received: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.extend(event["target"]["repository"] for event in sent["events"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(gateway).configure_cert(context)
    with http.server.ThreadingHTTPServer((gateway, 0), Hook) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"https://{gateway}:{server.server_port}/events"
            hook = {"name": "hook", "url": url, "timeout": "5s", "threshold": 5, "backoff": "1s"}
            deployment.configure(
                registry={
                    "ca_certificates": authority.cert_pem.bytes().decode(),
                    "config": {"notifications": {"endpoints": [hook]}},
                }
            )
            deployment.up()
            skopeo_push(deployment, archive, "noticed")
            wait_until(lambda: "noticed" in received)
        finally:
            server.shutdown()


def test_an_external_redis_is_used_with_tls(
    deployment: Deployment, authority: trustme.CA, archive: Path, tmp_path: Path
) -> None:
    container = f"{deployment.prefix}-own"
    certificate = authority.issue_cert(container)
    files = {
        "redis.conf": b"port 0\ntls-port 6379\ntls-auth-clients no\nprotected-mode no\n"
        b"tls-cert-file /tls.crt\ntls-key-file /tls.key\ntls-ca-cert-file /tls.crt\n",
        "tls.crt": b"".join(pem.bytes() for pem in certificate.cert_chain_pems),
        "tls.key": certificate.private_key_pem.bytes(),
    }
    run_redis = ["redis:7.0.15", "redis-server", "/redis.conf"]
    network = ["--network", deployment.prefix]
    run_checked("docker", "container", "create", "--name", container, *network, *run_redis)
    try:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
            run_checked("docker", "container", "cp", tmp_path / name, f"{container}:/{name}")
        run_checked("docker", "container", "start", container)
        deployment.configure(
            registry={
                "ca_certificates": authority.cert_pem.bytes().decode(),
                "config": {"redis": {"tls": {"rootcas": [CA_CERTIFICATES_PATH]}}},
            },
            cache={"address": f"{container}:6379"},
        )
        deployment.up()
        skopeo_push(deployment, archive, "secured")
        skopeo_pull(deployment, "secured", tmp_path / "secured")
        words = ("redis-cli", "--tls", "--insecure", "--scan")
        assert "blobs::sha256:" in run_checked("docker", "exec", container, *words)
        assert f"redis at {container}:6379 answers PONG" in deployment.make("status").stdout
        deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    finally:
        run_checked("docker", "container", "rm", "--force", "--volumes", container)
