"""`make schema`: what each release understands, from its own types to `config/schema/`."""

import json
from pathlib import Path

from tests.reference.reader import PROGRAMS, ReferenceReader

SCHEMAS = Path(__file__).parent.parent.parent / "config" / "schema"


def text(schema: object) -> str:
    """`schema` as its file holds it."""
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def main() -> None:
    for version in PROGRAMS:
        reader = ReferenceReader(version)
        (SCHEMAS / f"{version}.json").write_text(text(reader.schema()))
        reader.close()


if __name__ == "__main__":
    main()
