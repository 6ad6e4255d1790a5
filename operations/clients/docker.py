"""The Docker engine of a stack, for the docker command: the one that its stack file names."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from config import docker_engine
from config.problems import SettingsError
from config.stack import STACK_LABEL
from operations.errors import CommandError
from operations.stack_file import configuration


def use(stack: str) -> None:
    """Have this process, and thus Pulumi's docker plugin, mean the engine of `stack`.

    Problems of the stack file are left to the command. Raises CommandError.
    """
    try:
        config, _ = configuration(stack)
    except SettingsError:
        return
    try:
        docker_engine.set_variables(config, os.environ)
    except docker_engine.EngineError as error:
        raise CommandError(str(error)) from None


@contextmanager
def reached(config: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Variables with which docker and ssh mean the engine that the docker plugin means.

    `config` is a stack file's, as `configuration` gives it. Raises CommandError.
    """
    try:
        variables = docker_engine.engine(config, os.environ).variables(os.environ)
    except docker_engine.EngineError as error:
        raise CommandError(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        if options := _ssh_options(config):
            # The docker command takes no options for ssh; the one that it finds on PATH does.
            ssh = shlex.join([shutil.which("ssh") or "ssh", *options])
            wrapper = Path(folder, "ssh")
            wrapper.write_text(f'#!/bin/sh\nexec {ssh} "$@"\n')
            wrapper.chmod(0o700)
            variables["PATH"] = f"{folder}:{variables['PATH']}"
        yield variables


def _ssh_options(config: Mapping[str, str]) -> Sequence[str]:
    """The options that the docker plugin gives to ssh."""
    text = config.get("docker:sshOpts")
    if not text:
        return os.environ.get("DOCKER_SSH_OPTS", "").split()
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, list):
        raise CommandError("docker:sshOpts must be a list; write such as [-i, /home/me/.ssh/ops]")
    return [str(option) for option in options]


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

    Raises CommandError if the engine does not answer, or CalledProcessError with its errors.
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
            failure = subprocess.CalledProcessError(code, command, stderr=errors.read())
            raise _explained(failure, variables) from None


def docker(
    variables: Mapping[str, str],
    *words: str,
    seconds: float | None = None,
    given: str = "",
    both: bool = False,
) -> str:
    """What the command printed, within `seconds`, or it and its errors; it reads what is `given`.

    Raises CommandError if the engine does not answer, subprocess.CalledProcessError with docker's
    errors, or TimeoutExpired.
    """
    try:
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
    except subprocess.CalledProcessError as failure:
        raise _explained(failure, variables) from None


def _explained(
    failure: subprocess.CalledProcessError, variables: Mapping[str, str]
) -> subprocess.CalledProcessError | CommandError:
    """`failure`, or what it means if the engine does not answer or refuses the docker command."""
    text = failure.stderr or failure.stdout or ""
    sentence = docker_engine.error_hint(text, docker_engine.recorded_engine(variables), variables)
    return CommandError(sentence) if sentence else failure
