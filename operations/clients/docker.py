"""The docker command, run for the engine of a stack."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from config import docker_engine
from config.stack import STACK_LABEL
from operations.errors import CommandError

# The path of the labels in the output of `docker KIND inspect`.
_LABELS = {"container": ".Config.Labels", "service": ".Spec.Labels"}


def select_engine(config: Mapping[str, str], environment: MutableMapping[str, str]) -> None:
    """Change `environment` so that Pulumi's Docker provider uses the engine of a stack.

    `config` is the configuration of the stack. Raises CommandError.
    """
    try:
        docker_engine.set_variables(config, environment)
    except docker_engine.EngineError as error:
        raise CommandError(str(error)) from None


@contextmanager
def connect(config: Mapping[str, str]) -> Iterator["Docker"]:
    """Yield the docker command for the engine that Pulumi's Docker provider uses.

    `config` is the configuration of a stack. Raises CommandError.
    """
    try:
        variables = docker_engine.select_engine(config, os.environ).variables(os.environ)
    except docker_engine.EngineError as error:
        raise CommandError(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        if options := _ssh_options(config):
            # The docker command accepts no options for ssh, but runs the ssh on PATH.
            ssh = shlex.join([shutil.which("ssh") or "ssh", *options])
            wrapper = Path(folder, "ssh")
            wrapper.write_text(f'#!/bin/sh\nexec {ssh} "$@"\n')
            wrapper.chmod(0o700)
            variables["PATH"] = f"{folder}:{variables['PATH']}"
        yield Docker(variables)


def _ssh_options(config: Mapping[str, str]) -> Sequence[str]:
    """Return the options that Pulumi's Docker provider passes to ssh."""
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


class Docker:
    """The docker command, run with the environment `variables`.

    All methods raise CommandError if the engine does not answer or refuses the docker command, and
    CalledProcessError, with docker's error text, if the command fails.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def run(
        self,
        *words: str,
        stdin: str = "",
        timeout: float | None = None,
        include_stderr: bool = False,
    ) -> str:
        """Run docker with these arguments, and return its output.

        Raises TimeoutExpired if it takes more than `timeout` seconds.
        """
        try:
            return subprocess.run(
                ["docker", *words],
                env=self._variables,
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if include_stderr else subprocess.PIPE,
                text=True,
                check=True,
                timeout=timeout,
            ).stdout
        except subprocess.CalledProcessError as failure:
            raise self._with_hint(failure) from None

    def lines(self, *words: str) -> Iterator[str]:
        """Run docker with these arguments, and yield each line as soon as it is printed."""
        command = ["docker", *words]
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                command, env=self._variables, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            assert process.stdout
            try:
                yield from process.stdout
            except BaseException:
                process.kill()  # else Popen waits for it
                raise
            if code := process.wait():
                errors.seek(0)
                failure = subprocess.CalledProcessError(code, command, stderr=errors.read())
                raise self._with_hint(failure) from None

    def labelled(self, kind: str, stack: str) -> Mapping[str, str]:
        """Return the names of a stack's objects of one kind, by id.

        `kind` is container, network, service, secret or config.
        """
        options = ["--filter", f"label={STACK_LABEL}={stack}", "--format"]
        if kind == "container":
            options = ["--all", *options, "{{.ID}} {{.Names}}"]
        else:
            options.append("{{.ID}} {{.Name}}")
        lines = self.run(kind, "ls", *options).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def has_label(self, label: str, kind: str, name: str) -> bool:
        """Return whether a container or service (`kind`) has a label."""
        labels = self.run(kind, "inspect", "--format", f"{{{{json {_LABELS[kind]}}}}}", name)
        return label in (json.loads(labels) or {})

    def _with_hint(
        self, failure: subprocess.CalledProcessError
    ) -> subprocess.CalledProcessError | CommandError:
        """Return the hint for docker's error, or the failure if there is none."""
        text = failure.stderr or failure.stdout or ""
        engine = docker_engine.recorded_engine(self._variables)
        hint = docker_engine.error_hint(text, engine, self._variables)
        return CommandError(hint) if hint else failure
