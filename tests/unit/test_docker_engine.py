"""Tests of which Docker engine a stack uses, and of the errors if that engine does not answer."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from config import docker_engine
from config.docker_engine import LOCAL, Engine, EngineError
from operations import stack_file
from operations.__main__ import main
from operations.clients.docker import _ssh_options, connect
from operations.errors import CommandError
from tests.unit.stack_files import problems
from toolchain import engine as toolchain
from toolchain.progress import Unavailable


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake `docker` with a context `default` on PATH, and return its home folder.

    A test adds contexts with `_add_context`, and writes the name of the current context to the file
    `current`. Every command except `context inspect` fails with the text in the file `error`.
    """
    folder, contexts = tmp_path / "bin", tmp_path / ".docker" / "contexts" / "meta"
    folder.mkdir()
    contexts.mkdir(parents=True)
    program = folder / "docker"
    program.write_text(
        f"""#!/bin/sh
        test "$1 $2" = "context inspect" || {{ cat {tmp_path}/error >&2; exit 1; }}
        name=${{3#--format}}
        test "$name" || name=$(cat {tmp_path}/current 2>/dev/null || echo default)
        cat {contexts}/$name 2>/dev/null || {{ echo "context \\"$name\\": not found" >&2; exit 1; }}
        """
    )
    program.chmod(0o755)
    (tmp_path / "error").write_text("")
    _add_context(tmp_path, "default", LOCAL)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (
        "DOCKER_HOST",
        "DOCKER_CONTEXT",
        "DOCKER_API_VERSION",
        docker_engine.ENGINE_RECORD,
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _add_context(docker: Path, name: str, host: str, *, tls: bool = False) -> None:
    meta = docker / ".docker" / "contexts" / "meta" / name
    content = {
        "Name": name,
        "Endpoints": {"docker": {"Host": host}},
        "TLSMaterial": {"docker": ["ca.pem", "cert.pem", "key.pem"]} if tls else {},
        "Storage": {"MetadataPath": str(meta), "TLSPath": str(docker / "tls" / name)},
    }
    meta.write_text(json.dumps(content))


EDGE, PROD = "ssh://edge.example.com", "tcp://prod.example.com:2376"


@pytest.mark.parametrize(
    ("config", "environment", "host", "setting"),
    [
        ({}, {}, LOCAL, ""),
        ({}, {"DOCKER_HOST": PROD}, PROD, "DOCKER_HOST"),
        ({}, {"DOCKER_CONTEXT": "edge"}, EDGE, "DOCKER_CONTEXT edge"),
        ({}, {"DOCKER_CONTEXT": "default"}, LOCAL, ""),
        ({}, {"DOCKER_CONTEXT": "default", "DOCKER_HOST": PROD}, PROD, "DOCKER_HOST"),
        ({}, {"DOCKER_CONTEXT": "edge", "DOCKER_HOST": EDGE}, EDGE, "DOCKER_CONTEXT edge"),
        ({"docker:host": PROD}, {"DOCKER_CONTEXT": "edge"}, PROD, "docker:host"),
        ({"docker:host": PROD}, {"DOCKER_HOST": EDGE}, PROD, "docker:host"),
        ({"docker:context": "edge"}, {"DOCKER_HOST": PROD}, EDGE, "docker:context edge"),
        ({"docker:context": "edge"}, {"DOCKER_CONTEXT": "none"}, EDGE, "docker:context edge"),
    ],
)
def test_the_stack_file_overrides_variables_and_variables_override_the_current_context(
    docker: Path, config: dict[str, str], environment: dict[str, str], host: str, setting: str
) -> None:
    _add_context(docker, "edge", EDGE)
    found = docker_engine.select_engine(config, {**os.environ, **environment})
    assert (found.host, found.setting) == (host, setting)
    # Pulumi's Docker provider would prefer DOCKER_CONTEXT to the stack file's host.
    variables = found.variables({**os.environ, **environment})
    assert variables["DOCKER_HOST"] == host
    assert "DOCKER_CONTEXT" not in variables
    assert docker_engine.recorded_engine(variables) == Engine(host, setting)


def test_pulumis_provider_uses_the_current_context_too(docker: Path) -> None:
    _add_context(docker, "edge", EDGE)
    (docker / "current").write_text("edge")
    environment = {**os.environ}
    docker_engine.set_variables({}, environment)
    assert environment["DOCKER_HOST"] == EDGE
    assert docker_engine.select_engine({}, environment).setting == "the current Docker context edge"


def test_pulumis_provider_uses_only_the_certificates_of_the_context(docker: Path) -> None:
    _add_context(docker, "prod", PROD, tls=True)
    _add_context(docker, "edge", EDGE)
    others = {**os.environ, "DOCKER_CERT_PATH": "/others", "DOCKER_TLS_VERIFY": "1"}
    prod = docker_engine.select_engine({"docker:context": "prod"}, others).variables(others)
    assert (prod["DOCKER_CERT_PATH"], prod["DOCKER_TLS_VERIFY"]) == (
        f"{docker}/tls/prod/docker",
        "1",
    )
    for config in ({"docker:context": "edge"}, {"docker:host": EDGE}):
        edge = docker_engine.select_engine(config, others).variables(others)
        assert not {"DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} & edge.keys()
    mine = {"docker:host": PROD, "docker:certPath": "/mine"}
    assert (
        docker_engine.select_engine(mine, others).variables(others)["DOCKER_CERT_PATH"] == "/mine"
    )


@pytest.mark.parametrize(
    ("config", "environment", "words"),
    [
        (
            {},
            {"DOCKER_HOST": PROD, "DOCKER_CONTEXT": "edge"},
            (PROD, "(edge)", EDGE, "Unset one of them."),
        ),
        (
            {"docker:context": "none"},
            {},
            ("none, which docker:context names, does not exist", "change docker:context"),
        ),
        (
            {},
            {"DOCKER_CONTEXT": "none"},
            ("none, which DOCKER_CONTEXT names, does not exist", "unset DOCKER_CONTEXT"),
        ),
        ({"docker:context": "default"}, {}, ("docker:context can't be default", "Remove it.")),
    ],
)
def test_conflicting_or_wrong_engine_settings_are_reported_in_one_line(
    docker: Path, config: dict[str, str], environment: dict[str, str], words: tuple[str, ...]
) -> None:
    _add_context(docker, "edge", EDGE)
    with pytest.raises(EngineError) as failure:
        docker_engine.select_engine(config, {**os.environ, **environment})
    for word in words:
        assert word in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_deleted_current_context_is_reported_with_its_name(docker: Path) -> None:
    (docker / "current").write_text("deleted")
    with pytest.raises(
        EngineError, match=r"deleted, which the current .* does not exist.*use default"
    ):
        docker_engine.select_engine({}, os.environ)


def test_a_context_that_pulumis_provider_does_not_find_is_refused(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add_context(docker, "edge", EDGE)
    monkeypatch.setenv("HOME", "/elsewhere")
    with pytest.raises(EngineError, match=f"Set docker:host: {EDGE} in place of docker:context"):
        docker_engine.select_engine({"docker:context": "edge"}, os.environ)


@pytest.mark.usefixtures("docker")
def test_without_the_docker_command_the_engine_is_at_the_default_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert docker_engine.select_engine({}, os.environ).host == LOCAL
    with pytest.raises(
        EngineError, match=r"DOCKER_CONTEXT names .* edge\. Install the docker command"
    ):
        docker_engine.select_engine({}, {**os.environ, "DOCKER_CONTEXT": "edge"})


TOO_NEW = (
    "Error response from daemon: client version 9.99 is too new. Maximum supported API version is "
    "1.41"
)
TOO_OLD = (
    "Error response from daemon: client version 1.41 is too old. Minimum supported API version is "
    "1.44, please upgrade your client to a newer version"
)


@pytest.mark.parametrize(
    ("error", "variables", "words"),
    [
        (
            TOO_NEW,
            {"DOCKER_API_VERSION": "9.99"},
            ("9.99", "1.41 at most", "Unset DOCKER_API_VERSION."),
        ),
        (TOO_OLD, {}, ("1.41", "1.44 at least", "Update the docker command, or run")),
        (TOO_OLD, {"DOCKER_API_VERSION": "1.41"}, ("1.44 at least", "Unset DOCKER_API_VERSION.")),
        ("Cannot connect to the Docker daemon at x.", {}, ("does not answer", "Start it, or run")),
        ("error during connect: Get x: EOF", {}, ("does not answer", "Start it, or run")),
        ("permission denied while trying to connect to x", {}, ("Join the docker group, or run",)),
    ],
)
def test_an_error_of_the_engine_is_reported_with_its_context_and_host(
    docker: Path,
    error: str,
    variables: Mapping[str, str],
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _add_context(docker, "edge", EDGE)
    (docker / "current").write_text("edge")
    (docker / "error").write_text(f"some warning\n{error}\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unavailable) as unavailable:
        toolchain.ensure_running()
    with connect({}) as command, pytest.raises(CommandError) as failure:
        command.run("info")
    for message in (str(unavailable.value), str(failure.value)):
        for word in (*words, EDGE, "the current Docker context edge"):
            assert word in message
        assert "\n" not in message


def test_no_second_engine_is_started_if_the_running_one_refuses_the_api_version(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "_start", lambda: pytest.fail("an engine was started"))
    monkeypatch.setenv("DOCKER_API_VERSION", "9.99")
    (docker / "error").write_text(TOO_NEW)
    with pytest.raises(Unavailable, match=f"engine at {LOCAL} takes 1.41 at most. Unset"):
        toolchain.ensure_running()


def test_the_version_of_an_engine_on_another_machine_is_not_checked(docker: Path) -> None:
    _add_context(docker, "edge", EDGE)
    assert toolchain.configured({"docker:context": "edge"}).host == EDGE
    with pytest.raises(Unavailable, match="does not exist"):
        toolchain.configured({"docker:context": "none"})


def test_a_host_with_a_context_is_reported_together_with_other_problems() -> None:
    found = problems(config={"docker:host": PROD, "docker:context": "edge"}, registry={"port": 0})
    assert found[0].startswith("oss-registry:registry.port: ")
    assert found[1] == (
        "docker:context: can't be set with docker:host, which the docker plugin then ignores; keep "
        "one of them"
    )


def test_a_command_reports_a_missing_docker_context_in_one_line(
    docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stack_file, "STACKS", docker)
    (docker / "Pulumi.mine.yaml").write_text("config: {'docker:context': none}")
    assert main(["status", "mine"]) == 1
    assert capsys.readouterr().err.startswith(
        "status: The Docker context none, which docker:context"
    )


def test_our_ssh_options_are_those_of_pulumis_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_SSH_OPTS", "-i key")
    assert _ssh_options({}) == ["-i", "key"]
    assert _ssh_options({"docker:sshOpts": '["-p", 22]'}) == ["-p", "22"]
    with pytest.raises(CommandError, match=r"^docker:sshOpts must be a list"):
        _ssh_options({"docker:sshOpts": "-i key"})
