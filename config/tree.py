"""Configuration trees: nested sections whose values may be placeholders, and how to walk them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, Union


@dataclass(frozen=True)
class Placeholder:
    """A stand-in for a value that is known only after resources have been created.

    `label` names the value. It is inserted as a quoted string, or unchanged if `quoted` is false.
    """

    label: str
    secret: bool = True
    quoted: bool = True


Tree: TypeAlias = Union[str, int, float, bool, Placeholder, Sequence["Tree"], "Section", None]
Section: TypeAlias = Mapping[str, "Tree"]
"""Values by key. None switches off the value in the configuration file of the image."""

Place: TypeAlias = tuple[str, ...]
"""The keys that lead to a value, with ANY for each item of a list."""

ANY = "*"


def merge(base: Section, override: Section) -> Section:
    """Return `base` with the values of `override`.

    Sections are merged key by key, all other values are replaced, and None removes a key.
    """
    merged = dict(base)
    for key, value in override.items():
        previous = merged.pop(key, None) if value is None else merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(previous if isinstance(previous, Mapping) else {}, value)
        elif value is not None:
            merged[key] = value
    return merged


def switch_off_missing(defaults: Section, tree: Section) -> Section:
    """Return `tree` with None for each key that only `defaults` has."""
    result = dict(tree)
    for key, default in defaults.items():
        value = tree.get(key, {})
        if isinstance(default, Mapping) and isinstance(value, Mapping):
            result[key] = switch_off_missing(default, value)
        else:
            result.setdefault(key, None)
    return result


def lookup(tree: Section, path: str) -> Any:  # noqa: ANN401
    """Return the value at `path`, such as `log.level`, or None."""
    return next((value for _, value in walk(path, tree)), None)


def walk(pattern: str, tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each match of `pattern`, in which `*` is any key or item."""
    part, _, rest = pattern.partition(".")
    if not part:
        yield path, tree
    elif isinstance(tree, Mapping):
        for key in tree if part == ANY else [part]:
            if key in tree:
                yield from walk(rest, tree[key], f"{path}.{key}" if path else key)
    elif part == ANY and isinstance(tree, list):
        for number, item in enumerate(tree):
            yield from walk(rest, item, f"{path}[{number}]")


def dotted(place: Sequence[str | int]) -> str:
    """Return a place as text: `.log.hooks[0].type` for ("log", "hooks", 0, "type")."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def leaves(
    tree: object, place: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the place (keys and item numbers) and the value of each leaf of `tree`."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*place, key))
    elif isinstance(tree, list):
        for number, item in enumerate(tree):
            yield from leaves(item, (*place, number))
    else:
        yield place, tree
