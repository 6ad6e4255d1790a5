"""A separate Docker engine, for tests that stop it or need another configuration."""

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
from tests.integration.deployment import proc_files, run, run_checked, wait_until
from tests.integration.leftovers import RUN

# The reason why this machine cannot run a separate engine, or None.
ENGINE_UNAVAILABLE = (
    None
    if os.geteuid() == 0 and all(map(shutil.which, ("dockerd", "unshare", "ip")))
    else "tests with another Docker engine are skipped: they need root, dockerd, unshare and ip"
)


class Engine:
    """A Docker engine in a separate network namespace and mount namespace.

    `options` are options of dockerd. `namespace` is the name of an existing network namespace to
    use in place of a new one.
    """

    def __init__(self, *options: str, namespace: str | None = None) -> None:
        # A socket path is limited to about 100 characters. Paths below `tmp_path` are longer.
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
        """Start the engine and wait until it answers."""
        # The loopback device of a new namespace is down.
        script = 'ip link set lo up && exec dockerd "$@"'
        words = [*self._network, "--mount", "sh", "-c", script, "dockerd", *self._options]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "log").read_text()
        return run("docker", "--host", self.host, "version").returncode == 0

    def stop(self) -> None:
        """Stop the engine as a shutdown of the machine does."""
        if self._process:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """Kill the engine and its containers, as a power failure does."""
        name = self._folder.name
        for file in ("cmdline", "cgroup"):
            for process, text in proc_files(file).items():
                if name in text:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
        if self._process:
            self._process.wait(60)
            self._process = None
        # These files are usually in /run, which is empty after a reboot.
        (self._folder / "pid").unlink(missing_ok=True)
        shutil.rmtree(self._folder / "exec", ignore_errors=True)

    def load(self, *references: str) -> None:
        """Copy images from the default engine to this one."""
        archive = self._folder / "images.tar"
        run_checked("docker", "save", "--output", archive, *references)
        run_checked("docker", "--host", self.host, "load", "--input", archive)
        archive.unlink()

    def remove(self) -> None:
        """Stop the engine and delete its files."""
        self.stop()
        shutil.rmtree(self._folder)


@contextmanager
def engine_with_images(*options: str) -> Iterator[Engine]:
    """Run an engine that has the default images of the registry and of redis."""
    engine = Engine(*options)
    try:
        engine.start()
        engine.load(f"registry:{DEFAULT_RELEASE}", CacheSettings().image)
        yield engine
    finally:
        engine.remove()
