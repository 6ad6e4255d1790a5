"""Write a configuration tree as REGISTRY_* variables, or as one config.yml.

A secret stays a placeholder until `components.registry` resolves it, so that the text is complete
and safe to show in a preview. The rules are those of distribution's configuration/parser.go. They
are the same in release 2.8 and in release 3, unless a comment says otherwise.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from config.schema import Kinds, Schema
from config.tree import ANY, Placeholder, Section, Tree

Text: TypeAlias = tuple[str | Placeholder, ...]
"""A text with placeholders, as a sequence of pieces."""

# Each other key in these sections names a driver, and only one may be set (configuration.go).
BESIDE_DRIVER: Mapping[str, frozenset[str]] = {
    "auth": frozenset(),
    "storage": frozenset({"cache", "delete", "maintenance", "redirect", "tag"}),
}
# Both YAML readers read these words as another type than text, in upper and lower case.
_WORDS = frozenset({"y", "yes", "n", "no", "on", "off", "true", "false", "null"})
_NEEDS_NO_QUOTES = re.compile(
    r"(?:[A-Za-z/]|:(?=\w))(?:[\w/.@-]|:(?=[\w/]))*|(?:\d+(?:ns|us|ms|s|m|h))+", re.ASCII
)
# JSON does not escape these, and yaml.v2 2.2.1 (release 2.8) and 2.4.0 (release 3) refuse them.
_UNESCAPED_BY_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# The keys that a variable can set. The registry splits the name of a variable at "_" and converts
# the parts to lower case, so other keys cannot be set.
_EXPRESSIBLE = re.compile(r"[a-z0-9]+")


def quote(text: str) -> str:
    """Return `text` in double quotes, so that both YAML readers read it unchanged."""
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNESCAPED_BY_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def redact(text: Text) -> str:
    """Return `text` with `[secret: LABEL]` or `[LABEL]` for each placeholder."""
    return "".join(_redacted(piece) for piece in text)


def _redacted(piece: str | Placeholder) -> str:
    if isinstance(piece, str):
        return piece
    return f"[secret: {piece.label}]" if piece.secret else f"[{piece.label}]"


def holds_secret(text: Text) -> bool:
    """Return whether a placeholder in `text` is secret."""
    return any(isinstance(piece, Placeholder) and piece.secret for piece in text)


def to_file(tree: Section) -> Text:
    """Return `tree` as a config.yml in JSON, which is YAML. Keys with None are left out."""
    return _joined((*_json({"version": "0.1", **tree}, "\n"), "\n"))


def to_environment(tree: Section, schema: Schema) -> dict[str, Text]:
    """Return `tree` as variables, in the order in which the reader applies them."""
    return dict(sorted(_variables("REGISTRY", "", tree, schema.keys, schema), key=itemgetter(0)))


def _variables(
    name: str, path: str, section: Section, keys: Mapping[str, Kinds], schema: Schema
) -> Iterator[tuple[str, Text]]:
    """Yield the variables for `section`, whose own variable would be called `name`.

    `path` and `keys` are the section's path and its keys in the schema.
    """
    for key, value in section.items():
        below = f"{path}.{key}" if path else key
        variable = f"{name}_{schema.names.get(below, key.upper())}"
        kinds = keys.get(key)
        if path in BESIDE_DRIVER and key not in BESIDE_DRIVER[path]:
            # Variables are applied in the order of their names. This one comes first and replaces
            # the whole section of the image's own file.
            yield name, (_scalar(key),)
        if (
            isinstance(value, Mapping)
            and isinstance(kinds, Mapping)
            and not (ANY in kinds or below in schema.whole)
            and all(map(_EXPRESSIBLE.fullmatch, value))
        ):
            yield from _variables(variable, below, value, kinds, schema)
        else:
            yield variable, _value(value)


def _value(value: Tree) -> Text:
    if value is None:
        return ("",)
    return (_scalar(value),) if isinstance(value, str) else _joined(_json(value))


def _scalar(text: str) -> str:
    if _NEEDS_NO_QUOTES.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return quote(text)


def _joined(pieces: Iterable[str | Placeholder]) -> Text:
    """Return `pieces` with adjacent strings joined."""
    joined: list[str | Placeholder] = []
    for are_placeholders, group in groupby(pieces, lambda piece: isinstance(piece, Placeholder)):
        if are_placeholders:
            joined.extend(group)
        else:
            joined.append("".join(map(str, group)))
    return tuple(joined)


def _json(value: Tree, line_start: str = "") -> Iterator[str | Placeholder]:
    """Yield `value` as JSON.

    With `line_start`, a line feed and the indentation, each entry is on its own line. Without it,
    the whole text is on one line.
    """
    inner = f"{line_start}  " if line_start else ""
    match value:
        case Placeholder():
            yield value
        case str():
            yield quote(value)
        case Mapping():
            colon = ": " if line_start else ":"
            entries = {key: item for key, item in value.items() if item is not None}
            separator = ""
            yield "{"
            for key, item in entries.items():
                yield f"{separator}{inner}{quote(key)}{colon}"
                yield from _json(item, inner)
                separator = ","
            yield f"{line_start}}}" if entries else "}"
        case Sequence():
            separator = ""
            yield "["
            for element in value:
                yield f"{separator}{inner}"
                yield from _json(element, inner)
                separator = ","
            yield f"{line_start}]" if value else "]"
        case _:
            yield json.dumps(value)
