"""Configured and self-signed certificates of the registry, and their renewal."""

import json
import os
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from config import certificates
from tests.emulator.emulator import engine_bridge_address
from tests.integration.api import Api, RequestError
from tests.integration.deployment import free_port, run, run_checked
from tests.integration.secured import PASSWORD, SecuredDeployment, configure_certificate

pytestmark = pytest.mark.secure


def _served_certificate(secured: SecuredDeployment) -> x509.Certificate:
    connection = secured.api("").connection()
    pem = ssl.get_server_certificate((connection.host, connection.port or 443), timeout=60)
    return x509.load_pem_x509_certificate(pem.encode())


def test_a_renewed_certificate_reaches_the_running_registry(secured: SecuredDeployment) -> None:
    authority = trustme.CA()
    trusted = authority.cert_pem.bytes().decode()
    secured.configure(registry={"release": "2.8.3"})
    first = configure_certificate(secured, authority)
    secured.up()
    api = Api(secured.outputs()["endpoint"], ("alice", PASSWORD), trusted)
    api.push("team/app", b"layer")
    assert _served_certificate(secured) == certificates.chain(first)[0]
    secured.pulumi("preview", "--refresh", "--expect-no-changes")

    secured.configure(registry={"release": "3.1.2"})
    second = configure_certificate(secured, authority, key_type=trustme.KeyType.ECDSA)
    shown = secured.pulumi("preview", "--diff")
    assert "/etc/oss-registry/tls.crt" in shown
    assert "replace" in shown
    secured.up()
    assert _served_certificate(secured) == certificates.chain(second)[0]
    api.pull("team/app")

    # The wget of the image supports neither this type of key nor this TLS version.
    key = ec.generate_private_key(ec.SECP384R1())
    third = certificates.self_signed_certificate(key, ["127.0.0.1"], certificates.now())
    only_the_newest = {"http": {"tls": {"minimumtls": "tls1.3"}}}
    secured.configure(tls={"certificate": third}, registry={"config": only_the_newest})
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    secured.set_secret(
        "tls-key", key.private_bytes(*encoding, serialization.NoEncryption()).decode()
    )
    secured.up()
    Api(secured.outputs()["endpoint"], ("alice", PASSWORD), third).pull("team/app")
    assert "handshake" not in secured.log("registry")


def test_a_certificate_that_clients_would_refuse_is_reported_before_any_change(
    secured: SecuredDeployment,
) -> None:
    authority = trustme.CA()
    configure_certificate(secured, authority, not_after=certificates.now() - timedelta(hours=1))
    assert "tls.certificate: has expired on" in secured.pulumi_fails("preview")
    configure_certificate(secured, authority)
    secured.set_secret("tls-key", trustme.CA().private_key_pem.bytes().decode())
    output = secured.pulumi_fails("preview")
    assert "oss-registry:tls-key: is not the key of" in output
    assert "Traceback" not in output
    assert secured.docker_objects("container") == []
    configure_certificate(
        secured, authority, not_after=certificates.now() + timedelta(days=9, hours=1)
    )
    assert "in 9 days" in secured.pulumi("preview")
    # `make render` does the same checks without the key, which it cannot read.
    secured.make_succeeds("render")


def test_a_self_signed_certificate_is_replaced_only_when_it_is_due(
    secured: SecuredDeployment,
) -> None:
    secured.up()
    first = secured.outputs()["certificate"]
    assert _served_certificate(secured) == certificates.chain(first)[0]
    secured.api().push("team/app", b"layer")
    secured.up()
    assert secured.outputs()["certificate"] == first

    # Change the creation time in the state, so that the certificate is due for renewal.
    exported = json.loads(secured.pulumi("stack", "export", "--show-secrets"))
    (since,) = [
        each
        for each in exported["deployment"]["resources"]
        if each["urn"].endswith("::self-signed-since")
    ]
    earlier = (certificates.now() - certificates.RENEWAL_INTERVAL - timedelta(days=1)).isoformat()
    for values in (since["inputs"]["input"], since["outputs"]["input"], since["outputs"]["output"]):
        values["plaintext"] = json.dumps(earlier)
    file = secured.folder / "state.json"
    file.write_text(json.dumps(exported))
    secured.pulumi("stack", "import", "--file", str(file))

    secured.up()
    second = secured.outputs()["certificate"]
    assert second != first
    assert _served_certificate(secured) == certificates.chain(second)[0]
    secured.api().pull("team/app")
    secured.pulumi("preview", "--expect-no-changes")
    with pytest.raises(RequestError, match="CERTIFICATE_VERIFY_FAILED"):
        Api(secured.outputs()["endpoint"], None, first).call("GET", "/v2/", [401])


@pytest.mark.skipif(os.geteuid() != 0, reason="the printed commands need root")
def test_the_trust_output_makes_docker_trust_a_self_signed_certificate(
    secured: SecuredDeployment, image: str, tmp_path: Path
) -> None:
    # The address of the engine's bridge, because Docker trusts 127.0.0.1 without a certificate.
    address = engine_bridge_address()
    port = free_port()
    url = f"https://{address}:{port}"
    secured.configure(registry={"bind": address, "port": port, "external_url": url})
    secured.up()
    outputs = secured.outputs()
    server = outputs["login_server"]
    assert server == f"{address}:{port}"
    login = ["docker", "--config", tmp_path, "login", "-u", "alice", "-p", PASSWORD, server]
    assert "certificate" in run(*login).stdout
    folder = Path("/etc/docker/certs.d", server)
    try:
        run_checked("sh", "-euc", outputs["trust"])
        run_checked(*login)
        secured.docker("tag", image, f"{server}/team/app:1")
        secured.docker("--config", tmp_path, "push", f"{server}/team/app:1")
        secured.docker("--config", tmp_path, "pull", f"{server}/team/app:1")
    finally:
        (folder / "ca.crt").unlink(missing_ok=True)
        if folder.exists():
            folder.rmdir()
