"""Users come, go and change their passwords; each change leaves the others as they were."""

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
    """Up; each test leaves it with its users, or is the last one."""
    made = SecuredDeployment(tmp_path_factory.mktemp("project"))
    with made.deployed():
        yield made


@pytest.mark.quick
def test_a_push_without_a_login_fails_for_every_client_and_with_one_it_does_not(
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


def test_docker_logs_in_as_a_user_whose_password_nobody_sees(
    secured: SecuredDeployment, archive: Path, tmp_path: Path
) -> None:
    drawn = secured.generated_values()["password-ci"]
    server = secured.outputs()["login_server"]
    environment = {**secured.environment, "DOCKER_CONFIG": str(tmp_path)}
    for user, password in (("ci", drawn), ("alice", PASSWORD)):
        output = secured.make_succeeds("login", f"USER={user}", env=environment)
        assert "Login Succeeded" in output
        assert password not in output
        # What it kept is what lets other clients in.
        kept = tmp_path / "config.json"
        assert json.loads(kept.read_text())["auths"].keys() == {server}
        certificates = tmp_path / f"certificates-{user}"
        certificates.mkdir()
        (certificates / "ca.crt").write_text(secured.outputs()["certificate"])
        flags: list[str | Path] = ["--authfile", kept, "--dest-cert-dir", certificates]
        skopeo("copy", *flags, f"docker-archive:{archive}", f"docker://{server}/by/{user}:1")

    for user, word in (
        ("nobody", "no user nobody: it has alice, ci"),
        ("", "no user : it has alice, ci"),
    ):
        output = secured.make_fails("login", f"USER={user}", env=environment)
        assert word in output
    assert "say who" in secured.make("login", env=environment).stdout
    users: dict[str, dict[str, str]] = {"alice": {}, "ci": {}}
    secured.configure(auth={"users": {**users, "bob": {"hash": "$2b$10$" + "b" * 53}, "new": {}}})
    assert "asks for the password" in secured.make("login", "USER=bob", env=environment).stdout
    assert "make up" in secured.make("login", "USER=new", env=environment).stdout
    secured.configure(auth={"users": users})


def test_users_come_and_go_and_change_while_the_others_stay_as_they_were(
    secured: SecuredDeployment,
) -> None:
    before = password_hashes(secured)
    ci = secured.api("ci")
    secured.api().push("team/app", b"layer")

    # One comes with a hash alone, as htpasswd makes it.
    bob = bcrypt.hashpw(b"bob's", bcrypt.gensalt(6)).decode().replace("$2b$", "$2y$")
    secured.configure(auth={"users": {"alice": {}, "bob": {"hash": bob}, "ci": {}}})
    secured.up()
    assert password_hashes(secured) == {**before, "bob": bob}
    for api in (secured.api(), ci, secured.api("bob", "bob's")):
        api.pull("team/app")
    assert "created" not in secured.up()

    # One changes the password, and one goes.
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

    # What was drawn becomes one's own: dearer to guess, so dearer to check.
    assert after["ci"].startswith("$2b$05$")
    secured.set_secret("password-ci", "guessable")
    secured.up()
    assert password_hashes(secured)["ci"].startswith("$2b$10$")
    secured.api("ci", "guessable").pull("team/app")
    with pytest.raises(RequestError):
        ci.pull("team/app")
    secured.pulumi("preview", "--refresh", "--expect-no-changes")
