"""The schemas that the program ships are those of the releases' own types."""

import json

from config.releases import Release
from tests.reference.dump import SCHEMAS, text
from tests.reference.reader import ReferenceReader


def test_the_dumped_schema_is_current(reader: ReferenceReader, release: Release) -> None:
    shipped = (SCHEMAS / f"{release.version}.json").read_text()
    assert shipped == text(reader.schema()), "run `make schema`"


def test_what_is_written_by_hand_only_refines_what_was_dumped(release: Release) -> None:
    dumped = json.loads((SCHEMAS / f"{release.version}.json").read_text())["keys"]
    keys = release.schema.keys
    assert keys.keys() == dumped.keys()
    for section in keys.keys() - {"storage", "auth"}:
        assert _shape(keys[section]) == _shape(dumped[section])


def _shape(kinds: object) -> object:
    """The keys without what is refined: a string's values, a number's span."""
    if isinstance(kinds, dict):
        return {key: _shape(below) for key, below in kinds.items()}
    if isinstance(kinds, list):
        return [_shape(item) for item in kinds]
    kind, _, _ = str(kinds).partition(" ")
    return kind if kind in ("int", "bool", "duration", "any") else "string"
