"""The keys that each release of the registry accepts in its configuration.

The files `VERSION.json` are generated from the Go types of each release (`make schema`).
`by_hand.json` adds the drivers and the ranges of values, which the types do not declare.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from config.tree import ANY, merge

Kinds: TypeAlias = str | Sequence["Kinds"] | Mapping[str, "Kinds"]
"""The kind of a value (see `config.values`), of each item of a list, or of the values by key."""

_FOLDER = Path(__file__).parent
_BY_HAND = json.loads((_FOLDER / "by_hand.json").read_text())
# If the reader sets these key by key, it creates a map of another Go type than the registry
# asserts, and the registry panics.
_MAINTENANCE = frozenset({"storage.maintenance.uploadpurging", "storage.maintenance.readonly"})


@dataclass(frozen=True)
class Schema:
    """The keys of one release.

    `names` has the parts of variable names that differ from the key in upper case. `whole` has the
    sections that the reader cannot set key by key. Both are by path, such as `log.fields`.
    """

    keys: Mapping[str, Kinds] = field(repr=False)
    names: Mapping[str, str] = field(default_factory=dict, repr=False)
    whole: frozenset[str] = field(default=frozenset(), repr=False)


def read_schema(version: str, *parts: str) -> Schema:
    """Return the schema of a release: its own file, and these `parts` of `by_hand.json`."""
    generated = json.loads((_FOLDER / f"{version}.json").read_text())
    # The Go types accept anything below these two.
    keys: Any = {**generated["keys"], "auth": {}, "storage": {}}
    for part in parts:
        keys = merge(keys, _BY_HAND[part])
    return Schema(keys, generated["names"], frozenset(generated["whole"]) | _MAINTENANCE)


def kinds_at(keys: Kinds | None, path: str) -> Kinds | None:
    """Return the kinds at `path`, such as `a.b[0].c`, or None for an unknown path."""
    for key in re.split(r"[.\[]", path):
        if isinstance(keys, Mapping):
            keys = keys.get(key, keys.get(ANY))
        elif isinstance(keys, list) and key.endswith("]"):
            keys = keys[0]
        else:
            keys = None
    return keys
