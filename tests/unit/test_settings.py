"""A stack file's problems: all of them at once, each with key, rule, value and fix."""

import json

import pytest

from components.settings import SettingsError, Stack, load


def _load(**settings: object) -> Stack:
    config = {f"oss-registry:{key}": json.dumps(value) for key, value in settings.items()}
    return load("dev", config, set())


def test_an_empty_stack_file_is_a_registry_on_a_volume_with_redis() -> None:
    stack = load("dev", {}, set())
    assert stack.release.version == "3.1.2"
    assert stack.redacted["REGISTRY_STORAGE"] == "filesystem"
    assert stack.redacted["REGISTRY_REDIS_PASSWORD"] == "[secret: redis password]"


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(SettingsError) as failure:
        _load(registry={"port": "5000", "release": 3.1}, storage={"kind": "nfs"}, cach={})
    lines = str(failure.value).splitlines()
    assert lines[0] == "stacks/Pulumi.dev.yaml can't be used:"
    assert lines[1:] == [
        "  - oss-registry:cach: is not a setting; known are cache, registry, storage",
        "  - oss-registry:registry.release: input should be a valid string, not 3.1; "
        "put it in quotes",
        '  - oss-registry:registry.port: input should be a valid integer, not "5000"; '
        "write a whole number, without quotes",
        "  - oss-registry:storage.kind: input should be 'filesystem', not \"nfs\"",
    ]


@pytest.mark.parametrize("release", ["3.0", "latest", "2", ""])
def test_a_release_without_rules_is_refused_with_those_that_have_some(release: str) -> None:
    with pytest.raises(SettingsError, match=r"registry\.release: must be one of 2\.8\.3, 3\.1\.2"):
        _load(registry={"release": release})


@pytest.mark.parametrize("port", [0, 65536, -1, True, 5000.5])
def test_a_port_that_is_none_is_refused(port: object) -> None:
    with pytest.raises(SettingsError, match=r"oss-registry:registry\.port: "):
        _load(registry={"port": port})


@pytest.mark.parametrize("text", ["true", "[]", "5000", "hello"])
def test_a_section_that_is_no_map_is_refused_without_a_traceback(text: str) -> None:
    with pytest.raises(SettingsError, match=r"oss-registry:registry: .*`name: value`"):
        load("dev", {"oss-registry:registry": text}, set())


def test_what_may_hold_a_secret_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as failure:
        _load(
            storage={"accesskeysecret": "hunter2"},
            registry={"port": {"password": "hunter4"}, "release": ["hunter5"]},
            password="hunter3",
        )
    assert len(str(failure.value).splitlines()) == 5
    assert "hunter" not in str(failure.value)


def test_a_section_that_was_made_a_secret_is_refused() -> None:
    config = {"oss-registry:storage": '{"kind": "s3cret"}'}
    with pytest.raises(SettingsError, match="may not be a secret") as failure:
        load("dev", config, {"oss-registry:storage"})
    assert "s3cret" not in str(failure.value)


def test_a_secret_without_a_use_is_refused_by_its_name() -> None:
    with pytest.raises(SettingsError, match="oss-registry:redis-password: is not a setting"):
        load("dev", {"oss-registry:redis-password": "x"}, {"oss-registry:redis-password"})


def test_keys_of_providers_are_left_to_them() -> None:
    assert load("dev", {"docker:host": "ssh://ops@h"}, set()).name == "dev"


@pytest.mark.parametrize(("written", "read"), [("64MiB", 2**26), ("1 GiB", 2**30)])
def test_memory_is_written_with_its_unit(written: str, read: int) -> None:
    assert _load(cache={"max_memory": written}).settings.cache.max_memory == read


def test_too_little_memory_for_redis_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"oss-registry:cache\.max_memory: "):
        _load(cache={"max_memory": "1KiB"})
