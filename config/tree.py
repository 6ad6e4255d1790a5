"""Configuration trees: sections, values and placeholders, and the functions that walk them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, Union


@dataclass(frozen=True)
class Placeholder:
    """The place of a value that is known only when resources exist, named by `label`.

    It is filled with a quoted string, or, where not `quoted`, with the value as it is.
    """

    label: str
    secret: bool = True
    quoted: bool = True


Tree: TypeAlias = Union[str, int, float, bool, Placeholder, Sequence["Tree"], "Section", None]
Section: TypeAlias = Mapping[str, "Tree"]
"""A configuration file's content. None switches off what the image's own file sets there."""
ANY = "*"  # the key of a map whose keys are free


def merge(below: Section, above: Section) -> Section:
    """`above` laid over `below`: sections deep, everything else whole; None takes a key away."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.pop(key, None) if value is None else merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(under if isinstance(under, Mapping) else {}, value)
        elif value is not None:
            merged[key] = value
    return merged


def overlaid(planned: Section, user: Section) -> Section:
    """`user` laid over `planned`, with the names of HTTP headers compared in any case.

    The registry would send `X-A` and `x-a` both.
    """
    given = {name.lower() for name in lookup(user, "http.headers") or {}}
    ours = lookup(planned, "http.headers") or {}
    replaced: Section = {name: None for name in ours if name.lower() in given}
    return merge(merge(planned, {"http": {"headers": replaced}}), user)


def switch_off_defaults(image: Section, tree: Section) -> Section:
    """`tree` with None for each key that only `image`, the image's own file, sets."""
    switched = dict(tree)
    for key, value in image.items():
        under = tree.get(key, {})
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            switched[key] = switch_off_defaults(value, under)
        else:
            switched.setdefault(key, None)
    return switched


def lookup(tree: Section, path: str) -> Any:  # noqa: ANN401
    """What stands at `path`, or None."""
    return next((value for _, value in walk(path, tree)), None)


def walk(pattern: str, tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """What stands at `pattern` (`*` is any key or item), with the path of each."""
    part, _, rest = pattern.partition(".")
    if not part:
        yield path, tree
    elif isinstance(tree, Mapping):
        for key in tree if part == ANY else {part} & tree.keys():
            yield from walk(rest, tree[key], f"{path}.{key}" if path else key)
    elif part == ANY and isinstance(tree, list):
        for number, item in enumerate(tree):
            yield from walk(rest, item, f"{path}[{number}]")
