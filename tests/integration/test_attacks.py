"""Attacks by clients that can reach the registry, and how the registry responds to them."""

import hashlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import trustme

from tests.integration.api import MANIFEST, Api, RequestError
from tests.integration.deployment import run
from tests.integration.secured import PASSWORD, SecuredDeployment

pytestmark = pytest.mark.secure


@pytest.fixture(scope="module", params=["2.8.3", "3.1.2"])
def secured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredDeployment]:
    deployment = SecuredDeployment(
        tmp_path_factory.mktemp("project"), registry={"release": request.param}
    )
    with deployment.deployed():
        yield deployment


@pytest.fixture(scope="module")
def alice(secured: SecuredDeployment) -> Api:
    api = secured.api()
    api.push("team/app", b"layer" * 1000)
    return api


@pytest.fixture(scope="module")
def anonymous(secured: SecuredDeployment) -> Api:
    return secured.api("")


def _address(api: Api) -> tuple[str, int]:
    connection = api.connection()
    return connection.host, connection.port


CALLS = (
    ("GET", "/v2/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/team/app/tags/list"),
    ("GET", "/v2/team/app/manifests/1"),
    ("HEAD", "/v2/team/app/manifests/1"),
    ("GET", f"/v2/team/app/blobs/sha256:{'0' * 64}"),
    ("POST", "/v2/team/app/blobs/uploads/"),
    ("POST", f"/v2/mine/blobs/uploads/?mount=sha256:{'0' * 64}&from=team/app"),
    ("PUT", "/v2/team/app/manifests/1"),
    ("DELETE", f"/v2/team/app/manifests/sha256:{'0' * 64}"),
    ("DELETE", f"/v2/team/app/blobs/sha256:{'0' * 64}"),
)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_no_call_is_allowed_without_a_login(
    anonymous: Api, alice: Api, method: str, path: str
) -> None:
    response = anonymous.call(method, path, [401])
    assert "basic" in response.headers["www-authenticate"].lower()
    assert b"team" not in response.body.replace(b"team/app", b"")
    alice.pull("team/app")


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("alice", "wrong"),
        ("alice", ""),
        ("alice", PASSWORD + " "),
        ("alice", PASSWORD[:-1]),
        ("ALICE", PASSWORD),
        ("nobody", PASSWORD),
        ("ci", PASSWORD),
        ("alice\n", PASSWORD),
    ],
)
def test_a_wrong_name_or_password_is_refused(
    secured: SecuredDeployment, user: str, password: str
) -> None:
    api = secured.api(user, password)
    api.call("GET", "/v2/", [401])
    with pytest.raises(RequestError):
        api.push("team/app", b"theirs")


def test_other_kinds_of_authorization_are_refused(anonymous: Api) -> None:
    for scheme in ("Bearer x", "Basic", "Basic !!!!", "Basic Og==", "Digest username=alice", ""):
        anonymous.call("GET", "/v2/_catalog", [400, 401], headers={"Authorization": scheme})


def test_a_user_can_pull_what_another_user_pushed(secured: SecuredDeployment, alice: Api) -> None:
    secured.api("ci").pull("team/app")
    assert json.loads(alice.call("GET", "/v2/_catalog", [200]).body)["repositories"]


def test_a_plain_http_request_gets_only_an_error(anonymous: Api) -> None:
    host, port = _address(anonymous)
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request("GET", "/v2/_catalog", headers={"Authorization": "Basic YWxpY2U6eA=="})
    response = connection.getresponse()
    assert response.status == 400
    assert response.read().decode().strip() == "Client sent an HTTP request to an HTTPS server."


