"""The stack file: read, checked and made a `Stack` before the first resource is registered."""

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import pulumi
from pydantic import AfterValidator, BaseModel, ByteSize, ConfigDict, Field, ValidationError

from components import distribution
from components.distribution import CacheFacts, HttpFacts, Release, VolumeFacts
from components.environment import Section, Text, redact, to_environment

PROJECT = "oss-registry"
DRAIN_SECONDS = 30


class SettingsError(pulumi.RunError):
    """All that is wrong with a stack file; Pulumi prints its text without a traceback."""


def _known_release(version: str) -> str:
    if version not in distribution.RELEASES:
        raise ValueError(f"must be one of {', '.join(distribution.RELEASES)}")
    return version


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class RegistrySettings(_Settings):
    """`oss-registry:registry`"""

    release: Annotated[str, AfterValidator(_known_release)] = Field(
        distribution.DEFAULT_RELEASE,
        description="The release, in quotes. It decides the image and how it is configured.",
    )
    port: int = Field(
        5000,
        ge=1,
        le=65535,
        description="The port on 127.0.0.1 that Docker pushes to and pulls from.",
    )
    log_level: Literal["error", "warn", "info", "debug"] = Field(
        "warn", description="What the registry logs; from info on, each request is a line."
    )


class StorageSettings(_Settings):
    """`oss-registry:storage`"""

    kind: Literal["filesystem"] = Field(
        "filesystem", description="Where images are kept: filesystem is a Docker volume."
    )


class CacheSettings(_Settings):
    """`oss-registry:cache`"""

    image: str = Field("redis:7.0.15", min_length=1, description="The redis image.")
    max_memory: ByteSize = Field(
        ByteSize(256 * 2**20),
        ge=2**20,
        description="What redis may hold, such as 256MiB; beyond it the oldest entries go.",
    )


class StackSettings(_Settings):
    """A stack file's keys below `oss-registry:`."""

    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)


@dataclass(frozen=True)
class Stack:
    """A stack's settings and what follows from them without any resource."""

    name: str
    settings: StackSettings

    @property
    def prefix(self) -> str:
        """The start of the name of everything that the stack makes in the engine."""
        return f"{PROJECT}-{self.name}"

    @property
    def release(self) -> Release:
        return distribution.RELEASES[self.settings.registry.release]

    @property
    def redis_host(self) -> str:
        return f"{self.prefix}-redis"

    @cached_property
    def tree(self) -> Section:
        """The registry's configuration, with holes where secrets go."""
        return distribution.plan(
            self.release,
            VolumeFacts(path=distribution.DATA_PATH),
            CacheFacts(address=f"{self.redis_host}:6379"),
            HttpFacts(log_level=self.settings.registry.log_level, drain_seconds=DRAIN_SECONDS),
        )

    @cached_property
    def environment(self) -> Mapping[str, Text]:
        """The registry's variables, sorted, with holes where secrets go."""
        own = {name: (value,) for name, value in self.release.environment.items()}
        return own | to_environment(self.tree, self.release.schema)

    @property
    def redacted(self) -> Mapping[str, str]:
        """`environment` as a reviewer may see it."""
        return {name: redact(text) for name, text in self.environment.items()}


def load(name: str, config: Mapping[str, str], secret_keys: Set[str]) -> Stack:
    """The stack `name` from its configuration as Pulumi hands it over: JSON text by full key.

    Raises SettingsError with every problem: config key, rule, value and fix, but no secret value.
    """
    settings: dict[str, Any] = {}
    problems: list[str] = []
    for key, text in sorted(config.items()):
        namespace, _, setting = key.partition(":")
        if namespace != PROJECT:
            continue  # a provider's own
        if setting not in StackSettings.model_fields:
            known = ", ".join(sorted(StackSettings.model_fields))
            problems.append(f"{key}: is not a setting; known are {known}")
        elif key in secret_keys:
            problems.append(f"{key}: may not be a secret; set it without --secret")
        else:
            settings[setting] = _parsed(text)
    try:
        stack = Stack(name, StackSettings.model_validate(settings))
    except ValidationError as error:
        stack = None
        problems += _problems(error)
    if stack is None or problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise SettingsError(f"stacks/Pulumi.{name}.yaml can't be used:{lines}")
    return stack


def _parsed(text: str) -> object:
    """Pulumi hands over a scalar as it is written, and a map as JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


# What to do about each kind of error that pydantic finds, by its own name for it.
_FIXES = {
    "extra_forbidden": "remove it or correct its name",
    "int_type": "write a whole number, without quotes",
    "string_type": "put it in quotes",
    "model_type": "write its settings as `name: value` lines below it",
}


def _problems(error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        key = f"{PROJECT}:{'.'.join(str(part) for part in detail['loc'])}"
        kind, rule = detail["type"], detail["msg"].removeprefix("Value error, ")
        rule = rule[:1].lower() + rule[1:]
        # An unknown key and a whole map may hold anything, a secret too.
        shown = kind != "extra_forbidden" and isinstance(detail["input"], str | int | float)
        value = f", not {json.dumps(detail['input'])}" if shown else ""
        fix = f"; {_FIXES[kind]}" if kind in _FIXES else ""
        yield f"{key}: {rule}{value}{fix}"
