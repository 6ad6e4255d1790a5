"""Tests of the keys that a stack file may have for Pulumi's providers, such as docker:host."""

import inspect
import json
import re
from types import ModuleType

import pulumi_alicloud
import pulumi_docker
import pytest

from config.problems import SettingsError
from config.providers import KEYS
from tests.unit.stack_files import load

PACKAGES = {"alicloud": pulumi_alicloud, "docker": pulumi_docker}


def _parameters(function: object) -> set[str]:
    """Return the names of a function's parameters in the camel case of Pulumi's configuration."""
    names = inspect.signature(function).parameters.keys()  # type: ignore[arg-type]
    settings = names - {"__self__", "resource_name", "opts", "__props__"}
    return {re.sub(r"_(\w)", lambda match: match[1].upper(), name) for name in settings}


def _arguments(package: ModuleType, key: str) -> set[str]:
    """Return the arguments of the section `key`, or of an entry if `key` is a list."""
    name = key[0].upper() + key[1:]
    return _parameters(getattr(package, f"Provider{name}Args").__init__)


@pytest.mark.parametrize("namespace", KEYS)
def test_the_table_of_keys_matches_the_pinned_provider_packages(namespace: str) -> None:
    package, keys = PACKAGES[namespace], KEYS[namespace]
    assert keys.keys() == _parameters(package.Provider._internal_init)
    for key, below in keys.items():
        if below is not None:
            assert below == _arguments(package, key), key


def _problems(config: dict[str, object], secret: set[str] | None = None) -> list[str]:
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
    with pytest.raises(SettingsError) as failure:
        load("dev", texts, secret or set())
    return [line.removeprefix("  - ") for line in str(failure.value).splitlines()[1:]]


@pytest.mark.parametrize(
    ("key", "value", "path", "fix"),
    [
        ("docker:hots", "ssh://prod", "docker:hots", "write host"),
        ("docker:Host", "ssh://prod", "docker:Host", "write host"),
        ("docker:contxt", "edge", "docker:contxt", "write context"),
        ("docker:sshopts", ["-i", "key"], "docker:sshopts", "write sshOpts"),
        ("docker:zzz", "x", "docker:zzz", "known are caMaterial, certMaterial"),
        (
            "docker:registryAuth",
            [{"address": "a"}, {"adress": "b"}],
            "docker:registryAuth[1].adress",
            "write address",
        ),
        ("alicloud:regoin", "cn-hangzhou", "alicloud:regoin", "write region"),
        ("alicloud:access_key", "x", "alicloud:access_key", "write accessKey"),
        ("alicloud:assumeRole", {"roleARN": "x"}, "alicloud:assumeRole.roleARN", "write roleArn"),
    ],
)
def test_a_key_unknown_to_a_provider_is_reported_with_the_nearest_known_key(
    key: str, value: object, path: str, fix: str
) -> None:
    (line,) = _problems({key: value})
    provider = key.partition(":")[0]
    assert line.startswith(f"{path}: is not a key of the {provider} provider; {fix}")


def test_a_misspelled_region_is_reported_once() -> None:
    storage = {"kind": "oss", "bucket": "demo-registry"}
    (line,) = _problems({"oss-registry:storage": storage, "alicloud:regoin": "cn-hangzhou"})
    assert line.startswith("alicloud:regoin: ")


def test_a_problem_with_an_unknown_key_does_not_show_its_value() -> None:
    assert "hunter2" not in "".join(_problems({"alicloud:secretkey": "hunter2"}))


def test_keys_that_the_providers_or_pulumi_know_are_accepted() -> None:
    config: dict[str, object] = {
        "docker:host": "ssh://ops@h",
        "docker:sshOpts": ["-i", "key"],
        "docker:registryAuth": {"secure": "AAAB"},
        "alicloud:endpoints": [{"ram": "http://127.0.0.1:1"}],
        "alicloud:assumeRole": {"roleArn": "acs:ram::1:role/deployer"},
        "pulumi:tags": {"team": "a"},
    }
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
    assert load("dev", texts, {"docker:registryAuth"}).name == "dev"
