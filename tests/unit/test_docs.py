"""Tests that the documentation names tests that exist."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
SECURITY_CLAIMS = re.findall(
    r"`(test_\w+\.py)`((?:: |, )?(?:\*[^*|]+\*(?:, )?)*)",
    (PROJECT / "docs/security.md").read_text(),
)


@pytest.mark.parametrize(("file", "phrases"), SECURITY_CLAIMS)
def test_each_claim_on_the_security_page_has_a_test_of_that_name(file: str, phrases: str) -> None:
    (found,) = PROJECT.glob(f"tests/*/{file}")
    for phrase in re.findall(r"\*([^*]+)\*", phrases):
        name = re.sub(r"\W+", "_", phrase.lower()).strip("_")
        assert re.search(rf"def test_(\w+_)?{name}", found.read_text()), phrase


def test_the_tests_that_the_security_page_names_are_found() -> None:
    assert len(SECURITY_CLAIMS) > 12


def _rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the table below `heading`, one list per row, without its header."""
    section = (PROJECT / page).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


PROMISES = _rows("CONTRIBUTING.md", "Promises and their tests")


def test_each_promise_has_a_row_that_names_its_tests() -> None:
    promised = [promise for promise, _ in _rows("docs/architecture.md", "Promises")]
    assert len(promised) > 15
    assert [promise for promise, _, _ in PROMISES] == promised


@pytest.mark.parametrize(("promise", "quick", "thorough"), PROMISES)
def test_promises_name_existing_tests_and_make_test_runs_the_quick_ones(
    promise: str, quick: str, thorough: str
) -> None:
    for name in re.findall(r"`(\w+\.py)`", thorough):
        assert [*PROJECT.glob(f"tests/*/{name}")], name
    named = re.findall(r"`((?:test_\w+|leftovers)(?:\.py)?)`", quick)
    assert named or quick == "test-all only", promise
    for name in named:
        assert any(_is_quick(file, name) for file in PROJECT.glob("tests/*/*.py")), name


def _is_quick(file: Path, name: str) -> bool:
    """Whether `make test` runs the test `name`, or the module `name`, from `file`."""
    text = file.read_text()
    if file.parent.name == "integration" and "mark.quick" not in text:
        return name == file.name == "leftovers.py"
    return name == file.name or f"def {name}(" in text
