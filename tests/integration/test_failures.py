"""After a failure, the registry recovers or the next `up` repairs it, and no image is lost."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.releases import RELEASES
from tests.integration.clients import random_image, skopeo, skopeo_pull, skopeo_push
from tests.integration.deployment import Deployment, run_checked, wait_until

pytestmark = pytest.mark.local


@pytest.fixture(scope="module", params=["2.8.3", "3.1.2"])
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Deploy one registry for each of the two redis clients that the releases contain."""
    deployment = Deployment(tmp_path_factory.mktemp("project"), registry={"release": request.param})
    with deployment.deployed():
        yield deployment


def test_pushes_and_pulls_work_without_redis(
    deployment: Deployment, archive: Path, tmp_path: Path
) -> None:
    redis = f"{deployment.prefix}-redis"
    skopeo_push(deployment, archive, "with")
    with_redis = skopeo_pull(deployment, "with", tmp_path / "with")
    deployment.docker("container", "stop", redis)
    try:
        # skopeo does not retry: a single response with status 503 would fail the test.
        assert skopeo_pull(deployment, "with", tmp_path / "without") == with_redis
        skopeo_push(deployment, archive, "without")
    finally:
        deployment.docker("container", "start", redis)
    skopeo_pull(deployment, "without", tmp_path / "again")


def test_a_redis_that_hangs_does_not_block_the_registry(
    deployment: Deployment, archive: Path
) -> None:
    redis = f"{deployment.prefix}-redis"
    skopeo_push(deployment, archive, "hangs")
    deployment.docker("container", "pause", redis)
    try:
        manifest = f"{deployment.outputs()['endpoint']}/v2/hangs/manifests/1"
        accept = "Accept: application/vnd.docker.distribution.manifest.v2+json"
        run_checked("curl", "--silent", "--fail", "--header", accept, manifest)
    finally:
        deployment.docker("container", "unpause", redis)


def test_a_registry_whose_process_is_killed_restarts(
    deployment: Deployment, archive: Path, tmp_path: Path
) -> None:
    skopeo_push(deployment, archive, "killed")
    before = skopeo_pull(deployment, "killed", tmp_path / "before")
    process = deployment.inspect("registry", ".State.Pid")
    # After `docker kill`, the engine would not restart the container.
    busybox = ["--entrypoint", "busybox", deployment.inspect("registry", ".Config.Image")]
    kill = ["kill", "-9", str(process)]
    deployment.docker("run", "--rm", "--pid", "host", "--network", "none", *busybox, *kill)
    wait_until(
        lambda: (
            deployment.inspect("registry", ".State.Pid") not in (0, process)
            and deployment.is_healthy("registry")
        )
    )
    assert skopeo_pull(deployment, "killed", tmp_path / "after") == before
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_collected_image_can_be_pushed_and_pulled_again(
    deployment: Deployment, archive: Path, tmp_path: Path
) -> None:
    skopeo_push(deployment, archive, "swept")
    before = skopeo_pull(deployment, "swept", tmp_path / "before")
    skopeo(
        "delete", "--tls-verify=false", f"docker://{deployment.outputs()['login_server']}/swept:1"
    )
    registry, redis = (f"{deployment.prefix}-{part}" for part in ("registry", "redis"))
    path = RELEASES[deployment.outputs()["release"]].config_path
    collected = deployment.docker("exec", registry, "registry", "garbage-collect", path)
    blobs = {name for name in before if f"sha256:{name}" in collected}
    assert len(blobs) == 6  # five layers and the configuration
    # Redis still has the descriptors of the deleted blobs. It has no persistence, so a restart
    # deletes them.
    deployment.docker("container", "restart", redis)
    wait_until(lambda: deployment.is_healthy("redis"))
    skopeo_push(deployment, archive, "swept")
    assert skopeo_pull(deployment, "swept", tmp_path / "after") == before


def test_a_full_disk_fails_a_push_and_keeps_other_images(
    new_stack: Deployment, archive: Path, tmp_path: Path
) -> None:
    tmpfs = ["type=tmpfs", "device=tmpfs", f"o=size={archive.stat().st_size * 3 // 2}"]
    options = [f"--opt={option}" for option in tmpfs]
    label = f"--label=oss-registry.stack={new_stack.stack}"
    new_stack.docker("volume", "create", label, *options, f"{new_stack.prefix}-data")
    new_stack.up()
    skopeo_push(new_stack, archive, "first")
    before = skopeo_pull(new_stack, "first", tmp_path / "before")
    larger = random_image(tmp_path / "larger", [archive.stat().st_size])
    with pytest.raises(AssertionError, match="writing blob"):
        skopeo_push(new_stack, larger, "larger")
    assert "no space left on device" in new_stack.log("registry")
    assert skopeo_pull(new_stack, "first", tmp_path / "after") == before
    assert new_stack.is_healthy("registry")


# Errors that only the engine can detect are reported, and the next `up` succeeds.


def test_a_port_in_use_is_reported_with_the_setting_to_change(new_stack: Deployment) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        new_stack.configure(registry={"port": port})
        output = new_stack.pulumi_fails("up", "--yes", "--skip-preview")
        assert f"127.0.0.1:{port} is taken: stop what listens there, or set registry.port" in output
    new_stack.up()


def test_an_image_that_cannot_be_pulled_is_reported(new_stack: Deployment) -> None:
    new_stack.configure(registry={"release": "3.1.2", "image": "127.0.0.1:1/registry:3"})
    output = new_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert "the image 127.0.0.1:1/registry:3 is not in the engine" in output
    new_stack.remove_setting("registry", "image")
    new_stack.up()


def test_an_unreachable_engine_is_reported(new_stack: Deployment) -> None:
    new_stack.write_config({"docker:host": "unix:///nowhere.sock"})
    output = new_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert "the Docker engine does not answer: start it, or say where it is" in output


def test_up_names_the_log_command_if_the_registry_does_not_start(new_stack: Deployment) -> None:
    token = {"realm": "https://auth.example", "service": "s", "issuer": "i"}
    token["rootcertbundle"] = "/nowhere.pem"
    new_stack.configure(registry={"config": {"auth": {"token": token}}})
    output = new_stack.pulumi_fails("up", "--yes", "--skip-preview")
    name = f"{new_stack.prefix}-registry"
    assert f"{name} was not healthy within 60 s: `docker logs {name}` says why" in output
    assert "/nowhere.pem" in new_stack.log("registry")
    new_stack.configure(registry={"config": {}})
    new_stack.up()


def test_a_removed_volume_is_created_again_and_accepts_the_same_images(
    new_stack: Deployment, archive: Path, tmp_path: Path
) -> None:
    new_stack.up()
    skopeo_push(new_stack, archive, "team/app")
    skopeo_pull(
        new_stack, "team/app", tmp_path / "before"
    )  # so that redis has the descriptors of its layers
    new_stack.docker("container", "rm", "--force", "--volumes", f"{new_stack.prefix}-registry")
    new_stack.docker("volume", "rm", f"{new_stack.prefix}-data")

    new_stack.make_succeeds("up")
    new_stack.docker("restart", f"{new_stack.prefix}-redis")

    skopeo_push(new_stack, archive, "team/app")
    skopeo_pull(new_stack, "team/app", tmp_path / "after")
