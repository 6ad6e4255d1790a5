"""Users come, go and change their passwords; each change leaves the others as they were."""

import json
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from tests.integration.api import Refusal
from tests.integration.clients import copy_in, skopeo
from tests.integration.deployment import run
from tests.integration.guarded import PASSWORD, Guarded, hashes

pytestmark = pytest.mark.secure


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Up; each test leaves it with its users, or is the last one."""
    made = Guarded(tmp_path_factory.mktemp("project"))
    with made.running():
        yield made


@pytest.mark.quick
def test_a_push_without_a_login_fails_for_every_client_and_with_one_it_does_not(
    guarded: Guarded, archive: Path, image: str
) -> None:
    server = guarded.outputs()["login_server"]
    with pytest.raises(AssertionError, match=r"unauthorized|authentication required"):
        copy_in(guarded, archive, "theirs")
    guarded.docker("tag", image, f"{server}/theirs:1")
    refused = run("docker", "push", f"{server}/theirs:1")
    assert refused.returncode != 0
    assert "no basic auth credentials" in refused.stdout
    flags = ["--dest-tls-verify=false", "--dest-creds", f"alice:{PASSWORD}"]
    skopeo("copy", *flags, f"docker-archive:{archive}", f"docker://{server}/hers:1")
    guarded.api("ci").pull("hers")


def test_docker_logs_in_as_a_user_whose_password_nobody_sees(
    guarded: Guarded, archive: Path, tmp_path: Path
) -> None:
    drawn = guarded.stashed()["password-ci"]
    server = guarded.outputs()["login_server"]
    environment = {**guarded.environment, "DOCKER_CONFIG": str(tmp_path)}
    for user, password in (("ci", drawn), ("alice", PASSWORD)):
        done = guarded.make("login", f"USER={user}", env=environment)
        assert done.returncode == 0, done.stdout
        assert "Login Succeeded" in done.stdout
        assert password not in done.stdout
        # What it kept is what lets other clients in.
        kept = tmp_path / "config.json"
        assert json.loads(kept.read_text())["auths"].keys() == {server}
        certificates = tmp_path / f"certificates-{user}"
        certificates.mkdir()
        (certificates / "ca.crt").write_text(guarded.outputs()["certificate"])
        flags: list[str | Path] = ["--authfile", kept, "--dest-cert-dir", certificates]
        skopeo("copy", *flags, f"docker-archive:{archive}", f"docker://{server}/by/{user}:1")

    for user, word in (
        ("nobody", "no user nobody: it has alice, ci"),
        ("", "no user : it has alice, ci"),
    ):
        done = guarded.make("login", f"USER={user}", env=environment)
        assert done.returncode != 0
        assert word in done.stdout
    assert "say who" in guarded.make("login", env=environment).stdout
    users: dict[str, dict[str, str]] = {"alice": {}, "ci": {}}
    guarded.configure(auth={"users": {**users, "bob": {"hash": "$2b$10$" + "b" * 53}, "new": {}}})
    assert "asks for the password" in guarded.make("login", "USER=bob", env=environment).stdout
    assert "make up" in guarded.make("login", "USER=new", env=environment).stdout
    guarded.configure(auth={"users": users})


def test_users_come_and_go_and_change_while_the_others_stay_as_they_were(guarded: Guarded) -> None:
    before = hashes(guarded)
    ci = guarded.api("ci")
    guarded.api().push("team/app", b"layer")

    # One comes with a hash alone, as htpasswd makes it.
    bob = bcrypt.hashpw(b"bob's", bcrypt.gensalt(6)).decode().replace("$2b$", "$2y$")
    guarded.configure(auth={"users": {"alice": {}, "bob": {"hash": bob}, "ci": {}}})
    guarded.up()
    assert hashes(guarded) == {**before, "bob": bob}
    for api in (guarded.api(), ci, guarded.api("bob", "bob's")):
        api.pull("team/app")
    assert "created" not in guarded.up()

    # One changes the password, and one goes.
    guarded.secret("password-alice", "another")
    guarded.configure(auth={"users": {"alice": {}, "ci": {}}})
    guarded.up()
    after = hashes(guarded)
    assert after.keys() == before.keys()
    assert after["ci"] == before["ci"]
    assert after["alice"] != before["alice"]
    for user, password in (("bob", "bob's"), ("alice", PASSWORD)):
        guarded.api(user, password).call("GET", "/v2/", [401])
    guarded.api("alice", "another").pull("team/app")
    ci.pull("team/app")

    # What was drawn becomes one's own: dearer to guess, so dearer to check.
    assert after["ci"].startswith("$2b$05$")
    guarded.secret("password-ci", "guessable")
    guarded.up()
    assert hashes(guarded)["ci"].startswith("$2b$10$")
    guarded.api("ci", "guessable").pull("team/app")
    with pytest.raises(Refusal):
        ci.pull("team/app")
    guarded.pulumi("preview", "--refresh", "--expect-no-changes")
