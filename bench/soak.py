"""Half an hour of pushes, pulls and deletions while redis, the registry and OSS fail: FULL=1.

`python -m bench.soak MINUTES` for another length. Clients check each digest, and at the end all
that was pushed and not deleted must be there: else the command fails.
"""

import itertools
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench import page
from bench.registries import resident
from tests.emulator.emulator import Emulator
from tests.integration.busy import BusyClient
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import wait_until

SIZES = (20_000, 20_000, 200_000, 1_000_000)  # bytes of each client's layers
REST = 1.0  # seconds of each client, between two things that it does
PAUSE = 30.0  # seconds between one mishap and the next
TROUBLE = 5.0  # seconds for which OSS fails
# Of the registry, when OSS fails: an error of its own, or "try again".
TOLERATED = (500, 503)
REPLACED = 1 / 3  # of the time is over: from then on one process is looked at


def mishaps(stack: CloudDeployment, moments: random.Random) -> dict[str, Callable[[], object]]:
    """What goes wrong, again and again."""

    def restart_redis() -> None:
        stack.docker("restart", "--time", "1", f"{stack.prefix}-redis")
        wait_until(lambda: stack.is_healthy("redis"))

    def fail(**how: object) -> Callable[[], object]:
        def during() -> None:
            with stack.emulator.failing(matches=lambda _: moments.random() < 0.2, **how):
                time.sleep(TROUBLE)

        return during

    return {
        "redis restarted": restart_redis,
        "a fifth of OSS's calls refused": fail(status=503, code="ServiceUnavailable"),
        "a fifth of OSS's calls slow": fail(seconds=2),
        "a fifth of OSS's answers cut off": fail(truncate=True),
    }


def replace(stack: CloudDeployment) -> None:
    """Have another registry, by a change of a setting."""
    level = stack.settings["registry"].get("log_level")
    stack.configure(registry={"log_level": "error" if level != "error" else "warn"})
    stack.up()


def watch(stack: CloudDeployment, over: threading.Event, found: list[tuple[float, int]]) -> None:
    """Note the registry's memory each second."""
    while not over.wait(1):
        try:
            process = stack.inspect("registry", ".State.Pid")
            found.append((time.monotonic(), resident(Path("/proc", str(process)))))
        except (AssertionError, OSError, ValueError):
            continue  # it is being replaced


def main(minutes: float = 30) -> None:
    moments = random.Random(13)
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        emulator = Emulator(folder / "emulator")
        exits.callback(emulator.close)
        (folder / "project").mkdir()
        stack = CloudDeployment(folder / "project", emulator, like="staging")
        exits.callback(stack.remove)
        stack.up()
        endpoint = stack.outputs()["endpoint"]
        busy = [
            BusyClient(
                endpoint,
                random.Random(number),
                repositories=(f"team{number}/app", f"team{number}/base"),
                size=size,
                tolerated=TOLERATED,
                pause=REST,
            )
            for number, size in enumerate(SIZES)
        ]
        memory: list[tuple[float, int]] = []
        over = threading.Event()
        watcher = threading.Thread(target=watch, args=(stack, over, memory))
        watcher.start()
        exits.callback(watcher.join)
        exits.callback(over.set)
        kinds = mishaps(stack, moments)
        counted = dict.fromkeys(("registry replaced", *kinds), 0)
        begun = time.monotonic()
        alone = begun + minutes * 60 * REPLACED
        with ExitStack() as work:
            for each in busy:
                work.enter_context(each.working())
            for kind in itertools.cycle(counted):
                if time.monotonic() >= begun + minutes * 60:
                    break
                if kind in kinds:
                    kinds[kind]()
                elif time.monotonic() < alone:
                    replace(stack)
                    alone = max(alone, time.monotonic())
                else:
                    continue
                counted[kind] += 1
                print(f"{(time.monotonic() - begun) / 60:.1f} min: {kind}", flush=True)
                time.sleep(PAUSE)
        for each in busy:
            each.check_images()
        lived = [size for at, size in memory if at > alone]
        third = len(lived) // 3
        first, last = (statistics.median(part) for part in (lived[:third], lived[-third:]))
        pushes, pulls = (
            sum(len(getattr(each, what)) for each in busy) for what in ("pushes", "pulls")
        )
        tolerated = sum(len(each.tolerated_errors) + len(each.connection_errors) for each in busy)
        rows = [
            ("minutes", f"{minutes:.0f}"),
            ("pushes that succeeded", pushes),
            ("pulls, each digest checked", pulls),
            ("calls that were refused or broke off, and said so", tolerated),
            *counted.items(),
            ("memory, last third of one process / first third", f"{last / first:.2f}"),
            ("memory, at most, MiB", f"{max(lived) / 2**20:.0f}"),
        ]
    page.table("soak, FULL=1", ("", ""), rows)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
