"""The form of a rule between settings, and how a table of rules is checked."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from config.problems import Problem, overlaps
from config.releases import Release
from config.stack import RegistryConfig
from config.tree import Placeholder, Section, lookup, walk


class Refused(LookupError):
    """A rule reads a value that was refused, so it cannot be checked."""


@dataclass(frozen=True)
class Context:
    """What rules read: a tree of settings, and what follows from the valid ones.

    `refused` are the paths of settings that are left out of `tree` because they are invalid.
    `planned` is the configuration of the registry before the user's own is applied to it.
    """

    tree: Section
    release: Release
    registry: RegistryConfig
    refused: Set[str] = frozenset()
    planned: Section = field(default_factory=dict)

    def lookup(self, path: str) -> Any:  # noqa: ANN401
        """Return the value at `path`, or None. Raises Refused."""
        if overlaps(path, self.refused):
            raise Refused(path)
        return lookup(self.tree, path)


Facts: TypeAlias = Mapping[str, object]
"""What the texts of a rule name in braces. `path`, if given, is a more precise place."""


class Rule(NamedTuple):
    """A rule about the values at `path`, in which `*` is any key or item.

    `broken` returns false if a value keeps the rule. Otherwise it returns true, the facts for the
    texts, or several facts, one for each problem. It must not depend on settings that
    were refused: it reads them with `Context.lookup`, or `reads` lists them.
    """

    path: str
    broken: Callable[[Any, Context], bool | Facts | Iterable[Facts]]
    problem: str
    fix: str
    reads: Sequence[str] = ()


def is_set(_: object, __: Context) -> bool:
    return True


def check(rules: Sequence[Rule], context: Context) -> Iterator[Problem]:
    """Yield the problems that `rules` find."""
    for rule in rules:
        if any(overlaps(path, context.refused) for path in rule.reads):
            continue
        for path, value in walk(rule.path, context.tree):
            for facts in _facts(rule, value, context):
                place = str(facts.get("path", path))
                yield Problem(place, _text(rule.problem, facts), _text(rule.fix, facts), value)


def _facts(rule: Rule, value: object, context: Context) -> Sequence[Facts]:
    """Return the facts of each problem that `value` has."""
    if isinstance(value, Placeholder):
        return [{}]  # a rule cannot look into a secret, so a secret breaks it
    try:
        found = rule.broken(value, context)
        if isinstance(found, Mapping):
            return [found] if found else []
        if isinstance(found, Iterable):
            return [*found]
        return [{}] if found else []
    except Refused:
        return []


def _text(template: str, facts: Facts) -> str:
    return template.format_map(facts) if facts else template
