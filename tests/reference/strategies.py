"""Hypothesis strategies that draw configurations with unusual values from a release's schema."""

from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from config.releases import Release
from config.render import BESIDE_DRIVER
from config.schema import Kinds
from config.tree import ANY, Placeholder

UNUSUAL_WORDS = r"""
: :/ a: ~ null y yes n No ON on off true False << = #b tail: *x &x !x %x @x `x | > ' " \ {x [x] ?
, --- ... 0123 0899 08 1e5 1e+5 12e03 0x1F 0o17 0b1 .5 0. 1_000 1__0 12:30:45 -0 +1 .inf .nan 10 1.5
10s 168h 2026-11-25 ${HOME} $(id) a=b a;b %s 日本
"""
UNUSUAL_TEXTS = (
    *UNUSUAL_WORDS.split(),
    *("", " ", " lead", "trail ", "- x", "a: b", "a #b", "k: [", "\t\n\x00", "a\r\nb"),
    *("pw😀", "\x7f", "\x85", "\x9f", "\ue000", "9" * 23, "x" * 2000),
    *("\u2028", "\u2029", "\ufeff", "\ufffe", "\uffff"),
)
texts = st.sampled_from(UNUSUAL_TEXTS) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=20
)
# Keys that the schema does not name: http.Header and untyped maps accept any.
keys = st.sampled_from(
    ("a_b", "UPPER", "X-Header", "yes", "1", "~", "<<", "a b", "é")
) | texts.filter(lambda text: len(text) < 100)
SECRETS = {"one": "pw😀\x7f: &x", "two": "0899"}
placeholders = st.sampled_from([Placeholder(label) for label in SECRETS])
integers = st.integers(-(2**63), 2**63 - 1) | st.integers(-10, 1000)
floats = st.floats(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    texts | placeholders | integers | st.booleans() | floats,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
durations = st.lists(
    st.tuples(st.integers(0, 999), st.sampled_from(("ns", "us", "ms", "s", "m", "h"))),
    min_size=1,
    max_size=3,
).map(lambda parts: "".join(f"{number}{unit}" for number, unit in parts))


def values(kinds: Kinds) -> st.SearchStrategy[Any]:
    """A strategy for the values that `kinds`, a part of a release's schema, allows."""
    if isinstance(kinds, Mapping):
        if ANY in kinds:
            return st.dictionaries(keys, values(kinds[ANY]), max_size=3)
        return st.fixed_dictionaries({}, optional={key: values(kinds[key]) for key in kinds})
    if not isinstance(kinds, str):
        return st.lists(values(kinds[0]), max_size=3)
    kind, _, span = kinds.partition(" ")
    least, most = map(int, span.split("..")) if ".." in span else (-(2**63), 2**63 - 1)
    if kind == "anycase" or "|" in kind:
        return st.sampled_from((span or kind).split("|"))
    return {
        "string": texts | placeholders,
        "int": st.integers(least, most),
        "bool": st.booleans(),
        "duration": durations,
        "any": anything,
    }.get(kind, st.just(kind))


def leaves(kinds: Kinds, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Kinds]]:
    """Yield (path, kinds) for each leaf of the schema: a path below which it names no keys."""
    if isinstance(kinds, Mapping) and ANY not in kinds:
        for key, below in kinds.items():
            yield from leaves(below, (*path, key))
    else:
        yield path, kinds


@st.composite
def configurations(
    draw: st.DrawFn, release: Release, overrides: Mapping[str, Any] | None = None
) -> Any:  # noqa: ANN401
    """Draw a configuration with some of the release's keys.

    `overrides` maps paths to strategies. A key or section with None is left out.
    """
    overrides = overrides or {}
    omitted = {path for path, strategy in overrides.items() if strategy is None}
    known = [
        (path, kinds)
        for path, kinds in leaves(release.schema.keys)
        if omitted.isdisjoint(".".join(path[:end]) for end in range(len(path) + 1))
    ]
    drivers = {
        section: draw(st.sampled_from(sorted(release.schema.keys[section].keys() - beside)))  # type: ignore[union-attr]
        for section, beside in BESIDE_DRIVER.items()
    }
    tree: dict[str, Any] = {}
    for path, kinds in draw(st.lists(st.sampled_from(known), max_size=8, unique_by=lambda p: p[0])):
        section = path[0]
        if section in drivers and path[1] not in (drivers[section], *BESIDE_DRIVER[section]):
            continue  # A section has one driver.
        inner = tree
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        joined = ".".join(path)
        inner[path[-1]] = draw(overrides[joined] if joined in overrides else values(kinds))
    return tree
