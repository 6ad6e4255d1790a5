"""Half an hour of pushes, pulls and deletions while redis, the registry and OSS fail.

`python -m bench.soak MINUTES` sets another duration. Clients check each digest. At the end, all
images that were pushed and not deleted must exist. Otherwise the command fails.
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
from bench.registries import resident_bytes
from tests.emulator.emulator import Emulator
from tests.integration.busy import BusyClient
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import wait_until

SIZES = (20_000, 20_000, 200_000, 1_000_000)  # bytes of each client's layers
REST = 1.0  # seconds between two actions of a client
PAUSE = 30.0  # seconds between two faults
FAULT_SECONDS = 5.0  # the duration of a fault of OSS
# The statuses with which the registry may answer while OSS fails.
TOLERATED = (500, 503)
# The registry is replaced only in this first share of the run. After that, its process stays the
# same, so that the growth of its memory can be measured.
REPLACEMENT_SHARE = 1 / 3


def faults(stack: CloudDeployment, generator: random.Random) -> dict[str, Callable[[], object]]:
    """Functions that cause a fault and wait until it is over, by the name of the fault."""

    def restart_redis() -> None:
        stack.docker("restart", "--time", "1", f"{stack.prefix}-redis")
        wait_until(lambda: stack.is_healthy("redis"))

    def fail(**how: object) -> Callable[[], object]:
        def during() -> None:
            with stack.emulator.failing(matches=lambda _: generator.random() < 0.2, **how):
                time.sleep(FAULT_SECONDS)

        return during

    return {
        "redis restarted": restart_redis,
        "a fifth of OSS's calls refused": fail(status=503, code="ServiceUnavailable"),
        "a fifth of OSS's calls slow": fail(seconds=2),
        "a fifth of OSS's answers cut off": fail(truncate=True),
    }


def replace(stack: CloudDeployment) -> None:
    """Replace the registry's container by changing a setting."""
    level = stack.settings["registry"].get("log_level")
    stack.configure(registry={"log_level": "warn" if level == "error" else "error"})
    stack.up()


def watch_memory(
    stack: CloudDeployment, stopped: threading.Event, memory: list[tuple[float, int]]
) -> None:
    """Append the time and the registry's memory, in bytes, each second."""
    while not stopped.wait(1):
        try:
            process = stack.inspect("registry", ".State.Pid")
            memory.append((time.monotonic(), resident_bytes(Path("/proc", str(process)))))
        except (AssertionError, OSError, ValueError):
            continue  # The container is being replaced.


def main(minutes: float = 30) -> None:
    generator = random.Random(13)
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        emulator = Emulator(folder / "emulator")
        exits.callback(emulator.close)
        (folder / "project").mkdir()
        stack = CloudDeployment(folder / "project", emulator, like="staging")
        exits.callback(stack.remove)
        stack.up()
        endpoint = stack.outputs()["endpoint"]
        clients = [
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
        stopped = threading.Event()
        watcher = threading.Thread(target=watch_memory, args=(stack, stopped, memory))
        watcher.start()
        exits.callback(watcher.join)
        exits.callback(stopped.set)
        functions = faults(stack, generator)
        counts = dict.fromkeys(("registry replaced", *functions), 0)
        start = time.monotonic()
        end = start + minutes * 60
        stable_since = start + minutes * 60 * REPLACEMENT_SHARE
        with ExitStack() as work:
            for client in clients:
                work.enter_context(client.working())
            for fault in itertools.cycle(counts):
                if time.monotonic() >= end:
                    break
                if fault in functions:
                    functions[fault]()
                elif time.monotonic() < stable_since:
                    replace(stack)
                    stable_since = max(stable_since, time.monotonic())
                else:
                    continue
                counts[fault] += 1
                print(f"{(time.monotonic() - start) / 60:.1f} min: {fault}", flush=True)
                time.sleep(PAUSE)
        for client in clients:
            client.check_images()
        sizes = [size for at, size in memory if at > stable_since]
        third = len(sizes) // 3
        first, last = (statistics.median(part) for part in (sizes[:third], sizes[-third:]))
        pushes = sum(len(client.pushes) for client in clients)
        pulls = sum(len(client.pulls) for client in clients)
        errors = sum(
            len(client.tolerated_errors) + len(client.connection_errors) for client in clients
        )
        rows = [
            ("minutes", f"{minutes:.0f}"),
            ("pushes that succeeded", pushes),
            ("pulls, each digest checked", pulls),
            ("calls that were refused or broke off, and said so", errors),
            *counts.items(),
            ("memory, last third of one process / first third", f"{last / first:.2f}"),
            ("memory, at most, MiB", f"{max(sizes) / 2**20:.0f}"),
        ]
    page.write_table("soak, FULL=1", ("", ""), rows)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
