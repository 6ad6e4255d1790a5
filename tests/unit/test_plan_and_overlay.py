"""Tests of the configuration for each release, and of the user's `registry.config` over it."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from components.storage import BACKENDS
from config.durations import seconds
from config.overlay import problems, read, warnings
from config.plan import drain_seconds
from config.problems import Problem
from config.releases import DEFAULT_RELEASE, RELEASES, Release
from config.render import redact, to_environment
from config.settings import StackSettings
from config.stack import RegistryConfig, Stack
from config.tree import Placeholder, Section, merge, switch_off_missing
from toolchain.images import IMAGES

VOLUME: Mapping[str, Any] = {"kind": "filesystem"}
BUCKET: Mapping[str, Any] = {
    "kind": "oss",
    "bucket": "demo",
    "prefix": "team/registry",
    "access_keys": ["2026-11"],
}
REDIS: Mapping[str, Any] = {"address": "redis:6379", "db": 2}
OLD, MIDDLE, NEW = RELEASES.values()
each_release = pytest.mark.parametrize("release", RELEASES.values(), ids=RELEASES)


def _registry(
    release: Release,
    overlay: Section | None = None,
    *,
    storage: Mapping[str, Any] = VOLUME,
    cache: Mapping[str, Any] | None = REDIS,
    log_level: str = "warn",
) -> RegistryConfig:
    sections = {
        "registry": {"release": release.version, "log_level": log_level},
        "storage": storage,
        "cache": {"enabled": False} if cache is None else cache,
    }
    settings = StackSettings.model_validate(sections)
    secrets = {"redis-password": "known"}
    return Stack("dev", settings, BACKENDS, "cn-beijing", secrets, overlay or {}).registry


def _planned(release: Release, overlay: Section | None = None, **settings: Any) -> Section:  # noqa: ANN401
    return _registry(release, overlay, **settings).tree


def _variables(release: Release, tree: Section | None = None) -> dict[str, str]:
    tree = switch_off_missing(release.image_defaults, _planned(release) if tree is None else tree)
    return {name: redact(text) for name, text in to_environment(tree, release.schema).items()}


def _problems_of(release: Release, config: dict[str, Any], **settings: Any) -> dict[str, Problem]:  # noqa: ANN401
    """Return the problems with the user's `config`, by path."""
    overlay, unreadable = read(release, config, {"known"})
    found = problems(release, _registry(release, **settings), overlay)
    return {problem.path: problem for problem in unreadable + found}


def test_the_keys_of_the_redis_section_are_those_of_the_release() -> None:
    def redis_variables(release: Release) -> dict[str, str]:
        start = "REGISTRY_REDIS_"
        variables = _variables(release).items()
        return {
            name.removeprefix(start): text for name, text in variables if name.startswith(start)
        }

    assert redis_variables(OLD) == {
        "ADDR": "redis:6379",
        "PASSWORD": "[secret: redis-password]",
        "DB": "2",
        "POOL_MAXIDLE": "16",
        "POOL_MAXACTIVE": "64",
        "POOL_IDLETIMEOUT": "300s",
        "DIALTIMEOUT": "500ms",
        "READTIMEOUT": "500ms",
        "WRITETIMEOUT": "500ms",
    }
    assert redis_variables(NEW) == {
        "ADDRS": '["redis:6379"]',
        "PASSWORD": "[secret: redis-password]",
        "DB": "2",
        "MAXIDLECONNS": "16",
        "POOLSIZE": "64",
        "CONNMAXIDLETIME": "300s",
        "DIALTIMEOUT": "500ms",
        "READTIMEOUT": "500ms",
        "WRITETIMEOUT": "500ms",
    }
    assert redis_variables(MIDDLE) == {
        f"OPTIONS_{name}": text for name, text in redis_variables(NEW).items()
    }


