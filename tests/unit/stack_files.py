"""Helpers that load a stack from the sections of a stack file, and list the problems with it."""

import json
from collections.abc import Mapping, Set
from typing import Any

import pytest

import config.load
from components.storage import BACKENDS
from config.problems import SettingsError
from config.stack import Stack


def load(
    name: str,
    texts: Mapping[str, str],
    secret_keys: Set[str],
    variables: Mapping[str, str] | None = None,
) -> Stack:
    """Load a stack with all storage backends. See `config.load.load_stack`."""
    return config.load.load_stack(name, texts, secret_keys, variables or {}, BACKENDS)


def load_stack(
    secrets: Mapping[str, str] | None = None,
    region: str | None = None,
    variables: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    **sections: object,
) -> Stack:
    """Load the stack `dev` from the settings below `oss-registry:` in `sections`.

    `secrets` are encrypted settings below `oss-registry:`, by name. `config` has settings as
    Pulumi passes them to the program: each with its namespace, and its value as text. `variables`
    are environment variables.
    """
    texts = {**(config or {})}
    texts |= {f"oss-registry:{key}": json.dumps(value) for key, value in sections.items()}
    texts |= {f"oss-registry:{name}": value for name, value in (secrets or {}).items()}
    if region is not None:
        texts["alicloud:region"] = region
    return load("dev", texts, {f"oss-registry:{name}" for name in secrets or {}}, variables)


def problems(**given: Any) -> list[str]:  # noqa: ANN401
    """Return the problems that `load_stack` reports with these arguments, each as one line."""
    with pytest.raises(SettingsError) as failure:
        load_stack(**given)
    return [line.removeprefix("  - ") for line in str(failure.value).splitlines()[1:]]


def assert_refused(key: str, word: str, **given: Any) -> None:  # noqa: ANN401
    """Check that `load_stack` reports a problem with `key` whose line contains `word`."""
    lines = problems(**given)
    assert any(line.startswith(f"{key}: ") and word in line for line in lines), lines
