"""Changes of the stack file reach the running registry, and no image is lost."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.clients import redis_cli, registry_variables, skopeo_pull, skopeo_push
from tests.integration.deployment import Deployment, free_port, run, run_checked

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[Deployment]:
    """Deploy a registry with an image named `kept`."""
    deployment = Deployment(tmp_path_factory.mktemp("project"))
    try:
        deployment.up()
        skopeo_push(deployment, archive, "kept")
        yield deployment
    finally:
        deployment.remove()


@pytest.fixture(scope="module")
def pull_image(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Mapping[str, bytes]]:
    """Provide a function that pulls the image and returns its files by name."""
    return lambda: skopeo_pull(deployment, "kept", tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def original_files(pull_image: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
    """Pull the image prior to all changes, and return its files by name."""
    return pull_image()


def _registry_variable(name: str) -> Callable[[Deployment], object]:
    """Return a function that returns the variable REGISTRY_`name` of the registry's container."""
    return lambda deployment: registry_variables(deployment).get(f"REGISTRY_{name}")


def _inspected(template: str) -> Callable[[Deployment], object]:
    """Return a function that returns a part of `docker inspect` of the registry's container."""
    return lambda deployment: deployment.inspect("registry", template)


def _registry_version(deployment: Deployment) -> str:
    return deployment.docker(
        "exec", f"{deployment.prefix}-registry", "registry", "--version"
    ).split()[-1]


def _redis_max_memory(deployment: Deployment) -> object:
    name = "REGISTRY_REDIS_PASSWORD"
    password = json.loads(registry_variables(deployment)[name])
    return redis_cli(deployment, "config", "get", "maxmemory", password=password).split()[-1]


def _is_redis_running(deployment: Deployment) -> object:
    names = deployment.docker("container", "ls", "--format", "{{.Names}}").split()
    return f"{deployment.prefix}-redis" in names


def _has_no_registry_variables(deployment: Deployment) -> object:
    return not [name for name in registry_variables(deployment) if name.startswith("REGISTRY_")]


# By name: the settings to change, a function that observes the result, and the expected result.
CHANGES: Mapping[str, tuple[dict[str, Any], Callable[[Deployment], object], object]] = {
    "log level": ({"registry": {"log_level": "info"}}, _registry_variable("LOG_LEVEL"), "info"),
    "memory of redis": ({"cache": {"max_memory": "64MiB"}}, _redis_max_memory, "67108864"),
    "database": ({"cache": {"db": 3}}, _registry_variable("REDIS_DB"), "3"),
    "pool": ({"cache": {"pool": {"max_active": 32}}}, _registry_variable("REDIS_POOLSIZE"), "32"),
    "health interval": (
        {"registry": {"config": {"health": {"storagedriver": {"interval": "4s"}}}}},
        _registry_variable("HEALTH_STORAGEDRIVER_INTERVAL"),
        "4s",
    ),
    "drain": (
        {"registry": {"config": {"http": {"draintimeout": "7s"}}}},
        _inspected(".Config.StopTimeout"),
        12,
    ),
    "limits": (
        {"registry": {"limits": {"memory": "256MiB", "cpus": 0.5}}},
        _inspected(".HostConfig.Memory"),
        256 * 2**20,
    ),
    "higher limits": (
        {"registry": {"limits": {"memory": "512MiB", "cpus": 1}}},
        _inspected(".HostConfig.CpuQuota"),
        100_000,
    ),
    "no limits": ({"registry": {"limits": {}}}, _inspected(".HostConfig.Memory"), 0),
    "environment": (
        {"registry": {"environment": {"GOGC": "80"}}},
        lambda deployment: registry_variables(deployment).get("GOGC"),
        "80",
    ),
    "whole file": ({"registry": {"delivery": "file"}}, _has_no_registry_variables, True),
    "older release": ({"registry": {"release": "2.8.3"}}, _registry_version, "v2.8.3"),
    "variables again": ({"registry": {"delivery": "env"}}, _has_no_registry_variables, False),
    "newer release": ({"registry": {"release": "3.1.2"}}, _registry_version, "v3.1.2"),
    "no cache": ({"cache": {"enabled": False}}, _is_redis_running, False),
    "cache again": ({"cache": {"enabled": True}}, _is_redis_running, True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_reaches_the_running_registry_and_loses_no_image(
    deployment: Deployment,
    pull_image: Callable[[], Mapping[str, bytes]],
    original_files: Mapping[str, bytes],
    name: str,
) -> None:
    settings, observe, expected = CHANGES[name]
    deployment.configure(**settings)
    deployment.up()
    assert observe(deployment) == expected
    assert pull_image() == original_files
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


@pytest.mark.parametrize("edit", ["port", "bind"])
def test_the_registry_can_change_its_port_and_address(
    deployment: Deployment,
    pull_image: Callable[[], Mapping[str, bytes]],
    original_files: Mapping[str, bytes],
    edit: str,
) -> None:
    old = deployment.outputs()["endpoint"]
    deployment.configure(
        registry={"port": free_port()} if edit == "port" else {"bind": "127.0.0.2"}
    )
    deployment.up()
    new = deployment.outputs()["endpoint"]
    assert old != new
    assert run("curl", "--silent", old).returncode == 7  # connection refused
    run_checked("curl", "--silent", "--fail", f"{new}/v2/")
    assert pull_image() == original_files
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_new_redis_password_replaces_the_old_one(
    deployment: Deployment,
    pull_image: Callable[[], Mapping[str, bytes]],
    original_files: Mapping[str, bytes],
) -> None:
    old = json.loads(registry_variables(deployment)["REGISTRY_REDIS_PASSWORD"])
    deployment.set_secret("redis-password", "brought along")
    deployment.up()
    assert json.loads(registry_variables(deployment)["REGISTRY_REDIS_PASSWORD"]) == "brought along"
    assert pull_image() == original_files
    database = registry_variables(deployment)["REGISTRY_REDIS_DB"]
    assert "blobs::" in redis_cli(deployment, "-n", database, "--scan", password="brought along")
    assert "WRONGPASS" in redis_cli(deployment, "ping", password=old)


def test_an_external_redis_replaces_the_redis_of_the_stack(
    deployment: Deployment,
    pull_image: Callable[[], Mapping[str, bytes]],
    original_files: Mapping[str, bytes],
    tmp_path: Path,
) -> None:
    name = f"{deployment.prefix}-own"
    configuration = tmp_path / "redis.conf"
    configuration.write_text('requirepass "brought along"\nprotected-mode no\n')
    create = ["create", "--name", name, "--network", deployment.prefix, "redis:7.0.15"]
    deployment.docker("container", *create, "redis-server", "/redis.conf")
    try:
        deployment.docker("container", "cp", configuration, f"{name}:/redis.conf")
        deployment.docker("container", "start", name)
        deployment.set_secret("redis-password", "brought along")
        deployment.configure(cache={"address": f"{name}:6379", "db": 2, "max_memory": None})
        assert "oss-registry:cache.max_memory" in deployment.pulumi_fails("preview")
        deployment.remove_setting("cache", "max_memory")
        deployment.up()
        assert not _is_redis_running(deployment)
        assert pull_image() == original_files
        auth = ["--env", "REDISCLI_AUTH=brought along"]
        keys = deployment.docker("exec", *auth, name, "redis-cli", "-n", "2", "--scan")
        assert "blobs::sha256:" in keys
        deployment.remove_setting("cache", "address")
        deployment.up()
        assert _is_redis_running(deployment)
        assert pull_image() == original_files
    finally:
        deployment.docker("container", "rm", "--force", "--volumes", name)
