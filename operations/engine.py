"""The Docker engine of a stack, for the docker command: the one that its stack file names."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from components.stack import STACK_LABEL


@contextmanager
def reached(config: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Variables with which docker and ssh mean the engine that the docker plugin means.

    `config` is a stack file's, as `configuration` gives it. What it leaves open is as it is.
    """
    variables = {**os.environ}
    if host := config.get("docker:host"):
        variables["DOCKER_HOST"] = host
    if certificates := config.get("docker:certPath"):
        variables |= {"DOCKER_CERT_PATH": certificates, "DOCKER_TLS_VERIFY": "1"}
    with tempfile.TemporaryDirectory() as folder:
        if options := config.get("docker:sshOpts"):
            # The docker command takes no options for ssh; the one that it finds on PATH does.
            ssh = shlex.join([shutil.which("ssh") or "ssh", *json.loads(options)])
            wrapper = Path(folder, "ssh")
            wrapper.write_text(f'#!/bin/sh\nexec {ssh} "$@"\n')
            wrapper.chmod(0o700)
            variables["PATH"] = f"{folder}:{variables['PATH']}"
        yield variables


def labelled(kind: str, stack: str, variables: Mapping[str, str]) -> Mapping[str, str]:
    """What is of `kind` (container, network, service, secret or config) and the stack's: id → name.

    Raises subprocess.CalledProcessError with docker's errors.
    """
    every = ["--all"] if kind == "container" else []
    name = "{{.ID}} {{.Names}}" if kind == "container" else "{{.ID}} {{.Name}}"
    mine = ["--filter", f"label={STACK_LABEL}={stack}", "--format", name]
    lines = docker(variables, kind, "ls", *every, *mine)
    return dict(line.split(" ", 1) for line in lines.splitlines())


def marked(label: str, kind: str, name: str, variables: Mapping[str, str]) -> bool:
    """Whether the container or service (`kind`) of that name carries `label`.

    Raises subprocess.CalledProcessError where there is none.
    """
    where = {"container": ".Config.Labels", "service": ".Spec.Labels"}[kind]
    found = docker(variables, kind, "inspect", "--format", f"{{{{json {where}}}}}", name)
    return label in (json.loads(found) or {})


def printed(variables: Mapping[str, str], *words: str) -> Iterator[str]:
    """The lines of what the command prints, as they come.

    Raises subprocess.CalledProcessError with its errors.
    """
    command = ["docker", *words]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as running,
    ):
        assert running.stdout
        try:
            yield from running.stdout
        except BaseException:
            running.kill()  # else it is waited for
            raise
        if code := running.wait():
            errors.seek(0)
            raise subprocess.CalledProcessError(code, command, stderr=errors.read())


def docker(
    variables: Mapping[str, str],
    *words: str,
    seconds: float | None = None,
    given: str = "",
    both: bool = False,
) -> str:
    """What the command printed, within `seconds`, or it and its errors; it reads what is `given`.

    Raises subprocess.CalledProcessError with its errors, or TimeoutExpired.
    """
    return subprocess.run(
        ["docker", *words],
        env=variables,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if both else subprocess.PIPE,
        text=True,
        check=True,
        timeout=seconds,
    ).stdout
