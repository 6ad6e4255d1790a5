"""Times of pushes and pulls at several distances from OSS.

`python -m bench.latency ROUNDS` sets the number of rounds.
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
    start_registries,
)

NAMES = (TUTORIAL, OURS, OURS_NO_CACHE)


class Distance(NamedTuple):
    """The distance from OSS, in seconds. See `Emulator.simulated_network`."""

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
    with start_registries({name: REGISTRIES[name] for name in NAMES}) as setup:
        for number in range(rounds):
            print(f"distances, round {number + 1} of {rounds} …", flush=True)
            for name, registry in setup.registries.items():
                if name != OURS_NO_CACHE:
                    for distance in DISTANCES:
                        registry.reset()
                        with setup.testbed.emulator.simulated_network(
                            distance.latency, RATE, distance.round_trip
                        ):
                            run = setup.push(registry, large)
                        seconds[f"push of {LARGE}", distance, name].append(run.duration)
                registry.reset()
                setup.push(registry, small)
                for distance in DISTANCES:
                    registry.restart()
                    with setup.testbed.emulator.simulated_network(
                        distance.latency, RATE, distance.round_trip
                    ):
                        for temperature in ("cold", "warm"):
                            run = setup.pull(registry, small)
                            seconds[f"{temperature} pull of {SMALL}", distance, name].append(
                                run.duration
                            )
    rows = []
    for action, distance in dict.fromkeys((action, distance) for action, distance, _ in seconds):
        ours = seconds[action, distance, OURS]
        times, ratios = [], []
        for name in NAMES:
            values = seconds.get((action, distance, name))
            times.append(page.format_spread(values, ".2f") if values else "–")
            if name == OURS:
                continue
            if values:
                speedups = [value / base for value, base in zip(values, ours, strict=True)]
                ratios.append(page.format_spread(speedups, ".2f"))
            else:
                ratios.append("–")
        rows.append((action, distance, *times, *ratios))
    ratio_titles = (f"{name} / {OURS}" for name in NAMES if name != OURS)
    head = ("", "OSS", *(f"{name}, s" for name in NAMES), *ratio_titles)
    page.write_table("latency, FULL=1", head, rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
