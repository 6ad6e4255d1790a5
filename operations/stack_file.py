"""Read a stack file as Pulumi reads it, without running Pulumi."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from components.storage import BACKENDS
from config import load, stack_yaml
from config.messages import invalid
from config.problems import Problem, SettingsError
from config.rules import Sealed
from config.settings import PROJECT
from config.stack import Stack

STACKS = Path(__file__).parent.parent / "stacks"
REGISTRY_SECTION = f"{PROJECT}:registry"


class Configuration(NamedTuple):
    """The configuration of a stack as Pulumi passes it to a program: JSON text by full key.

    Secrets stay encrypted. `secret_keys` are the keys that contain one.
    """

    texts: dict[str, str]
    secret_keys: set[str]


def path(stack: str) -> Path:
    """Return the path of a stack's file. Raises SettingsError if the name is invalid."""
    try:
        return STACKS / stack_yaml.file_name(stack)
    except stack_yaml.Unreadable as error:
        raise SettingsError(str(error)) from None


def read_configuration(stack: str) -> Configuration:
    """Read the configuration of a stack. Raises SettingsError if Pulumi would alter a value."""
    content, changed_values = _read(stack)
    configuration = as_configuration(content["config"])
    if changed_values:
        _, others = load.validate(stack, *configuration, os.environ, BACKENDS)
        paths = {problem.path for problem in changed_values}
        others = [problem for problem in others if problem.path not in paths]
        raise invalid(stack, [*changed_values, *others])
    return configuration


def load_stack(name: str) -> Stack:
    """Read and validate a stack file. Raises SettingsError."""
    return load_configuration(name, read_configuration(name))


def load_configuration(name: str, configuration: Configuration) -> Stack:
    """Return the stack with this configuration. Raises SettingsError."""
    return load.load_stack(name, *configuration, os.environ, BACKENDS)


def read_as_json(name: str) -> str:
    """Return the content of a stack file as JSON. Raises SettingsError."""
    content, _ = _read(name)
    return json.dumps(content)


def read_only_copy(name: str) -> str:
    """Return a copy of the stack file, as JSON, whose registry refuses pushes and uses no redis.

    Each replica then caches blob descriptors in its own memory. Raises SettingsError.
    """
    load_stack(name)  # so that all sections below are mappings

    def change(registry: dict[str, Any]) -> dict[str, Any]:
        config = registry.get("config", {})
        storage = config.get("storage", {})
        maintenance = {**(storage.get("maintenance") or {}), "readonly": {"enabled": True}}
        storage |= {"maintenance": maintenance, "cache": {"blobdescriptor": "inmemory"}}
        return {**registry, "config": {**config, "storage": storage}}

    text, _ = _changed_copy(name, change)
    return text


def copy_with_runtime(name: str, runtime: str) -> tuple[str, Stack]:
    """Return a copy of the stack file with another `runtime`, as JSON, and the stack it describes.

    Raises SettingsError.
    """
    return _changed_copy(name, lambda registry: {**registry, "runtime": runtime})


def _changed_copy(
    name: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> tuple[str, Stack]:
    """Return a copy of the stack file, as JSON, and the stack it describes.

    `change` returns the section `registry` of the copy.
    """
    content, _ = _read(name)
    texts, _ = as_configuration(content["config"])
    registry = json.loads(texts.get(REGISTRY_SECTION, "{}"))
    content["config"].pop("registry", None)
    content["config"][REGISTRY_SECTION] = change(registry)
    stack = load_configuration(name, as_configuration(content["config"]))
    return json.dumps(content), stack


def encryption_salt(stack: str) -> str | None:
    """Return the salt with which the secrets in a stack file are encrypted, or None."""
    try:
        content, _ = _read(stack)
    except SettingsError:
        return None
    return content.get("encryptionsalt")


def _read(stack: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return a stack file's content, and a problem for each value that Pulumi would alter."""
    file = path(stack)
    try:
        return stack_yaml.read(file.read_text(encoding="utf-8"), PROJECT)
    except FileNotFoundError:
        raise SettingsError(f"there is no stacks/{file.name}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"stacks/{file.name} is not YAML: {error}") from None
    except stack_yaml.Unreadable as error:
        raise SettingsError(f"stacks/{file.name}: {error}") from None


def as_configuration(config: Mapping[str, Any]) -> Configuration:
    """Return the section `config` of a stack file as Pulumi passes it to a program."""
    texts, secret_keys = {}, set()
    for key, value in config.items():
        # A key without a namespace belongs to the project.
        full_key = key if ":" in str(key) else f"{PROJECT}:{key}"
        texts[full_key] = _config_text(value)
        if _contains_secret(value):
            secret_keys.add(full_key)
            texts[full_key] = Sealed(texts[full_key])
    return Configuration(texts, secret_keys)


def _config_text(value: object) -> str:
    """Return a value as Pulumi passes it to a program: text as it is, other values as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _contains_secret(value: object) -> bool:
    if isinstance(value, dict):
        # A secret is a mapping with this key only, and a text. The oss driver also has a parameter
        # `secure`, which is true or false.
        if value.keys() == {"secure"} and isinstance(value["secure"], str):
            return True
        return any(map(_contains_secret, value.values()))
    return isinstance(value, list) and any(map(_contains_secret, value))
