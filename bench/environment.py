"""How the time to write a configuration grows with its leaves: `make bench`."""

import statistics
import time
from collections.abc import Callable, Mapping

from bench import page
from config.render import to_environment, to_file
from config.schema import Schema
from config.tree import Section

SIZES = (1_000, 10_000)
ROUNDS = 15
# A tenfold tree may take this many times as long: linear, and the sort of the names.
LIMIT = 13.0


def tree_of(leaves: int) -> tuple[Section, Schema]:
    """A tree of sections of ten keys each, and the schema that knows them."""
    keys = [f"key{number}" for number in range(10)]
    names = [f"section{number}" for number in range(leaves // 10)]
    tree: Section = {name: dict.fromkeys(keys, "a: b") for name in names}
    return tree, Schema({name: dict.fromkeys(keys, "string") for name in names})


def ratio(write: Callable[[Section, Schema], object]) -> float:
    """The median time for the larger tree, in medians for the smaller one; runs interleaved."""
    trees = [tree_of(size) for size in SIZES]
    seconds: Mapping[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(ROUNDS):
        for size, (tree, schema) in zip(SIZES, trees, strict=True):
            begun = time.perf_counter()
            write(tree, schema)
            seconds[size].append(time.perf_counter() - begun)
    small, large = (statistics.median(seconds[size]) for size in SIZES)
    return large / small


def main() -> None:
    rows = []
    for name, write in {
        "variables": lambda tree, schema: len(to_environment(tree, schema)),
        "config.yml": lambda tree, _: len(to_file(tree)),
    }.items():
        found = ratio(write)
        rows.append((name, f"{found:.1f}", "linear" if found < LIMIT else "NOT linear"))
    page.table("leaves", ("written as", "ratio", f"below {LIMIT:.0f}"), rows)


if __name__ == "__main__":
    main()
