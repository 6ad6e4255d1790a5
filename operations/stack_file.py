"""A stack file's configuration as Pulumi hands it over, read without Pulumi."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.storage import BACKENDS
from config import stack_yaml
from config.load import load, validate
from config.messages import invalid
from config.problems import Problem, SettingsError
from config.rules import Sealed
from config.settings import PROJECT
from config.stack import Stack

STACKS = Path(__file__).parent.parent / "stacks"


def path(stack: str) -> Path:
    """The path of that stack's file. Raises SettingsError if it can't be a stack's name."""
    try:
        return STACKS / stack_yaml.file_name(stack)
    except stack_yaml.Unreadable as error:
        raise SettingsError(str(error)) from None


def configuration(stack: str) -> tuple[dict[str, str], set[str]]:
    """The configuration of `stack`'s file as Pulumi hands it over, and the keys of its secrets.

    What is secret stays encrypted. Raises SettingsError if Pulumi would read something else.
    """
    content, unclear = _content(stack)
    texts, secrets = handed_over(content["config"])
    if unclear:
        _, others = validate(stack, texts, secrets, os.environ, BACKENDS)
        paths = {problem.path for problem in unclear}
        raise invalid(stack, [*unclear, *(other for other in others if other.path not in paths)])
    return texts, secrets


def text(name: str) -> str:
    """The text of that stack's file, as JSON. Raises SettingsError."""
    content, _ = _content(name)
    return json.dumps(content)


def read_only(name: str) -> str:
    """The text of that stack's file, were its registry to take no pushes, nor to use redis.

    Each replica remembers blobs for itself, as long as it runs. Raises SettingsError.
    """
    stack(name)  # from here on, each section is one

    def closed(registry: dict[str, Any]) -> dict[str, Any]:
        config = registry.get("config", {})
        storage = config.get("storage", {})
        maintenance = {**(storage.get("maintenance") or {}), "readonly": {"enabled": True}}
        storage |= {"maintenance": maintenance, "cache": {"blobdescriptor": "inmemory"}}
        return {**registry, "config": {**config, "storage": storage}}

    return _with_registry(name, closed)


def with_runtime(name: str, runtime: str) -> str:
    """The text of that stack's file with another `runtime`. Raises SettingsError."""
    return _with_registry(name, lambda registry: {**registry, "runtime": runtime})


def _with_registry(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    (content, _), key = _content(name), f"{PROJECT}:registry"
    texts, _ = handed_over(content["config"])
    registry = json.loads(texts.get(key, "{}"))
    content["config"].pop("registry", None)
    content["config"][key] = change(registry)
    load(name, *handed_over(content["config"]), os.environ, BACKENDS)
    return json.dumps(content)


def encryption_salt(stack: str) -> str | None:
    """The salt with which the secrets of `stack`'s file are encrypted, if it is there."""
    try:
        content, _ = _content(stack)
    except SettingsError:
        return None
    return content.get("encryptionsalt")


def stack(name: str) -> Stack:
    """The stack that the file of that name describes. Raises SettingsError."""
    return load(name, *configuration(name), os.environ, BACKENDS)


def _content(stack: str) -> tuple[dict[str, Any], list[Problem]]:
    """What is in `stack`'s file, with a section config, and what Pulumi would read otherwise."""
    file = path(stack)
    try:
        return stack_yaml.read(file.read_text(encoding="utf-8"), PROJECT)
    except FileNotFoundError:
        raise SettingsError(f"there is no stacks/{file.name}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"stacks/{file.name} is not YAML: {error}") from None
    except stack_yaml.Unreadable as error:
        raise SettingsError(f"stacks/{file.name}: {error}") from None


def handed_over(config: Mapping[str, Any]) -> tuple[dict[str, str], set[str]]:
    # A key without a namespace is the project's own.
    named = {key if ":" in str(key) else f"{PROJECT}:{key}": value for key, value in config.items()}
    texts = {key: _text(value) for key, value in named.items()}
    secret = {key for key, value in named.items() if _holds_a_secret(value)}
    return {k: Sealed(v) if k in secret else v for k, v in texts.items()}, secret


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _holds_a_secret(value: object) -> bool:
    if isinstance(value, dict):
        # As Pulumi has it: the key alone, with a text. The driver oss has such a key, too.
        if value.keys() == {"secure"} and isinstance(value["secure"], str):
            return True
        return any(map(_holds_a_secret, value.values()))
    return isinstance(value, list) and any(map(_holds_a_secret, value))