def test_release_2_uses_the_oss_driver_and_release_3_the_s3_driver() -> None:
    old, new = (_variables(release, _planned(release, storage=BUCKET)) for release in (OLD, NEW))
    assert old["REGISTRY_STORAGE"] == "oss"
    assert old["REGISTRY_STORAGE_OSS_REGION"] == "oss-cn-beijing"
    assert old["REGISTRY_STORAGE_OSS_ENDPOINT"] == "demo.oss-cn-beijing-internal.aliyuncs.com"
    assert old["REGISTRY_STORAGE_OSS_INTERNAL"] == "true"
    assert old["REGISTRY_STORAGE_OSS_ACCESSKEYSECRET"] == "[secret: access key 2026-11]"
    assert old["REGISTRY_STORAGE_OSS_ACCESSKEYID"] == "[access key id 2026-11]"
    assert new["REGISTRY_STORAGE"] == "s3"
    assert new["REGISTRY_STORAGE_S3_REGION"] == "cn-beijing"
    endpoint = "https://s3.oss-cn-beijing-internal.aliyuncs.com"
    assert new["REGISTRY_STORAGE_S3_REGIONENDPOINT"] == endpoint
    assert new["REGISTRY_STORAGE_S3_FORCEPATHSTYLE"] == "false"
    assert new["REGISTRY_STORAGE_S3_SECRETKEY"] == "[secret: access key 2026-11]"
    for variables in (old, new):
        assert variables["REGISTRY_STORAGE_REDIRECT_DISABLE"] == "true"


@each_release
def test_cache_and_delete_stay_configured_beside_the_storage_driver(release: Release) -> None:
    for storage in (VOLUME, BUCKET):
        variables = _variables(release, _planned(release, storage=storage))
        assert variables["REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR"] == "redis"
        assert variables["REGISTRY_STORAGE_DELETE_ENABLED"] == "true"


@each_release
def test_without_redis_the_registry_caches_descriptors_in_memory(release: Release) -> None:
    variables = _variables(release, _planned(release, cache=None))
    assert variables["REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR"] == "inmemory"
    assert not any("REDIS" in name for name in variables)


@each_release
def test_upload_purging_is_one_complete_variable(release: Release) -> None:
    # The registry panics if a key is missing.
    tree = _planned(release, {"storage": {"maintenance": {"uploadpurging": {"age": "111h"}}}})
    assert _variables(release, tree)["REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING"] == (
        '{"enabled":true,"age":"111h","interval":"24h","dryrun":false}'
    )


@pytest.mark.parametrize(("release", "purges"), [(OLD, True), (MIDDLE, False), (NEW, True)])
def test_upload_purging_on_oss_is_off_for_the_release_that_it_would_crash(
    release: Release, purges: bool
) -> None:
    tree = _planned(release, storage=BUCKET)
    purging = json.loads(_variables(release, tree)["REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING"])
    assert purging["enabled"] is purges


def test_the_debug_server_of_the_3_x_image_is_off() -> None:
    assert _variables(NEW)["REGISTRY_HTTP_DEBUG_ADDR"] == ""
    assert "REGISTRY_HTTP_DEBUG_ADDR" not in _variables(OLD)


def test_a_section_that_the_user_removes_is_switched_off_if_the_image_sets_it() -> None:
    user: Section = {"health": None, "http": {"headers": None}}
    variables = _variables(OLD, _planned(OLD, user))
    assert variables["REGISTRY_HEALTH_STORAGEDRIVER_ENABLED"] == ""
    assert variables["REGISTRY_HTTP_HEADERS"] == "{}"


@pytest.mark.parametrize(
    "image", [image for image in IMAGES if image.program], ids=lambda i: i.name
)
def test_the_image_defaults_in_the_release_table_are_those_of_the_image(image: Any) -> None:  # noqa: ANN401
    file = yaml.safe_load((image.program.sources / "config.yml").read_text())
    release = RELEASES[image.program.version]
    assert {key: file[key] for key in file if key not in ("version", "storage")} == (
        release.image_defaults
    )
    assert image.configuration == release.config_path.removeprefix("/")


@each_release
@pytest.mark.parametrize(("level", "disabled"), [("warn", "true"), ("info", "false")])
def test_requests_are_logged_at_level_info_but_not_at_warn(
    release: Release, level: str, disabled: str
) -> None:
    variables = _variables(release, _planned(release, log_level=level))
    assert variables["REGISTRY_LOG_ACCESSLOG_DISABLED"] == disabled


def test_the_default_release_is_the_newest() -> None:
    assert list(RELEASES)[-1] == DEFAULT_RELEASE


