"""`make schema`: write the keys of each release's Go types to `config/schema`."""

import json
from pathlib import Path

from tests.reference.reader import PROGRAMS, ReferenceReader

SCHEMAS = Path(__file__).parent.parent.parent / "config" / "schema"


def schema_text(schema: object) -> str:
    """The content of the file for `schema`."""
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def main() -> None:
    for version in PROGRAMS:
        reader = ReferenceReader(version)
        (SCHEMAS / f"{version}.json").write_text(schema_text(reader.schema()))
        reader.close()


if __name__ == "__main__":
    main()
