"""Debian's nginx with the configuration of docs/proxy.md, in front of a registry."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.integration.api import Api
from tests.integration.clients import skopeo
from tests.integration.deployment import free_port, is_listening, run_checked, wait_until
from tests.integration.secured import PASSWORD, SecuredDeployment
from tests.integration.servers import docs_example, find_program, running_server

pytestmark = pytest.mark.secure


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredDeployment]:
    deployment = SecuredDeployment(tmp_path_factory.mktemp("project"))
    deployment.remove_setting("registry", "bind")
    deployment.remove_section("tls")
    url = f"https://127.0.0.1:{free_port()}"
    deployment.configure(registry={"exposure": "proxy", "external_url": url, "log_level": "info"})
    with deployment.deployed():
        yield deployment


@pytest.fixture(scope="module", autouse=True)
def proxy(
    secured: SecuredDeployment, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("nginx")
    registry = secured.settings["registry"]
    port = int(registry["external_url"].rpartition(":")[2])
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "registry.crt")
    certificate.private_key_pem.write_to_path(folder / "registry.key")
    replacements = {
        "listen 8443": f"listen 127.0.0.1:{port}",
        "/etc/nginx/": f"{folder}/",
        "127.0.0.1:5000": f"127.0.0.1:{registry['port']}",
        # A busy machine may send fewer than the 50 requests a second that the page allows.
        "rate=50r/s": "rate=5r/s",
    }
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}"
        f"{docs_example('proxy.md', 'nginx', replacements)}}}\n"
    )
    words = ("-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log")
    nginx, variables = find_program("nginx", ["nginx"])
    run_checked(nginx, *words, "-t", env=variables)
    with running_server("nginx", ["nginx"], folder / "log", *words, "-g", "daemon off;"):
        wait_until(lambda: is_listening(port))
        yield


@pytest.fixture
def alice(secured: SecuredDeployment, authority: trustme.CA) -> Api:
    trusted = authority.cert_pem.bytes().decode()
    return Api(secured.outputs()["endpoint"], ("alice", PASSWORD), trusted)


def test_docker_and_skopeo_push_and_pull_through_the_proxy(
    secured: SecuredDeployment, archive: Path, image: str, tmp_path: Path
) -> None:
    server = secured.outputs()["login_server"]
    assert server == secured.settings["registry"]["external_url"].removeprefix("https://")
    result = secured.make(
        "login", "USER=ci", env={**secured.environment, "DOCKER_CONFIG": str(tmp_path)}
    )
    assert "Login Succeeded" in result.stdout
    secured.docker("tag", image, f"{server}/by/docker:1")
    secured.docker("--config", tmp_path, "push", f"{server}/by/docker:1")
    secured.docker("--config", tmp_path, "pull", f"{server}/by/docker:1")
    authfile: list[str | Path] = ["--authfile", tmp_path / "config.json"]
    destination = f"docker://{server}/by/skopeo:1"
    # The image has a layer of 20 MB, which is more than nginx accepts by default.
    skopeo("copy", *authfile, "--dest-tls-verify=false", f"docker-archive:{archive}", destination)
    skopeo("copy", *authfile, "--src-tls-verify=false", destination, f"dir:{tmp_path / 'pulled'}")


def test_upload_urls_have_the_external_address(secured: SecuredDeployment, alice: Api) -> None:
    assert alice.start_upload("team/app").startswith(secured.outputs()["endpoint"])
    alice.push("team/app", b"layer" * 100_000, chunks=3)
    alice.pull("team/app")


def test_the_proxy_serves_only_the_registry_and_requires_a_login(
    secured: SecuredDeployment, alice: Api
) -> None:
    alice.headers.clear()
    alice.call("GET", "/v2/_catalog", [401])
    for path in ("/", "/metrics", "/debug/vars", "/v1/"):
        alice.call("GET", path, [404])
    assert secured.inspect("registry", ".NetworkSettings.Ports")["5000/tcp"] == [
        {"HostIp": "127.0.0.1", "HostPort": str(secured.settings["registry"]["port"])}
    ]


def test_forged_forwarding_headers_are_ignored(secured: SecuredDeployment, alice: Api) -> None:
    forged = {
        "X-Forwarded-For": "192.0.2.77",
        "X-Real-IP": "192.0.2.77",
        "Forwarded": "for=192.0.2.77;host=evil.example.com;proto=http",
        "X-Forwarded-Host": "evil.example.com",
        "X-Forwarded-Proto": "http",
        "Host": "evil.example.com",
    }
    response = alice.call("POST", "/v2/team/app/blobs/uploads/", [202], headers=forged)
    assert response.headers["location"].startswith(secured.outputs()["endpoint"])
    assert "192.0.2.77" not in secured.log("registry")


def test_password_guesses_are_limited_and_users_can_log_in_again(
    secured: SecuredDeployment, alice: Api, authority: trustme.CA
) -> None:
    trusted = authority.cert_pem.bytes().decode()
    attacker = Api(secured.outputs()["endpoint"], ("nobody", "guess"), trusted)

    def guess(_: int) -> int:
        return attacker.call("GET", "/v2/", [401, 429]).status

    with ThreadPoolExecutor(16) as pool:
        statuses = [*pool.map(guess, range(600))]
    assert {401, 429} == set(statuses)

    def pulled() -> bool:
        with contextlib.suppress(AssertionError):
            alice.pull("team/app")
            return True
        time.sleep(2)  # a failed attempt also counts against the limit
        return False

    wait_until(pulled)
