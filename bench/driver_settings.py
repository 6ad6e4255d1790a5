"""The effect of each setting of the two storage drivers on pushes, with OSS 20 ms away."""

import statistics
from collections.abc import Callable

from bench import page
from bench.registries import Registry, Testbed
from bench.transfers import (
    LARGE,
    MIB,
    MIDDLE,
    Builders,
    Case,
    measure_transfers,
    speedups,
    start_registries,
)

ROUNDS = 2
BASE_3, BASE_2 = "3.1.2, as the driver has it", "2.8.3, as the driver has it"


def _release_3(**keys: int) -> Callable[[Testbed], Registry]:
    """Return a function that starts our registry with these keys of the driver s3."""
    # null removes the default of this project.
    return lambda testbed: testbed.start_ours({"storage": {"s3": {"chunksize": None, **keys}}})


def _release_2(**variables: str) -> Callable[[Testbed], Registry]:
    """Return a function that starts the tutorial's registry. See `Testbed.start_tutorial`."""
    return lambda testbed: testbed.start_tutorial(**variables)


VARIANTS: Builders = {
    BASE_3: _release_3(),
    **{
        f"3.1.2, chunksize {size} MiB": _release_3(chunksize=size * MIB)
        for size in (5, 16, 32, 64, 128)
    },
    "3.1.2, multipartcopythresholdsize 1 GiB": _release_3(multipartcopythresholdsize=1024 * MIB),
    "3.1.2, multipartcopychunksize 128 MiB": _release_3(multipartcopychunksize=128 * MIB),
    "3.1.2, multipartcopymaxconcurrency 10": _release_3(multipartcopymaxconcurrency=10),
    BASE_2: _release_2(),
    **{
        f"2.8.3, chunksize {size} MiB": _release_2(OSS_CHUNKSIZE=str(size * MIB))
        for size in (5, 32, 64)
    },
    "2.8.3, secure false": _release_2(OSS_SECURE="false"),
}


def main() -> None:
    cases = (Case(LARGE, 1, [*VARIANTS], pulls=()), Case(MIDDLE, 1, [*VARIANTS], pulls=()))
    with start_registries(VARIANTS) as setup:
        runs = measure_transfers(setup, cases, ROUNDS)
    rows = []
    for name in VARIANTS:
        base = BASE_3 if name.startswith("3") else BASE_2
        row: list[object] = [name]
        for case in cases:
            key = (case.name, case.clients, "push", name)
            measured = runs[key]
            row += [
                page.format_spread([run.duration for run in measured]),
                page.format_spread(speedups(runs, key, base), ".2f"),
                f"{max(run.memory for run in measured) / MIB:.0f}",
                f"{statistics.median(run.calls for run in measured):.0f}",
            ]
        rows.append(row)
    columns = ("s", "times as fast", "memory, MiB", "calls")
    head = ("knob", *(f"{case.name}: {column}" for case in cases for column in columns))
    page.write_table("driver settings, FULL=1", head, rows)


if __name__ == "__main__":
    main()
