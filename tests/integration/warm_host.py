"""Fork the language hosts of a test run from one process that has imported Pulumi's packages.

Pulumi starts two language hosts for each preview or update. Starting Python and importing the
packages in each of them takes about a sixth of the CPU time of a test run. Load this module with
`pytest -p`.
"""

import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.integration.leftovers import unique_name
from toolchain.pulumi_cli import LANGUAGE_HOST

HOST_PROGRAM = "pulumi-language-python"
FOLDER_PREFIX = "oss-registry-host"
PROJECT = Path(__file__).parent.parent.parent
PACKAGES = (
    "bcrypt",
    "cryptography.x509",
    "pulumi_alicloud.oss",
    "pulumi_alicloud.ram",
    "pulumi_docker",
    "pydantic",
    "toolchain.language_host",
    "yaml",
)
SIZE_BYTES = 8  # in front of each request to fork a host
# Pulumi starts this script in place of the toolchain's language host. The script sends its
# arguments, variables, folder, stdout and stderr to the forking process, and runs as long as the
# fork.
STARTER = f"""#!/usr/bin/env -S python3 -I -S
import json, os, select, signal, socket, sys

signal.signal(signal.SIGINT, signal.SIG_DFL)
engine = os.getppid()
server = socket.socket(socket.AF_UNIX)
server.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "socket"))
call = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
socket.send_fds(server, [len(call).to_bytes({SIZE_BYTES}, "big")], [1, 2])
server.sendall(call)
while os.getppid() == engine and not select.select([server], [], [], 1)[0]:
    pass
"""
# The forking process, and the folder with its socket.
FORKING_PROCESS = pytest.StashKey[tuple["subprocess.Popen[str]", Path]]()


def pytest_configure(config: pytest.Config) -> None:
    """Put a folder with `pulumi` and STARTER first on PATH, which pytest-xdist's workers inherit.

    PATH stays unchanged if its language host is not the toolchain's.
    """
    host, pulumi = shutil.which(HOST_PROGRAM), shutil.which("pulumi")
    if hasattr(config, "workerinput") or not host or not pulumi:
        return
    if Path(host).read_bytes() != LANGUAGE_HOST.read_bytes():
        return
    folder = Path(tempfile.mkdtemp(prefix=unique_name(FOLDER_PREFIX)))
    # Pulumi warns if the language host on PATH is not in its own folder.
    shutil.copy(pulumi, folder / "pulumi")
    starter = folder / HOST_PROGRAM
    starter.write_text(STARTER)
    starter.chmod(0o755)
    words = [sys.executable, "-m", __name__, str(folder)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, cwd=PROJECT, stdin=pipe, stdout=pipe, text=True)
    config.stash[FORKING_PROCESS] = process, folder
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if FORKING_PROCESS in session.config.stash:
        process, folder = session.config.stash[FORKING_PROCESS]
        process.communicate()
        shutil.rmtree(folder)


def cold_path() -> str:
    """Return PATH without the folder that this module added to it."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(each for each in folders if FOLDER_PREFIX not in each)


def fork_hosts(folder: Path) -> None:
    """Fork a language host for each connection to the socket in `folder`.

    Returns when stdin is closed, which also happens if pytest is killed.
    """
    for package in PACKAGES:
        importlib.import_module(package)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the forks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest ends the tests first
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        server.listen()
        print("ready", flush=True)
        while server in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _run_host(connection)
                sys.exit()
            connection.close()


def _run_host(connection: socket.socket) -> None:
    """Run the toolchain's language host for the script at the other end of `connection`."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    size, output, _, _ = socket.recv_fds(connection, SIZE_BYTES, 2)
    with connection.makefile("rb") as call:
        words, variables, folder = json.loads(call.read(int.from_bytes(size, "big")))
    for descriptor, copy in enumerate(output, 1):
        os.dup2(copy, descriptor)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.argv = words
    del sys.path[0]  # this checkout, because the program has its own components

    def end_with_starter() -> None:
        connection.recv(1)
        os._exit(0)

    threading.Thread(target=end_with_starter, daemon=True).start()
    # Imported only here: it turns the garbage collector off, and pytest also loads this module.
    importlib.import_module("toolchain.language_host").serve()


if __name__ == "__main__":
    fork_hosts(Path(sys.argv[1]))
