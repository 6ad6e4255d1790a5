"""Problems of a stack file: the path, the broken rule, and the fix."""

import difflib
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """A broken rule at `path`, with the fix.

    `shown` is the refused value. `messages.message` shows it only if the value at `path` is public.
    `correct_path` is the path of the known key that the key at `path` probably misspells.
    """

    path: str
    rule: str
    fix: str
    shown: object = None
    correct_path: str | None = None

    def below(self, section: str) -> "Problem":
        """Return this problem with `section` in front of its paths."""
        correct_path = self.correct_path and f"{section}{self.correct_path}"
        return self._replace(path=f"{section}{self.path}", correct_path=correct_path)


class SettingsError(Exception):
    """A stack file is invalid. The text lists all problems, one on each line."""


SET_SECRET = "pulumi config set --secret"
WRITE_SECRET = f"{SET_SECRET} oss-registry:NAME, and write {{from_secret: NAME}} here"
# For each kind of value, the rule that a value of another kind breaks, and the fix.
WRONG_KIND = {
    "section": ("must be a section", "write its keys on the lines below it"),
    "list": ("must be a list", "write each entry after a - on a line below it"),
    "string": ("must be text", "put it in quotes"),
    "int": ("must be a whole number", "write digits only, without quotes and unit"),
    "bool": ("must be true or false", "write true or false, without quotes"),
    "duration": ("must be a duration", "write such as 10s, 1m30s or 168h"),
}
INVALID_PORT = ("must have a port from 1 to 65535", "change the port")


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the entry of `known` that `name` probably misspells, or None."""
    by_lower_case = {each.lower(): each for each in sorted(known)}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, 1)
    return by_lower_case[matches[0]] if matches else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the fix for `name`, which is not in `known`: the closest entry, or all entries."""
    known = sorted(known)
    found = closest(name, known)
    return f"write {found}" if found else f"known are {', '.join(known)}"


def unknown_key(path: str, key: str, rule: str, known: Collection[str]) -> Problem:
    """Return the problem that `key`, the last part of `path`, is not in `known`."""
    found = closest(key, known)
    correct_path = f"{path.removesuffix(key)}{found}" if found else None
    return Problem(path, rule, suggestion(key, known), correct_path=correct_path)


def missing_secret(name: object) -> tuple[str, str]:
    """Return the rule and the fix for `{from_secret: name}` if the stack has no such secret."""
    # A value of any other form may be the secret itself, so the fix does not repeat it.
    is_name = isinstance(name, str) and re.fullmatch(r"[\w.-]{1,40}", name)
    shown = name if is_name else "NAME"
    return "names a secret that is not there", f"{SET_SECRET} oss-registry:{shown}"


def overlaps(path: str, others: Iterable[str]) -> bool:
    """Return whether `path` equals, contains, or is inside of one of the paths `others`."""
    return any(within(path, other) or within(other, path) for other in others)


def within(path: str, section: str) -> bool:
    """Return whether `path` is `section` or a path below it."""
    return path == section or path.startswith((f"{section}.", f"{section}["))