def test_trees_merge_section_by_section_and_null_removes_a_key() -> None:
    below: Section = {"http": {"addr": ":1", "net": "tcp"}, "log": {"hooks": [1, 2]}, "proxy": {}}
    above: Section = {"http": {"addr": ":2", "net": None}, "log": {"hooks": [3]}, "proxy": None}
    assert merge(below, above) == {"http": {"addr": ":2"}, "log": {"hooks": [3]}}
    assert merge({}, {"health": {"file": {"removed": None}}}) == {"health": {"file": {}}}


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("-2ms", -0.002), ("0", 0)]
)
def test_durations_are_parsed_as_go_parses_them(text: str, expected: float) -> None:
    assert seconds(text) == expected


def test_drain_seconds_come_from_the_draintimeout_of_the_tree() -> None:
    assert drain_seconds(_planned(NEW)) == 30
    assert drain_seconds(_planned(NEW, {"http": {"draintimeout": "1m0.5s"}})) == 61
    assert drain_seconds(_planned(NEW, {"http": {"draintimeout": None}})) == 0


# Each case: settings, release, configuration, path of the problem, part of its rule or fix.
INVALID: list[tuple[dict[str, Any], Release, dict[str, Any], str, str]] = [
    ({}, NEW, {"htpp": {}}, "htpp", "write http"),
    ({}, NEW, {"HTTP": {}}, "HTTP", "write http"),
    ({}, NEW, {"http": {"hedaers": {}}}, "http.hedaers", "write headers"),
    ({}, NEW, {"http": ":5000"}, "http", "must be a section"),
    ({}, NEW, {"log": {"hooks": {}}}, "log.hooks", "must be a list"),
    ({}, NEW, {"log": {"hooks": [1]}}, "log.hooks[0]", "must be a section"),
    ({}, NEW, {"log": {"level": "verbose"}}, "log.level", "error, warn, info, debug"),
    ({}, NEW, {"log": {"formatter": "xml"}}, "log.formatter", "text, json, logstash"),
    ({}, NEW, {"loglevel": "info"}, "loglevel", "registry.log_level"),
    ({}, NEW, {"version": 0.2}, "version", "not a key"),
    # Two drivers, two types of login.
    ({}, NEW, {"storage": {"s3": {"bucket": "b"}}}, "storage.s3", "second driver"),
    ({}, NEW, {"storage": {"gcs": {}}}, "storage.gcs", "storage.kind"),
    ({}, OLD, {"storage": {"tag": {}}}, "storage.tag", "storage.kind"),
    ({}, NEW, {"auth": {"silly": {"realm": "a", "service": "b"}, "none": {}}}, "auth", "one type"),
    ({}, NEW, {"auth": {"htpasswd": {"realm": "a"}}}, "auth.htpasswd", "needs path"),
    ({}, NEW, {"auth": {"token": {"realm": "a"}}}, "auth.token", "rootcertbundle"),
    ({}, NEW, {"proxy": {"remoteurl": "https://hub.example"}}, "proxy", "every push"),
    # Keys of another release.
    ({}, NEW, {"redis": {"addr": "r:1"}}, "redis.addr", "calls it redis.addrs"),
    ({}, MIDDLE, {"redis": {"pool": {"maxidle": 1}}}, "redis.pool", "redis.poolsize"),
    ({}, OLD, {"redis": {"addrs": ["r:1"]}}, "redis.addrs", "calls it redis.addr"),
    ({}, OLD, {"redis": {"poolsize": 1}}, "redis.poolsize", "redis.pool.maxactive"),
    ({}, OLD, {"redis": {"tls": {"rootcas": ["/ca"]}}}, "redis.tls", "3.1.2"),
    ({}, MIDDLE, {"redis": {"tls": {"clientcas": ["/ca"]}}}, "redis.tls", "3.1.2"),
    ({}, NEW, {"redis": {"tls": {"certificate": "/c"}}}, "redis.tls", "key together"),
    ({}, NEW, {"redis": {"poolsize": -1}}, "redis.poolsize", "0 to 65535"),
    ({}, NEW, {"reporting": {}}, "reporting", "belongs to release 2.8.3"),
    ({}, OLD, {"tags": {"maxtags": 5}}, "tags", "belongs to release 3.1.2"),
    # Keys that other parts of the stack depend on.
    ({}, NEW, {"http": {"addr": ":80"}}, "http.addr", "registry.port"),
    ({}, NEW, {"http": None}, "http", "registry.port"),
    ({}, NEW, {"redis": {"addrs": ["other:1"]}}, "redis.addrs", "cache.address"),
    (
        {},
        NEW,
        {"redis": {"password": {"from_secret": "known"}}},
        "redis.password",
        "redis-password",
    ),
    ({}, NEW, {"redis": None}, "redis", "redis-password"),
    (
        {},
        NEW,
        {"storage": {"filesystem": {"rootdirectory": "/tmp"}}},
        "storage.filesystem.rootdirectory",
        "storage.kind",
    ),
    (
        {"storage": BUCKET},
        NEW,
        {"storage": {"s3": {"region": "x"}}},
        "storage.s3.region",
        "alicloud",
    ),
    ({"storage": BUCKET}, OLD, {"storage": {"oss": None}}, "storage.oss", "storage.prefix"),
    # The cache.
    (
        {"cache": None},
        NEW,
        {"storage": {"cache": {"blobdescriptor": "redis"}}},
        "storage.cache.blobdescriptor",
        "cache.enabled",
    ),
    (
        {},
        NEW,
        {"storage": {"cache": {"layerinfo": "redis"}}},
        "storage.cache.layerinfo",
        "old name",
    ),
    (
        {},
        NEW,
        {"storage": {"cache": {"blobdescriptor": "memcached"}}},
        "storage.cache.blobdescriptor",
        "redis, inmemory",
    ),
    *(
        ({"cache": None}, release, {"redis": {"addrs": addrs}}, "redis.addrs", "Redis Cluster")
        for release in (MIDDLE, NEW)
        for addrs in (["a:6379", "b:6379"], ["a:6379", "b:6379", "c:6379"])
    ),
    # Redirects.
    (
        {},
        NEW,
        {"storage": {"redirect": {"disabled": True}}},
        "storage.redirect.disabled",
        "disable",
    ),
    ({}, NEW, {"storage": {"redirect": {}}}, "storage.redirect", "needs disable"),
    (
        {},
        NEW,
        {"storage": {"redirect": {"disable": "true"}}},
        "storage.redirect.disable",
        "without quotes",
    ),
    *(
        (
            {"storage": BUCKET},
            release,
            {"storage": {"redirect": redirect}},
            "storage.redirect.disable",
            "storage.internal",
        )
        for release in RELEASES.values()
        for redirect in ({"disable": False}, None)
    ),
    (
        {"storage": BUCKET, "log_level": "info"},
        OLD,
        {"storage": {"redirect": {"disable": False}}},
        "log.level",
        "signed address",
    ),
    (
        {"storage": BUCKET},
        OLD,
        {"log": {"level": None}, "storage": {"redirect": None}},
        "log.level",
        "signed address",
    ),
    # OSS.
    (
        {"storage": BUCKET},
        NEW,
        {"storage": {"s3": {"forcepathstyle": True}}},
        "storage.s3.forcepathstyle",
        "SecondLevelDomainForbidden",
    ),
    *(
        ({"storage": BUCKET}, release, {"storage": {driver: {"chunksize": size}}}, path, rule)
        for release, driver in ((OLD, "oss"), (MIDDLE, "s3"), (NEW, "s3"))
        for path in (f"storage.{driver}.chunksize",)
        for size, rule in ((2**20, "must be 5242880 to"), ("10M", "whole number"))
    ),
    *(
        ({"storage": BUCKET}, release, {"storage": {"s3": {key: value}}}, f"storage.s3.{key}", word)
        for release in (MIDDLE, NEW)
        for key, value, word in (
            ("storageclass", "IA", "NONE, STANDARD, REDUCED_REDUNDANCY, STANDARD_IA, ONEZONE_IA, "),
            ("storageclass", "IA", "write STANDARD_IA for what OSS calls IA"),
            ("storageclass", "", "STANDARD_IA"),
            ("storageclass", "Archive", "set the storage class on the bucket"),
            ("storageclass", True, "STANDARD_IA"),
            ("objectacl", "private2", "private, public-read, public-read-write, authenticated"),
            ("objectacl", "Private", "write private"),
            ("objectacl", "", "write private"),
            ("multipartcopythresholdsize", 2**31, "must be 0 to 1073741824; write 1073741824"),
            ("multipartcopythresholdsize", 2**30 + 1, "OSS copies at most 1 GiB in one call"),
            ("multipartcopychunksize", 100 * 2**10, "must be 5242880 to 5368709120"),
            ("multipartcopychunksize", 5 * 2**30 + 1, "must be 5242880 to 5368709120"),
            ("multipartcopymaxconcurrency", 0, "must be 1 to"),
            ("chunksize", 5 * 2**30 + 1, "must be 5242880 to 5368709120"),
        )
    ),
    ({"storage": BUCKET}, OLD, {"storage": {"oss": {"encrypt": "yes"}}}, "storage.oss.encrypt", ""),
    (
        {"storage": BUCKET},
        MIDDLE,
        {"storage": {"s3": {"storageclass": "EXPRESS_ONEZONE"}}},
        "storage.s3.storageclass",
        "GLACIER_IR;",
    ),
    *(
        (
            {"storage": BUCKET},
            NEW,
            {"storage": {"s3": {"redirectendpoint": address}}},
            "storage.s3.redirectendpoint",
            "with its scheme, and without path",
        )
        for address in (
            "images.example.com",
            "https://images.example.com/cdn",
            "ftp://images.example.com",
        )
    ),
    (
        {"storage": BUCKET},
        MIDDLE,
        {"storage": {"maintenance": {"uploadpurging": {"enabled": True}}}},
        "storage.maintenance.uploadpurging.enabled",
        "3.1.0",
    ),
    (
        {"storage": BUCKET},
        MIDDLE,
        {"storage": {"maintenance": None}},
        "storage.maintenance.uploadpurging.enabled",
        "3.1.0",
    ),
    *(
        ({"storage": BUCKET}, release, {"storage": {"s3": {"objectacl": acl}}}, path, "every layer")
        for release in (MIDDLE, NEW)
        for path in ("storage.s3.objectacl",)
        for acl in ("public-read", "public-read-write", "authenticated-read")
    ),
    ({"storage": BUCKET}, OLD, {"storage": {"oss": {"acl": "public-read"}}}, "storage.oss.acl", ""),
    # Incomplete upload purging.
    (
        {},
        NEW,
        {"storage": {"maintenance": {"uploadpurging": True}}},
        "storage.maintenance.uploadpurging",
        "must be a section",
    ),
    (
        {},
        NEW,
        {"storage": {"maintenance": {"uploadpurging": {"age": None}}}},
        "storage.maintenance.uploadpurging",
        "needs age",
    ),
    # TLS is a section of the stack file.
    ({}, NEW, {"http": {"tls": {"certificate": "/c"}}}, "http.tls.certificate", "oss-registry:tls"),
    ({}, OLD, {"http": {"tls": {"letsencrypt": {}}}}, "http.tls.letsencrypt", "oss-registry:tls"),
    ({}, NEW, {"http": {"tls": {"minimumtls": "tls1.0"}}}, "http.tls.minimumtls", "tls1.2, tls1.3"),
    ({}, NEW, {"http": {"host": "reg.example.com"}}, "http.host", "https://"),
    ({}, NEW, {"http": {"host": {"from_secret": "known"}}}, "http.host", "https://"),
    ({}, NEW, {"http": {"prefix": "reg"}}, "http.prefix", "/registry/"),
    *(
        ({}, NEW, {"http": {"prefix": prefix}}, "http.prefix", "no part . or ..")
        for prefix in ("/../", "/a/./", "/a/../b/", "//")
    ),
    *(
        ({}, NEW, {"http": {"host": f"https://h{path}"}}, "http.host", "in its path")
        for path in ("/..", "/a/../b", "/a//b", "/.")
    ),
    (
        {},
        NEW,
        {"middleware": {"storage": [{"name": "alicdn"}]}},
        "middleware.storage[0].name",
        "registry.image",
    ),
    # Values.
    ({}, NEW, {"http": {"relativeurls": "yes"}}, "http.relativeurls", "true or false"),
    ({}, NEW, {"http": {"relativeurls": 1}}, "http.relativeurls", "true or false"),
    ({}, NEW, {"catalog": {"maxentries": "5"}}, "catalog.maxentries", "whole number"),
    ({}, NEW, {"catalog": {"maxentries": 2**70}}, "catalog.maxentries", "smaller"),
    ({}, NEW, {"log": {"fields": {"n": -(2**64)}}}, "log.fields.n", "smaller"),
    ({}, NEW, {"log": {"fields": {"n": "\ud83d"}}}, "log.fields.n", "UTF-8"),
    ({}, NEW, {"log": {"fields": {"n": [None]}}}, "log.fields.n[0]", "null"),
    ({}, NEW, {"auth": {"htpasswd": {"realm": True}}}, "auth.htpasswd.realm", "in quotes"),
    ({}, NEW, {"auth": {"htpasswd": {"realm": 1.10}}}, "auth.htpasswd.realm", "in quotes"),
    # Secrets.
    ({}, NEW, {"redis": {"dialtimeout": {"from_secret": "known"}}}, "redis.dialtimeout", "plainly"),
    ({}, NEW, {"http": {"secret": {"from_secret": "typo"}}}, "http.secret", "not there"),
    ({}, NEW, {"http": {"secret": {"from_secret": 7}}}, "http.secret", "not there"),
]


