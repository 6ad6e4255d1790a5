"""Each edit of the stack file reaches the running registry, and no image is lost on the way."""

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
    """A registry that holds an image called kept."""
    made = Deployment(tmp_path_factory.mktemp("project"))
    try:
        made.up()
        skopeo_push(made, archive, "kept")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def kept(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Mapping[str, bytes]]:
    """Pulls the image."""
    return lambda: skopeo_pull(deployment, "kept", tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def before(kept: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
    """The image as it was before all edits."""
    return kept()


def _variable(name: str) -> Callable[[Deployment], object]:
    return lambda deployment: registry_variables(deployment).get(f"REGISTRY_{name}")


def _inspected(template: str) -> Callable[[Deployment], object]:
    return lambda deployment: deployment.inspect("registry", template)


def _version(deployment: Deployment) -> object:
    return deployment.docker(
        "exec", f"{deployment.prefix}-registry", "registry", "--version"
    ).split()[-1]


def _max_memory_of_redis(deployment: Deployment) -> object:
    name = "REGISTRY_REDIS_PASSWORD"
    password = json.loads(registry_variables(deployment)[name])
    return redis_cli(deployment, "config", "get", "maxmemory", password=password).split()[-1]


def _redis_runs(deployment: Deployment) -> object:
    names = deployment.docker("container", "ls", "--format", "{{.Names}}").split()
    return f"{deployment.prefix}-redis" in names


def _by_file(deployment: Deployment) -> object:
    return not [name for name in registry_variables(deployment) if name.startswith("REGISTRY_")]


EDITS: Mapping[str, tuple[dict[str, Any], Callable[[Deployment], object], object]] = {
    "log level": ({"registry": {"log_level": "info"}}, _variable("LOG_LEVEL"), "info"),
    "memory of redis": ({"cache": {"max_memory": "64MiB"}}, _max_memory_of_redis, "67108864"),
    "database": ({"cache": {"db": 3}}, _variable("REDIS_DB"), "3"),
    "pool": ({"cache": {"pool": {"max_active": 32}}}, _variable("REDIS_POOLSIZE"), "32"),
    "health interval": (
        {"registry": {"config": {"health": {"storagedriver": {"interval": "4s"}}}}},
        _variable("HEALTH_STORAGEDRIVER_INTERVAL"),
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
    "whole file": ({"registry": {"delivery": "file"}}, _by_file, True),
    "older release": ({"registry": {"release": "2.8.3"}}, _version, "v2.8.3"),
    "variables again": ({"registry": {"delivery": "env"}}, _by_file, False),
    "newer release": ({"registry": {"release": "3.1.2"}}, _version, "v3.1.2"),
    "no cache": ({"cache": {"enabled": False}}, _redis_runs, False),
    "cache again": ({"cache": {"enabled": True}}, _redis_runs, True),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reaches_the_running_registry_and_loses_no_image(
    deployment: Deployment,
    kept: Callable[[], Mapping[str, bytes]],
    before: Mapping[str, bytes],
    name: str,
) -> None:
    settings, observe, wanted = EDITS[name]
    deployment.configure(**settings)
    deployment.up()
    assert observe(deployment) == wanted
    assert kept() == before
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


@pytest.mark.parametrize("edit", ["port", "bind"])
def test_the_registry_moves_to_another_port_and_address(
    deployment: Deployment,
    kept: Callable[[], Mapping[str, bytes]],
    before: Mapping[str, bytes],
    edit: str,
) -> None:
    left = deployment.outputs()["endpoint"]
    deployment.configure(
        registry={"port": free_port()} if edit == "port" else {"bind": "127.0.0.2"}
    )
    deployment.up()
    new = deployment.outputs()["endpoint"]
    assert left != new
    assert run("curl", "--silent", left).returncode == 7  # nobody listens
    run_checked("curl", "--silent", "--fail", f"{new}/v2/")
    assert kept() == before
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_new_password_of_redis_is_the_only_one(
    deployment: Deployment, kept: Callable[[], Mapping[str, bytes]], before: Mapping[str, bytes]
) -> None:
    old = json.loads(registry_variables(deployment)["REGISTRY_REDIS_PASSWORD"])
    deployment.set_secret("redis-password", "brought along")
    deployment.up()
    assert json.loads(registry_variables(deployment)["REGISTRY_REDIS_PASSWORD"]) == "brought along"
    assert kept() == before
    database = registry_variables(deployment)["REGISTRY_REDIS_DB"]
    assert "blobs::" in redis_cli(deployment, "-n", database, "--scan", password="brought along")
    assert "WRONGPASS" in redis_cli(deployment, "ping", password=old)


def test_a_redis_of_the_users_own_takes_the_place_of_the_stacks(
    deployment: Deployment,
    kept: Callable[[], Mapping[str, bytes]],
    before: Mapping[str, bytes],
    tmp_path: Path,
) -> None:
    own = f"{deployment.prefix}-own"
    configuration = tmp_path / "redis.conf"
    configuration.write_text('requirepass "brought along"\nprotected-mode no\n')
    create = ["create", "--name", own, "--network", deployment.prefix, "redis:7.0.15"]
    deployment.docker("container", *create, "redis-server", "/redis.conf")
    try:
        deployment.docker("container", "cp", configuration, f"{own}:/redis.conf")
        deployment.docker("container", "start", own)
        deployment.set_secret("redis-password", "brought along")
        deployment.configure(cache={"address": f"{own}:6379", "db": 2, "max_memory": None})
        assert "oss-registry:cache.max_memory" in deployment.pulumi_fails("preview")
        deployment.remove_setting("cache", "max_memory")
        deployment.up()
        assert not _redis_runs(deployment)
        assert kept() == before
        auth = ["--env", "REDISCLI_AUTH=brought along"]
        keys = deployment.docker("exec", *auth, own, "redis-cli", "-n", "2", "--scan")
        assert "blobs::sha256:" in keys
        deployment.remove_setting("cache", "address")
        deployment.up()
        assert _redis_runs(deployment)
        assert kept() == before
    finally:
        deployment.docker("container", "rm", "--force", "--volumes", own)