def _connect(api: Api, version: ssl.TLSVersion) -> None:
    """Connect with a TLS version. Raises SSLError if the registry does not support it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # otherwise the client would not offer old versions
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(_address(api), timeout=60) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        assert encrypted.version()


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_insecure_tls_versions_are_refused(anonymous: Api, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        _connect(anonymous, version)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_secure_tls_versions_are_accepted(anonymous: Api, version: ssl.TLSVersion) -> None:
    _connect(anonymous, version)


def test_a_client_that_trusts_another_authority_sends_no_password(
    secured: SecuredDeployment,
) -> None:
    foreign = trustme.CA().cert_pem.bytes().decode()
    api = Api(secured.outputs()["endpoint"], ("alice", PASSWORD), foreign)
    with pytest.raises(RequestError, match="CERTIFICATE_VERIFY_FAILED"):
        api.call("GET", "/v2/", [200])


def test_a_client_certificate_does_not_replace_the_login(
    secured: SecuredDeployment, anonymous: Api
) -> None:
    mine = trustme.CA().issue_cert("alice")
    connection = anonymous.connection()
    context = ssl.create_default_context(cadata=secured.outputs()["certificate"])
    mine.configure_cert(context)
    connection = http.client.HTTPSConnection(connection.host, connection.port, context=context)
    connection.request("GET", "/v2/")
    assert connection.getresponse().status == 401
    connection.close()


# Redis.


def test_redis_refuses_commands_without_its_password(secured: SecuredDeployment) -> None:
    output = _send_to_redis(secured.prefix, f"{secured.prefix}-redis", "KEYS *", "AUTH wrong")
    assert "NOAUTH" in output
    assert "WRONGPASS" in output


def test_redis_is_not_reachable_from_another_network(secured: SecuredDeployment) -> None:
    networks = secured.inspect("redis", ".NetworkSettings.Networks")
    (address,) = [network["IPAddress"] for network in networks.values() if network["IPAddress"]]
    assert secured.inspect("redis", ".HostConfig.PortBindings") in ({}, None)
    assert "NOAUTH" in _send_to_redis(secured.prefix, address, "PING")  # from its own network
    other = f"{secured.prefix}-other"
    secured.docker("network", "create", "--label", f"oss-registry.stack={secured.stack}", other)
    try:
        assert "timed out" in _send_to_redis(other, address, "PING")
    finally:
        secured.docker("network", "rm", other)


def _send_to_redis(network: str, host: str, *lines: str) -> str:
    """Return the response of redis to a container in `network`, or netcat's error."""
    netcat = ["--entrypoint", "/bin/busybox", "registry:3.1.2", "nc", "-w", "3", host, "6379"]
    commands = "".join(f"{line}\r\n" for line in (*lines, "QUIT"))
    return run("docker", "run", "--rm", "-i", "--network", network, *netcat, stdin=commands).stdout


# Names and references.


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../../etc/passwd",
        "/v2/..%2f..%2f..%2fetc%2fpasswd/manifests/1",
        "/v2/team/../../../../etc/manifests/passwd",
        "/v2/team/app/manifests/..%2f..%2f..%2fetc%2fpasswd",
        "/v2/team/app/manifests/../../../../../../etc/passwd",
        "/v2/team/app/blobs/sha256:../../../../etc/passwd",
        "/v2/team/app/blobs/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/v2/team/app/blobs/uploads/..%2f..%2f..%2fetc",
        "/v2/team/app/blobs/uploads/../../../../etc/passwd",
        "/v2/team%00/app/manifests/1",
        "/v2/team/app/tags/list?n=-1",
        "/v2/_catalog?last=../../../../etc",
    ],
)
def test_an_invalid_name_or_reference_reads_no_file_and_changes_no_image(
    alice: Api, path: str
) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        response = alice.call(method, path, [*range(200, 500)], b"x")
        assert b"root:" not in response.body
        # The registry redirects to a clean path or ignores the invalid part. It changes nothing.
        assert response.status in (200, 301, 307, 400, 404, 405, 415), (method, response)
        assert response.status != 200 or method == "GET"
    alice.pull("team/app")


def test_an_image_with_an_invalid_name_is_refused(alice: Api) -> None:
    for name in ("..", "../x", "a/../../b", "UPPER", "a//b", "a/.b", "%2e%2e/x", "_x", "a" * 300):
        with pytest.raises(RequestError) as error:
            alice.push(name, b"x")
        assert error.value.status >= 300, error.value
    alice.pull("team/app")