@pytest.mark.parametrize(("settings", "release", "config", "path", "word"), INVALID)
def test_a_configuration_that_cannot_work_is_refused_at_its_key(
    settings: dict[str, Any], release: Release, config: dict[str, Any], path: str, word: str
) -> None:
    problem = _problems_of(release, config, **settings)[path]
    assert word in f"{problem.rule}; {problem.fix}"


DURATIONS = (
    "redis.dialtimeout",
    "redis.connmaxidletime",
    "http.draintimeout",
    "health.storagedriver.interval",
    "storage.maintenance.uploadpurging.age",
)


@pytest.mark.parametrize("path", DURATIONS)
@pytest.mark.parametrize(
    ("value", "word"),
    [(10, "write 10s"), ("10", "10s"), ("30d", "10s"), ("1h 5m", "10s"), (True, "")],
)
def test_a_duration_without_a_unit_is_refused_at_every_key(
    path: str, value: object, word: str
) -> None:
    config: Any = value
    for key in reversed(path.split(".")):
        config = {key: config}
    assert word in _problems_of(NEW, config)[path].fix


@pytest.mark.parametrize("release", [OLD, NEW], ids=lambda release: release.version)
@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"http": {"draintimeout": "-10s"}}, "http.draintimeout"),
        ({"redis": {"dialtimeout": "-1ns"}}, "redis.dialtimeout"),
        ({"redis": {"readtimeout": "-1s"}}, "redis.readtimeout"),
        ({"health": {"http": [{"timeout": "-1s"}]}}, "health.http[0].timeout"),
        ({"notifications": {"endpoints": [{"backoff": "-5m"}]}}, "notifications.endpoints[0].back"),
    ],
)
def test_a_negative_duration_is_refused(
    release: Release, config: dict[str, Any], path: str
) -> None:
    (problem,) = _problems_of(release, config).values()
    assert problem.path.startswith(path)
    assert problem.rule == "must be 0s or more"


