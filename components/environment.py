"""The registry's override rule: a configuration tree becomes one REGISTRY_* variable for each leaf.

Pure: a secret is a named hole in the text until `registry.fill` puts it in, so the text is known,
complete and safe to show at preview. The rules of the reader are those of distribution's
configuration/parser.go, the same in releases 2.8 and 3.x but where a comment says otherwise.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias, Union


@dataclass(frozen=True)
class Hole:
    """The place of a secret, named by `label`; its value is known only when resources exist."""

    label: str


Tree: TypeAlias = Union[str, int, bool, Hole, Sequence["Tree"], "Section", None]
Section: TypeAlias = Mapping[str, "Tree"]
"""A configuration file's content. None switches off what the image's own file sets there."""

Text: TypeAlias = tuple[str | Hole, ...]
"""The pieces of one text; a hole stands where a quoted string stands."""

Schema: TypeAlias = Mapping[str, Union["Schema", str]]
"""The sections and keys with a rule of their own: a schema for what is below, WHOLE, or DRIVER."""

# Given as one value: a map that the image fills too, or one that the reader can't take by leaf.
WHOLE = "whole"
DRIVER = "driver"  # the key names a driver
ANY = "*"  # each key that is not listed beside it

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
        f"[secret: {piece.label}]" if isinstance(piece, Hole) else piece for piece in text
    )


def to_environment(tree: Section, schema: Schema) -> dict[str, Text]:
    """The variables of `tree`, sorted by name as the reader applies them."""
    return dict(sorted(_variables("REGISTRY", tree, schema)))


def _variables(name: str, section: Section, schema: Schema) -> Iterator[tuple[str, Text]]:
    for key, value in section.items():
        rule = schema.get(key, schema.get(ANY, {}))
        variable = f"{name}_{key.upper()}"
        if rule == DRIVER:
            # The reader applies names in their order: this one replaces the image's whole section.
            yield name, (_scalar(key),)
        if isinstance(value, Mapping) and rule != WHOLE and all(map(_SPELLABLE.fullmatch, value)):
            yield from _variables(variable, value, rule if isinstance(rule, Mapping) else {})
        else:
            yield variable, _value(value)


def _value(value: Tree) -> Text:
    if value is None:
        return ("",)
    return (_scalar(value),) if isinstance(value, str) else _json(value)


def _scalar(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if plain else quote(text)


def _json(value: Tree) -> Text:
    """`value` on one line, as JSON, which is YAML; a switched-off key is left out."""
    match value:
        case Hole():
            return (value,)
        case str():
            return (quote(value),)
        case Mapping():
            entries = (
                (quote(key) + ":", *_json(item)) for key, item in value.items() if item is not None
            )
            return _join("{", entries, "}")
        case Sequence():
            return _join("[", map(_json, value), "]")
        case _:
            return (json.dumps(value),)


def _join(opening: str, items: Iterator[Text], closing: str) -> Text:
    separated = ((",", *item) if number else item for number, item in enumerate(items))
    joined: list[str | Hole] = [opening]
    for piece in (*chain.from_iterable(separated), closing):
        if isinstance(piece, str) and isinstance(last := joined[-1], str):
            joined[-1] = last + piece
        else:
            joined.append(piece)
    return tuple(joined)
