"""What each release gets."""

import pytest

from components.distribution import (
    DEFAULT_RELEASE,
    RELEASES,
    CacheFacts,
    HttpFacts,
    Release,
    VolumeFacts,
    merge,
    plan,
)
from components.environment import Section, Text, to_environment


def _variables(release: Release, log_level: str = "warn") -> dict[str, Text]:
    tree = plan(
        release,
        VolumeFacts(path="/data"),
        CacheFacts(address="redis:6379"),
        HttpFacts(log_level=log_level, drain_seconds=30),
    )
    return to_environment(tree, release.schema)


each_release = pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)


def test_the_redis_address_goes_by_the_key_of_the_release() -> None:
    assert _variables(RELEASES["2.8.3"])["REGISTRY_REDIS_ADDR"] == ("redis:6379",)
    assert _variables(RELEASES["3.1.2"])["REGISTRY_REDIS_ADDRS"] == ('["redis:6379"]',)


@each_release
def test_naming_the_driver_does_not_lose_cache_and_delete(release: Release) -> None:
    variables = _variables(release)
    assert variables["REGISTRY_STORAGE"] == ("filesystem",)
    assert variables["REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR"] == ("redis",)
    assert variables["REGISTRY_STORAGE_DELETE_ENABLED"] == ("true",)


@each_release
def test_upload_purging_is_given_whole_because_the_registry_panics_at_a_part(
    release: Release,
) -> None:
    assert _variables(release)["REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING"] == (
        '{"enabled":true,"age":"168h","interval":"24h","dryrun":false}',
    )


def test_the_debug_server_of_the_3_x_image_is_off() -> None:
    assert _variables(RELEASES["3.1.2"])["REGISTRY_HTTP_DEBUG_ADDR"] == ("",)
    assert "REGISTRY_HTTP_DEBUG_ADDR" not in _variables(RELEASES["2.8.3"])


@each_release
@pytest.mark.parametrize(("level", "disabled"), [("warn", "true"), ("info", "false")])
def test_requests_are_logged_from_info_on(release: Release, level: str, disabled: str) -> None:
    assert _variables(release, level)["REGISTRY_LOG_ACCESSLOG_DISABLED"] == (disabled,)


def test_the_default_release_is_the_newest() -> None:
    assert list(RELEASES)[-1] == DEFAULT_RELEASE


def test_trees_merge_section_by_section() -> None:
    below: Section = {"http": {"addr": ":1", "net": "tcp"}, "log": {"hooks": [1, 2]}}
    above: Section = {"http": {"addr": ":2"}, "log": {"hooks": [3]}, "health": {}}
    assert merge(below, above) == {
        "http": {"addr": ":2", "net": "tcp"},
        "log": {"hooks": [3]},
        "health": {},
    }
