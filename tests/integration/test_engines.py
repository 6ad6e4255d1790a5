"""Engines that are not this machine's usual one: restarted, set up otherwise, or far away."""

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

from tests.integration.clients import pull_anew, push
from tests.integration.deployment import PROJECT, Deployment, command, eventually, free_port
from tests.integration.engine import MISSING, Engine, engine_with_images
from tests.integration.leftovers import unique_name

pytestmark = pytest.mark.local
# All that an engine may be told to give to each container.
DEFAULTS = (
    "--log-opt=max-size=5m",
    "--init",
    "--default-shm-size=128M",
    "--default-ulimit=nofile=4096:8192",
    "--default-cgroupns-mode=host",
    "--no-new-privileges",
)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine with defaults of its own."""
    if MISSING:
        pytest.skip(MISSING)
    with engine_with_images(*DEFAULTS) as made:
        yield made


def test_on_an_engine_with_other_defaults_nothing_is_left_to_do_and_all_is_back_after_its_restart(
    engine: Engine, archive: Path, tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path, host=engine.host)
    deployment.up()
    deployment.pulumi("up", "--yes", "--expect-no-changes")
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    image = deployment.docker("load", "--input", archive).split()[-1]
    reference, digest = push(deployment, image, "kept")
    before = deployment.made("container")

    engine.stop()
    engine.start()

    eventually(lambda: deployment.healthy("registry") and deployment.healthy("redis"))
    assert deployment.made("container") == before
    assert pull_anew(deployment, reference) == digest
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    _see_the_same_engine_by_its_context(deployment, engine)


def _see_the_same_engine_by_its_context(deployment: Deployment, engine: Engine) -> None:
    context = unique_name("edge")
    nowhere = {**deployment.environment, "DOCKER_HOST": "unix:///nowhere.sock"}
    command("docker", "context", "create", context, "--docker", f"host={engine.host}")
    try:
        deployment.write({"docker:context": context})
        status = deployment.make("status", env=nowhere)
        assert "ok    health       the registry is healthy" in status.stdout, status.stdout
        # This engine has its own network namespace, so its ports cannot be reached from here.
        assert re.findall(r"^fail +(\w+)", status.stdout, re.MULTILINE) == ["endpoint"]
        drift = deployment.make("drift", env=nowhere)  # the plugin reads the containers again
        assert drift.returncode == 0, drift.stdout
        deployment.write({"docker:context": f"{context}-gone"})
        missing = deployment.make("status", env=nowhere)
        assert missing.returncode != 0
        assert f"{context}-gone, which docker:context names, does not exist" in missing.stdout
    finally:
        command("docker", "context", "rm", context)


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[Mapping[str, Any]]:
    """The settings of a stack file for an engine on this machine that is reached by ssh."""
    sshd = shutil.which("sshd")
    if not sshd:
        pytest.skip("no sshd on PATH: the test of a remote engine is left out")
    folder = tmp_path / "ssh"
    folder.mkdir()
    for name in ("host", "user"):
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
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
        Path("/run/sshd").mkdir(exist_ok=True)  # a service would make it
    options = ["-i", f"{folder}/user", "-o", f"UserKnownHostsFile={folder}/known"]
    words = [sshd, "-D", "-e", "-f", str(folder / "configuration")]
    with (folder / "log").open("w") as log, subprocess.Popen(words, stderr=log) as server:
        try:
            eventually(lambda: "Server listening" in (folder / "log").read_text())
            yield {
                "docker:host": f"ssh://{getpass.getuser()}@127.0.0.1:{port}",
                "docker:sshOpts": options,
            }
        finally:
            server.terminate()


def test_a_registry_runs_on_an_engine_behind_ssh_without_a_file_of_this_machine(
    ssh: Mapping[str, Any], image: str, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    authority = trustme.CA().cert_pem.bytes().decode()
    deployment = Deployment(folder, registry={"delivery": "file", "ca_certificates": authority})
    deployment.write(ssh)
    nowhere = {**deployment.environment, "DOCKER_HOST": "unix:///nowhere.sock"}
    try:
        made = deployment.make("up", env=nowhere)
        assert made.returncode == 0, made.stdout
        assert f"Docker engine at {ssh['docker:host']}" in made.stdout
        reference, digest = push(deployment, image, "remote")
        assert pull_anew(deployment, reference) == digest
        for part in ("registry", "redis"):
            assert {mount["Type"] for mount in deployment.inspect(part, ".Mounts")} == {"volume"}
            assert str(PROJECT) not in json.dumps(deployment.inspect(part, "."))
        words = ("preview", "--refresh", "--expect-no-changes")
        command(*deployment.command(*words), env=nowhere)

        gone = deployment.make("down", env=nowhere)
        assert gone.returncode == 0, gone.stdout
        assert f"docker volume rm {deployment.prefix}-data" in gone.stdout
        assert deployment.made("container") == []
    finally:
        deployment.remove()


def test_an_engine_behind_an_unknown_host_key_is_not_taken(
    ssh: Mapping[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    deployment = Deployment(folder)
    deployment.write({**ssh, "docker:sshOpts": ssh["docker:sshOpts"][:2]})
    printed = deployment.refused("up", "--yes", "--skip-preview")
    assert "the Docker engine does not answer" in printed
    assert "Host key verification failed" in printed
