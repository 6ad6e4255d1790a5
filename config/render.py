"""Write a configuration tree as REGISTRY_* variables, or as one config.yml."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import TypeAlias

from config.schema import Kinds, Schema
from config.tree import ANY, Placeholder, Section, Tree

Text: TypeAlias = tuple[str | Placeholder, ...]
"""The pieces of one text."""
# Each other key in these sections names a driver, and there can be but one (configuration.go).
BESIDE_DRIVER: Mapping[str, frozenset[str]] = {
    "auth": frozenset(),
    "storage": frozenset({"cache", "delete", "maintenance", "redirect", "tag"}),
}
# Both readers take these for something else than a string, in any case.
_WORDS = frozenset({"y", "yes", "n", "no", "on", "off", "true", "false", "null"})
_PLAIN = re.compile(
    r"(?:[A-Za-z/]|:(?=\w))(?:[\w/.@-]|:(?=[\w/]))*|(?:\d+(?:ns|us|ms|s|m|h))+", re.ASCII
)
# JSON leaves these as they are, and yaml.v2 2.2.1 (2.8) or 2.4.0 (3.x) refuses them so (measured).
_RAW = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# What a part of a variable's name can spell: the reader splits at "_" and lower-cases a map's key.
_SPELLABLE = re.compile(r"[a-z0-9]+")


def quote(text: str) -> str:
    """`text` as a double-quoted string that both Go YAML readers read as `text`."""
    quoted = json.dumps(text, ensure_ascii=False)
    return _RAW.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def redact(text: Text) -> str:
    """`text` with `[secret: LABEL]` in its holes."""
    return "".join(
        f"[{'secret: ' * piece.secret}{piece.label}]" if isinstance(piece, Placeholder) else piece
        for piece in text
    )


def holds_secret(text: Text) -> bool:
    return any(isinstance(piece, Placeholder) and piece.secret for piece in text)


def to_file(tree: Section) -> Text:
    """`tree` as a config.yml: JSON, which is YAML; a switched-off key is left out."""
    return _joined((*_json({"version": "0.1", **tree}, "\n"), "\n"))


def to_environment(tree: Section, schema: Schema) -> dict[str, Text]:
    """The variables of `tree`, sorted by name as the reader applies them."""
    return dict(sorted(_variables("REGISTRY", "", tree, schema.keys, schema), key=itemgetter(0)))


def _variables(
    name: str, path: str, section: Section, keys: Mapping[str, Kinds], schema: Schema
) -> Iterator[tuple[str, Text]]:
    for key, value in section.items():
        below = f"{path}.{key}" if path else key
        variable = f"{name}_{schema.names.get(below, key.upper())}"
        kinds = keys.get(key)
        if path in BESIDE_DRIVER and key not in BESIDE_DRIVER[path]:
            # The reader applies names in their order: this one replaces the image's whole section.
            yield name, (_scalar(key),)
        if (
            isinstance(value, Mapping)
            and isinstance(kinds, Mapping)
            and not (ANY in kinds or below in schema.whole)
            and all(map(_SPELLABLE.fullmatch, value))
        ):
            yield from _variables(variable, below, value, kinds, schema)
        else:
            yield variable, _value(value)


def _value(value: Tree) -> Text:
    if value is None:
        return ("",)
    return (_scalar(value),) if isinstance(value, str) else _joined(_json(value))


def _scalar(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if plain else quote(text)


def _joined(pieces: Iterable[str | Placeholder]) -> Text:
    """`pieces` with the strings between two holes made one."""
    groups = groupby(pieces, lambda piece: isinstance(piece, Placeholder))
    return tuple(
        chain.from_iterable(
            group if holes else ["".join(map(str, group))] for holes, group in groups
        )
    )


def _json(value: Tree, line: str = "") -> Iterator[str | Placeholder]:
    """`value` as JSON on one line; or, with `line` (a line feed and blanks), one entry a line."""
    inner = line and line + "  "
    match value:
        case Placeholder():
            yield value
        case str():
            yield quote(value)
        case Mapping():
            colon = ": " if line else ":"
            entries = [(key, item) for key, item in value.items() if item is not None]
            yield "{"
            for number, (key, item) in enumerate(entries):
                yield "," * bool(number) + inner + quote(key) + colon
                yield from _json(item, inner)
            yield line * bool(entries) + "}"
        case Sequence():
            yield "["
            for number, element in enumerate(value):
                yield "," * bool(number) + inner
                yield from _json(element, inner)
            yield line * bool(value) + "]"
        case _:
            yield json.dumps(value)
