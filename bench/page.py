"""Tables of results in docs/benchmarks.md."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs/benchmarks.md"


def write_table(name: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, and write it to the page between `<!-- name -->` and `<!-- /name -->`."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]
    print("\n".join(("", f"{name}:", *lines, "")), flush=True)
    text = PAGE.read_text()
    marks = re.escape(f"<!-- {name} -->\n"), re.escape(f"<!-- /{name} -->")
    changed, count = re.subn(
        f"({marks[0]}).*?({marks[1]})",
        lambda match: f"{match[1]}\n" + "\n".join(lines) + f"\n\n{match[2]}",
        text,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} places for {name}")
    PAGE.write_text(changed)


def format_spread(values: Sequence[float], form: str = ".1f") -> str:
    """The median as text. Several values are followed by their minimum and maximum."""
    median = format(statistics.median(values), form)
    if len(values) == 1:
        return median
    return f"{median} ({min(values):{form}}–{max(values):{form}})"
