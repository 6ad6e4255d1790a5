"""Times of pushes and pulls: the tutorial's registry, ours, and one on this machine's disk.

OSS is the emulator, with a latency for each call and a limited rate of transfer.
`python -m bench.transfers ROUNDS` sets the number of rounds.
"""

import math
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench import clients, limits, page, plot
from bench.images import create_image
from bench.registries import Registry, Testbed

ROUNDS = 3
MIB = 2**20
LATENCY = 0.02  # seconds for each call
RATE = 100e6  # bytes per second, each way

TUTORIAL, TUTORIAL_REDIRECT = "tutorial", "tutorial, redirect"
OURS, OURS_TUNED, OURS_NO_CACHE = "ours", "ours tuned, redirect", "ours without a cache"
DISK = "disk"
TUNED = {
    "log": {"level": "error"},
    "storage": {"redirect": {"disable": False}, "s3": {"chunksize": 64 * MIB}},
}
Builders = Mapping[str, Callable[[Testbed], Registry]]
REGISTRIES: Builders = {
    TUTORIAL: lambda testbed: testbed.start_tutorial(REDIRECT_DISABLE="true"),
    TUTORIAL_REDIRECT: Testbed.start_tutorial,
    OURS: Testbed.start_ours,
    OURS_TUNED: lambda testbed: testbed.start_ours(TUNED, storage={"internal": False}),
    OURS_NO_CACHE: lambda testbed: testbed.start_ours(
        {"storage": {"cache": None}}, cache={"enabled": False}
    ),
    DISK: Testbed.start_disk,
}


class Case(NamedTuple):
    """Pushes and pulls of an image by a number of clients at once. `name` is a key of LAYERS.

    Each client pushes a different image with such layers. All clients pull the same image.
    """

    name: str
    clients: int
    registries: Sequence[str]
    pulls: Sequence[str] = ("cold pull", "warm pull")

    @property
    def layers(self) -> Sequence[int]:
        """The sizes of the layers, in bytes."""
        return LAYERS[self.name]


MAIN_PAIR, OTHER_REGISTRIES = (TUTORIAL, OURS), (TUTORIAL_REDIRECT, OURS_TUNED, DISK)
COLD = ("cold pull",)  # With large layers, a warm pull takes as long as a cold one.
LARGE, MIDDLE, SMALL, FEW = "1 × 1 GiB", "10 × 100 MiB", "200 × 50 kB", "4 × 1 MiB"
LAYERS = {  # in bytes
    LARGE: [1024 * MIB],
    MIDDLE: [100 * MIB] * 10,
    SMALL: [50_000] * 200,
    FEW: [MIB] * 4,
}
CASES = (
    Case(LARGE, 1, MAIN_PAIR, COLD),
    Case(SMALL, 1, (*MAIN_PAIR, OURS_NO_CACHE)),
    Case(FEW, 8, MAIN_PAIR),
)
MORE_CASES = (
    Case(LARGE, 1, OTHER_REGISTRIES, COLD),
    Case(MIDDLE, 1, (*MAIN_PAIR, *OTHER_REGISTRIES), COLD),
    Case(SMALL, 1, OTHER_REGISTRIES),
    Case(FEW, 8, OTHER_REGISTRIES),
    Case(FEW, 64, (*MAIN_PAIR, DISK)),
)


@dataclass
class Run:
    """The result of a push or a pull by all clients of a case."""

    size: int  # bytes of all clients
    errors: int  # of all clients
    seconds: Sequence[float]  # of each client
    duration: float  # seconds until the last client has finished
    cpu: float  # seconds of the registry
    memory: int  # bytes of the registry, at most
    calls: int  # to OSS, by the registry and the clients


Key = tuple[str, int, str, str]  # the image, the number of clients, the action, and the registry
Runs = Mapping[Key, Sequence[Run]]
Ratios = Sequence[float]


def run_clients(registry: Registry, size: int, clients: Sequence[Callable[[], object]]) -> Run:
    """Run all `clients` at once. `size` is the sum of the bytes that they transfer."""
    seconds: list[float] = []
    errors: list[AssertionError] = []

    def run(client: Callable[[], object]) -> None:
        start = time.monotonic()
        try:
            client()
        except AssertionError as error:
            errors.append(error)
        seconds.append(time.monotonic() - start)

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    registry.emulator.clear_calls()
    with registry.measure_usage() as usage:
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        duration = time.monotonic() - start
    for error in errors[:1]:
        print(error, file=sys.stderr)
    oss_calls = sum(registry.emulator.count_oss_calls().values())
    return Run(size, len(errors), seconds, duration, usage.cpu, usage.memory, oss_calls)


class Setup:
    """Running registries and the images of the cases. Pulled images are written to `scratch`."""

    def __init__(self, testbed: Testbed, builders: Builders, scratch: Path) -> None:
        self.testbed, self._scratch = testbed, scratch
        self.registries = {name: build(testbed) for name, build in builders.items()}
        self._images: dict[str, list[Path]] = defaultdict(list)

    def images(self, case: Case) -> Sequence[Path]:
        """Return images for `case`, one for each client. They are created once."""
        images = self._images[case.name]
        while len(images) < case.clients:
            folder = self.testbed.folder / f"{case.name}-{len(images)}"
            images.append(create_image(folder, case.layers))
        return images[: case.clients]

    def push(self, registry: Registry, case: Case) -> Run:
        """Let each client push a different image."""
        env = self.testbed.emulator.environment
        calls = [
            lambda n=n, i=i: clients.push(i, f"{registry.server}/bench/{n}:1", env)
            for n, i in enumerate(self.images(case))
        ]
        return run_clients(registry, sum(case.layers) * case.clients, calls)

    def pull(self, registry: Registry, case: Case) -> Run:
        """Let all clients pull the first image."""
        env = self.testbed.emulator.environment
        name = f"{registry.server}/bench/0:1"
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            calls = [
                lambda n=n: clients.pull(name, Path(folder, str(n)), env)
                for n in range(case.clients)
            ]
            return run_clients(registry, sum(case.layers) * case.clients, calls)


