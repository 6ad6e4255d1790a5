"""Tests of the Makefile: the variables and arguments that it passes on."""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
USER_LOGIN = {"PULUMI_HOME": "/home/me/.pulumi", "PULUMI_BACKEND_URL": "s3://mine"}


def _run_make(*words: str, env: Mapping[str, str] | None = None) -> str:
    """Return what make prints when it runs with these arguments and environment variables."""
    return subprocess.run(
        ["make", "--silent", "--directory", PROJECT, *words],
        env={"PATH": os.defpath, **(env or {})},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _make_env(stack: str, env: Mapping[str, str] = USER_LOGIN) -> Mapping[str, str]:
    """Return what `make env` sets for `stack`, if it runs with the environment variables `env`."""
    words = shlex.split(_run_make("env", f"STACK={stack}", env=env))
    assert set(words[::2]) == {"export"}
    return dict(word.split("=", 1) for word in words[1::2])


def test_the_local_stack_has_its_own_pulumi_login_in_this_checkout() -> None:
    local = _make_env("local")
    assert local["PULUMI_HOME"] == f"{PROJECT}/.state/pulumi"
    assert local["PULUMI_BACKEND_URL"] == f"file://{PROJECT}/.state"
    assert local["PULUMI_CONFIG_PASSPHRASE"] == "local"


def test_any_other_stack_uses_the_users_login_and_passphrase() -> None:
    other = _make_env("mine")
    assert {name: other[name] for name in USER_LOGIN} == USER_LOGIN
    assert "PULUMI_CONFIG_PASSPHRASE" not in other


@pytest.mark.parametrize(
    "value", ["pa$xword`id`", "$(id) ${HOME} $$", "it's", 'a "b"', "a b\tc", "a\nb", "\\", "#!*?~"]
)
def test_make_env_quotes_values_so_that_the_shell_reads_them_unchanged(value: str) -> None:
    env = {**USER_LOGIN, "PULUMI_HOME": value, "PATH": f"/opt/{value}:{os.defpath}"}
    printed = _run_make("env", "STACK=mine", env=env)
    script = f'{printed}\nprintf "%s\\0" "$PULUMI_HOME" "$PATH"'
    seen = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    home, path, _ = seen.split("\0")
    assert home == value
    assert f":/opt/{value}:" in path


@pytest.mark.parametrize("stack", ["mine", "local"])
def test_make_env_does_not_print_the_users_passphrase(stack: str) -> None:
    secret = {"PULUMI_CONFIG_PASSPHRASE": "hunter2"}
    assert "hunter2" not in _run_make("env", f"STACK={stack}", env=secret)
    assert "hunter2" not in _run_make("env", f"STACK={stack}", "PULUMI_CONFIG_PASSPHRASE=hunter2")


def test_make_env_sets_docker_host_from_the_current_docker_context(tmp_path: Path) -> None:
    context = {
        "Name": "edge",
        "Endpoints": {"docker": {"Host": "ssh://edge"}},
        "TLSMaterial": {},
        "Storage": {"MetadataPath": "/home/me/.docker/contexts/meta/edge"},
    }
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho '{json.dumps(context)}'\n")
    docker.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.defpath}"}
    assert _make_env("mine", path)["DOCKER_HOST"] == "ssh://edge"
    assert "DOCKER_HOST" not in _make_env("mine", {**path, "DOCKER_HOST": "ssh://other"})


@pytest.mark.parametrize(
    ("value", "is_on"),
    [
        *((value, True) for value in ("1", "y", "Y", "yes", "YES", "yEs", "true", "True", "TRUE")),
        *(
            (value, False)
            for value in ("", "0", "n", "no", "NO", "false", "off", "on", "2", "yess")
        ),
    ],
)
def test_a_switch_is_on_for_1_y_yes_and_true_in_any_case_and_off_otherwise(
    value: str, is_on: bool
) -> None:
    stack, ready = "STACK=mine", "--old-file=ready"
    for target in ("up", "down", "move", "rotate"):
        words = _run_make("--dry-run", ready, target, stack, "RUNTIME=swarm", f"YES={value}")
        assert ("--yes" in words) == is_on
    assert ("--dry-run" in _run_make("--dry-run", ready, "gc", stack, f"DRY_RUN={value}")) == is_on
    bench = _run_make("--dry-run", f"--old-file={PROJECT}/.venv/dev", "bench", f"FULL={value}")
    assert ("FULL= python" in bench) == (not is_on)


@pytest.mark.parametrize("value", ["0", "no"])
def test_with_yes_0_make_up_asks_before_it_changes_the_local_stack(value: str) -> None:
    words = ("--dry-run", "--old-file=ready", "up", "STACK=local")
    assert "--yes" in _run_make(*words)
    assert "--yes" not in _run_make(*words, f"YES={value}")


@pytest.mark.parametrize("name", ["", "it's", "a;id", "$$(id)"])
def test_a_stack_name_reaches_the_command_unchanged(name: str) -> None:
    done = subprocess.run(
        ["make", "--silent", "--directory", PROJECT, "status", f"STACK={name}"],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{name.replace('$$', '$')!r} is not a stack's name" in done.stderr


def test_programs_on_path_take_precedence_over_those_of_the_toolchain() -> None:
    first, *_, last = _make_env("local")["PATH"].split(os.pathsep)
    assert (first, last) == (f"{PROJECT}/.venv/bin", f"{PROJECT}/.state/bin")


def test_make_stacks_lists_each_stack_file_except_local_and_trial() -> None:
    printed = _run_make("stacks")
    files = {file.name.split(".")[1] for file in (PROJECT / "stacks").glob("Pulumi.*.yaml")}
    assert set(json.loads(printed)) == files - {"local", "trial"}
