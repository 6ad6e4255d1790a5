"""Pushes and pulls: the tutorial's registry, ours, and one on this machine's disk, in turn.

OSS is the emulator, with a latency for each call and a cap on what passes in a second.
`python -m bench.transfers ROUNDS` for more or fewer of them.
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
from bench.images import image
from bench.registries import Hall, Registry

ROUNDS = 3
MIB = 2**20
LATENCY = 0.02  # seconds for each call
RATE = 100e6  # bytes a second, each way

TUTORIAL, TUTORIAL_REDIRECT = "tutorial", "tutorial, redirect"
OURS, OURS_TUNED, OURS_NO_CACHE = "ours", "ours tuned, redirect", "ours without a cache"
DISK = "disk"
TUNED = {
    "log": {"level": "error"},
    "storage": {"redirect": {"disable": False}, "s3": {"chunksize": 64 * MIB}},
}
Builders = Mapping[str, Callable[[Hall], Registry]]
REGISTRIES: Builders = {
    TUTORIAL: lambda hall: hall.tutorial(REDIRECT_DISABLE="true"),
    TUTORIAL_REDIRECT: Hall.tutorial,
    OURS: Hall.ours,
    OURS_TUNED: lambda hall: hall.ours(TUNED, storage={"internal": False}),
    OURS_NO_CACHE: lambda hall: hall.ours({"storage": {"cache": None}}, cache={"enabled": False}),
    DISK: Hall.disk,
}


class Case(NamedTuple):
    """An image of LAYERS, pushed and pulled by so many clients at once.

    Each pushes one of its own; all pull the same.
    """

    name: str
    clients: int
    registries: Sequence[str]
    pulls: Sequence[str] = ("cold pull", "warm pull")

    @property
    def layers(self) -> Sequence[int]:
        return LAYERS[self.name]


PAIR, REST = (TUTORIAL, OURS), (TUTORIAL_REDIRECT, OURS_TUNED, DISK)
COLD = ("cold pull",)  # where nearly all is content, the next one is the same
LARGE, MIDDLE, SMALL, FEW = "1 × 1 GiB", "10 × 100 MiB", "200 × 50 kB", "4 × 1 MiB"
LAYERS = {  # in bytes
    LARGE: [1024 * MIB],
    MIDDLE: [100 * MIB] * 10,
    SMALL: [50_000] * 200,
    FEW: [MIB] * 4,
}
CASES = (Case(LARGE, 1, PAIR, COLD), Case(SMALL, 1, (*PAIR, OURS_NO_CACHE)), Case(FEW, 8, PAIR))
MORE = (
    Case(LARGE, 1, REST, COLD),
    Case(MIDDLE, 1, (*PAIR, *REST), COLD),
    Case(SMALL, 1, REST),
    Case(FEW, 8, REST),
    Case(FEW, 64, (*PAIR, DISK)),
)


@dataclass
class Run:
    """A push or a pull: bytes and errors of all clients, seconds of each, and what it took."""

    size: int
    errors: int
    seconds: Sequence[float]
    lasted: float
    cpu: float
    memory: int
    calls: int  # to OSS, by registry and clients


Key = tuple[str, int, str, str]  # the image, clients, what was done, and the registry
Runs = Mapping[Key, Sequence[Run]]
Ratios = Sequence[float]


def together(registry: Registry, size: int, clients: Sequence[Callable[[], object]]) -> Run:
    """Let all `clients` do their part at once, of `size` bytes in sum."""
    seconds: list[float] = []
    errors: list[AssertionError] = []

    def run(client: Callable[[], object]) -> None:
        begun = time.monotonic()
        try:
            client()
        except AssertionError as error:
            errors.append(error)
        seconds.append(time.monotonic() - begun)

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    registry.emulator.clear_calls()
    with registry.used() as used:
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lasted = time.monotonic() - begun
    for error in errors[:1]:
        print(error, file=sys.stderr)
    made = sum(registry.emulator.count_oss_calls().values())
    return Run(size, len(errors), seconds, lasted, used.cpu, used.memory, made)


class Ground:
    """Registries side by side, their images, and a place in memory for what is pulled."""

    def __init__(self, hall: Hall, builders: Builders, scratch: Path) -> None:
        self.hall, self._scratch = hall, scratch
        self.registries = {name: build(hall) for name, build in builders.items()}
        self._images: dict[str, list[Path]] = defaultdict(list)

    def images(self, case: Case) -> Sequence[Path]:
        made = self._images[case.name]
        while len(made) < case.clients:
            made.append(image(self.hall.folder / f"{case.name}-{len(made)}", case.layers))
        return made[: case.clients]

    def push(self, registry: Registry, case: Case) -> Run:
        env = self.hall.emulator.environment
        calls = [
            lambda n=n, i=i: clients.push(i, f"{registry.server}/bench/{n}:1", env)
            for n, i in enumerate(self.images(case))
        ]
        return together(registry, sum(case.layers) * case.clients, calls)

    def pull(self, registry: Registry, case: Case) -> Run:
        env = self.hall.emulator.environment
        name = f"{registry.server}/bench/0:1"
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            calls = [
                lambda n=n: clients.pull(name, Path(folder, str(n)), env)
                for n in range(case.clients)
            ]
            return together(registry, sum(case.layers) * case.clients, calls)


@contextmanager
def ground(builders: Builders) -> Iterator[Ground]:
    memory = Path("/dev/shm")
    with (
        Hall() as hall,
        tempfile.TemporaryDirectory(dir=memory if memory.exists() else None) as scratch,
    ):
        print(f"putting up {len(builders)} registries …", flush=True)
        yield Ground(hall, builders, Path(scratch))


def measured(there: Ground, cases: Sequence[Case], rounds: int = ROUNDS) -> Runs:
    """All runs, with OSS at its distance; in each round another registry is the first."""
    emulator = there.hall.emulator
    runs: dict[Key, list[Run]] = defaultdict(list)
    for case in cases:
        there.images(case)
        for number in range(rounds):
            print(
                f"{case.name}, clients: {case.clients}, round {number + 1} of {rounds} …",
                flush=True,
            )
            at = number % len(case.registries)
            for name in (*case.registries[at:], *case.registries[:at]):
                registry = there.registries[name]
                if name == OURS_NO_CACHE:
                    there.push(registry, case)  # the question is what a pull is without one
                else:
                    with emulator.at_distance(LATENCY, RATE):
                        run = there.push(registry, case)
                    runs[case.name, case.clients, "push", name].append(run)
                if case.pulls:
                    registry.restart()
                for what in case.pulls:
                    with emulator.at_distance(LATENCY, RATE):
                        run = there.pull(registry, case)
                    runs[case.name, case.clients, what, name].append(run)
                registry.forget()
    return runs


def percentile(values: Sequence[float], share: float) -> float:
    """The least of `values` that so many of them do not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def rate(run: Run) -> float:
    """Megabytes a second."""
    return run.size / run.lasted / 1e6