@contextmanager
def start_registries(builders: Builders) -> Iterator[Setup]:
    """Start the registries, and remove them at the end."""
    memory = Path("/dev/shm")
    with (
        Testbed() as testbed,
        tempfile.TemporaryDirectory(dir=memory if memory.exists() else None) as scratch,
    ):
        print(f"putting up {len(builders)} registries …", flush=True)
        yield Setup(testbed, builders, Path(scratch))


def measure_transfers(setup: Setup, cases: Sequence[Case], rounds: int = ROUNDS) -> Runs:
    """Run all cases with LATENCY and RATE. Each round begins with another registry."""
    emulator = setup.testbed.emulator
    runs: dict[Key, list[Run]] = defaultdict(list)
    for case in cases:
        setup.images(case)
        for number in range(rounds):
            print(
                f"{case.name}, clients: {case.clients}, round {number + 1} of {rounds} …",
                flush=True,
            )
            at = number % len(case.registries)
            for name in (*case.registries[at:], *case.registries[:at]):
                registry = setup.registries[name]
                if name == OURS_NO_CACHE:
                    setup.push(registry, case)  # Only its pulls are measured.
                else:
                    with emulator.simulated_network(LATENCY, RATE):
                        run = setup.push(registry, case)
                    runs[case.name, case.clients, "push", name].append(run)
                if case.pulls:
                    registry.restart()
                for action in case.pulls:
                    with emulator.simulated_network(LATENCY, RATE):
                        run = setup.pull(registry, case)
                    runs[case.name, case.clients, action, name].append(run)
                registry.reset()
    return runs


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that a `share` of them does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def megabytes_per_second(run: Run) -> float:
    """The rate of all clients together."""
    return run.size / run.duration / 1e6


def speedups(runs: Runs, key: Key, other: str) -> Ratios:
    """The speedup of the runs of `key` over those of the registry `other`, for each round."""
    other_runs = runs[(*key[:3], other)]
    return [
        theirs.duration / ours.duration for ours, theirs in zip(runs[key], other_runs, strict=True)
    ]


def detail_rows(runs: Runs) -> Iterator[Sequence[object]]:
    """Yield a row of the table `transfers` for each key."""
    for (name, count, action, registry), key_runs in runs.items():
        seconds = [second for run in key_runs for second in run.seconds]
        yield (
            name,
            count,
            action,
            registry,
            page.format_spread([megabytes_per_second(run) for run in key_runs]),
            *(f"{percentile(seconds, share):.2f}" for share in (0.5, 0.99)),
            sum(run.errors for run in key_runs),
            f"{statistics.median(run.cpu / run.size for run in key_runs) * 2**30:.1f}",
            f"{max(run.memory for run in key_runs) / MIB:.0f}",
        )


HEAD = (
    "image",
    "clients",
    "",
    "registry",
    "MB/s",
    "p50, s",
    "p99, s",
    "errors",
    "CPU s for a GiB",
    "memory, MiB",
)
# For each of our registries, those that it is compared with.
AGAINST = {OURS: (TUTORIAL, OURS_NO_CACHE), OURS_TUNED: (TUTORIAL_REDIRECT,)}


def comparisons(runs: Runs) -> Iterator[tuple[Key, str, Ratios]]:
    """Yield each run of our registry, the registry it is compared with, and the speedups."""
    for key in runs:
        for other in AGAINST.get(key[3], ()):
            if (*key[:3], other) in runs:
                yield key, other, speedups(runs, key, other)


def _measure(cases: Sequence[Case], mark: str, rounds: int) -> Sequence[tuple[Key, str, Ratios]]:
    """Run `cases`, write two tables whose names end with `mark`, and return the comparisons."""
    names = {name for case in cases for name in case.registries}
    builders = {name: build for name, build in REGISTRIES.items() if name in names}
    with start_registries(builders) as setup:
        runs = measure_transfers(setup, cases, rounds)
    page.write_table(f"transfers{mark}", HEAD, [*detail_rows(runs)])
    found = [*comparisons(runs)]
    rows = [
        (*key[:3], f"{key[3]} / {other}", page.format_spread(ratios, ".2f"))
        for key, other, ratios in found
    ]
    page.write_table(f"ratios{mark}", ("image", "clients", "", "", "times as fast"), rows)
    return found


def main(rounds: int = ROUNDS) -> None:
    with Testbed() as testbed:
        limits.measure(testbed.emulator, LATENCY, RATE)
    found = _measure(CASES, "", rounds)
    plot.write_bars(
        f"With OSS {LATENCY * 1000:.0f} ms away for each call, and {RATE / 1e6:.0f} MB/s",
        [
            (f"{action} of {image}, clients: {count}\n{name} / {other}", each)
            for (image, count, action, name), other, each in found
        ],
    )


def measure_more(rounds: int = ROUNDS) -> None:
    """Measure the other registries, and more clients, with FULL=1."""
    _measure(MORE_CASES, ", FULL=1", rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
