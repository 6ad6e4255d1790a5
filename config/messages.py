"""A problem as text. The text never shows a value that may be a secret."""

import json
import re
from collections.abc import Iterable

from config import overlay
from config.problems import Problem, SettingsError
from config.rules import NAME, SECRETS
from config.settings import PROJECT, is_public
from config.stack import REGION

OVERLAY = "registry.config."


def full_key(path: str, stack: str) -> str:
    """Return the key of the stack file for a `path` that a rule names."""
    if path == NAME:
        return f"the stack name {stack}"
    if ":" in path.partition(".")[0]:
        return path
    return f"{PROJECT}:{path.removeprefix(f'{SECRETS}.')}"


def message(problem: Problem) -> str:
    """Return `problem` on one line, with the refused value if everyone may read it."""
    value = ""
    if problem.rule.startswith("must") and _is_public(problem.path):
        value = _shown(problem.shown)
    return f"{problem.path}: {problem.rule}{value}; {problem.fix}"


def invalid(stack: str, problems: Iterable[Problem]) -> SettingsError:
    """Return the error that lists `problems` of a stack's file."""
    lines = "".join(f"\n  - {message(problem)}" for problem in problems)
    return SettingsError(f"stacks/Pulumi.{stack}.yaml can't be used:{lines}")


def _is_public(path: str) -> bool:
    setting = path.removeprefix(f"{PROJECT}:")
    if setting.startswith(OVERLAY):
        return overlay.is_public(setting.removeprefix(OVERLAY))
    return path == REGION or is_public(re.split(r"[.\[]", setting))


def _shown(value: object) -> str:
    """Return a single value if it is short, on one line, and no address with a user."""
    if not isinstance(value, str | int | float):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > 60 or "@" in text or "\\n" in text:
        return ""
    return f", not {text}"