def test_a_single_redis_and_several_sentinels_do_not_count_as_a_redis_cluster() -> None:
    sentinels = {"addrs": ["a:26379", "b:26379"], "mastername": "cache"}
    for redis in ({"addrs": ["a:6379"]}, sentinels):
        assert not _problems_of(NEW, {"redis": redis}, cache=None)


def test_a_duration_that_overflows_the_registrys_nanoseconds_is_refused() -> None:
    found = _problems_of(NEW, {"http": {"draintimeout": "9999999h"}})
    assert "less than 292 years" in found["http.draintimeout"].rule


def test_negative_redis_durations_that_mean_no_limit_are_accepted_from_release_3_on() -> None:
    redis = {"readtimeout": "-2ns", "connmaxidletime": "-1ns", "minretrybackoff": "-1ns"}
    for release in (MIDDLE, NEW):
        assert not _problems_of(release, {"redis": redis})
    assert _problems_of(OLD, {"redis": {"readtimeout": "-1ns"}})


def test_a_storage_class_may_be_in_lower_case() -> None:
    config = {"storage": {"s3": {"storageclass": "standard_ia", "objectacl": "private"}}}
    assert not _problems_of(NEW, config, storage=BUCKET)


@pytest.mark.parametrize("value", ["10ms", "168h", "1m30s", "0.5h"])
def test_a_duration_with_a_unit_is_accepted(value: str) -> None:
    assert not _problems_of(NEW, {"redis": {"dialtimeout": value}, "http": {"draintimeout": value}})


