"""Progress lines for long steps, and the errors of parts that are not available."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

REMINDER_SECONDS = 20.0  # between two "still running" lines


class Unavailable(Exception):
    """A part of the toolchain is not available. The text names what to install or start."""


class Untrusted(Unavailable):
    """A download failed its check. It is neither used nor replaced by another source."""


def report(text: str) -> None:
    """Print a line to standard error."""
    print(f"toolchain: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str, estimate: str = "") -> Iterator[None]:
    """Print a line at the start of a step, reminders while it runs, and its duration at the end."""
    started = time.monotonic()
    finished = threading.Event()

    def remind() -> None:
        while not finished.wait(REMINDER_SECONDS):
            report(f"{what}: still running after {time.monotonic() - started:.0f} s")

    report(f"{what} ({estimate}) …" if estimate else f"{what} …")
    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
        report(f"{what}: done in {time.monotonic() - started:.0f} s")
    finally:
        finished.set()
        reminder.join()


def format_estimate(minutes: float) -> str:
    """A rounded duration as text: `about 40 s`, `about 4 min`."""
    seconds = minutes * 60
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {minutes:.0f} min"


def run(
    command: Sequence[str | Path],
    log: Path,
    *,
    results: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    failure: str,
) -> None:
    """Run `command` with its output in `log`, and with `env` added to this process's environment.

    With `results`, standard output goes to that file and only standard error goes to the log, so
    that no error appears in the middle of a line of output.

    Raises Unavailable if the command fails. Its text has `failure`, the last line of the log, and
    the log's path.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors, results.open("w") if results else nullcontext(errors) as output:
        code = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            check=False,
        ).returncode
    if code:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), f"exit code {code}")
        raise Unavailable(f"{failure}: {last} (full output: {log})")
