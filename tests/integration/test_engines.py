"""Docker engines with other defaults, engines that restart, and remote engines."""

import getpass
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.integration.clients import docker_push, remove_and_pull
from tests.integration.deployment import PROJECT, Deployment, free_port, run_checked, wait_until
from tests.integration.engine import ENGINE_UNAVAILABLE, Engine, engine_with_images
from tests.integration.leftovers import unique_name

pytestmark = pytest.mark.local
# Options of dockerd that change the defaults of containers.
OTHER_DEFAULTS = (
    "--log-opt=max-size=5m",
    "--init",
    "--default-shm-size=128M",
    "--default-ulimit=nofile=4096:8192",
    "--default-cgroupns-mode=host",
    "--no-new-privileges",
)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Run an engine with other defaults for containers."""
    if ENGINE_UNAVAILABLE:
        pytest.skip(ENGINE_UNAVAILABLE)
    with engine_with_images(*OTHER_DEFAULTS) as engine:
        yield engine


def test_other_engine_defaults_and_an_engine_restart_cause_no_changes(
    engine: Engine, archive: Path, tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path, host=engine.host)
    deployment.up()
    deployment.pulumi("up", "--yes", "--expect-no-changes")
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    image = deployment.docker("load", "--input", archive).split()[-1]
    reference, digest = docker_push(deployment, image, "kept")
    before = deployment.docker_objects("container")

    engine.stop()
    engine.start()

    wait_until(lambda: deployment.is_healthy("registry") and deployment.is_healthy("redis"))
    assert deployment.docker_objects("container") == before
    assert remove_and_pull(deployment, reference) == digest
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    _check_docker_context(deployment, engine)


def _check_docker_context(deployment: Deployment, engine: Engine) -> None:
    """Assert that commands use `docker:context`, and that they report a missing context."""
    context = unique_name("edge")
    unreachable = {**deployment.environment, "DOCKER_HOST": "unix:///nowhere.sock"}
    run_checked("docker", "context", "create", context, "--docker", f"host={engine.host}")
    try:
        deployment.write_config({"docker:context": context})
        output = deployment.make("status", env=unreachable).stdout
        assert "ok    health       the registry is healthy" in output, output
        # This engine has its own network namespace, so its ports cannot be reached from here.
        assert re.findall(r"^fail +(\w+)", output, re.MULTILINE) == ["endpoint"]
        deployment.make_succeeds("drift", env=unreachable)  # Pulumi's provider reads the containers
        deployment.write_config({"docker:context": f"{context}-gone"})
        output = deployment.make_fails("status", env=unreachable)
        assert f"{context}-gone, which docker:context names, does not exist" in output
    finally:
        run_checked("docker", "context", "rm", context)


@pytest.fixture
def ssh_settings(tmp_path: Path) -> Iterator[Mapping[str, Any]]:
    """Run an sshd, and provide the settings for reaching this machine's engine through it."""
    sshd = shutil.which("sshd")
    if not sshd:
        pytest.skip("no sshd on PATH: the tests of a remote engine are skipped")
    folder = tmp_path / "ssh"
    folder.mkdir()
    for name in ("host", "user"):
        run_checked("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    port = free_port()
    host_key = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host_key}")
    (folder / "configuration").write_text(
        f"ListenAddress 127.0.0.1:{port}\n"
        f"HostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/user.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "MaxStartups 100\nMaxSessions 100\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # which the service usually creates
    options = ["-i", f"{folder}/user", "-o", f"UserKnownHostsFile={folder}/known"]
    words = [sshd, "-D", "-e", "-f", str(folder / "configuration")]
    with (folder / "log").open("w") as log, subprocess.Popen(words, stderr=log) as server:
        try:
            wait_until(lambda: "Server listening" in (folder / "log").read_text())
            yield {
                "docker:host": f"ssh://{getpass.getuser()}@127.0.0.1:{port}",
                "docker:sshOpts": options,
            }
        finally:
            server.terminate()


def test_a_registry_on_a_remote_engine_uses_no_local_files(
    ssh_settings: Mapping[str, Any], image: str, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    authority = trustme.CA().cert_pem.bytes().decode()
    deployment = Deployment(folder, registry={"delivery": "file", "ca_certificates": authority})
    deployment.write_config(ssh_settings)
    unreachable = {**deployment.environment, "DOCKER_HOST": "unix:///nowhere.sock"}
    try:
        output = deployment.make_succeeds("up", env=unreachable)
        assert f"Docker engine at {ssh_settings['docker:host']}" in output
        reference, digest = docker_push(deployment, image, "remote")
        assert remove_and_pull(deployment, reference) == digest
        for part in ("registry", "redis"):
            assert {mount["Type"] for mount in deployment.inspect(part, ".Mounts")} == {"volume"}
            assert str(PROJECT) not in json.dumps(deployment.inspect(part, "."))
        words = ("preview", "--refresh", "--expect-no-changes")
        run_checked(*deployment.pulumi_command(*words), env=unreachable)

        output = deployment.make_succeeds("down", env=unreachable)
        assert f"docker volume rm {deployment.prefix}-data" in output
        assert deployment.docker_objects("container") == []
    finally:
        deployment.remove()


def test_a_remote_engine_with_an_unknown_host_key_is_refused(
    ssh_settings: Mapping[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    deployment = Deployment(folder)
    deployment.write_config({**ssh_settings, "docker:sshOpts": ssh_settings["docker:sshOpts"][:2]})
    output = deployment.pulumi_fails("up", "--yes", "--skip-preview")
    assert "the Docker engine does not answer" in output
    assert "Host key verification failed" in output
