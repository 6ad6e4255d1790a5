"""What the pages say about the tests is true."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
CLAIMS = re.findall(
    r"`(test_\w+\.py)`((?:: |, )?(?:\*[^*|]+\*(?:, )?)*)",
    (PROJECT / "docs/security.md").read_text(),
)


@pytest.mark.parametrize(("file", "phrases"), CLAIMS)
def test_each_claim_about_security_is_shown_by_a_test_of_that_name(file: str, phrases: str) -> None:
    (found,) = PROJECT.glob(f"tests/*/{file}")
    for phrase in re.findall(r"\*([^*]+)\*", phrases):
        name = re.sub(r"\W+", "_", phrase.lower()).strip("_")
        assert re.search(rf"def test_(\w+_)?{name}", found.read_text()), phrase


def test_the_claims_are_there() -> None:
    assert len(CLAIMS) > 12


PARTS = [
    (re.findall(r"`(?:components/)?(\w+)\.py`", row), row)
    for row in (PROJECT / "docs/architecture.md").read_text().splitlines()
    if row.startswith("| `components/") and ".py`" in row
]


def test_each_part_imports_only_what_stands_below_it_in_the_page_on_architecture() -> None:
    order = [name for names, _ in PARTS for name in names]
    assert len(order) > 10
    for names, row in PARTS:
        above = order[: order.index(names[0])]
        for name in names:
            up = [found for found in _imports(name) if found in above]
            assert not up, f"{name} imports {', '.join(up)}: {row}"


def _imports(name: str) -> Iterator[str]:
    """The parts that a part imports."""
    tree = ast.parse((PROJECT / f"components/{name}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "components":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("components."):
            yield str(node.module).removeprefix("components.")
