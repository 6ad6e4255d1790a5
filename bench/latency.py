"""How pushes and pulls get on as OSS moves away: part of FULL=1.

`python -m bench.latency ROUNDS` for more or fewer of them.
"""

import sys
from collections import defaultdict
from typing import NamedTuple

from bench import page
from bench.transfers import (
    LARGE,
    OURS,
    OURS_NO_CACHE,
    RATE,
    REGISTRIES,
    ROUNDS,
    SMALL,
    TUTORIAL,
    Case,
    ground,
)

NAMES = (TUTORIAL, OURS, OURS_NO_CACHE)


class Distance(NamedTuple):
    """Seconds for each call, and those of a round trip where a new connection costs some."""

    latency: float
    round_trip: float = 0

    def __str__(self) -> str:
        text = f"{self.latency * 1000:.0f} ms"
        return f"{text}, new connections too" if self.round_trip else text


DISTANCES = (Distance(0), Distance(0.005), Distance(0.02), Distance(0.05), Distance(0.02, 0.02))


def main(rounds: int = ROUNDS) -> None:
    large = Case(LARGE, 1, NAMES)
    small = Case(SMALL, 1, NAMES)
    seconds: dict[tuple[str, Distance, str], list[float]] = defaultdict(list)
    with ground({name: REGISTRIES[name] for name in NAMES}) as there:
        for number in range(rounds):
            print(f"distances, round {number + 1} of {rounds} …", flush=True)
            for name, registry in there.registries.items():
                for at in DISTANCES if name != OURS_NO_CACHE else ():
                    registry.forget()
                    with there.hall.emulator.at_distance(at.latency, RATE, at.round_trip):
                        run = there.push(registry, large)
                    seconds["push of " + LARGE, at, name].append(run.lasted)
                registry.forget()
                there.push(registry, small)
                for at in DISTANCES:
                    registry.restart()
                    with there.hall.emulator.at_distance(at.latency, RATE, at.round_trip):
                        for what in ("cold pull", "warm pull"):
                            run = there.pull(registry, small)
                            seconds[f"{what} of {SMALL}", at, name].append(run.lasted)
    rows = []
    for what, at in dict.fromkeys((what, at) for what, at, _ in seconds):
        each = [seconds.get((what, at, name), []) for name in NAMES]
        ours = each[NAMES.index(OURS)]
        rows.append(
            (
                what,
                at,
                *(page.spread(values, ".2f") if values else "–" for values in each),
                *(
                    page.spread([b / a for a, b in zip(ours, values, strict=True)], ".2f")
                    if values
                    else "–"
                    for name, values in zip(NAMES, each, strict=True)
                    if name != OURS
                ),
            )
        )
    others = (f"{name} / {OURS}" for name in NAMES if name != OURS)
    page.table("latency, FULL=1", ("", "OSS", *(f"{name}, s" for name in NAMES), *others), rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
