"""What `make` gives to Pulumi: the local stack's own login, and for others the user's."""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
USERS = {"PULUMI_HOME": "/home/me/.pulumi", "PULUMI_BACKEND_URL": "s3://mine"}


def _made(*words: str, env: Mapping[str, str] | None = None) -> str:
    """What make prints for a user with these variables."""
    return subprocess.run(
        ["make", "--silent", "--directory", PROJECT, *words],
        env={"PATH": os.defpath, **(env or {})},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _env(stack: str, env: Mapping[str, str] = USERS) -> Mapping[str, str]:
    """The variables that `make env` sets, for a user who is logged in elsewhere."""
    words = shlex.split(_made("env", f"STACK={stack}", env=env))
    assert set(words[::2]) == {"export"}
    return dict(word.split("=", 1) for word in words[1::2])


def test_the_local_stack_keeps_to_this_checkout_and_leaves_the_users_login_alone() -> None:
    local = _env("local")
    assert local["PULUMI_HOME"] == f"{PROJECT}/.state/pulumi"
    assert local["PULUMI_BACKEND_URL"] == f"file://{PROJECT}/.state"
    assert local["PULUMI_CONFIG_PASSPHRASE"] == "local"


def test_any_other_stack_uses_the_users_login_and_passphrase() -> None:
    other = _env("mine")
    assert {name: other[name] for name in USERS} == USERS
    assert "PULUMI_CONFIG_PASSPHRASE" not in other


@pytest.mark.parametrize(
    "value", ["pa$xword`id`", "$(id) ${HOME} $$", "it's", 'a "b"', "a b\tc", "a\nb", "\\", "#!*?~"]
)
def test_values_reach_the_shell_as_they_are(value: str) -> None:
    users = {**USERS, "PULUMI_HOME": value, "PATH": f"/opt/{value}:{os.defpath}"}
    printed = _made("env", "STACK=mine", env=users)
    script = f'{printed}\nprintf "%s\\0" "$PULUMI_HOME" "$PATH"'
    seen = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    home, path, _ = seen.split("\0")
    assert home == value
    assert f":/opt/{value}:" in path


@pytest.mark.parametrize("stack", ["mine", "local"])
def test_a_passphrase_of_the_user_is_not_printed(stack: str) -> None:
    secret = {"PULUMI_CONFIG_PASSPHRASE": "hunter2"}
    assert "hunter2" not in _made("env", f"STACK={stack}", env=secret)
    assert "hunter2" not in _made("env", f"STACK={stack}", "PULUMI_CONFIG_PASSPHRASE=hunter2")


def test_the_current_docker_context_is_printed_for_the_plugin(tmp_path: Path) -> None:
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
    assert _env("mine", path)["DOCKER_HOST"] == "ssh://edge"
    assert "DOCKER_HOST" not in _env("mine", {**path, "DOCKER_HOST": "ssh://other"})


@pytest.mark.parametrize(
    ("value", "means"),
    [
        *((value, True) for value in ("1", "y", "Y", "yes", "YES", "yEs", "true", "True", "TRUE")),
        *(
            (value, False)
            for value in ("", "0", "n", "no", "NO", "false", "off", "on", "2", "yess")
        ),
    ],
)
def test_only_1_y_yes_and_true_switch_something_on(value: str, means: bool) -> None:
    stack, ready = "STACK=mine", "--old-file=ready"
    for target in ("up", "down", "move", "rotate"):
        words = _made("--dry-run", ready, target, stack, "RUNTIME=swarm", f"YES={value}")
        assert ("--yes" in words) == means
    assert ("--dry-run" in _made("--dry-run", ready, "gc", stack, f"DRY_RUN={value}")) == means
    bench = _made("--dry-run", f"--old-file={PROJECT}/.venv/dev", "bench", f"FULL={value}")
    assert ("FULL= python" in bench) == (not means)


@pytest.mark.parametrize("value", ["0", "no"])
def test_the_local_stack_asks_if_that_is_wanted(value: str) -> None:
    words = ("--dry-run", "--old-file=ready", "up", "STACK=local")
    assert "--yes" in _made(*words)
    assert "--yes" not in _made(*words, f"YES={value}")


@pytest.mark.parametrize("name", ["", "it's", "a;id", "$$(id)"])
def test_make_passes_a_stack_s_name_on_as_it_is(name: str) -> None:
    done = subprocess.run(
        ["make", "--silent", "--directory", PROJECT, "status", f"STACK={name}"],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{name.replace('$$', '$')!r} is not a stack's name" in done.stderr


def test_what_is_on_path_wins_over_what_the_toolchain_links() -> None:
    first, *_, last = _env("local")["PATH"].split(os.pathsep)
    assert (first, last) == (f"{PROJECT}/.venv/bin", f"{PROJECT}/.state/bin")


def test_ci_looks_at_each_stack_file_but_those_of_a_checkout() -> None:
    printed = _made("stacks")
    files = {file.name.split(".")[1] for file in (PROJECT / "stacks").glob("Pulumi.*.yaml")}
    assert set(json.loads(printed)) == files - {"local", "trial"}
