"""What each knob of the two drivers brings to a push, with OSS 20 ms away: part of FULL=1."""

import statistics
from collections.abc import Callable

from bench import page
from bench.registries import Hall, Registry
from bench.transfers import LARGE, MIB, MIDDLE, Builders, Case, ground, measured, ratios

ROUNDS = 2
BASE_3, BASE_2 = "3.1.2, as the driver has it", "2.8.3, as the driver has it"


def _3(**keys: int) -> Callable[[Hall], Registry]:
    # null takes our default away.
    return lambda hall: hall.ours({"storage": {"s3": {"chunksize": None, **keys}}})


def _2(**variables: str) -> Callable[[Hall], Registry]:
    return lambda hall: hall.tutorial(**variables)


KNOBS: Builders = {
    BASE_3: _3(),
    **{f"3.1.2, chunksize {size} MiB": _3(chunksize=size * MIB) for size in (5, 16, 32, 64, 128)},
    "3.1.2, multipartcopythresholdsize 1 GiB": _3(multipartcopythresholdsize=1024 * MIB),
    "3.1.2, multipartcopychunksize 128 MiB": _3(multipartcopychunksize=128 * MIB),
    "3.1.2, multipartcopymaxconcurrency 10": _3(multipartcopymaxconcurrency=10),
    BASE_2: _2(),
    **{f"2.8.3, chunksize {n} MiB": _2(OSS_CHUNKSIZE=str(n * MIB)) for n in (5, 32, 64)},
    "2.8.3, secure false": _2(OSS_SECURE="false"),
}


def main() -> None:
    cases = (Case(LARGE, 1, [*KNOBS], pulls=()), Case(MIDDLE, 1, [*KNOBS], pulls=()))
    with ground(KNOBS) as there:
        runs = measured(there, cases, ROUNDS)
    rows = []
    for name in KNOBS:
        base = BASE_3 if name.startswith("3") else BASE_2
        row: list[object] = [name]
        for case in cases:
            key = (case.name, case.clients, "push", name)
            mine = runs[key]
            row += [
                page.spread([run.lasted for run in mine]),
                page.spread(ratios(runs, key, base), ".2f"),
                f"{max(run.memory for run in mine) / MIB:.0f}",
                f"{statistics.median(run.calls for run in mine):.0f}",
            ]
        rows.append(row)
    columns = ("s", "times as fast", "memory, MiB", "calls")
    head = ("knob", *(f"{case.name}: {column}" for case in cases for column in columns))
    page.table("knobs, FULL=1", head, rows)


if __name__ == "__main__":
    main()
