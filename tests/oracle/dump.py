"""`make schema`: what each release understands, from its own types to `config/schema/`."""

import json
from pathlib import Path

from tests.oracle.oracle import PROGRAMS, Oracle

SCHEMAS = Path(__file__).parent.parent.parent / "config" / "schema"


def text(schema: object) -> str:
    """`schema` as its file holds it."""
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def main() -> None:
    for version in PROGRAMS:
        oracle = Oracle(version)
        (SCHEMAS / f"{version}.json").write_text(text(oracle.schema()))
        oracle.close()


if __name__ == "__main__":
    main()
