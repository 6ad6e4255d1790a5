"""Long work says what it is doing and for how long; a part that can't be had is one sentence."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REMINDER = 20.0  # seconds between two "still at it" lines


class Unavailable(Exception):
    """A part can't be had here; the text is one sentence that says what to install or start."""


def say(text: str) -> None:
    print(f"toolchain: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announce `what`, remind that it is going on, and say how many seconds it took."""
    begun = time.monotonic()
    over = threading.Event()

    def remind() -> None:
        while not over.wait(REMINDER):
            say(f"{what}: still at it after {time.monotonic() - begun:.0f} s")

    say(f"{what} …")
    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
        say(f"{what}: done in {time.monotonic() - begun:.0f} s")
    finally:
        over.set()
        reminder.join()


def run(
    command: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    failure: str,
) -> None:
    """Run `command` with its output in `log` and `env` on top of this process's own environment.

    Raises Unavailable: `failure`, the last line of output and where the rest is.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        code = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if code:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), f"exit code {code}")
        raise Unavailable(f"{failure} ({last}; the whole output is in {log})")
