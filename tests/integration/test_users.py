"""Users are added, changed and removed, and each change affects only that user."""

import json
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.integration.api import RequestError
from tests.integration.clients import skopeo, skopeo_push
from tests.integration.deployment import run
from tests.integration.secured import PASSWORD, SecuredDeployment, password_hashes

pytestmark = pytest.mark.secure


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredDeployment]:
    """Deploy a registry with users. Each test except the last one restores the users."""
    deployment = SecuredDeployment(tmp_path_factory.mktemp("project"))
    with deployment.deployed():
        yield deployment


@pytest.mark.quick
def test_each_client_can_push_only_with_a_login(
    secured: SecuredDeployment, archive: Path, image: str
) -> None:
    server = secured.outputs()["login_server"]
    with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
        skopeo_push(secured, archive, "theirs")
    secured.docker("tag", image, f"{server}/theirs:1")
    refused = run("docker", "push", f"{server}/theirs:1")
    assert refused.returncode != 0
    assert "no basic auth credentials" in refused.stdout
    flags = ["--dest-tls-verify=false", "--dest-creds", f"alice:{PASSWORD}"]
    skopeo("copy", *flags, f"docker-archive:{archive}", f"docker://{server}/hers:1")
    secured.api("ci").pull("hers")


def test_make_login_logs_docker_in_without_showing_the_password(
    secured: SecuredDeployment, archive: Path, tmp_path: Path
) -> None:
    generated = secured.generated_values()["password-ci"]
    server = secured.outputs()["login_server"]
    environment = {**secured.environment, "DOCKER_CONFIG": str(tmp_path)}
    for user, password in (("ci", generated), ("alice", PASSWORD)):
        output = secured.make_succeeds("login", f"USER={user}", env=environment)
        assert "Login Succeeded" in output
        assert password not in output
        # Other clients can log in with Docker's configuration.
        docker_config = tmp_path / "config.json"
        assert json.loads(docker_config.read_text())["auths"].keys() == {server}
        certificates = tmp_path / f"certificates-{user}"
        certificates.mkdir()
        (certificates / "ca.crt").write_text(secured.outputs()["certificate"])
        flags: list[str | Path] = ["--authfile", docker_config, "--dest-cert-dir", certificates]
        skopeo("copy", *flags, f"docker-archive:{archive}", f"docker://{server}/by/{user}:1")

    for user, message in (
        ("nobody", "no user nobody: it has alice, ci"),
        ("", "no user : it has alice, ci"),
    ):
        output = secured.make_fails("login", f"USER={user}", env=environment)
        assert message in output
    assert "say who" in secured.make("login", env=environment).stdout
    users: dict[str, dict[str, str]] = {"alice": {}, "ci": {}}
    secured.configure(auth={"users": {**users, "bob": {"hash": "$2b$10$" + "b" * 53}, "new": {}}})
    assert "asks for the password" in secured.make("login", "USER=bob", env=environment).stdout
    assert "make up" in secured.make("login", "USER=new", env=environment).stdout
    secured.configure(auth={"users": users})


def test_users_can_be_added_changed_and_removed_without_affecting_others(
    secured: SecuredDeployment,
) -> None:
    before = password_hashes(secured)
    ci = secured.api("ci")
    secured.api().push("team/app", b"layer")

    # Add a user with a hash from htpasswd.
    bob = bcrypt.hashpw(b"bob's", bcrypt.gensalt(6)).decode().replace("$2b$", "$2y$")
    secured.configure(auth={"users": {"alice": {}, "bob": {"hash": bob}, "ci": {}}})
    secured.up()
    assert password_hashes(secured) == {**before, "bob": bob}
    for api in (secured.api(), ci, secured.api("bob", "bob's")):
        api.pull("team/app")
    assert "created" not in secured.up()

    # Change one password, and remove one user.
    secured.set_secret("password-alice", "another")
    secured.configure(auth={"users": {"alice": {}, "ci": {}}})
    secured.up()
    after = password_hashes(secured)
    assert after.keys() == before.keys()
    assert after["ci"] == before["ci"]
    assert after["alice"] != before["alice"]
    for user, password in (("bob", "bob's"), ("alice", PASSWORD)):
        secured.api(user, password).call("GET", "/v2/", [401])
    secured.api("alice", "another").pull("team/app")
    ci.pull("team/app")

    # Replace a generated password with a configured one, which needs a more expensive hash.
    assert after["ci"].startswith("$2b$05$")
    secured.set_secret("password-ci", "guessable")
    secured.up()
    assert password_hashes(secured)["ci"].startswith("$2b$10$")
    secured.api("ci", "guessable").pull("team/app")
    with pytest.raises(RequestError):
        ci.pull("team/app")
    secured.pulumi("preview", "--refresh", "--expect-no-changes")
