"""Problems of a stack file: where, which rule, and how to fix it."""

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """What is wrong at `path` and how to fix it.

    `shown` is the value. `checks.line` repeats it only if everyone may read what is at `path`.
    """

    path: str
    rule: str
    fix: str
    shown: object = None


class SettingsError(Exception):
    """A stack file is invalid; the text lists all problems, one a line."""


SET_SECRET = "pulumi config set --secret"
WRITE_SECRET = f"{SET_SECRET} oss-registry:NAME, and write {{from_secret: NAME}} here"
# What each kind must be, and how to mend it.
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
    """Return the one of `known` that `name` is probably a misspelling of."""
    by_lower_case = {each.lower(): each for each in sorted(known)}
    found = difflib.get_close_matches(name.lower(), by_lower_case, 1)
    return by_lower_case[found[0]] if found else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to write in place of `name`, which is none of `known`."""
    known = sorted(known)
    found = closest(name, known)
    return f"write {found}" if found else f"known are {', '.join(known)}"


def missing_secret(name: object) -> tuple[str, str]:
    """The rule that `{from_secret: name}` breaks in a stack without such a secret, and the fix."""
    # Text of another shape may be the secret itself.
    shown = name if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,40}", name) else "NAME"
    return "names a secret that is not there", f"{SET_SECRET} oss-registry:{shown}"


def overlaps(path: str, others: Iterable[str]) -> bool:
    """Whether one of `others` is `path`, is inside of it, or has it inside."""
    return any(within(path, other) or within(other, path) for other in others)


def within(path: str, section: str) -> bool:
    """Whether `path` is `section` or inside of it."""
    return path == section or path.startswith((f"{section}.", f"{section}["))
