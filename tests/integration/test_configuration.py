"""The user's configuration and secrets, and a configuration file in place of variables."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.clients import docker_push, redis_cli, registry_variables, remove_and_pull
from tests.integration.deployment import Deployment, run_checked

pytestmark = pytest.mark.local
# Characters that need quoting in a shell, redis.conf, YAML or a command line.
PASSWORD = "Pa'ss\"w$x y\\z;FOO #&: 😀"
CONFIG = {
    "log": {"fields": {"A_b": "0899", "token": {"from_secret": "field"}}},
    "http": {"headers": {"X-Frame-Options": ["deny"]}},
    "health": {"storagedriver": {"interval": "5s"}},
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Deploy release 3.0.0 with a configuration file and configured secrets."""
    deployment = Deployment(
        tmp_path_factory.mktemp("project"),
        registry={"release": "3.0.0", "delivery": "file", "config": CONFIG},
    )
    deployment.set_secret("redis-password", PASSWORD)
    deployment.set_secret("field", "s3cret-field")
    try:
        deployment.up()
        yield deployment
    finally:
        deployment.remove()


def test_a_configuration_file_replaces_the_registry_variables(
    deployment: Deployment, image: str
) -> None:
    reference, digest = docker_push(deployment, image, "file")
    assert remove_and_pull(deployment, reference) == digest
    assert not [name for name in registry_variables(deployment) if name.startswith("REGISTRY_")]


def test_the_environment_output_shows_the_configuration_file_of_the_container(
    deployment: Deployment, tmp_path: Path
) -> None:
    path = "/etc/distribution/config.yml"
    shown = deployment.outputs()["environment"][path]
    run_checked("docker", "cp", f"{deployment.prefix}-registry:{path}", tmp_path / "config.yml")
    inside = (tmp_path / "config.yml").read_text()
    content = yaml.safe_load(inside)
    assert content["redis"]["password"] == PASSWORD
    assert content["log"]["fields"] == {
        "A_b": "0899",
        "service": "registry",
        "token": "s3cret-field",
    }
    secret_lines = [line for line in shown.splitlines() if "[secret: " in line]
    assert len(secret_lines) == 3
    assert [line for line in inside.splitlines() if line in shown.splitlines()] == [
        line for line in shown.splitlines() if line not in secret_lines
    ]


def test_redis_works_with_a_password_of_special_characters(
    deployment: Deployment, image: str
) -> None:
    docker_push(deployment, image, "password")
    assert "blobs::sha256:" in redis_cli(deployment, "--scan", password=PASSWORD)


def test_the_registry_uses_the_configuration_of_the_user(deployment: Deployment) -> None:
    response = run_checked("curl", "--silent", "--head", f"{deployment.outputs()['endpoint']}/v2/")
    assert "x-frame-options: deny" in response.lower()


def test_configured_secrets_appear_nowhere_in_plain_text(deployment: Deployment) -> None:
    containers = [f"{deployment.prefix}-{name}" for name in ("registry", "redis")]
    outputs = [
        deployment.up(),
        deployment.pulumi("preview", "--diff"),
        deployment.pulumi("stack", "output", "--json"),
        deployment.state(),
        *(run_checked("docker", "container", "inspect", name) for name in containers),
    ]
    for secret in (PASSWORD, json.dumps(PASSWORD)[1:-1], "s3cret-field"):
        assert not any(secret in text for text in outputs)


def test_a_second_up_and_a_refreshed_preview_change_nothing(deployment: Deployment) -> None:
    deployment.pulumi("up", "--yes", "--expect-no-changes")
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_change_from_a_file_to_variables_keeps_the_images(
    deployment: Deployment, image: str
) -> None:
    reference, digest = docker_push(deployment, image, "delivery")
    deployment.configure(registry={"delivery": "env"})
    deployment.up()
    assert json.loads(registry_variables(deployment)["REGISTRY_REDIS_OPTIONS_PASSWORD"]) == PASSWORD
    assert remove_and_pull(deployment, reference) == digest


def test_render_prints_the_environment_output(deployment: Deployment) -> None:
    environment = {
        "PATH": f"{deployment.folder}/.venv/bin:{os.defpath}",
        "DOCKER_HOST": "tcp://127.0.0.1:1",
    }
    deployment.configure(registry={"delivery": "env"})
    deployment.up()
    words = ["--silent", "render", f"STACK={deployment.stack}"]
    rendered = run_checked("make", "--directory", deployment.folder, *words, env=environment)
    shown = deployment.outputs()["environment"]
    assert rendered.splitlines() == [f"{name}={text}" for name, text in shown.items()]


# Errors in the stack file, as the Pulumi CLI reports them.


@pytest.fixture
def new_stack(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_a_secret_in_a_section_is_refused_without_showing_it(new_stack: Deployment) -> None:
    new_stack.set_secret("storage.kind", "hunter2", "--path")
    output = new_stack.pulumi_fails("up", "--yes")
    assert "oss-registry:storage: holds a secret" in output
    assert "hunter2" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config:\n  oss-registry:registry: {port: 1}\n  oss-registry:registry: {}\n", "already"),
        ("config: {a: [}\n", "did not find expected"),
    ],
)
def test_an_invalid_yaml_file_is_reported_without_a_traceback(
    new_stack: Deployment, text: str, message: str
) -> None:
    new_stack.file.write_text(text)
    output = new_stack.pulumi_fails("up", "--yes")
    assert message in output
    assert "Traceback" not in output


def test_a_preview_shows_warnings(new_stack: Deployment) -> None:
    htpasswd = {"realm": "Team", "path": "/users"}
    new_stack.configure(registry={"config": {"auth": {"htpasswd": htpasswd}}})
    assert "oss-registry:registry.config.auth.htpasswd.path" in new_stack.pulumi("preview")
