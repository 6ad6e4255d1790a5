"""A Docker engine of the tests' own, which they may stop, in namespaces of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config.releases import DEFAULT_RELEASE
from config.settings import CacheSettings
from tests.integration.deployment import command, eventually, processes, run
from tests.integration.leftovers import RUN

# Why there can be none here; None where there can.
MISSING = (
    None
    if os.geteuid() == 0 and all(map(shutil.which, ("dockerd", "unshare", "ip")))
    else "an engine of the tests' own needs root, dockerd, unshare and ip: its tests are left out"
)


class Engine:
    """Its 127.0.0.1 and its mounts are its own. `options` are dockerd's.

    `namespace` is the name of a network namespace to be in; else it makes one.
    """

    def __init__(self, *options: str, namespace: str | None = None) -> None:
        # The path of a socket may have about 100 letters: too few for one below `tmp_path`.
        folder = Path(tempfile.mkdtemp(prefix=f"oss-registry-{RUN}-"))
        self.host = f"unix://{folder}/socket"
        self._folder = folder
        self._options = [
            *(f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--host={self.host}"),
            *(f"--pidfile={folder}/pid", f"--cgroup-parent=/{folder.name}", *options),
        ]
        self._network = (
            ["nsenter", f"--net=/run/netns/{namespace}", "unshare"]
            if namespace
            else ["unshare", "--net"]
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # The loopback device of a new namespace is down.
        script = 'ip link set lo up && exec dockerd "$@"'
        words = [*self._network, "--mount", "sh", "-c", script, "dockerd", *self._options]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "log").read_text()
        return run("docker", "--host", self.host, "version").returncode == 0

    def stop(self) -> None:
        """As a shutdown of the machine does."""
        if self._process:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """As a machine that loses its power: with all that the engine runs."""
        name = self._folder.name
        for what in ("cmdline", "cgroup"):
            for process, text in processes(what).items():
                if name in text:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
        if self._process:
            self._process.wait(60)
            self._process = None
        # As after a boot, when /run is empty.
        (self._folder / "pid").unlink(missing_ok=True)
        shutil.rmtree(self._folder / "exec", ignore_errors=True)

    def load(self, *references: str) -> None:
        """Have images of the other engine here, too."""
        archive = self._folder / "images.tar"
        command("docker", "save", "--output", archive, *references)
        command("docker", "--host", self.host, "load", "--input", archive)
        archive.unlink()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)


@contextmanager
def engine_with_images(*options: str) -> Iterator[Engine]:
    """One that has what a stack's defaults ask for."""
    made = Engine(*options)
    try:
        made.start()
        made.load(f"registry:{DEFAULT_RELEASE}", CacheSettings().image)
        yield made
    finally:
        made.remove()
