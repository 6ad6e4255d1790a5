"""A registry with a volume: the real program, engine, provider, registry, redis and clients."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from config.releases import DEFAULT_RELEASE, RELEASES
from tests.integration.clients import (
    docker_push,
    redis_cli,
    registry_variables,
    remove_and_pull,
    skopeo,
)
from tests.integration.deployment import Deployment, run_checked

pytestmark = pytest.mark.local
# Quick tests use the default release, and the oldest one for tests of all releases.
QUICK_RELEASES = {DEFAULT_RELEASE, "2.8.3"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(release, marks=[pytest.mark.quick] if release in QUICK_RELEASES else [])
        for release in RELEASES
    ],
)
def each_release(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Deploy a registry of each release."""
    deployment = Deployment(tmp_path_factory.mktemp("project"), registry={"release": request.param})
    with deployment.deployed():
        yield deployment


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Deploy a registry of the default release with `make up`."""
    deployment = Deployment(tmp_path_factory.mktemp("project"))
    with deployment.deployed_with_make():
        yield deployment


def _generated_secrets(deployment: Deployment) -> Mapping[str, str]:
    """Return the generated HTTP secret as `SECRET`, and redis's generated password as `PASSWORD`.

    The name of the password's variable differs between releases.
    """
    found = registry_variables(deployment).items()
    kinds = {name.rpartition("_")[2]: text for name, text in found}
    return {kind: json.loads(kinds[kind]) for kind in ("SECRET", "PASSWORD")}


def test_the_docker_client_pulls_the_image_that_it_pushed(
    each_release: Deployment, image: str
) -> None:
    reference, digest = docker_push(each_release, image, "docker")
    assert remove_and_pull(each_release, reference) == digest


@pytest.mark.quick
def test_skopeo_pulls_the_image_that_it_pushed(
    deployment: Deployment, image: str, tmp_path: Path
) -> None:
    destination = f"docker://{deployment.outputs()['login_server']}/skopeo:1"
    first, second = tmp_path / "pushed", tmp_path / "pulled"
    skopeo("copy", f"docker-daemon:{image}", f"dir:{first}")
    skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", f"dir:{first}", destination)
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", destination, f"dir:{second}")
    pushed, pulled = ({f.name: f.read_bytes() for f in d.iterdir()} for d in (first, second))
    assert len(json.loads(pushed["manifest.json"])["layers"]) == 5
    assert pushed == pulled


@pytest.mark.quick
def test_skopeo_inspects_an_image_that_docker_pushed(deployment: Deployment, image: str) -> None:
    reference, digest = docker_push(deployment, image, "both")
    inspected = skopeo("inspect", "--tls-verify=false", f"docker://{reference}")
    assert json.loads(inspected)["Digest"] == digest


def test_redis_has_the_descriptors_of_pushed_blobs(each_release: Deployment, image: str) -> None:
    reference, _ = docker_push(each_release, image, "cached")
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}")
    layers = {layer["digest"] for layer in json.loads(raw)["layers"]}
    password = _generated_secrets(each_release)["PASSWORD"]
    keys = redis_cli(each_release, "--scan", password=password)
    assert all(f"blobs::{layer}" in keys.split() for layer in layers)


@pytest.mark.quick
def test_redis_requires_the_password(deployment: Deployment) -> None:
    assert redis_cli(deployment, "ping").startswith("NOAUTH")


def test_the_environment_output_shows_the_variables_of_the_container(
    each_release: Deployment,
) -> None:
    running = registry_variables(each_release)
    shown = each_release.outputs()["environment"]
    secret = {name for name, text in shown.items() if text.startswith("[secret: ")}
    assert len(secret) == 2
    assert all(running[name] == text for name, text in shown.items() if name not in secret)
    assert {name for name in running if name.startswith("REGISTRY_")} <= set(shown)


def test_the_configured_release_runs(each_release: Deployment) -> None:
    container = f"{each_release.prefix}-registry"
    version = run_checked("docker", "exec", container, "registry", "--version")
    assert f"v{each_release.outputs()['release']}" in version


@pytest.mark.quick
def test_a_second_up_and_a_refreshed_preview_change_nothing(deployment: Deployment) -> None:
    before = deployment.docker_objects("container")
    deployment.pulumi("up", "--yes", "--expect-no-changes")
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    assert deployment.docker_objects("container") == before


@pytest.mark.quick
def test_a_changed_setting_reaches_the_running_registry_and_loses_no_image(
    deployment: Deployment, image: str
) -> None:
    reference, digest = docker_push(deployment, image, "changed")
    assert registry_variables(deployment)["REGISTRY_LOG_LEVEL"] == "warn"
    deployment.configure(registry={"log_level": "info"})
    assert "REGISTRY_LOG_LEVEL" in deployment.pulumi("preview")
    deployment.up()
    assert registry_variables(deployment)["REGISTRY_LOG_LEVEL"] == "info"
    assert remove_and_pull(deployment, reference) == digest


@pytest.mark.quick
def test_images_are_kept_when_the_stack_is_destroyed(deployment: Deployment, image: str) -> None:
    reference, digest = docker_push(deployment, image, "kept")
    deployment.pulumi("destroy", "--yes")
    assert deployment.docker_objects("container") == []
    assert deployment.docker_objects("network") == []
    deployment.up()
    assert remove_and_pull(deployment, reference) == digest


@pytest.mark.quick
def test_errors_in_a_stack_file_are_reported_once_and_without_a_traceback(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, registry={"port": "5000", "release": "1.0"})
    for command_line in (["preview"], ["up", "--yes"]):
        output = deployment.pulumi_fails(*command_line)
        assert "Traceback" not in output
        assert output.count("oss-registry:registry.port: ") == 1
        assert output.count("oss-registry:registry.release: ") == 1
    assert json.loads(deployment.pulumi("stack", "export"))["deployment"].get("resources") is None