def ratios(runs: Runs, key: Key, other: str) -> Ratios:
    """How many times as fast as `other` it was, round by round."""
    beside = runs[(*key[:3], other)]
    return [one.lasted / mine.lasted for mine, one in zip(runs[key], beside, strict=True)]


def detailed(runs: Runs) -> Iterator[Sequence[object]]:
    """A row of the table for each key."""
    for (name, count, what, registry), its in runs.items():
        seconds = [second for run in its for second in run.seconds]
        yield (
            name,
            count,
            what,
            registry,
            page.spread([rate(run) for run in its]),
            *(f"{percentile(seconds, share):.2f}" for share in (0.5, 0.99)),
            sum(run.errors for run in its),
            f"{statistics.median(run.cpu / run.size for run in its) * 2**30:.1f}",
            f"{max(run.memory for run in its) / MIB:.0f}",
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
# What is held against what.
AGAINST = {OURS: TUTORIAL, OURS_TUNED: TUTORIAL_REDIRECT}


def compared(runs: Runs) -> Iterator[tuple[Key, str, Ratios]]:
    """Each of ours, whom it is held against, and how many times as fast it was."""
    for key in runs:
        for other in (AGAINST.get(key[3]), OURS_NO_CACHE if key[3] == OURS else None):
            if other and (*key[:3], other) in runs:
                yield key, other, ratios(runs, key, other)


def _measure(cases: Sequence[Case], mark: str, rounds: int) -> Sequence[tuple[Key, str, Ratios]]:
    """Write the two tables whose names end with `mark`; gives what the second one is made of."""
    named = {name for case in cases for name in case.registries}
    with ground({name: build for name, build in REGISTRIES.items() if name in named}) as there:
        runs = measured(there, cases, rounds)
    page.table(f"transfers{mark}", HEAD, [*detailed(runs)])
    found = [*compared(runs)]
    rows = [
        (*key[:3], f"{key[3]} / {other}", page.spread(each, ".2f")) for key, other, each in found
    ]
    page.table(f"ratios{mark}", ("image", "clients", "", "", "times as fast"), rows)
    return found


def main(rounds: int = ROUNDS) -> None:
    with Hall() as hall:
        limits.measure(hall.emulator, LATENCY, RATE)
    found = _measure(CASES, "", rounds)
    plot.bars(
        f"With OSS {LATENCY * 1000:.0f} ms away for each call, and {RATE / 1e6:.0f} MB/s",
        [
            (f"{what} of {image}, clients: {count}\n{name} / {other}", each)
            for (image, count, what, name), other, each in found
        ],
    )


def more(rounds: int = ROUNDS) -> None:
    """The rest of the registries, and more clients: part of FULL=1."""
    _measure(MORE, ", FULL=1", rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
