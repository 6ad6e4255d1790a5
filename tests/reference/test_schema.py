"""The schemas in `config/schema` match the Go types of the releases."""

import json

from config.releases import Release
from tests.reference.dump import SCHEMAS, schema_text
from tests.reference.reader import ReferenceReader


def test_the_shipped_schema_matches_the_release(reader: ReferenceReader, release: Release) -> None:
    shipped = (SCHEMAS / f"{release.version}.json").read_text()
    assert shipped == schema_text(reader.schema()), "run `make schema`"


def test_schema_entries_written_by_hand_only_refine_the_dumped_ones(release: Release) -> None:
    dumped = json.loads((SCHEMAS / f"{release.version}.json").read_text())["keys"]
    keys = release.schema.keys
    assert keys.keys() == dumped.keys()
    for section in keys.keys() - {"storage", "auth"}:
        assert _shape(keys[section]) == _shape(dumped[section])


def _shape(kinds: object) -> object:
    """The keys without their refinements, such as a string's values or a number's range."""
    if isinstance(kinds, dict):
        return {key: _shape(below) for key, below in kinds.items()}
    if isinstance(kinds, list):
        return [_shape(item) for item in kinds]
    kind, _, _ = str(kinds).partition(" ")
    return kind if kind in ("int", "bool", "duration", "any") else "string"
