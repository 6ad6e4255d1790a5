"""The growth of the time to render a configuration with the number of its values."""

import statistics
import time
from collections.abc import Callable, Mapping

from bench import page
from config.render import to_environment, to_file
from config.schema import Schema
from config.tree import Section

SIZES = (1_000, 10_000)
ROUNDS = 15
# The highest ratio for ten times as many values that counts as linear. It is above ten, because
# names are sorted.
LIMIT = 13.0


def tree_of(leaves: int) -> tuple[Section, Schema]:
    """A tree with `leaves` values in sections of ten keys, and its schema."""
    keys = [f"key{number}" for number in range(10)]
    names = [f"section{number}" for number in range(leaves // 10)]
    tree: Section = {name: dict.fromkeys(keys, "a: b") for name in names}
    return tree, Schema({name: dict.fromkeys(keys, "string") for name in names})


def growth_ratio(render: Callable[[Section, Schema], object]) -> float:
    """The median time for the larger tree divided by that for the smaller one.

    Runs with both trees alternate.
    """
    trees = [tree_of(size) for size in SIZES]
    seconds: Mapping[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(ROUNDS):
        for size, (tree, schema) in zip(SIZES, trees, strict=True):
            start = time.perf_counter()
            render(tree, schema)
            seconds[size].append(time.perf_counter() - start)
    small, large = (statistics.median(seconds[size]) for size in SIZES)
    return large / small


def main() -> None:
    rows = []
    for name, render in {
        "variables": lambda tree, schema: len(to_environment(tree, schema)),
        "config.yml": lambda tree, _: len(to_file(tree)),
    }.items():
        ratio = growth_ratio(render)
        rows.append((name, f"{ratio:.1f}", "linear" if ratio < LIMIT else "NOT linear"))
    page.write_table("leaves", ("written as", "ratio", f"below {LIMIT:.0f}"), rows)


if __name__ == "__main__":
    main()