@pytest.mark.parametrize("value", ["0s", "-1s"])
@pytest.mark.parametrize("key", ["age", "interval"])
def test_upload_purging_without_a_positive_age_and_interval_is_refused(
    key: str, value: str
) -> None:
    found = _problems_of(NEW, {"storage": {"maintenance": {"uploadpurging": {key: value}}}})
    assert "more than 0s" in found[f"storage.maintenance.uploadpurging.{key}"].rule


PLAIN_SECRETS: list[dict[str, Any]] = [
    {"http": {"secret": "hunter2"}},
    {"redis": {"sentinelpassword": "hunter2"}},
    {"redis": {"sentinelpassword": 12345678}},
    {"log": {"hooks": [{"options": {"smtp": {"password": "hunter2"}}}]}},
    {"log": {"fields": {"api_token": "hunter2"}}},
    {"notifications": {"endpoints": [{"headers": {"Authorization": ["Bearer hunter2"]}}]}},
    {"notifications": {"endpoints": [{"headers": {"X-Auth-Token": ["hunter2"]}}]}},
    {"notifications": {"endpoints": [{"url": "https://user:hunter2@hook.example/e"}]}},
    {"health": {"http": [{"headers": {"Cookie": ["hunter2"]}}]}},
    {"middleware": {"storage": [{"name": "redirect", "options": {"secretkey": "hunter2"}}]}},
]


