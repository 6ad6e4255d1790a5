"""Token authentication, configured in `registry.config.auth`, with a small token server."""

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.integration.api import Api, RequestError
from tests.integration.clients import skopeo
from tests.integration.secured import SecuredDeployment

pytestmark = pytest.mark.secure
SERVICE, ISSUER = "registry of the tests", "issuer of the tests"
PASSWORDS = {"alice": "of alice", "bob": "of bob"}
ALLOWED_ACTIONS = {"alice": {"pull", "push", "delete"}, "bob": {"pull"}}


class Issuer:
    """Issue tokens as specified at https://distribution.github.io/distribution/spec/auth/token/."""

    def __init__(self) -> None:
        self.authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        leaf = self.authority.issue_cert("issuer.example.com", key_type=trustme.KeyType.ECDSA)
        self._key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        der = certificate.public_bytes(serialization.Encoding.DER)
        self._x5c = [base64.b64encode(der).decode()]

    def token(self, user: str, access: Sequence[Mapping[str, Any]], age: int = 0) -> str:
        """Return a token for `access` that was issued `age` seconds ago."""
        now = int(time.time()) - age
        times = {"iat": now, "nbf": now - 10, "exp": now + 300}
        claims = {"iss": ISSUER, "aud": SERVICE, "sub": user, "jti": str(now)}
        # libtrust (release 2.8) accepts no other type.
        head = {"x5c": self._x5c, "typ": "JWT"}
        key: Any = self._key
        return jwt.encode({**claims, **times, "access": access}, key, "ES256", head)

    def allowed_access(self, user: str, scopes: Sequence[str]) -> list[Mapping[str, Any]]:
        """Return the token's `access` entries for `scopes`, limited to what `user` may do.

        Only repositories below team/ are allowed.
        """
        allowed: list[Mapping[str, Any]] = []
        for scope in scopes:
            parts = scope.rsplit(":", 2)
            if len(parts) == 3 and parts[1].startswith("team/"):
                kind, name, requested = parts
                actions = sorted(ALLOWED_ACTIONS[user] & {*requested.split(",")})
                if actions:
                    kind = kind.rpartition(" ")[2]
                    allowed.append({"type": kind, "name": name, "actions": actions})
        return allowed


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def realm(issuer: Issuer) -> Iterator[str]:
    """Run the token server and provide its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scheme, _, basic = self.headers.get("Authorization", "").partition(" ")
            user, _, password = base64.b64decode(basic).decode().partition(":")
            if scheme != "Basic" or PASSWORDS.get(user) != password:
                self.send_response(401)
                self.end_headers()
                return
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            token = issuer.token(user, issuer.allowed_access(user, scopes))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({"token": token}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()


@pytest.fixture(scope="module", params=["2.8.3", "3.1.2"])
def registry(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    issuer: Issuer,
    realm: str,
) -> Iterator[SecuredDeployment]:
    deployment = SecuredDeployment(tmp_path_factory.mktemp("project"))
    deployment.remove_section("auth")
    deployment.pulumi("config", "rm", "oss-registry:password-alice")
    bundle = "/etc/token/issuer.pem"
    token = {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}
    deployment.configure(
        registry={
            "release": request.param,
            "files": {bundle: issuer.authority.cert_pem.bytes().decode()},
            "config": {"auth": {"token": token}},
        }
    )
    with deployment.deployed():
        yield deployment


def _flags(user: str, side: str) -> list[str]:
    """Return skopeo's flags for the login of `user` at `side`, which is `src` or `dest`."""
    return [f"--{side}-tls-verify=false", f"--{side}-creds", f"{user}:{PASSWORDS[user]}"]


def test_clients_can_do_only_what_their_tokens_allow(
    registry: SecuredDeployment, archive: Path, tmp_path: Path
) -> None:
    server = registry.outputs()["login_server"]
    source, destination = f"docker-archive:{archive}", f"docker://{server}/team/app:1"
    skopeo("copy", *_flags("alice", "dest"), source, destination)
    skopeo("copy", *_flags("bob", "src"), destination, f"dir:{tmp_path / 'pulled'}")
    with pytest.raises(AssertionError, match=r"denied|unauthorized"):
        skopeo("copy", *_flags("bob", "dest"), source, f"docker://{server}/team/his:1")
    with pytest.raises(AssertionError, match=r"denied|unauthorized"):
        skopeo("copy", *_flags("alice", "dest"), source, f"docker://{server}/other/app:1")
    login = ("login", "-u", "alice", "-p", PASSWORDS["alice"], server)
    registry.docker("--config", tmp_path, *login)
    registry.docker("--config", tmp_path, "pull", f"{server}/team/app:1")
    registry.docker("image", "rm", f"{server}/team/app:1")


def test_forged_expired_and_unrelated_tokens_are_refused(
    registry: SecuredDeployment, issuer: Issuer
) -> None:
    outputs = registry.outputs()
    api = Api(outputs["endpoint"], None, outputs["certificate"])
    access = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
    path = "/v2/team/app/tags/list"

    def status_with(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return api.call("GET", path, [200, 401, 404], headers=headers).status

    valid = issuer.token("alice", access)
    assert status_with(valid) in (200, 404)
    head, body, signature = valid.split(".")
    unsigned = jwt.encode({"iss": ISSUER, "aud": SERVICE, "access": access}, "", "none")
    for invalid in (
        Issuer().token("alice", access),
        issuer.token("alice", access, age=3600),
        issuer.token("alice", []),
        issuer.token("alice", [{**access[0], "name": "team/other"}]),
        f"{head}.{body}.{signature[::-1]}",
        f"{head}.{body}.",
        unsigned,
        "x",
    ):
        assert status_with(invalid) == 401, invalid
    response = api.call("GET", path, [401])
    assert SERVICE in response.headers["www-authenticate"]
    with pytest.raises(RequestError):
        api.push("team/app", b"x")
