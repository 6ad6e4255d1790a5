"""Format problems as text, without values that may be secrets."""

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
    """Return the full key in the stack file for the `path` of a rule."""
    if path == NAME:
        return f"the stack name {stack}"
    if ":" in path.partition(".")[0]:
        return path
    return f"{PROJECT}:{path.removeprefix(f'{SECRETS}.')}"


def message(problem: Problem) -> str:
    """Return `problem` as one line, with the refused value if it is public."""
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
    """Return `value` as a part of a message.

    Returns an empty text for values that are long, have several lines, or may contain credentials.
    """
    if not isinstance(value, str | int | float):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > 60 or "@" in text or "\\n" in text:
        return ""
    return f", not {text}"
