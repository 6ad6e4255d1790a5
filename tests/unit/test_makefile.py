"""What `make` gives to Pulumi: the local stack's own login, and for others the user's."""

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
USERS = {"PULUMI_HOME": "/home/me/.pulumi", "PULUMI_BACKEND_URL": "s3://mine"}


def _env(stack: str) -> Mapping[str, str]:
    """The variables that `make env` sets, for a user who is logged in elsewhere."""
    printed = subprocess.run(
        ["make", "--silent", "--directory", PROJECT, "env", f"STACK={stack}"],
        env={"PATH": os.defpath, **USERS},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    words = [shlex.split(line) for line in printed.splitlines()]
    assert all(first == "export" for first, _ in words)
    return dict(word.split("=", 1) for _, word in words)


def test_the_local_stack_keeps_to_this_checkout_and_leaves_the_users_login_alone() -> None:
    local = _env("local")
    assert local["PULUMI_HOME"] == f"{PROJECT}/.state/pulumi"
    assert local["PULUMI_BACKEND_URL"] == f"file://{PROJECT}/.state"
    assert local["PULUMI_CONFIG_PASSPHRASE"] == "local"


def test_any_other_stack_uses_the_users_login_and_passphrase() -> None:
    other = _env("mine")
    assert {name: other[name] for name in USERS} == USERS
    assert "PULUMI_CONFIG_PASSPHRASE" not in other


def test_what_is_on_path_wins_over_what_the_toolchain_links() -> None:
    first, *_, last = _env("local")["PATH"].split(os.pathsep)
    assert (first, last) == (f"{PROJECT}/.venv/bin", f"{PROJECT}/.state/bin")


def test_ci_looks_at_each_stack_file_but_those_of_a_checkout() -> None:
    printed = subprocess.run(
        ["make", "--silent", "--directory", PROJECT, "stacks"],
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = {file.name.split(".")[1] for file in (PROJECT / "stacks").glob("Pulumi.*.yaml")}
    assert set(json.loads(printed)) == files - {"local", "trial"}
