"""The form of a rule, and how a table of rules is applied."""

import re
from collections.abc import Callable, Sequence, Set
from typing import Any, NamedTuple

from config.problems import Problem, overlaps
from config.releases import Release
from config.tree import Placeholder, Section, lookup, walk


class Refused(LookupError):
    """The value that a rule reads was refused, so the rule cannot be checked."""


class Context(NamedTuple):
    """What a rule may look at: the release, and the tree that the registry would get.

    `files` are the paths of those that are put into its container; `refused` are the paths whose
    values in the stack file are left out of the tree because they are wrong.
    """

    release: Release
    tree: Section
    files: Set[str] = frozenset()
    refused: Set[str] = frozenset()

    def lookup(self, path: str) -> Any:  # noqa: ANN401
        """Return the value at `path`, or None. Raises Refused."""
        if overlaps(path, self.refused):
            raise Refused(path)
        return lookup(self.tree, path)


class Rule(NamedTuple):
    """What stands at `path` may not be `broken`."""

    path: str
    broken: Callable[[Any, Context], bool]
    rule: str
    fix: str


def _there(_: object, __: Context) -> bool:
    return True


def _unlike(pattern: str) -> Callable[[Any, Context], bool]:
    return lambda value, _: not re.fullmatch(pattern, value, re.ASCII)


def broken(rules: Sequence[Rule], context: Context) -> list[Problem]:
    """What `rules` find in the context's tree."""
    return [
        Problem(path, rule.rule, rule.fix, value)
        for rule in rules
        for path, value in walk(rule.path, context.tree)
        # What a secret holds can't be looked at, and so keeps no rule.
        if isinstance(value, Placeholder) or _breaks(value, rule, context)
    ]


def _breaks(value: object, rule: Rule, context: Context) -> bool:
    """Whether `value` breaks `rule`; not, if the rule reads a value that was refused itself."""
    try:
        return bool(rule.broken(value, context))
    except Refused:
        return False
