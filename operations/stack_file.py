"""A stack file's configuration as Pulumi hands it over, read without Pulumi."""

import json
import os
import re
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from components.checks import Sealed, SettingsError, load
from components.settings import PROJECT
from components.stack import Stack

STACKS = Path(__file__).parent.parent / "stacks"


class _Loader(yaml.SafeLoader):
    """YAML as Pulumi reads it: the core schema of YAML 1.2, and no key twice."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  # as the base class has it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: list[object] = []
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} is there twice", problem_mark=key.start_mark
                )
            seen.append(key.value)
        return super().construct_mapping(node, deep)

    def whole_or_float(self, node: yaml.ScalarNode) -> int | float:
        """Pulumi hands values over as JSON, where 3.0 is 3."""
        number = float(str(self.construct_scalar(node)))
        return int(number) if number.is_integer() else number


for kind, pattern in (
    ("null", r"~|null|Null|NULL|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0o?[0-7]+|0x[0-9a-fA-F]+"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), None)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.whole_or_float)


def configuration(stack: str) -> tuple[dict[str, str], set[str]]:
    """The configuration of `stack`'s file as Pulumi hands it over, and the keys of its secrets.

    What is secret stays encrypted. Raises SettingsError where it is no such file.
    """
    return handed_over(_content(stack)["config"])


def text(name: str) -> str:
    """The text of that stack's file, as JSON. Raises SettingsError."""
    return json.dumps(_content(name))


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
    content, key = _content(name), f"{PROJECT}:registry"
    texts, _ = handed_over(content["config"])
    registry = json.loads(texts.get(key, "{}"))
    content["config"].pop("registry", None)
    content["config"][key] = change(registry)
    load(name, *handed_over(content["config"]), os.environ)
    return json.dumps(content)


def stack(name: str) -> Stack:
    """The stack that the file of that name describes. Raises SettingsError."""
    return load(name, *configuration(name), os.environ)


def _content(stack: str) -> dict[str, Any]:
    """What is in `stack`'s file, with a section config."""
    file = STACKS / f"Pulumi.{stack}.yaml"
    try:
        content = yaml.load(file.read_text(), _Loader)
    except FileNotFoundError:
        raise SettingsError(f"there is no stacks/{file.name}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"stacks/{file.name}, line {line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"stacks/{file.name} is not YAML: {error}") from None
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise SettingsError(f"stacks/{file.name} needs a section config:")
    return dict(content)


def handed_over(config: Mapping[str, Any]) -> tuple[dict[str, str], set[str]]:
    # A key without a namespace is the project's own.
    named = {key if ":" in str(key) else f"{PROJECT}:{key}": value for key, value in config.items()}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in named.items()}
    secret = {key for key, value in named.items() if _holds_a_secret(value)}
    return {k: Sealed(v) if k in secret else v for k, v in texts.items()}, secret


def _holds_a_secret(value: object) -> bool:
    if isinstance(value, dict):
        # As Pulumi has it: the key alone, with a text. The driver oss has such a key, too.
        if value.keys() == {"secure"} and isinstance(value["secure"], str):
            return True
        return any(map(_holds_a_secret, value.values()))
    return isinstance(value, list) and any(map(_holds_a_secret, value))
