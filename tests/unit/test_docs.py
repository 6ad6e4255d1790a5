"""What the pages say about the tests is true."""

import re
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
