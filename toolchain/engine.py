"""The Docker engine that answers, or else Debian's, installed and started here."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from config import docker_engine
from toolchain import debian
from toolchain.progress import Unavailable, say, step

# A reboot removes both, and ends the engine. Only root starts an engine.
PID_FILE = Path("/run/oss-registry/dockerd.pid")
LOG = Path("/run/oss-registry/dockerd.log")
START_SECONDS = 60
STOP_SECONDS = 90  # the registry drains for 30 s, the engine gives each container its own time


def ready() -> str:
    """Have a Docker engine, and return its version. Raises Unavailable.

    Only the engine at the local socket is installed and started here, and only if neither a
    variable nor Docker's current context names another one.
    """
    meant = named({})
    if version := _version():
        return version
    error = _ask().stderr if shutil.which("docker") else "there is no docker command"
    if refused := docker_engine.api_version_hint(error, meant, os.environ):
        raise Unavailable(refused)
    if meant.host != docker_engine.LOCAL:
        raise Unavailable(docker_engine.unreachable_hint(error, meant))
    advice = "Install and start a Docker engine (https://docs.docker.com/engine/install)."
    debian.have("dockerd", ["docker.io"], advice)
    debian.have("docker", ["docker-cli"], advice)  # a package of its own from Debian 13 on
    return _version() or _start()


def named(config: Mapping[str, object]) -> docker_engine.Engine:
    """The engine that a stack's `config`, or else the environment, names. Raises Unavailable."""
    try:
        return docker_engine.engine(config, os.environ)
    except docker_engine.EngineError as error:
        raise Unavailable(str(error)) from None


def client_ready() -> None:
    """Raise Unavailable if there is no `docker` command."""
    if not shutil.which("docker"):
        raise Unavailable("Install the docker command (https://docs.docker.com/engine/install).")


def stop() -> None:
    """Stop the engine that `ready` started, with its containers. Another engine is left alone."""
    pid = _started()
    if pid is None:
        say("no Docker engine to stop: none was started by make")
        return
    with step("stopping the Docker engine"):
        os.kill(pid, signal.SIGTERM)
        # The pid file is removed before the process ends.
        _wait(
            lambda: not _is_engine(pid),
            STOP_SECONDS,
            f"dockerd (process {pid}) did not stop within {STOP_SECONDS} s.",
        )


def _ask() -> "subprocess.CompletedProcess[str]":
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _version() -> str | None:
    answer = _ask() if shutil.which("docker") else None
    return answer.stdout.strip() if answer and answer.returncode == 0 else None


def _last_word() -> str:
    return _ask().stderr.strip().rpartition("\n")[2] if shutil.which("docker") else "no client"


def _start() -> str:
    if os.geteuid() != 0 or Path("/run/systemd/system").exists():
        raise Unavailable(
            f"The Docker engine is installed but does not answer ({_last_word()}). Start it with "
            "`systemctl start docker`, or join the docker group."
        )
    failure = f"The Docker engine did not start within {START_SECONDS} s. See its log, {LOG}."
    with step("starting the Docker engine"):
        # Wait for an engine that is starting, such as one that was just installed, or stopping.
        _wait(lambda: bool(_version()) or not _is_running(), START_SECONDS, failure)
        if not _version():
            process = _launch()
            _wait(lambda: bool(_version()) or process.poll() is not None, START_SECONDS, failure)
    version = _version()
    if version is None:
        raise Unavailable(failure)
    return version


def _launch() -> "subprocess.Popen[bytes]":
    PID_FILE.parent.mkdir(parents=True, exist_ok=True)
    PID_FILE.unlink(missing_ok=True)
    with LOG.open("w") as log:
        return subprocess.Popen(
            ["dockerd", "--pidfile", PID_FILE],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # keeps Ctrl-C in the terminal from it
        )


def _is_running() -> bool:
    """Whether an engine runs that may come to answer at the local socket."""
    processes = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
    return any(_is_engine(process) and not _is_elsewhere(process) for process in processes)


def _is_elsewhere(pid: int) -> bool:
    """Whether the command line of an engine names other addresses than the local socket."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return True
    named = re.search(r"\0(-H|--host)[=\0]", command)
    return bool(named) and docker_engine.LOCAL.removeprefix("unix://") not in command


def _is_engine(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "dockerd\n"
    except OSError:
        return False


def _started() -> int | None:
    """The process number of the engine that `ready` started, if it runs."""
    try:
        pid = int(PID_FILE.read_text())
    except FileNotFoundError:
        return None
    return pid if _is_engine(pid) else None


def _wait(over: Callable[[], bool], seconds: float, failure: str) -> None:
    end = time.monotonic() + seconds
    while not over():
        if time.monotonic() > end:
            raise Unavailable(failure)
        time.sleep(0.2)
