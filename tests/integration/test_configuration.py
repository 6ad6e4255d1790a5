"""The user's own configuration and secrets, and the whole file in place of variables."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.clients import docker_push, redis_cli, registry_variables, remove_and_pull
from tests.integration.deployment import Deployment, run_checked

pytestmark = pytest.mark.local
# What breaks a shell, a redis.conf, YAML and argv, one way or another.
PASSWORD = "Pa'ss\"w$x y\\z;FOO #&: 😀"
CONFIG = {
    "log": {"fields": {"A_b": "0899", "token": {"from_secret": "field"}}},
    "http": {"headers": {"X-Frame-Options": ["deny"]}},
    "health": {"storagedriver": {"interval": "5s"}},
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Release 3.0.0 with a whole file, and all secrets brought along."""
    made = Deployment(
        tmp_path_factory.mktemp("project"),
        registry={"release": "3.0.0", "delivery": "file", "config": CONFIG},
    )
    made.set_secret("redis-password", PASSWORD)
    made.set_secret("field", "s3cret-field")
    try:
        made.up()
        yield made
    finally:
        made.remove()


def test_a_whole_file_serves_images_and_leaves_no_variable(
    deployment: Deployment, image: str
) -> None:
    reference, digest = docker_push(deployment, image, "file")
    assert remove_and_pull(deployment, reference) == digest
    assert not [name for name in registry_variables(deployment) if name.startswith("REGISTRY_")]


def test_the_file_in_the_container_is_the_one_that_the_output_shows(
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
    secret = [line for line in shown.splitlines() if "[secret: " in line]
    assert len(secret) == 3
    assert [line for line in inside.splitlines() if line in shown.splitlines()] == [
        line for line in shown.splitlines() if line not in secret
    ]


def test_redis_is_used_with_a_password_that_breaks_everything_else(
    deployment: Deployment, image: str
) -> None:
    docker_push(deployment, image, "password")
    assert "blobs::sha256:" in redis_cli(deployment, "--scan", password=PASSWORD)


def test_what_the_user_configures_is_what_the_registry_does(deployment: Deployment) -> None:
    response = run_checked("curl", "--silent", "--head", f"{deployment.outputs()['endpoint']}/v2/")
    assert "x-frame-options: deny" in response.lower()


def test_secrets_that_were_brought_are_nowhere_in_plain_text(deployment: Deployment) -> None:
    containers = [f"{deployment.prefix}-{name}" for name in ("registry", "redis")]
    printed = [
        deployment.up(),
        deployment.pulumi("preview", "--diff"),
        deployment.pulumi("stack", "output", "--json"),
        deployment.state(),
        *(run_checked("docker", "container", "inspect", name) for name in containers),
    ]
    for secret in (PASSWORD, json.dumps(PASSWORD)[1:-1], "s3cret-field"):
        assert not any(secret in text for text in printed)


def test_nothing_is_left_to_do_after_an_up(deployment: Deployment) -> None:
    deployment.pulumi("up", "--yes", "--expect-no-changes")
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


def test_variables_in_place_of_the_file_serve_the_same_images(
    deployment: Deployment, image: str
) -> None:
    reference, digest = docker_push(deployment, image, "delivery")
    deployment.configure(registry={"delivery": "env"})
    deployment.up()
    assert json.loads(registry_variables(deployment)["REGISTRY_REDIS_OPTIONS_PASSWORD"]) == PASSWORD
    assert remove_and_pull(deployment, reference) == digest


def test_render_says_what_up_gives(deployment: Deployment) -> None:
    without = {
        "PATH": f"{deployment.folder}/.venv/bin:{os.defpath}",
        "DOCKER_HOST": "tcp://127.0.0.1:1",
    }
    deployment.configure(registry={"delivery": "env"})
    deployment.up()
    words = ["--silent", "render", f"STACK={deployment.stack}"]
    rendered = run_checked("make", "--directory", deployment.folder, *words, env=without)
    shown = deployment.outputs()["environment"]
    assert rendered.splitlines() == [f"{name}={text}" for name, text in shown.items()]


# Faults that only the real command line shows.


@pytest.fixture
def new_stack(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_a_secret_inside_a_section_is_refused_before_it_comes_out(new_stack: Deployment) -> None:
    new_stack.set_secret("storage.kind", "hunter2", "--path")
    printed = new_stack.pulumi_fails("up", "--yes")
    assert "oss-registry:storage: holds a secret" in printed
    assert "hunter2" not in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("config:\n  oss-registry:registry: {port: 1}\n  oss-registry:registry: {}\n", "already"),
        ("config: {a: [}\n", "did not find expected"),
    ],
)
def test_a_stack_file_that_is_not_yaml_is_one_clear_message(
    new_stack: Deployment, text: str, word: str
) -> None:
    new_stack.file.write_text(text)
    printed = new_stack.pulumi_fails("up", "--yes")
    assert word in printed
    assert "Traceback" not in printed


def test_a_warning_stands_in_the_preview(new_stack: Deployment) -> None:
    htpasswd = {"realm": "Team", "path": "/users"}
    new_stack.configure(registry={"config": {"auth": {"htpasswd": htpasswd}}})
    assert "oss-registry:registry.config.auth.htpasswd.path" in new_stack.pulumi("preview")
