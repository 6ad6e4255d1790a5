"""The type of a rule, and the check of a table of rules.

The tables themselves are in `config.rules` and, for `registry.config`, in `config.overlay`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from config.problems import Problem, overlaps
from config.releases import Release
from config.stack import RegistryConfig
from config.tree import Placeholder, Section, lookup, walk


class Refused(LookupError):
    """A rule reads a setting that was refused, so the rule cannot be checked."""


@dataclass(frozen=True)
class Context:
    """The input of rules: a tree of settings, and the registry that the valid settings describe.

    `refused` are the paths of invalid settings, which `tree` does not contain. `planned` is the
    configuration of the registry without the user's `registry.config`.
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


Details: TypeAlias = Mapping[str, object]
"""Values for the names in braces in a rule's texts. `path` replaces the path of the problem."""


class Rule(NamedTuple):
    """A rule about the values at `path`, in which `*` is any key or item.

    `problem` and `fix` are templates. Without them, the details contain both texts.

    `broken` returns false if a value complies with the rule. Otherwise it returns true, the details
    of one problem, or a collection with the details of each problem. It must not use settings that
    were refused. So it reads other settings with `Context.lookup`, or `reads` lists their paths.
    """

    path: str
    broken: Callable[[Any, Context], bool | Details | Iterable[Details]]
    problem: str = "{problem}"
    fix: str = "{fix}"
    reads: Sequence[str] = ()


def is_set(_: object, __: Context) -> bool:
    """Return true, because a rule is checked only for paths with a value."""
    return True


def check(rules: Sequence[Rule], context: Context) -> Iterator[Problem]:
    """Yield the problems that `rules` find."""
    for rule in rules:
        if any(overlaps(path, context.refused) for path in rule.reads):
            continue
        for path, value in walk(rule.path, context.tree):
            for details in _find_details(rule, value, context):
                place = str(details.get("path", path))
                yield Problem(place, _text(rule.problem, details), _text(rule.fix, details), value)


def _find_details(rule: Rule, value: object, context: Context) -> Sequence[Details]:
    """Return the details of each problem with `value`."""
    if isinstance(value, Placeholder):
        return [{}]  # a rule cannot read the value of a secret, so a secret breaks it
    try:
        found = rule.broken(value, context)
        if isinstance(found, Mapping):
            return [found] if found else []
        if isinstance(found, Iterable):
            return [*found]
        return [{}] if found else []
    except Refused:
        return []


def _text(template: str, details: Details) -> str:
    return template.format_map(details) if details else template
