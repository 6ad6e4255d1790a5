"""Stack files made of their sections, and what is said about them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from config.load import load
from config.problems import SettingsError
from config.stack import Stack


def loaded(
    secrets: Mapping[str, str] | None = None,
    region: str | None = None,
    variables: Mapping[str, str] | None = None,
    config: Mapping[str, str] | None = None,
    **sections: object,
) -> Stack:
    """The stack of the sections, with whole keys and texts in `config`."""
    config = {**(config or {})}
    config |= {f"oss-registry:{key}": json.dumps(value) for key, value in sections.items()}
    config |= {f"oss-registry:{name}": value for name, value in (secrets or {}).items()}
    config |= {"alicloud:region": region} if region is not None else {}
    return load("dev", config, {f"oss-registry:{name}" for name in secrets or {}}, variables)


def problems(**given: Any) -> list[str]:  # noqa: ANN401
    """What is said about it, a line each."""
    with pytest.raises(SettingsError) as failure:
        loaded(**given)
    return [line.removeprefix("  - ") for line in str(failure.value).splitlines()[1:]]


def refused(key: str, word: str, **given: Any) -> None:  # noqa: ANN401
    lines = problems(**given)
    assert any(line.startswith(f"{key}: ") and word in line for line in lines), lines