def test_a_blob_that_does_not_exist_cannot_be_mounted(alice: Api) -> None:
    digest = f"sha256:{hashlib.sha256(b'never pushed').hexdigest()}"
    query = f"mount={digest}&from=team/app"
    # If a blob can't be mounted, the registry starts an upload.
    alice.call("POST", f"/v2/theirs/blobs/uploads/?{query}", [202])
    alice.call("GET", f"/v2/theirs/blobs/{digest}", [404])


def test_a_manifest_that_is_too_large_is_refused(secured: SecuredDeployment, alice: Api) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    oversized = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "x": "y" * 30_000_000})
    headers = {"Content-Type": MANIFEST}
    with pytest.raises(RequestError) as error:
        alice.call("PUT", "/v2/team/app/manifests/big", [201], oversized.encode(), headers)
    # The registry may close the connection during the upload.
    assert error.value.status in (0, 400, 413)
    alice.call("GET", "/v2/team/app/manifests/big", [404])
    alice.pull("team/app")
    assert digest not in secured.log("registry")


# Many clients, and slow clients.


def test_500_bad_logins_all_fail_and_do_not_lock_out_other_users(
    secured: SecuredDeployment, alice: Api
) -> None:
    ci = secured.api("ci")
    # Checking alice's configured password is slow, and checking ci's generated one is fast.
    bad = [secured.api(("alice", "ci")[number % 2], f"guess-{number}") for number in range(8)]

    def guess(number: int) -> int:
        return bad[number % 8].call("GET", "/v2/", [401, 429, 503]).status

    with ThreadPoolExecutor(8) as pool:
        guesses = pool.map(guess, range(500))
        for _ in range(5):
            alice.pull("team/app")
            ci.pull("team/app")
        assert set(guesses) == {401}
    alice.pull("team/app")
    assert secured.is_healthy("registry")


def test_idle_and_slow_clients_do_not_block_other_clients(
    secured: SecuredDeployment, alice: Api
) -> None:
    address = _address(alice)
    context = ssl.create_default_context(cadata=secured.outputs()["certificate"])
    with ExitStack() as stack:
        # 200 clients only connect, 20 do not finish their request, and one of the 20 sends slowly.
        for _ in range(200):
            stack.enter_context(socket.create_connection(address, timeout=10))
        slow = []
        for _ in range(20):
            plain = stack.enter_context(socket.create_connection(address, timeout=10))
            slow.append(stack.enter_context(context.wrap_socket(plain, server_hostname=address[0])))
            slow[-1].sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for _ in range(10):
            slow[0].sendall(b"y")
            alice.pull("team/app")
            time.sleep(0.1)
        alice.push("team/slow", b"layer")
        assert secured.is_healthy("registry")
    alice.pull("team/slow")


def test_an_interrupted_upload_leaves_no_image(secured: SecuredDeployment, alice: Api) -> None:
    url = alice.start_upload("team/broken")
    path = url.split(f":{_address(alice)[1]}", 1)[1]
    connection = alice.connection()
    connection.putrequest("PATCH", path)
    for name, value in alice.headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"x" * 1000)
    connection.close()
    alice.call("GET", "/v2/team/broken/tags/list", [404])
    alice.pull("team/app")


# The privileges of a process in a container.


@pytest.mark.parametrize("part", ["registry", "redis"])
def test_processes_in_a_container_cannot_have_or_gain_capabilities(
    secured: SecuredDeployment, part: str
) -> None:
    process = secured.inspect(part, ".State.Pid")
    lines = run("cat", f"/proc/{process}/status").stdout.splitlines()
    status = dict(line.split(":", 1) for line in lines)
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"].strip() == "1"
    assert secured.inspect(part, ".HostConfig.Privileged") is False


def test_the_debug_server_is_off(secured: SecuredDeployment) -> None:
    for port in (5001, 6060):
        wget = f"wget -q -O - http://127.0.0.1:{port}/debug/vars || echo refused"
        name = f"{secured.prefix}-registry"
        assert secured.docker("exec", name, "sh", "-c", wget).strip().endswith("refused")
