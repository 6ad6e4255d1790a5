"""The Docker engine: use one that runs, or install and start Debian's."""

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
from toolchain.progress import Unavailable, report, step

# Below /run, because a reboot must remove both files with the engine. Only root starts an engine.
PID_FILE = Path("/run/oss-registry/dockerd.pid")
LOG = Path("/run/oss-registry/dockerd.log")
START_SECONDS = 60
STOP_SECONDS = 90  # The registry drains for 30 s, and each container has its own time to stop.


def ensure_running() -> str:
    """Return the version of a running Docker engine, and start one if none runs.

    An engine is installed and started only at the local socket, and only if neither a variable nor
    Docker's current context names another engine. Raises Unavailable.
    """
    selected = configured({})
    if version := _version():
        return version
    error = _query_version().stderr if shutil.which("docker") else "there is no docker command"
    if refused := docker_engine.api_version_hint(error, selected, os.environ):
        raise Unavailable(refused)
    if selected.host != docker_engine.LOCAL:
        raise Unavailable(docker_engine.unreachable_hint(error, selected))
    advice = "Install and start a Docker engine (https://docs.docker.com/engine/install)."
    debian.ensure_installed("dockerd", ["docker.io"], advice)
    # From Debian 13 on, the client is a separate package.
    debian.ensure_installed("docker", ["docker-cli"], advice)
    return _version() or _start()


def configured(config: Mapping[str, object]) -> docker_engine.Engine:
    """The engine that a stack's `config` or, without one, the environment names.

    Raises Unavailable.
    """
    try:
        return docker_engine.select_engine(config, os.environ)
    except docker_engine.EngineError as error:
        raise Unavailable(str(error)) from None


def require_client() -> None:
    """Raise Unavailable if there is no `docker` command."""
    if not shutil.which("docker"):
        raise Unavailable("Install the docker command (https://docs.docker.com/engine/install).")


def stop() -> None:
    """Stop the engine that `ensure_running` started, with its containers, and no other engine.

    Raises Unavailable if it does not stop in time.
    """
    pid = _started_pid()
    if pid is None:
        report("no Docker engine to stop: none was started by make")
        return
    with step("stopping the Docker engine"):
        os.kill(pid, signal.SIGTERM)
        # The pid file is removed before the process ends.
        _wait(
            lambda: not _is_engine(pid),
            STOP_SECONDS,
            f"dockerd (process {pid}) did not stop within {STOP_SECONDS} s.",
        )


def _query_version() -> "subprocess.CompletedProcess[str]":
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _version() -> str | None:
    """The version of the engine that answers, or None."""
    if not shutil.which("docker"):
        return None
    answer = _query_version()
    return None if answer.returncode else answer.stdout.strip()


def _last_error() -> str:
    """The last line of the client's error text."""
    if not shutil.which("docker"):
        return "no client"
    return _query_version().stderr.strip().rpartition("\n")[2]


def _start() -> str:
    """Start the engine, and return its version. Raises Unavailable."""
    if os.geteuid() != 0 or Path("/run/systemd/system").exists():
        raise Unavailable(
            f"The Docker engine is installed but does not answer ({_last_error()}). Start it with "
            "`systemctl start docker`, or join the docker group."
        )
    failure = f"The Docker engine did not start within {START_SECONDS} s. See its log, {LOG}."
    with step("starting the Docker engine"):
        # An engine may be starting, for example right after its installation, or stopping.
        _wait(lambda: bool(_version()) or not _is_running(), START_SECONDS, failure)
        if not _version():
            process = _launch()
            _wait(lambda: bool(_version()) or process.poll() is not None, START_SECONDS, failure)
    version = _version()
    if version is None:
        raise Unavailable(failure)
    return version


def _launch() -> "subprocess.Popen[bytes]":
    """Start dockerd in the background, with its output in LOG."""
    PID_FILE.parent.mkdir(parents=True, exist_ok=True)
    PID_FILE.unlink(missing_ok=True)
    with LOG.open("w") as log:
        return subprocess.Popen(
            ["dockerd", "--pidfile", PID_FILE],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that Ctrl-C in the terminal does not stop it
        )


def _is_running() -> bool:
    """Whether a process runs that may soon answer at the local socket."""
    pids = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
    return any(_is_engine(pid) and not _is_elsewhere(pid) for pid in pids)


def _is_elsewhere(pid: int) -> bool:
    """Whether the command line of an engine names only addresses other than the local socket."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return True
    names_addresses = re.search(r"\0(-H|--host)[=\0]", command) is not None
    return names_addresses and docker_engine.LOCAL.removeprefix("unix://") not in command


def _is_engine(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "dockerd\n"
    except OSError:
        return False


def _started_pid() -> int | None:
    """The process ID of the engine that `ensure_running` started, or None if it does not run."""
    try:
        pid = int(PID_FILE.read_text())
    except FileNotFoundError:
        return None
    return pid if _is_engine(pid) else None


def _wait(condition: Callable[[], bool], seconds: float, failure: str) -> None:
    """Wait until `condition` holds. Raises Unavailable with `failure` after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Unavailable(failure)
        time.sleep(0.2)
