"""What the reader of each registry release accepts, by key."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from config.tree import ANY

Kinds: TypeAlias = str | Sequence["Kinds"] | Mapping[str, "Kinds"]
"""The kind of a value (string, int, bool, duration, any), of a list's items, or of keys."""


@dataclass(frozen=True)
class Schema:
    """What one release reads.

    `names` holds the parts of variables' names that are not the key in upper case, and `whole` the
    sections that the reader can't take key by key; both by path, `a.b`.
    """

    keys: Mapping[str, Kinds] = field(repr=False)
    names: Mapping[str, str] = field(default_factory=dict, repr=False)
    whole: frozenset[str] = field(default=frozenset(), repr=False)


def kinds_at(keys: Kinds | None, path: str) -> Kinds | None:
    """The kinds at `path`, such as `a.b[0].c`, of a schema whose keys are `keys`, or None."""
    for key in re.split(r"[.\[]", path):
        if isinstance(keys, Mapping):
            keys = keys.get(key, keys.get(ANY))
        elif isinstance(keys, list) and key.endswith("]"):
            keys = keys[0]
        else:
            keys = None
    return keys
