"""A custom image of the registry, with a digest, from a registry that requires a login."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.releases import DEFAULT_RELEASE
from tests.integration.clients import skopeo
from tests.integration.deployment import Deployment, free_port, run, run_checked, wait_until
from tests.integration.leftovers import unique_name

pytestmark = pytest.mark.local
OFFICIAL_IMAGE = f"registry:{DEFAULT_RELEASE}"
# The passwords of two users of the server, and the bcrypt hashes of the passwords.
PASSWORDS = {"first": "first seed password", "second": "second seed password"}
HTPASSWD = (
    "first:$2y$04$abcdefghijklmnopqrstuu48klauptuuvup7ZFQLpjy3ghF0S/WEa\n"
    "second:$2y$04$abcdefghijklmnopqrstuuxk27Yo31u/Y9JXFymQW9l7BB2R7JLfy\n"
)
DERIVED_DOCKERFILE = (
    f"FROM {OFFICIAL_IMAGE}\nWORKDIR /srv\nUSER 0:0\nENV OTHER=1\nLABEL own=1\nSTOPSIGNAL SIGINT\n"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Run a registry that requires a login and belongs to no stack, and provide its address."""
    name, port = unique_name("oss-registry-test"), free_port()
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    variables = ("REGISTRY_AUTH_HTPASSWD_REALM=seed", "REGISTRY_AUTH_HTPASSWD_PATH=/htpasswd")
    environment = [f"--env={variable}" for variable in variables]
    publish = f"--publish=127.0.0.1:{port}:5000"
    run_checked(
        "docker", "container", "create", f"--name={name}", publish, *environment, OFFICIAL_IMAGE
    )
    try:
        run_checked("docker", "container", "cp", tmp_path / "htpasswd", f"{name}:/htpasswd")
        run_checked("docker", "container", "start", name)
        wait_until(lambda: run("curl", "--silent", f"http://127.0.0.1:{port}/").returncode == 0)
        yield f"127.0.0.1:{port}"
    finally:
        run_checked("docker", "container", "rm", "--force", "--volumes", name)


@pytest.fixture
def custom_image(server: str, tmp_path: Path) -> Iterator[str]:
    """Push a derived image to `server`, and provide its reference with tag and digest.

    The image is not in the engine, so it must be pulled.
    """
    built = f"{unique_name('oss-registry-test')}:1"
    (tmp_path / "Dockerfile").write_text(DERIVED_DOCKERFILE)
    build = ("docker", "build", "--quiet", "--tag", built, tmp_path)
    built_id = run_checked(*build, env={"DOCKER_BUILDKIT": "0"}).strip()
    try:
        login = ["--dest-tls-verify=false", f"--dest-creds=first:{PASSWORDS['first']}"]
        pushed = f"{server}/team/registry:own"
        digest = tmp_path / "digest"
        source = f"docker-daemon:{built}"
        skopeo("copy", f"--digestfile={digest}", *login, source, f"docker://{pushed}")
        run_checked("docker", "image", "rm", built)
        reference = f"{pushed}@{digest.read_text().strip()}"
        yield reference
        run("docker", "image", "rm", "--force", reference)  # its id differs from `built_id`
    finally:
        run("docker", "image", "rm", "--force", built_id)


def test_a_custom_image_needs_a_login_and_survives_a_new_password(
    server: str, custom_image: str, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    deployment = Deployment(folder, registry={"release": DEFAULT_RELEASE, "image": custom_image})

    def log_in(user: str) -> None:
        for key, value, *secret in (
            ("address", server),
            ("username", user),
            ("password", PASSWORDS[user], "--secret"),
        ):
            path = f"docker:registryAuth[0].{key}"
            deployment.pulumi("config", "set", "--path", *secret, path, value)

    try:
        assert "its registry does not give it" in deployment.pulumi_fails("up", "--yes")
        log_in("first")
        printed = [deployment.up()]
        assert deployment.inspect("registry", ".Config.Labels")["own"] == "1"
        before = deployment.docker_objects("container")
        deployment.pulumi("up", "--yes", "--expect-no-changes")
        deployment.pulumi("preview", "--refresh", "--expect-no-changes")

        log_in("second")
        printed += [deployment.pulumi("preview", "--diff"), deployment.up(), deployment.state()]
        assert deployment.docker_objects("container") == before
        printed += [json.dumps(deployment.inspect("registry", "."))]
        assert not [text for text in printed for password in PASSWORDS.values() if password in text]
    finally:
        deployment.remove()


def test_a_login_with_an_invalid_address_or_plain_text_password_is_refused(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    entry = {"address": "https://registry.example/team", "username": "u", "password": "hunter2"}
    deployment.write_config({"docker:registryAuth": [entry]})
    output = deployment.pulumi_fails("preview")
    assert "docker:registryAuth[0].address: must be the registry's host alone" in output
    assert "docker:registryAuth[0].password: is a secret in plain text" in output
    assert "hunter2" not in output