@pytest.mark.parametrize("config", PLAIN_SECRETS)
def test_a_secret_in_plain_text_is_refused_without_showing_it(config: dict[str, Any]) -> None:
    (problem,) = _problems_of(NEW, config).values()
    assert "plain text" in problem.rule
    assert "from_secret" in problem.fix
    assert problem.shown is None


def test_a_header_that_clients_get_is_no_secret() -> None:
    assert not _problems_of(
        NEW, {"http": {"headers": {"Access-Control-Allow-Headers": ["Authorization"]}}}
    )


def test_from_secret_becomes_a_placeholder_in_the_variable() -> None:
    endpoint = {"headers": {"Authorization": [{"from_secret": "known"}]}, "name": "hook"}
    user, unreadable = read(NEW, {"notifications": {"endpoints": [endpoint]}}, {"known"})
    assert not unreadable
    variable = to_environment(user, NEW.schema)["REGISTRY_NOTIFICATIONS_ENDPOINTS"]
    assert variable == (
        '[{"headers":{"Authorization":[',
        Placeholder("known"),
        ']},"name":"hook"}]',
    )


@pytest.mark.parametrize("realm", ["2026", "0123", "y", "Team: A"])
def test_a_realm_that_looks_like_another_type_stays_text(realm: str) -> None:
    user, unreadable = read(NEW, {"auth": {"htpasswd": {"realm": realm, "path": "/p"}}}, set())
    assert not unreadable
    variable = _variables(NEW, user)["REGISTRY_AUTH_HTPASSWD_REALM"]
    assert yaml.safe_load(variable) == realm


# Pulumi reads 0123 as 83, 1e3 as 1000, 1.10 as 1.1 and 0x10 as 16.
@pytest.mark.parametrize("value", [83, 1000, 0, -1, 1.1, True, False])
@pytest.mark.parametrize(
    ("path", "config"),
    [
        ("redis.clientname", lambda value: {"redis": {"clientname": value}}),
        ("storage.s3.useragent", lambda value: {"storage": {"s3": {"useragent": value}}}),
        ("http.headers.X-A[0]", lambda value: {"http": {"headers": {"X-A": [value]}}}),
        ("auth.htpasswd.realm", lambda value: {"auth": {"htpasswd": {"realm": value}}}),
    ],
)
def test_a_number_or_boolean_is_refused_if_text_is_expected(
    path: str, config: Callable[[object], dict[str, Any]], value: object
) -> None:
    _, (problem,) = read(NEW, config(value), set())
    assert (problem.path, problem.rule, problem.fix) == (path, "must be text", "put it in quotes")


