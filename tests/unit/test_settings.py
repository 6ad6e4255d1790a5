"""Tests of the settings of a stack file, and of the problems that are reported with them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.storage.oss import OssBackend
from config.load import warnings
from config.problems import SettingsError
from config.releases import RELEASES
from config.render import redact
from config.settings import StackSettings
from config.tree import Placeholder, lookup
from operations import stack_file
from operations.commands import schema
from operations.stack_file import STACKS
from tests.unit.stack_files import assert_refused, load, load_stack, problems


def _property_names(model: Any) -> list[str]:  # noqa: ANN401
    return [*model.get("properties", ())] if isinstance(model, dict) else []


FAULTS = Path(__file__).parent / "faults"
SECRETS = ("http-secret", "redis-password", "hook", "password-alice")


# Names of settings, keys of the registry's configuration, and arbitrary text.
KEYS = st.sampled_from(
    sorted(
        {*StackSettings.model_fields}
        | {
            name
            for model in schema.json_schema()["$defs"].values()
            for name in _property_names(model)
        }
    )
) | st.text(max_size=5)


def test_an_empty_stack_file_means_a_registry_with_a_volume_and_redis() -> None:
    stack = load("dev", {}, set())
    assert stack.registry.release.version == "3.1.2"
    assert stack.registry.redacted["REGISTRY_STORAGE"] == "filesystem"
    assert stack.registry.redacted["REGISTRY_REDIS_PASSWORD"] == "[secret: redis-password]"


def test_twelve_faults_are_reported_together_with_a_fix_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stack_file, "STACKS", FAULTS)
    with pytest.raises(SettingsError) as failure:
        load("dev", *stack_file.read_configuration("dev"))
    assert f"{failure.value}\n" == (FAULTS / "expected.txt").read_text()
    assert len(str(failure.value).splitlines()) == 1 + 12
    assert "hunter" not in str(failure.value)


def test_the_schema_file_for_editors_is_up_to_date() -> None:
    file = STACKS / "schema.json"
    assert json.loads(file.read_text()) == schema.json_schema(), "run `make schema`"
    jsonschema.Draft202012Validator.check_schema(schema.json_schema())


def test_the_settings_page_is_up_to_date_and_its_examples_are_valid() -> None:
    page = (STACKS.parent / "docs/settings.md").read_text()
    assert page == f"{schema.settings_page()}\n", "run `make schema`"
    validator = jsonschema.Draft202012Validator(schema.json_schema())
    rows = [(part.split("`")[0], row) for part in page.split("\n## `")[1:] for row in _rows(part)]
    assert len(rows) >= 50
    for section, (path, description, example) in rows:
        assert description, path
        *above, _ = path.replace("NAME", "ci").split(".")
        content: Any = yaml.safe_load(example)
        for key in reversed((section, *above)):
            content = {key: content}
        found = [*validator.iter_errors({"config": content})]
        # An example shows one setting, without the others that its section requires.
        assert not [error.message for error in found if not _is_missing_key(error)], path


def _is_missing_key(error: jsonschema.ValidationError) -> bool:
    return error.validator == "required" or any(map(_is_missing_key, error.context or ()))


def _rows(part: str) -> list[tuple[str, str, str]]:
    """Return the key, description and example of each setting in a part of the page."""
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return [(row[0].strip("`"), row[3], row[4].strip("`")) for row in rows if len(row) > 4]


@pytest.mark.parametrize("file", sorted(STACKS.glob("Pulumi.*.yaml")), ids=lambda f: f.name)
def test_our_stack_files_are_valid_by_the_schema_for_editors(file: Path) -> None:
    jsonschema.Draft202012Validator(schema.json_schema()).validate(yaml.safe_load(file.read_text()))


def test_the_schema_for_editors_finds_the_faults_of_a_stack_file() -> None:
    content = yaml.safe_load((FAULTS / "Pulumi.dev.yaml").read_text())
    # The release decides which keys are valid.
    del content["config"]["oss-registry:registry"]["release"]
    errors = jsonschema.Draft202012Validator(schema.json_schema()).iter_errors(content)
    marked = {
        ".".join(map(str, error.path)).removeprefix("config.oss-registry:") for error in errors
    }
    assert marked >= {
        "redis-password",
        "registry",  # because of the unknown key `prot`
        "registry.config",  # because of the unknown key `notifcations`
        "registry.config.redis.dialtimeout",
        "registry.config.storage.redirect",
        "registry.exposure",
        "storage.bucket",
        "cache",  # because of the unknown key `policy`
    }


def test_every_setting_has_a_description() -> None:
    for model in StackSettings.model_json_schema()["$defs"].values():
        for name, setting in model["properties"].items():
            assert "description" in setting, name


@pytest.mark.parametrize(
    "date", ["2026-11-01 00:00:00 +0000 UTC", "2026-11-01 01:02:03.5 +0200 +0200"]
)
def test_a_date_that_pulumi_rewrote_is_refused(date: str) -> None:
    found = problems(
        registry={"environment": {"A": date}, "config": {"log": {"fields": {"b": [date]}}}}
    )
    assert found == [
        f"oss-registry:registry.{path}: is a date, which Pulumi rewrites; put it in quotes"
        for path in ("environment.A", "config.log.fields.b[0]")
    ]


@pytest.mark.parametrize("release", ["latest", "stable", "2", "3.0", "3.2.0", "", 2.8, 3, None])
def test_an_unknown_release_is_refused_with_the_list_of_known_ones(release: object) -> None:
    (line,) = problems(registry={"release": release})
    assert line.startswith(
        'oss-registry:registry.release: must be one of "2.8.3", "3.0.0", "3.1.2"'
    )
    assert "registry.image" in line


def test_a_custom_image_needs_a_release() -> None:
    assert_refused(
        "oss-registry:registry.release", "with registry.image", registry={"image": "my/reg:4"}
    )
    # The message does not show the default release as if the user had written it.
    assert "3.1.2" not in "".join(problems(registry={"image": "my/reg:4"}))
    stack = load_stack(registry={"image": "my/reg:4", "release": "3.1.2"})
    assert stack.registry.image == "my/reg:4"
    assert load_stack().registry.image == "registry:3.1.2"


@pytest.mark.parametrize(
    "image",
    [
        "https://me:hunter2@images.example.com/registry:3",
        "images.example.com:99999/registry:3",
        "images.example.com/Team/registry",
        "registry:",
        "registry: 3",
        "registry@sha256:12",
    ],
)
@pytest.mark.parametrize("section", ["registry", "cache"])
def test_an_image_name_that_docker_refuses_is_refused_without_its_password(
    section: str, image: str
) -> None:
    sections = {section: {"image": image}}
    assert_refused(f"oss-registry:{section}.image", "docker pull", **sections)
    assert "hunter2" not in "".join(problems(**sections))


@pytest.mark.parametrize(
    "image",
    [
        "redis",
        "Images.example.com:5000/a/b_c--d.e/redis:7.0.15-r1",
        "[2001:db8::9]:5000/redis",
        f"localhost/redis:7@sha256:{'0' * 64}",
    ],
)
def test_an_image_name_may_have_a_host_a_path_a_tag_and_a_digest(image: str) -> None:
    assert load_stack(cache={"image": image}).settings.cache.image == image


@pytest.mark.parametrize("port", [0, 65536, -1, True, 5000.5, "5000", None, []])
def test_an_invalid_port_is_refused(port: object) -> None:
    assert_refused("oss-registry:registry.port", "must be", registry={"port": port})


@pytest.mark.parametrize(
    ("bind", "word"),
    [
        ("0.0.0.0", "loopback"),
        ("::", "loopback"),
        ("192.0.2.7", "loopback"),
        ("localhost", "one IP address"),
        ("127.0.0.1,::1", "one IP address"),
        ("127.0.0.1:80", "one IP address"),
        ("127.000.0.1", "one IP address"),
        ("fe80::1%eth0", "a zone"),
        ("fe80::1", "a zone"),
        (["127.0.0.1", "::1"], "single value"),
    ],
)
def test_bind_must_be_one_loopback_address_with_exposure_loopback(bind: object, word: str) -> None:
    assert_refused("oss-registry:registry.bind", word, registry={"bind": bind})


def test_the_bind_address_is_written_as_the_engine_writes_it() -> None:
    assert load_stack(registry={"bind": "0:0:0:0:0:0:0:1"}).registry.address == "::1"
    assert load_stack(registry={"bind": "127.0.0.2"}).registry.address == "127.0.0.2"
    assert load_stack().registry.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        ({"memory": "1MiB"}, "memory"),
        ({"memory": 0}, "memory"),
        ({"memory": "much"}, "memory"),
        ({"cpus": 0}, "cpus"),
        ({"cpus": -1}, "cpus"),
        ({"cpus": "1"}, "cpus"),
    ],
)
def test_a_limit_that_is_invalid_or_too_small_is_refused(limits: dict[str, Any], key: str) -> None:
    assert_refused(f"oss-registry:registry.limits.{key}", "", registry={"limits": limits})


PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("delivery", ["env", "file"])
def test_ca_certificates_are_added_to_those_of_the_image_and_are_shown(delivery: str) -> None:
    stack = load_stack(registry={"delivery": delivery, "ca_certificates": PEM})
    assert stack.registry.files["/etc/ssl/certs/oss-registry.pem"] == (PEM,)
    assert stack.registry.redacted["/etc/ssl/certs/oss-registry.pem"] == PEM
    assert ("REGISTRY_HTTP_ADDR" in stack.registry.environment) is (delivery == "env")


def test_a_private_key_among_ca_certificates_is_refused_without_showing_it() -> None:
    both = PEM + "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"
    (line,) = problems(registry={"ca_certificates": both})
    assert "oss-registry:registry.ca_certificates: must be PEM certificates" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("text", ["true", "[]", "5000", "hello", '"{"', "null", ""])
@pytest.mark.parametrize("section", ["registry", "storage", "cache"])
def test_a_section_that_is_not_a_map_is_refused(section: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"oss-registry:{section}: must be a section"):
        load("dev", {f"oss-registry:{section}": text}, set())


@pytest.mark.parametrize(
    ("sections", "key", "nearest"),
    [
        ({"cach": {}}, "cach", "write cache"),
        ({"registry": {"prot": 1}}, "registry.prot", "write port"),
        ({"storage": {"Bucket": "b"}}, "storage.Bucket", "write bucket"),
        ({"cache": {"pool": {"maxidle": 1}}}, "cache.pool.maxidle", "write max_idle"),
        ({"auth": {"users": {"bob": {"hsh": 1}}}}, "auth.users.bob.hsh", "write hash"),
        ({"registry": {"config": {"htpp": {}}}}, "registry.config.htpp", "write http"),
        ({"storage": {"region": "x"}}, "storage.region", "alicloud:region"),
        ({"cache": {"policy": "x"}}, "cache.policy", "drops the oldest"),
        ({"cache": {"tls": {}}}, "cache.tls", "3.1.2"),
        ({"zzz": 1}, "zzz", "known are auth, cache, http-secret"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_key(
    sections: dict[str, Any], key: str, nearest: str
) -> None:
    assert_refused(f"oss-registry:{key}", nearest, **sections)


TLS: Mapping[str, Any] = {"exposure": "tls", "external_url": "https://registry.example.com"}
ACME = {"letsencrypt": {"hosts": ["registry.example.com"]}}
ALICE: Mapping[str, Any] = {"users": {"alice": {}}}
BUCKET: Mapping[str, Any] = {"kind": "oss", "bucket": "demo-registry"}
HOST_MODE = {"publish_mode": "host", "endpoint_mode": "dnsrr"}
LARGE_CONFIG = {"log": {"fields": {"large": "x" * 2**17}}}
REDIRECTS_ENABLED = {"storage": {"redirect": {"disable": False}}}
S3_CHUNKS = {"storage": {"s3": {"chunksize": 2**24}}}
OWN_REDIS = {"redis": {"tls": {"rootcas": ["/ca.pem"]}, "username": "bob"}}
TOKEN = {"realm": "r", "service": "s", "issuer": "i", "rootcertbundle": "/i.pem"}
OPEN_SWARM = {"runtime": "swarm", "exposure": "open"}


@pytest.mark.parametrize(
    ("key", "fix", "sections"),
    [
        # Values that decide what other settings mean.
        (
            "storage.kind",
            "write oss",
            {"storage": {**BUCKET, "kind": "OSS"}, "registry": {"config": S3_CHUNKS}},
        ),
        (
            "storage.kind",
            "write filesystem",
            {"storage": {"kind": "filesytem", "volume": "images"}},
        ),
        (
            "registry.exposure",
            "write tls",
            {"registry": {**TLS, "exposure": "tsl", "bind": "0.0.0.0"}, "auth": ALICE, "tls": ACME},
        ),
        ("registry.exposure", "write proxy", {"registry": {**TLS, "exposure": "Proxy"}}),
        (
            "registry.runtime",
            "write swarm",
            {
                "registry": {**OPEN_SWARM, "runtime": "Swarm", "replicas": 3, "swarm": HOST_MODE},
                "storage": BUCKET,
            },
        ),
        ("registry.runtime", "swarm", {"registry": {"runtime": "swarn", "config": LARGE_CONFIG}}),
        ("registry.delivery", "file", {"registry": {"delivery": "File", "config": LARGE_CONFIG}}),
        (
            "registry.swarm.publish_mode",
            "write host",
            {"registry": {**OPEN_SWARM, "swarm": {**HOST_MODE, "publish_mode": "hosts"}}},
        ),
        ("registry.release", '"2.8.3"', {"registry": {"release": "2.8", "image": "mine:1"}}),
        ("registry.log_level", "write warn", {"registry": {"log_level": "warning"}}),
        ("storage.adopt", "true", {"storage": {**BUCKET, "adopt": "yes", "prefix": ""}}),
        (
            "storage.internal",
            "true or false",
            {"storage": {**BUCKET, "internal": "no"}, "registry": {"config": REDIRECTS_ENABLED}},
        ),
        (
            "cache.address",
            "[2001",
            {"cache": {"address": "r:0"}, "registry": {"config": OWN_REDIS}},
        ),
        ("tls.certificate", "", {"tls": {"certificate": "PEM"}, "secrets": {"tls-key": "x"}}),
        ("auth.users", "entry", {"auth": {"users": {}}, "secrets": {"password-alice": "x"}}),
        ("registry.config", "keys", {"registry": {"config": 5}, "secrets": {"hook": "x"}}),
        (
            "registry.config.auth.tokn",
            "write token",
            {"registry": {**TLS, "exposure": "proxy", "config": {"auth": {"tokn": TOKEN}}}},
        ),
        # Misspelled keys of such settings.
        ("storage.knid", "write kind", {"storage": {"knid": "oss", "bucket": "demo-registry"}}),
        ("storage.buckte", "bucket", {"storage": {"kind": "oss", "buckte": "demo-registry"}}),
        (
            "registry.expsoure",
            "write exposure",
            {"registry": {"expsoure": "tls", "external_url": TLS["external_url"]}},
        ),
        ("registry.relaese", "release", {"registry": {"relaese": "2.8.3", "image": "mine:1"}}),
        ("tsl", "write tls", {"registry": TLS, "auth": ALICE, "tsl": {"self_signed": True}}),
        ("atuh", "write auth", {"registry": {**TLS, "exposure": "proxy"}, "atuh": ALICE}),
        ("auth.user", "write users", {"auth": {"user": {"alice": {}}}}),
    ],
)
def test_one_mistake_is_one_problem_with_the_nearest_valid_word(
    key: str, fix: str, sections: dict[str, Any]
) -> None:
    (line,) = problems(region="cn-hangzhou", **sections)
    assert line.startswith(f"oss-registry:{key}: ")
    assert fix in line.partition("; ")[2]


def test_one_mistake_does_not_hide_another() -> None:
    lines = problems(
        storage={"kind": "OSS", "bucket": "demo-registry", "prefix": "a/.."},
        registry={"exposure": "tsl", "port": 0, "config": {"http": {"hots": "h"}}},
    )
    assert [line.split(": ")[0].removeprefix("oss-registry:") for line in lines] == [
        "registry.exposure",
        "registry.port",
        "storage.kind",
        "storage.prefix",
        "registry.config.http.hots",
    ]


def test_an_unknown_namespace_is_refused() -> None:
    with pytest.raises(SettingsError, match="oss-regsitry:registry: oss-regsitry is not"):
        load("dev", {"oss-regsitry:registry": "{}"}, set())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(config=st.dictionaries(KEYS.map("oss-registry:{}".format), JSON.map(json.dumps), max_size=4))
@hypothesis.settings(derandomize=True, max_examples=25, deadline=None)
def test_a_random_stack_file_is_loaded_or_reported_without_a_traceback(
    config: dict[str, str],
) -> None:
    try:
        load("dev", config, set())
    except SettingsError as error:
        assert str(error).count("\n") >= 1  # noqa: PT017


def test_a_missing_key_and_a_wrong_value_in_one_section_are_both_reported() -> None:
    lines = problems(tls={"letsencrypt": {"email": 5}})
    assert [line.split(": ")[0] for line in lines][:2] == [
        "oss-registry:tls.letsencrypt.hosts",
        "oss-registry:tls.letsencrypt.email",
    ]


@pytest.mark.parametrize("depth", [100, 500, 100_000])
def test_a_configuration_that_is_nested_too_deeply_is_refused(depth: int) -> None:
    text = '{"config": {"log": {"fields": ' + '{"a": ' * depth + "1" + "}" * depth + "}}}"
    with pytest.raises(SettingsError):
        load("dev", {"oss-registry:registry": text}, set())


def test_a_variable_longer_than_linux_allows_is_refused() -> None:
    config = {"log": {"fields": {"long": "x" * 2**17}}}
    assert_refused("oss-registry:registry.config", "delivery: file", registry={"config": config})
    assert load_stack(registry={"config": config, "delivery": "file"}).registry.files


def test_problems_do_not_show_values_that_may_be_secrets() -> None:
    lines = problems(
        storage={"accesskeysecret": "hunter2", "kind": "filesystem"},
        registry={
            "port": {"password": "hunter4"},
            "image": ["hunter5"],
            "ca_certificates": "-----BEGIN PRIVATE KEY-----\nhunter6",
            "external_url": "https://me:hunter7@x",
            "environment": {"HTTP_PROXY": "http://me:hunter8@p:1", "MY_TOKEN": "hunter9"},
            "config": {"proxy": {"password": "hunter0"}, "x": "hunter1"},
        },
        cache={"address": "redis://:hunter2@h:1"},
        auth={"users": {"bob": {"hash": "$apr1$hunter3"}}},
        password="hunter3",
    )
    assert len(lines) >= 12
    assert "hunter" not in "".join(lines)


def test_with_an_unknown_release_only_keys_that_no_release_accepts_are_reported() -> None:
    lines = problems(
        registry={"release": "9", "config": {"redis": {"addr": "r:1"}, "tags": {}, "nope": 1}}
    )
    assert [line.split(": ")[0] for line in lines] == [
        "oss-registry:registry.release",
        "oss-registry:registry.config.nope",
        "oss-registry:registry.config.redis.addr",  # cache.address sets it
    ]


# Secrets.


def test_an_encrypted_section_is_refused() -> None:
    config = {"oss-registry:storage": '{"kind": "s3cret"}'}
    with pytest.raises(SettingsError, match="holds a secret") as failure:
        load("dev", config, {"oss-registry:storage"})
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize("name", ["http-secret", "redis-password", "tls-key", "password-bob"])
def test_a_secret_in_plain_text_is_refused(name: str) -> None:
    (line,) = problems(**{name: "hunter2"})
    assert line == (
        f"oss-registry:{name}: must be a secret; pulumi config set --secret oss-registry:{name}"
    )


def test_an_unused_secret_is_refused() -> None:
    assert_refused(
        "oss-registry:redis-pasword", "write redis-password", secrets={"redis-pasword": "x"}
    )
    assert_refused("oss-registry:password-bob", "nothing uses", secrets={"password-bob": "x"})


def test_an_empty_secret_is_refused() -> None:
    assert_refused("oss-registry:redis-password", "is empty", secrets={"redis-password": ""})


def test_a_secret_is_put_where_from_secret_names_it() -> None:
    endpoint = {
        "name": "hook",
        "url": "https://h/",
        "headers": {"Authorization": [{"from_secret": "hook"}]},
    }
    stack = load_stack(
        secrets={"hook": "Bearer hunter2"},
        registry={"config": {"notifications": {"endpoints": [endpoint]}}},
    )
    text = stack.registry.environment["REGISTRY_NOTIFICATIONS_ENDPOINTS"]
    assert Placeholder("hook") in text
    assert "[secret: hook]" in redact(text)
    assert "hunter2" not in repr(stack)


def test_a_missing_secret_is_refused_at_the_key_that_names_it() -> None:
    assert_refused(
        "oss-registry:registry.config.http.secret",
        "pulumi config set --secret oss-registry:mine",
        registry={"config": {"http": {"secret": {"from_secret": "mine"}}}},
    )


def test_a_secret_header_is_a_warning_only_if_the_log_level_logs_it() -> None:
    endpoint = {"headers": {"Authorization": [{"from_secret": "hook"}]}, "name": "hook"}
    config = {"notifications": {"endpoints": [endpoint]}}
    for level, expected in (("info", True), ("warn", False)):
        stack = load_stack(secrets={"hook": "x"}, registry={"log_level": level, "config": config})
        assert any("config.log.level" in warning for warning in warnings(stack)) is expected


# Environment variables of the registry's process.


@pytest.mark.parametrize("name", ["REGISTRY_REDIS_PASSWORD_FILE", "REGISTRY_HTTP_ADDR"])
def test_a_registry_variable_in_registry_environment_is_refused(name: str) -> None:
    assert_refused(
        f"oss-registry:registry.environment.{name}",
        "registry.config",
        registry={"environment": {name: "/run/secrets/x"}},
    )


def test_the_users_variables_reach_the_process_and_override_ours() -> None:
    stack = load_stack(
        registry={"environment": {"HTTP_PROXY": "http://p:1", "OTEL_TRACES_EXPORTER": "x"}}
    )
    assert stack.registry.environment["HTTP_PROXY"] == ("http://p:1",)
    assert stack.registry.environment["OTEL_TRACES_EXPORTER"] == ("x",)


# OSS.

OSS = {"kind": "oss", "bucket": "demo-registry"}
FORCE_DESTROY = {"protect": False, "force_destroy": True}


def _assert_refused_with_oss(
    key: str,
    word: str,
    *,
    region: str | None = "cn-hangzhou",
    **given: Any,  # noqa: ANN401
) -> None:
    storage = OSS | given.pop("storage", {})
    assert_refused(key, word, storage=storage, region=region, **given)


@pytest.mark.parametrize(
    ("region", "corrected"),
    [
        ("oss-cn-hangzhou", "cn-hangzhou"),
        ("cn-hangzhou-internal", "cn-hangzhou"),
        ("oss-cn-beijing-internal.aliyuncs.com", "cn-beijing"),
        ("CN-Hangzhou", "cn-hangzhou"),
        ("cn-hangzhou-b", "cn-hangzhou"),
        ("us-west-1a", "us-west-1"),
        ("hangzhou", "cn-hangzhou"),
        ("cn_hangzhou", "cn-hangzhou"),
        ("https://oss-eu-central-1.aliyuncs.com", "eu-central-1"),
    ],
)
def test_a_malformed_region_is_refused_with_the_corrected_one(region: str, corrected: str) -> None:
    _assert_refused_with_oss("alicloud:region", f"write {corrected}", region=region)


@pytest.mark.parametrize(
    "region",
    ["cn-hangzhou", "us-west-1", "cn-shanghai-finance-1", "ap-southeast-5", "cn-north-2-gov-1"],
)
def test_a_region_id_is_accepted(region: str) -> None:
    bucket = OssBackend(load_stack(storage=OSS, region=region).registry).bucket
    assert bucket.host == f"oss-{region}-internal.aliyuncs.com"


def test_a_region_is_required_only_for_oss_and_may_come_from_the_environment() -> None:
    _assert_refused_with_oss("alicloud:region", "is required", region=None)
    for variable in ("ALICLOUD_REGION", "ALIBABA_CLOUD_REGION"):
        assert load_stack(storage=OSS, variables={variable: "cn-beijing"}).region == "cn-beijing"
    assert load_stack(storage={"kind": "filesystem"}).region == ""


@pytest.mark.parametrize(
    ("release", "driver"), [("2.8.3", "oss"), ("3.0.0", "s3"), ("3.1.2", "s3")]
)
@pytest.mark.parametrize(
    ("limits", "size"), [({}, 2**25), ({"memory": "1GiB"}, 2**25), ({"memory": "512MiB"}, None)]
)
def test_upload_chunks_are_larger_than_the_drivers_default_if_the_memory_limit_allows(
    release: str, driver: str, limits: Mapping[str, str], size: int | None
) -> None:
    storage = {**OSS, "adopt": True}  # an adopted bucket may use Signature V1
    registry = {"release": release, "limits": limits}
    stack = load_stack(registry=registry, storage=storage, region="cn-hangzhou")
    assert lookup(stack.registry.tree, f"storage.{driver}.chunksize") == size


@pytest.mark.parametrize(("release", "driver"), [("2.8.3", "oss"), ("3.1.2", "s3")])
@pytest.mark.parametrize(
    ("memory", "chunk", "words"),
    [
        ("256MiB", 2**27, ("is 256MiB", "2 chunks of 128MiB", "1280MiB or more", "26843545")),
        ("32MiB", 5 * 2**30, ("is 32MiB", "51200MiB or more", "50MiB with", "5242880")),
        ("1GiB", 2**27, ("is 1024MiB", "1280MiB or more")),
        ("64MiB", None, ("2 chunks of 10MiB", "100MiB or more", "6710886")),
        ("32MiB", None, ("2 chunks of 10MiB", "100MiB or more", "50MiB with")),
    ],
)
def test_a_memory_limit_too_small_for_five_uploads_at_once_is_refused(
    release: str, driver: str, memory: str, chunk: int | None, words: tuple[str, ...]
) -> None:
    storage = {**OSS, "adopt": True}
    registry: dict[str, Any] = {"release": release, "limits": {"memory": memory}}
    if chunk:
        registry["config"] = {"storage": {driver: {"chunksize": chunk}}}
    (line,) = problems(registry=registry, storage=storage, region="cn-hangzhou")
    assert line.startswith("oss-registry:registry.limits.memory: ")
    for word in (*words, f"registry.config.storage.{driver}.chunksize"):
        assert word in line


@pytest.mark.parametrize(
    ("memory", "chunk"),
    [(None, 5 * 2**30), ("1280MiB", 2**27), ("100MiB", None), ("50MiB", 5 << 20)],
)
def test_a_chunk_size_that_fits_into_the_memory_limit_is_accepted(
    memory: str | None, chunk: int | None
) -> None:
    config = {"storage": {"s3": {"chunksize": chunk}}} if chunk else {}
    registry = {"limits": {"memory": memory} if memory else {}, "config": config}
    load_stack(registry=registry, storage=OSS, region="cn-hangzhou")


def test_a_small_memory_limit_is_accepted_if_images_are_in_a_volume() -> None:
    load_stack(registry={"limits": {"memory": "32MiB"}})


def test_settings_of_providers_are_accepted() -> None:
    config = {"docker:host": "ssh://ops@h", "alicloud:assumeRole": "{}", "alicloud:secretKey": "x"}
    assert load("dev", config, {"alicloud:secretKey"}).name == "dev"


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://images.example.com", "images.example.com"),
        ("images.example.com:5000/team", "images.example.com:5000"),
        ("", "registry.example.com"),
    ],
)
def test_a_pull_login_with_a_scheme_or_path_or_a_plain_password_is_refused(
    address: str, host: str
) -> None:
    key = "docker:registryAuth"
    config = {key: json.dumps([{"address": address, "username": "u", "password": "hunter2"}])}
    with pytest.raises(SettingsError) as failure:
        load("dev", config, set())
    assert f"{key}[0].address: must be the registry's host alone" in str(failure.value)
    assert f"write {host}" in str(failure.value)
    assert f"{key}[0].password: is a secret in plain text" in str(failure.value)
    assert "hunter2" not in str(failure.value)
    corrected = {key: config[key].replace(f'"{address}"', f'"{host}"')}
    assert load("dev", corrected, {key}).name == "dev"


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_pull_login_with_an_invalid_port_is_refused(port: int) -> None:
    key = "docker:registryAuth"
    config = {key: json.dumps([{"address": f"images.example.com:{port}", "username": "u"}])}
    with pytest.raises(SettingsError, match="must have a port from 1 to 65535; write images"):
        load("dev", config, set())
    for host in ("images.example.com", "images.example.com:443", "[2001:db8::1]:5000"):
        config = {key: json.dumps([{"address": host, "username": "u"}])}
        assert load("dev", config, set()).name == "dev"


@pytest.mark.parametrize(
    "bucket", ["My_Bucket", "-x-", "ab", "x" * 64, "a.b.c", "reg-", "ünique", "", "a\n", 123]
)
def test_a_bucket_name_that_oss_would_refuse_is_refused(bucket: object) -> None:
    _assert_refused_with_oss("oss-registry:storage.bucket", "must be", storage={"bucket": bucket})


@pytest.mark.parametrize("bucket", ["abc", "a" * 63, "0-9", "demo-registry"])
def test_a_bucket_name_that_oss_accepts_is_accepted(bucket: str) -> None:
    assert (
        OssBackend(
            load_stack(storage=OSS | {"bucket": bucket}, region="cn-hangzhou").registry
        ).bucket.name
        == bucket
    )


def test_a_bucket_name_is_required_with_oss() -> None:
    assert_refused(
        "oss-registry:storage.bucket", "required", storage={"kind": "oss"}, region="cn-beijing"
    )


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://oss-cn-beijing.aliyuncs.com",
        "https://oss-cn-beijing.aliyuncs.com/",
        "demo-registry.oss-cn-beijing.aliyuncs.com",
        "oss-cn-beijing.aliyuncs.com:443",
        "s3.oss-cn-beijing.aliyuncs.com",
        "cn-beijing",
    ],
)
def test_an_endpoint_with_a_scheme_a_bucket_or_a_port_is_refused(endpoint: str) -> None:
    _assert_refused_with_oss(
        "oss-registry:storage.endpoint", "without scheme", storage={"endpoint": endpoint}
    )


@pytest.mark.parametrize(
    ("storage", "key", "word"),
    [
        ({"access_keys": ["1", "2", "3"]}, "access_keys", "two"),
        ({"access_keys": ["1", "1"]}, "access_keys", "different"),
        ({"access_keys": []}, "access_keys", "empty"),
        ({"access_keys": "1"}, "access_keys", "list"),
        ({"access_keys": [2026]}, "access_keys[0]", "quotes"),
        ({"access_keys": ["a b"]}, "access_keys[0]", "a-z"),
        ({"versioning": True}, "versioning", "noncurrent_days"),
        ({"versioning": {}}, "versioning.noncurrent_days", "required"),
        ({"versioning": {"noncurrent_days": 0}}, "versioning.noncurrent_days", "must be"),
        ({"encryption": "AES256"}, "encryption", "section"),
        ({"prefix": "/a"}, "prefix", "neither end"),
        ({"prefix": "a/"}, "prefix", "neither end"),
        ({"prefix": "."}, "prefix", "no part that is"),
        ({"prefix": ".."}, "prefix", "no part that is"),
        ({"prefix": "./a"}, "prefix", "no part that is"),
        ({"prefix": "a/."}, "prefix", "no part that is"),
        ({"prefix": "a/../b"}, "prefix", "no part that is"),
        ({"prefix": "a//b"}, "prefix", "no part that is"),
        ({"prefix": ""}, "prefix", "can't be empty for a new bucket"),
        ({"volume": "images"}, "volume", "kind: filesystem"),
        ({"internal": "yes"}, "internal", "true or false"),
        ({"force_destroy": True}, "force_destroy", "protect"),
        ({"force_destroy": True, "protect": False, "adopt": True}, "force_destroy", "adopt"),
    ],
)
def test_a_storage_setting_that_oss_or_ram_would_refuse_is_refused(
    storage: dict[str, Any], key: str, word: str
) -> None:
    _assert_refused_with_oss(f"oss-registry:storage.{key}", word, storage=storage)


@pytest.mark.parametrize("prefix", [".a", "a..", "...", "a.b/c..d", "team/registry"])
def test_a_prefix_may_have_dots_in_its_parts(prefix: str) -> None:
    assert (
        OssBackend(
            load_stack(storage=OSS | {"prefix": prefix}, region="cn-beijing").registry
        ).bucket.prefix
        == prefix
    )


@pytest.mark.parametrize(("release", "driver"), [("2.8.3", "oss"), ("3.1.2", "s3")])
def test_the_storage_drivers_rootdirectory_is_refused_in_favour_of_storage_prefix(
    release: str, driver: str
) -> None:
    _assert_refused_with_oss(
        f"oss-registry:registry.config.storage.{driver}.rootdirectory",
        "storage.prefix",
        storage={"adopt": True, "prefix": ""},
        registry={"release": release, "config": {"storage": {driver: {"rootdirectory": "a/../b"}}}},
    )


def test_the_images_are_in_the_named_volume_or_in_one_named_after_the_stack() -> None:
    assert load_stack(storage={"volume": "registry_data"}).registry.volumes == ["registry_data"]
    assert load_stack().registry.volumes == ["oss-registry-dev-data"]
    assert_refused("oss-registry:storage.volume", "a volume's name", storage={"volume": "./images"})


def test_settings_of_a_bucket_are_refused_with_a_volume() -> None:
    assert_refused("oss-registry:storage.bucket", "kind: oss", storage={"bucket": "demo"})


def test_signature_v1_on_a_new_bucket_must_be_enabled_explicitly() -> None:
    key = "oss-registry:storage.signature_v1"
    _assert_refused_with_oss(key, "withdrawing", registry={"release": "2.8.3"})
    for setting in ({"signature_v1": True}, {"adopt": True}):
        stack = load_stack(
            storage=OSS | setting, registry={"release": "2.8.3"}, region="cn-beijing"
        )
        assert stack.registry.redacted["REGISTRY_STORAGE"] == "oss"


def test_an_access_key_in_plain_text_is_refused() -> None:
    for key in ("secretKey", "securityToken"):
        with pytest.raises(SettingsError) as failure:
            load("dev", {f"alicloud:{key}": "hunter2"}, set())
        assert f"alicloud:{key}: is a secret in plain text" in str(failure.value)
        assert "hunter2" not in str(failure.value)


def test_clients_are_redirected_to_a_cname_from_release_3_1_on() -> None:
    cname = {"cname": "https://demo-registry.images.example.com/"}
    shown = load_stack(storage=OSS | cname, region="cn-beijing").registry.redacted
    assert shown["REGISTRY_STORAGE_S3_REDIRECTENDPOINT"] == "https://images.example.com"
    assert shown["REGISTRY_STORAGE_REDIRECT_DISABLE"] == "false"
    for release in ("2.8.3", "3.0.0"):
        _assert_refused_with_oss(
            "oss-registry:storage.cname", "3.1", storage=cname, registry={"release": release}
        )
    other = {"cname": "https://images.example.com"}
    _assert_refused_with_oss(
        "oss-registry:storage.cname", "must begin with the bucket's name", storage=other
    )


def test_settings_that_would_change_an_adopted_bucket_are_refused() -> None:
    adopted = {"adopt": True, "versioning": {"noncurrent_days": 30}}
    _assert_refused_with_oss("oss-registry:storage.versioning", "stays as it is", storage=adopted)
    _assert_refused_with_oss(
        "oss-registry:storage.force_destroy", "adopt", storage={"adopt": True} | FORCE_DESTROY
    )
    stack = load_stack(
        storage=OSS | {"adopt": True}, registry={"release": "3.0.0"}, region="cn-beijing"
    )
    (warning,) = warnings(stack)
    assert "nobody clears unfinished uploads" in warning


def test_an_endpoint_in_another_region_is_a_warning() -> None:
    for host, count in (
        ("oss-cn-beijing-internal.aliyuncs.com", 0),
        ("oss-cn-hangzhou.aliyuncs.com", 1),
    ):
        found = warnings(load_stack(storage=OSS | {"endpoint": host}, region="cn-beijing"))
        assert len([w for w in found if "storage.endpoint: names another region" in w]) == count


def test_a_stack_name_too_long_for_a_ram_user_is_refused() -> None:
    config = {
        "oss-registry:storage": json.dumps(OSS),
        "oss-registry:cache": '{"enabled": false}',
        "alicloud:region": "cn-beijing",
    }
    assert load("s" * 51, config, set()).prefix == f"oss-registry-{'s' * 51}"
    with pytest.raises(SettingsError, match="longer than the 64"):
        load("s" * 52, config, set())


@pytest.mark.parametrize("name", ["s" * 45, "s" * 100, "a..b", "a-.b", "a.-b", ".a"])
def test_a_stack_name_that_makes_an_invalid_host_name_for_redis_is_refused(name: str) -> None:
    with pytest.raises(SettingsError) as failure:
        load(name, {}, set())
    assert f"the stack name {name}: makes oss-registry-{name}-redis the host" in str(failure.value)
    assert "at most 44 letters" in str(failure.value)
    for cache in ({"enabled": False}, {"address": "redis.example.com:6379"}):
        assert load(name, {"oss-registry:cache": json.dumps(cache)}, set()).name == name


@pytest.mark.parametrize("name", ["s" * 44, "eu.prod", "a_b", "a" * 40 + "." + "b" * 40])
def test_a_stack_name_that_makes_a_valid_host_name_for_redis_is_accepted(name: str) -> None:
    assert load(name, {}, set()).name == name


@pytest.mark.parametrize("release", RELEASES)
def test_redirects_with_an_internal_endpoint_are_refused_naming_both_settings(release: str) -> None:
    _assert_refused_with_oss(
        "oss-registry:registry.config.storage.redirect.disable",
        "storage.internal",
        storage={"signature_v1": True},
        registry={"release": release, "config": {"storage": {"redirect": {"disable": False}}}},
    )


# The cache.


@pytest.mark.parametrize(("written", "size"), [("64MiB", 2**26), ("1 GiB", 2**30), (2**27, 2**27)])
def test_memory_may_have_a_unit(written: str | int, size: int) -> None:
    assert load_stack(cache={"max_memory": written}).settings.cache.max_memory == size


def test_too_little_memory_for_redis_is_refused() -> None:
    assert_refused("oss-registry:cache.max_memory", "at least 1MiB", cache={"max_memory": "1KiB"})


@pytest.mark.parametrize(
    ("value", "word"),
    [(300, "write 300s"), ("300", "10s"), ("5 m", "10s"), ("30d", "10s"), ("-5m", "0s or more")],
)
def test_an_idle_timeout_without_a_valid_unit_is_refused(value: object, word: str) -> None:
    assert_refused(
        "oss-registry:cache.pool.idle_timeout", word, cache={"pool": {"idle_timeout": value}}
    )


def test_the_pool_and_database_settings_become_variables() -> None:
    pool = {"max_idle": 3, "max_active": 7, "idle_timeout": "1m"}
    shown = load_stack(cache={"db": 4, "pool": pool}).registry.redacted
    names = ("DB", "MAXIDLECONNS", "POOLSIZE", "CONNMAXIDLETIME")
    assert [shown[f"REGISTRY_REDIS_{name}"] for name in names] == ["4", "3", "7", "1m"]


def test_an_external_redis_has_a_password_only_if_the_secret_is_set() -> None:
    external = {"address": "redis.example.com:6379", "db": 3}
    stack = load_stack(cache=external)
    assert not stack.runs_redis
    assert stack.registry.redacted["REGISTRY_REDIS_ADDRS"] == '["redis.example.com:6379"]'
    assert stack.registry.redacted["REGISTRY_REDIS_DB"] == "3"
    assert "REGISTRY_REDIS_PASSWORD" not in stack.registry.redacted
    stack = load_stack(cache=external, secrets={"redis-password": "x"})
    assert stack.registry.redacted["REGISTRY_REDIS_PASSWORD"] == "[secret: redis-password]"


def test_without_a_cache_the_registry_has_no_redis_variables() -> None:
    stack = load_stack(cache={"enabled": False, "max_memory": "64MiB"})
    assert not stack.runs_redis
    assert stack.registry.redacted["REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR"] == "inmemory"
    assert not [name for name in stack.registry.redacted if name.startswith("REGISTRY_REDIS")]


@pytest.mark.parametrize(
    "address",
    ["localhost:6379", "127.0.0.1:6379", "[::1]:6379", "0.0.0.0:6379", "[::ffff:127.0.0.1]:6379"],
)
def test_a_redis_address_inside_the_registrys_container_is_refused(address: str) -> None:
    assert_refused("oss-registry:cache.address", "its own container", cache={"address": address})


@pytest.mark.parametrize(
    "address",
    [
        *("redis", "redis://h:6379", "h:6379/1", "user:pw@h:6379"),
        *("redis:0", "redis:65536", "redis:99999", "redis:06379", "[2001:db8::9]:0"),
        *("2001:db8::9:6379", "[2001:db8::9]", "[2001:db8::9%eth0]:6379", "[192.0.2.1]:6379"),
    ],
)
def test_a_redis_address_must_be_a_host_and_a_port(address: str) -> None:
    assert_refused("oss-registry:cache.address", "host:port", cache={"address": address})


@pytest.mark.parametrize(
    ("release", "variable", "value"),
    [
        ("2.8.3", "REGISTRY_REDIS_ADDR", '"[2001:db8::9]:6379"'),
        ("3.0.0", "REGISTRY_REDIS_OPTIONS_ADDRS", '["[2001:db8::9]:6379"]'),
        ("3.1.2", "REGISTRY_REDIS_ADDRS", '["[2001:db8::9]:6379"]'),
    ],
)
def test_a_redis_at_an_ipv6_address_is_used_with_a_warning(
    release: str, variable: str, value: str
) -> None:
    stack = load_stack(registry={"release": release}, cache={"address": "[2001:db8::9]:6379"})
    assert stack.registry.redacted[variable] == value
    (warning,) = warnings(stack)
    assert warning.startswith("oss-registry:cache.address: names the IPv6 address [2001:db8::9]")


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"http": {"debug": {"addr": ":0"}}}, "http.debug.addr"),
        ({"health": {"tcp": [{"addr": "db:99999"}]}}, "health.tcp[0].addr"),
        ({"health": {"http": [{"uri": "http://h:0/"}]}}, "health.http[0].uri"),
        ({"http": {"host": "https://h:65536"}}, "http.host"),
        ({"notifications": {"endpoints": [{"url": "http://h:99999/e"}]}}, "notifications"),
    ],
)
def test_an_invalid_port_in_an_address_of_registry_config_is_refused(
    config: dict[str, Any], path: str
) -> None:
    (line,) = problems(registry={"config": config})
    assert line.startswith(f"oss-registry:registry.config.{path}")
    assert "must have a port from 1 to 65535" in line


def test_settings_of_the_stacks_redis_are_refused_with_an_external_redis() -> None:
    external = {"address": "r.example.com:6379"}
    assert_refused(
        "oss-registry:cache.image", "of the stack", cache=external | {"image": "redis:8"}
    )
    assert_refused(
        "oss-registry:cache.max_memory", "of the stack", cache=external | {"max_memory": "1GiB"}
    )
    assert_refused(
        "oss-registry:cache.address", "enabled: false", cache=external | {"enabled": False}
    )


@pytest.mark.parametrize(
    ("redis", "key"), [({"tls": {"rootcas": ["/a"]}}, "tls"), ({"username": "bob"}, "username")]
)
def test_redis_tls_and_a_redis_user_need_an_external_redis(redis: dict[str, Any], key: str) -> None:
    registry = {"config": {"redis": redis}}
    assert_refused(
        f"oss-registry:registry.config.redis.{key}", "redis of your own", registry=registry
    )
    load_stack(registry=registry, cache={"address": "r.example.com:6379"})


@pytest.mark.parametrize("release", RELEASES)
def test_a_health_check_on_redis_is_a_warning_and_none_is_configured_by_default(
    release: str,
) -> None:
    def warnings_with_check(address: str) -> list[str]:
        health = {"tcp": [{"addr": address, "interval": "10s"}]}
        return [*warnings(load_stack(registry={"release": release, "config": {"health": health}}))]

    (warning,) = warnings_with_check("oss-registry-dev-redis:6379")
    assert "registry.config.health.tcp[0].addr" in warning
    assert "503" in warning
    assert warnings_with_check("db.example.com:6379") == []
    assert not [
        n for n in load_stack(registry={"release": release}).registry.redacted if "CHECKERS" in n
    ]


def test_a_redis_descriptor_cache_without_redis_is_refused() -> None:
    assert_refused(
        "oss-registry:registry.config.storage.cache.blobdescriptor",
        "cache.enabled",
        cache={"enabled": False},
        registry={"config": {"storage": {"cache": {"blobdescriptor": "redis"}}}},
    )


# Users, TLS, maintenance.


@pytest.mark.parametrize("hashed", ["$apr1$abc", "{SHA}abc", "secret", "$2y$05$short"])
def test_a_hash_that_is_not_bcrypt_is_refused(hashed: str) -> None:
    assert_refused(
        "oss-registry:auth.users.bob.hash", "bcrypt", auth={"users": {"bob": {"hash": hashed}}}
    )


@pytest.mark.parametrize("name", ["a:b", "a b", ""])
def test_a_user_name_that_htpasswd_cannot_hold_is_refused(name: str) -> None:
    assert_refused(f"oss-registry:auth.users.{name}", "without blanks", auth={"users": {name: {}}})


@pytest.mark.parametrize("name", ["hash", "users", "realm", "auth", "[key]", "0", "a.hash"])
def test_a_user_may_be_named_like_a_setting(name: str) -> None:
    (line,) = problems(auth={"users": {name: {"hsh": "x"}}})
    assert line == f"oss-registry:auth.users.{name}.hsh: is not a setting; write hash"
    assert load_stack(auth={"users": {name: {}}}).settings.auth


def test_lets_encrypt_needs_release_3_and_hosts_and_excludes_other_certificates() -> None:
    key = "oss-registry:tls.letsencrypt"
    valid = {"hosts": ["reg.example.com"]}
    assert_refused(key, "release 3", registry={"release": "2.8.3"}, tls={"letsencrypt": valid})
    assert_refused(f"{key}.hosts", "empty", tls={"letsencrypt": {"hosts": []}})
    assert_refused(f"{key}.hosts", "required", tls={"letsencrypt": {}})
    for url in ("http://acme.example.com", "https://acme:0/dir", "https://acme:65536"):
        acme = {**valid, "directory_url": url}
        assert_refused(
            f"{key}.directory_url", "must be an https address", tls={"letsencrypt": acme}
        )
    assert_refused(
        "oss-registry:tls", "exactly one", tls={"letsencrypt": valid, "self_signed": True}
    )
    assert_refused("oss-registry:tls", "exactly one", tls={})


def test_delete_untagged_is_refused_with_a_release_that_deletes_multi_architecture_images() -> None:
    assert_refused(
        "oss-registry:maintenance.delete_untagged",
        "multi-architecture",
        registry={"release": "2.8.3"},
        maintenance={"delete_untagged": True},
    )


def test_a_registry_that_refuses_pushes_has_a_label() -> None:
    assert not load_stack().registry.labels
    config = {"storage": {"maintenance": {"readonly": {"enabled": True}}}}
    assert load_stack(registry={"config": config}).registry.labels == {
        "oss-registry.read-only": "true"
    }


# Delivery by variables or by a file.


@pytest.mark.parametrize(
    ("release", "path"),
    [
        ("2.8.3", "/etc/docker/registry/config.yml"),
        ("3.0.0", "/etc/distribution/config.yml"),
        ("3.1.2", "/etc/distribution/config.yml"),
    ],
)
def test_a_configuration_file_is_at_the_releases_path_and_no_registry_variable_is_set(
    release: str, path: str
) -> None:
    stack = load_stack(registry={"release": release, "delivery": "file"})
    assert not [name for name in stack.registry.environment if name.startswith("REGISTRY_")]
    (text,) = stack.registry.files.values()
    content = json.loads("".join('"x"' if isinstance(p, Placeholder) else p for p in text))
    assert list(stack.registry.files) == [path]
    assert content["version"] == "0.1"
    assert content["http"]["addr"] == ":5000"
    assert content["health"]["storagedriver"]["enabled"] is True
    assert stack.registry.redacted[path] == redact(text)


def test_the_order_of_keys_in_the_stack_file_does_not_change_the_result() -> None:
    config = {"log": {"fields": {"b": "1", "a": "2"}}, "http": {"host": "https://h", "net": "tcp"}}
    reordered = {
        "http": {"net": "tcp", "host": "https://h"},
        "log": {"fields": {"a": "2", "b": "1"}},
    }
    for delivery in ("env", "file"):
        one, two = (
            load_stack(registry={"delivery": delivery, "config": c, "environment": e})
            for c, e in ((config, {"TZ": "1", "GOGC": "2"}), (reordered, {"GOGC": "2", "TZ": "1"}))
        )
        assert json.dumps(one.registry.redacted) == json.dumps(two.registry.redacted)
