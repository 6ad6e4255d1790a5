"""Problems as text, without secrets."""

import json
import re
from collections.abc import Iterable

from config import overlay
from config.problems import Problem, SettingsError
from config.settings import PROJECT, is_public
from config.stack import REGION

CONFIG = "registry.config."


def invalid(name: str, problems: Iterable[Problem]) -> SettingsError:
    """The error that lists `problems` of the stack `name`'s file."""
    lines = "".join(f"\n  - {line(problem)}" for problem in problems)
    return SettingsError(f"stacks/Pulumi.{name}.yaml can't be used:{lines}")


def line(problem: Problem) -> str:
    """`problem` on one line, with the value that was refused if everyone may read it."""
    value = ""
    if problem.rule.startswith("must") and _is_public(problem.path):
        value = _repeated(problem.shown)
    return f"{problem.path}: {problem.rule}{value}; {problem.fix}"


def _is_public(path: str) -> bool:
    """Whether a message may repeat a value that was refused at `path`."""
    setting = path.removeprefix(f"{PROJECT}:")
    config = setting.removeprefix(CONFIG)
    if config != setting:
        return overlay.is_public(config)
    return path == REGION or is_public(re.split(r"[.\[]", setting))


def _repeated(value: object) -> str:
    """A single value as a message repeats it: short, on one line, without a user of an address."""
    if not isinstance(value, str | int | float):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return "" if len(text) > 60 or "@" in text or "\\n" in text else f", not {text}"