def test_a_decimal_number_in_log_fields_is_refused() -> None:
    (problem,) = _problems_of(NEW, {"log": {"fields": {"version": 1.1, "shard": 5}}}).values()
    assert (problem.path, problem.fix) == ("log.fields.version", "put it in quotes")


def test_the_version_of_a_complete_config_yml_is_accepted() -> None:
    assert read(NEW, {"version": 0.1}, set()) == ({}, [])
    assert read(NEW, {"version": "0.1"}, set()) == ({}, [])


def test_a_custom_image_may_have_its_own_middleware() -> None:
    custom = NEW._replace(middleware=None)
    assert not _problems_of(custom, {"middleware": {"registry": [{"name": "ours"}]}})


def _headers(release: Release, given: Section) -> Any:  # noqa: ANN401
    tree = _planned(release, {"http": {"headers": given}})
    return json.loads(_variables(release, tree)["REGISTRY_HTTP_HEADERS"])


@each_release
@pytest.mark.parametrize(
    "name", ["x-content-type-options", "X-CONTENT-TYPE-OPTIONS", "X-Content-Type-Options"]
)
def test_a_header_of_the_user_replaces_ours_in_any_case(release: Release, name: str) -> None:
    assert _headers(release, {name: ["mine"]}) == {name: ["mine"]}
    assert _headers(release, {name: None}) == {}
    both = _headers(release, {"X-Frame-Options": ["deny"]})
    assert both == {"X-Content-Type-Options": ["nosniff"], "X-Frame-Options": ["deny"]}
    assert not _problems_of(release, {"http": {"headers": {name: ["mine"]}}})


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"http": {"headers": {"X-A": ["1"], "x-a": ["2"]}}}, "http.headers"),
        (
            {"notifications": {"endpoints": [{"headers": {"accept": [], "Accept": []}}]}},
            "notifications.endpoints[0].headers",
        ),
        (
            {"health": {"http": [{"headers": {"accept": [], "Accept": []}}]}},
            "health.http[0].headers",
        ),
    ],
)
def test_a_header_that_is_set_twice_in_different_case_is_refused(
    config: dict[str, Any], path: str
) -> None:
    assert "twice" in _problems_of(NEW, config)[path].rule


@pytest.mark.parametrize("name", ["redirect", "cloudfront", "rewrite", "alicdn"])
def test_redirecting_middleware_is_a_warning_if_redirects_are_disabled(name: str) -> None:
    release = NEW._replace(middleware=None)

    def warned_paths(disable: bool, **more: object) -> list[str]:
        entry = {"name": name, "options": {"baseurl": "https://cdn.example.com"}, **more}
        user: Any = {
            "middleware": {"storage": [entry]},
            "storage": {"redirect": {"disable": disable}},
        }
        found = warnings(_registry(release, user, storage=BUCKET))
        return [problem.path for problem in found if "never used" in problem.rule]

    assert warned_paths(disable=True) == ["middleware.storage[0]"]
    assert warned_paths(disable=False) == []
    assert warned_paths(disable=True, disabled=True) == []


def test_other_middleware_is_no_warning() -> None:
    user: Section = {
        "middleware": {"storage": [{"name": "ours"}], "registry": [{"name": "redirect"}]}
    }
    assert not warnings(_registry(NEW, user, storage=BUCKET))


def test_a_hook_with_a_secret_is_a_warning_only_if_the_log_level_logs_it() -> None:
    endpoints: list[Section] = [
        {"headers": {"X-Hook-Sig": [Placeholder("known")]}},
        {"url": Placeholder("known")},
        {"url": "https://hook.example.com", "headers": {"Accept": ["*/*"]}},
    ]
    for level, expected in (("info", 2), ("warn", 0)):
        overlay: Section = {"notifications": {"endpoints": endpoints}}
        assert len(warnings(_registry(NEW, overlay, log_level=level))) == expected


def test_the_order_of_the_users_keys_does_not_change_the_variables() -> None:
    one = {"log": {"fields": {"b": 1, "a": 2}}, "http": {"net": "tcp", "host": "https://h"}}
    two = {"http": {"host": "https://h", "net": "tcp"}, "log": {"fields": {"a": 2, "b": 1}}}
    trees = [_planned(NEW, read(NEW, config, set())[0]) for config in (one, two)]
    assert json.dumps(_variables(NEW, trees[0])) == json.dumps(_variables(NEW, trees[1]))
