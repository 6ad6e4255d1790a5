"""Writes what was measured into docs/benchmarks.md, in place of what stood there."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs/benchmarks.md"


def table(name: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Put a table in place of that between the page's comments `name` and `/name`; and print it."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]
    print("\n".join(("", f"{name}:", *lines, "")), flush=True)
    text = PAGE.read_text()
    marks = re.escape(f"<!-- {name} -->\n"), re.escape(f"<!-- /{name} -->")
    changed, times = re.subn(
        f"({marks[0]}).*?({marks[1]})",
        lambda found: f"{found[1]}\n" + "\n".join(lines) + f"\n\n{found[2]}",
        text,
        flags=re.DOTALL,
    )
    if times != 1:
        raise ValueError(f"{PAGE.name} has {times} places for {name}")
    PAGE.write_text(changed)


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """The median, and in brackets the least and the most where there are several."""
    median = format(statistics.median(values), form)
    if len(values) == 1:
        return median
    return f"{median} ({min(values):{form}}–{max(values):{form}})"
