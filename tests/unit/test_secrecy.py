"""Tests of which values of a stack file are public. Freely chosen text is secret by default."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from config.problems import SettingsError
from config.releases import RELEASES
from config.schema import Kinds
from config.secrecy import HIDDEN, masked, plain_secret
from config.tree import ANY, Place, Placeholder
from operations.__main__ import main
from operations.review import markdown, plain_text, summarize
from operations.stack_file import as_configuration
from tests.unit.stack_files import assert_refused, load, load_stack, problems

FIX = "pulumi config set --secret oss-registry:NAME, and write {from_secret: NAME} here"


def _config_with(path: str, value: object) -> dict[str, Any]:
    """Return `registry.config` with `value` at `path`; a part `[]` is a list of one entry."""
    for part in reversed(path.split(".")):
        value = [value] if part == "[]" else {part: value}
    assert isinstance(value, dict)
    return value


# Values that must come from a secret.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DD_API_KEY", "hunter2"),
        ("FOO", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=hunter2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "key=hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otlp.example.com?key=hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://hunter2@otlp.example.com"),
        ("HTTPS_PROXY", "http://svc:hunter2@proxy.lan:3128"),
        ("HTTPS_PROXY", "http://hunter2@proxy.lan:3128"),
        ("HTTPS_PROXY", "svc:hunter2@proxy.lan:3128"),
        ("HTTP_PROXY", "hunter2@proxy.lan:3128"),
        ("http_proxy", "socks5://svc:hunter2@proxy.lan"),
        ("ALL_PROXY", "http://svc%3Ahunter2%40proxy.lan"),
        ("NO_PROXY", "http://svc:hunter2@proxy.lan"),
    ],
)
def test_a_variable_that_may_hold_a_secret_is_refused_in_plain_text(name: str, value: str) -> None:
    (line,) = problems(registry={"environment": {name: value}})
    assert line.startswith(f"oss-registry:registry.environment.{name}: ")
    assert "in plain text" in line
    assert line.endswith(FIX)
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TZ", "Asia/Shanghai"),
        ("GOGC", "80"),
        ("GODEBUG", "http2client=0,netdns=go"),
        ("HTTPS_PROXY", "http://proxy.lan:3128"),
        ("https_proxy", "proxy.lan:3128"),
        ("HTTP_PROXY", "http://[2001:db8::1]:3128/"),
        ("NO_PROXY", "127.0.0.1,.example.com,10.0.0.0/8,[::1]"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/v1/traces"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("DD_API_KEY", ""),
    ],
)
def test_a_variable_that_holds_no_secret_is_accepted_and_shown_in_plain_text(
    name: str, value: str
) -> None:
    stack = load_stack(registry={"environment": {name: value}})
    assert stack.registry.environment[name] == (value,)
    assert stack.registry.redacted[name] == value


PLAIN_SECRETS = (
    ("notifications.endpoints.[].headers.X-Api-Key.[]", "hunter2"),
    ("notifications.endpoints.[].headers.X-Hook-Sig.[]", "hunter2"),
    ("notifications.endpoints.[].headers.Cookie.[]", "hunter2"),
    ("notifications.endpoints.[].headers.anything.[]", 72736872),
    ("notifications.endpoints.[].url", "https://hook.example.com/v1?tenant=a&key=hunter2"),
    ("notifications.endpoints.[].url", "https://hunter2@hook.example.com/"),
    ("notifications.endpoints.[].url", "https://a:hunter2@hook.example.com/"),
    ("notifications.endpoints.[].url", "https://hook.example.com/#hunter2"),
    ("health.http.[].headers.X-Key.[]", "hunter2"),
    ("health.http.[].uri", "http://app.example.com/ready?key=hunter2"),
    ("health.tcp.[].addr", "a:hunter2@app.example.com:80"),
    ("auth.token.realm", "https://a:hunter2@tokens.example.com/token"),
    ("log.hooks.[].options.smtp.addr", "a:hunter2@mail.example.com:25"),
    ("log.fields.api-key", "hunter2"),
    ("log.fields.deep.DB_PASSWD", "hunter2"),
)


@pytest.mark.parametrize(("path", "value"), PLAIN_SECRETS)
def test_a_secret_in_registry_config_is_refused_in_plain_text(path: str, value: object) -> None:
    lines = problems(registry={"config": _config_with(path, value)})
    setting = path.replace(".[]", "[0]")
    found = [line for line in lines if line.startswith(f"oss-registry:registry.config.{setting}: ")]
    assert len(found) == 1, lines
    assert "in plain text" in found[0]
    assert found[0].endswith(FIX)
    assert not [line for line in lines if "hunter2" in line or "72736872" in line]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("alicdn", {"privatekey": "hunter2"}),
        ("alicdn", {"authkeys": ["hunter2"]}),
        ("ours", {"anything": {"deep": "hunter2"}}),
        ("ours", {"number": 72736872}),
        ("redirect", {"baseurl": "https://a:hunter2@cdn.example.com"}),
        ("redirect", {"baseurl": "https://cdn.example.com/?sign=hunter2"}),
    ],
)
def test_a_middleware_option_that_may_hold_a_secret_is_refused_in_plain_text(
    release: str, name: str, option: dict[str, Any]
) -> None:
    middleware = {"storage": [{"name": name, "options": option}]}
    lines = problems(
        registry={
            "image": "registry.example.com/ours:1",
            "release": release,
            "config": {"middleware": middleware},
        }
    )
    assert len(lines) == 1
    assert "registry.config.middleware.storage[0].options." in lines[0]
    assert "in plain text" in lines[0]
    assert not {"hunter2", "72736872"} & {*lines[0].replace('"', " ").split()}
    assert "hunter2" not in lines[0]


def test_addresses_headers_and_log_fields_without_secrets_are_accepted_in_plain_text() -> None:
    cdn = {"name": "alicdn", "options": {"baseurl": "https://cdn.example.com", "duration": "20m"}}
    config = {
        "http": {"headers": {"X-Token-Policy": ["none"], "Set-Cookie": ["a=b"]}},
        "middleware": {"storage": [cdn]},
        "notifications": {
            "endpoints": [
                {
                    "name": "hook",
                    "url": "https://hook.example.com:8443/events",
                    "headers": {"User-Agent": ["registry"]},
                }
            ]
        },
        "log": {"fields": {"environment": "prod"}},
    }
    image = {"image": "registry.example.com/ours:1", "release": "3.1.2"}
    stack = load_stack(registry={**image, "config": config})
    assert "https://cdn.example.com" in stack.registry.redacted["REGISTRY_MIDDLEWARE"]


def _places_of_free_text(
    kinds: Kinds, place: Place = ("config",), *, below_chosen_key: bool = False
) -> Iterator[Place]:
    """Yield the places in the schema `kinds` with text below a key that the user chooses.

    `place` is where `kinds` is, and `below_chosen_key` whether a key above it is the user's choice.
    """
    if isinstance(kinds, Mapping):
        for key, below in kinds.items():
            name = "x-unknown" if key == ANY else key
            yield from _places_of_free_text(
                below, (*place, name), below_chosen_key=below_chosen_key or key == ANY
            )
    elif not isinstance(kinds, str):
        yield from _places_of_free_text(kinds[0], (*place, ANY), below_chosen_key=below_chosen_key)
    elif below_chosen_key and kinds in ("string", "any"):
        yield place


@pytest.mark.parametrize("release", RELEASES)
def test_text_below_a_key_that_the_user_chooses_is_a_secret_by_default(release: str) -> None:
    public = (("config", "http", "headers"), ("config", "log", "fields"))
    places = [
        place
        for place in _places_of_free_text(RELEASES[release].schema.keys)
        if place[:3] not in public
    ]
    chosen = [place for place in places if place[-1] != "name" or place[1] != "middleware"]
    assert len(chosen) >= 3
    assert all(plain_secret(place, "hunter2") for place in chosen)


# Values from a secret.


@pytest.mark.parametrize("delivery", ["env", "file"])
def test_a_proxy_with_a_password_can_come_from_a_secret(delivery: str) -> None:
    stack = load_stack(
        secrets={"proxy": "http://svc:hunter2@proxy.lan:3128"},
        registry={"delivery": delivery, "environment": {"HTTPS_PROXY": {"from_secret": "proxy"}}},
    )
    assert stack.registry.environment["HTTPS_PROXY"] == (Placeholder("proxy", quoted=False),)
    assert stack.registry.redacted["HTTPS_PROXY"] == "[secret: proxy]"
    assert "hunter2" not in repr(stack)


def test_a_middleware_option_can_come_from_a_secret() -> None:
    cdn = {"name": "alicdn", "options": {"privatekey": {"from_secret": "cdn"}}}
    registry = {"image": "ours:1", "release": "2.8.3", "config": {"middleware": {"storage": [cdn]}}}
    stack = load_stack(secrets={"cdn": "hunter2"}, registry=registry)
    assert '"privatekey":[secret: cdn]' in stack.registry.redacted["REGISTRY_MIDDLEWARE"]


def test_a_variable_that_names_a_missing_secret_is_refused_with_the_command_that_sets_it() -> None:
    key = "oss-registry:registry.environment.HTTPS_PROXY"
    missing = {"HTTPS_PROXY": {"from_secret": "proxy"}}
    assert_refused(
        key, "pulumi config set --secret oss-registry:proxy", registry={"environment": missing}
    )
    value = {"HTTPS_PROXY": {"from_secret": "http://a:hunter2@proxy"}}
    (line,) = problems(registry={"environment": value})
    assert "hunter2" not in line


def test_a_secret_that_only_a_variable_names_counts_as_used() -> None:
    variables = {"DD_API_KEY": {"from_secret": "datadog"}}
    stack = load_stack(secrets={"datadog": "x"}, registry={"environment": variables})
    assert stack.registry.redacted["DD_API_KEY"] == "[secret: datadog]"


def test_a_secret_variable_is_refused_on_swarm_where_the_engine_shows_variables() -> None:
    registry = {
        "runtime": "swarm",
        "exposure": "open",
        "environment": {"HTTPS_PROXY": {"from_secret": "proxy"}},
    }
    key = "oss-registry:registry.environment.HTTPS_PROXY"
    assert_refused(key, "on swarm", secrets={"proxy": "x"}, registry=registry)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("NO_PROXY", ["a", "b"], "write a comma-separated text"),
        ("TZ", ["hunter2"], "write a comma-separated text"),
        ("API_TOKEN", 1234567, "put it in quotes"),
        ("GOGC", 80, "put it in quotes"),
        ("GOGC", True, "put it in quotes"),
        ("TZ", None, "write a value, or remove it"),
        ("TZ", {"password": "hunter2"}, "{from_secret: NAME}"),
        ("TZ", {"from_secret": 72736872}, "{from_secret: NAME}"),
        ("TZ", {"from_secret": "a", "default": "hunter2"}, "{from_secret: NAME}"),
    ],
)
def test_a_variable_that_is_neither_text_nor_a_secret_is_refused(
    name: str, value: object, word: str
) -> None:
    (line,) = problems(registry={"environment": {name: value}})
    assert line.startswith(f"oss-registry:registry.environment.{name}: must be text")
    assert word in line
    assert not [each for each in ("hunter2", "1234567", "72736872") if each in line]


# Values in messages.


@pytest.mark.parametrize(
    "sections",
    [
        {"auth": {"users": {"ci": "hunter2"}}},
        {"auth": {"users": {"ci": {"hash": "hunter2"}}}},
        {"auth": {"users": "hunter2"}},
        {"auth": "hunter2"},
        {"auth": {"realm": 72736872, "users": {"ci": {}}}},
        {"cache": {"address": "user:hunter2"}},
        {"cache": {"address": "redis://:hunter2@redis"}},
        {"cache": {"image": 72736872}},
        {"registry": {"environment": {"API_TOKEN": 72736872}}},
        {"registry": {"environment": "hunter2"}},
        {"registry": {"image": 72736872}},
        {"registry": {"external_url": "hunter2"}},
        {"registry": {"files": {"/a": "PRIVATE KEY hunter2"}}},
        {"registry": {"port": "http://a:hunter2@b"}},
        {"registry": {"port": {"a": "hunter2"}}},
        {"registry": {"config": {"redis": {"clientname": {"password": "hunter2"}}}}},
        {"registry": {"config": {"redis": {"clientname": ["hunter2"]}}}},
        {"registry": {"config": {"http": {"secret": {"a": "hunter2"}}}}},
        {"registry": {"config": {"auth": "hunter2"}}},
        {"registry": {"config": "hunter2"}},
        {"storage": {"encryption": "hunter2"}},
        {"storage": {"encryption": {"kms_key_id": 72736872}}},
        {"tls": {"certificate": "hunter2"}},
        {"tls": {"letsencrypt": {"hosts": ["a.b"], "email": 72736872}}},
        {"tls": {"letsencrypt": {"hosts": ["a.b"], "directory_url": "https://a:hunter2@b/c"}}},
        {"tls": {"letsencrypt": {"hosts": ["a.b"], "directory_url": "https://b/c?key=hunter2"}}},
    ],
)
def test_a_message_does_not_show_a_value_that_may_be_a_secret(sections: dict[str, Any]) -> None:
    lines = "\n".join(problems(**sections))
    assert "hunter2" not in lines
    assert "72736872" not in lines


@pytest.mark.parametrize(
    ("sections", "shown"),
    [
        ({"registry": {"port": 0}}, "not 0"),
        ({"registry": {"port": "5000"}}, 'not "5000"'),
        ({"registry": {"exposure": "public"}}, 'not "public"'),
        ({"registry": {"release": "3.0"}}, 'not "3.0"'),
        ({"registry": {"bind": "localhost"}}, 'not "localhost"'),
        ({"registry": {"limits": {"memory": "1MiB"}}}, 'not "1MiB"'),
        ({"registry": {"config": {"http": {"draintimeout": "30d"}}}}, 'not "30d"'),
        ({"registry": {"config": {"log": {"formatter": "xml"}}}}, 'not "xml"'),
        ({"registry": {"config": {"health": {"tcp": [{"threshold": "3"}]}}}}, 'not "3"'),
        ({"storage": {"bucket": "My_Bucket"}}, 'not "My_Bucket"'),
        ({"storage": {"access_keys": ["a b"]}}, 'not "a b"'),
        ({"cache": {"pool": {"idle_timeout": "30d"}}}, 'not "30d"'),
    ],
)
def test_a_message_shows_a_value_that_is_public(sections: dict[str, Any], shown: str) -> None:
    assert [line for line in problems(**sections) if shown in line]


# Settings of Pulumi's providers.

LOGINS = "docker:registryAuth"


def _pull_login(password: object, **more: object) -> dict[str, Any]:
    return {"address": "images.example.com", "username": "u", "password": password, **more}


ENCRYPTED = {"secure": "v1:AAAB"}


@pytest.mark.parametrize(
    ("logins", "paths"),
    [
        ([_pull_login(ENCRYPTED), _pull_login("hunter2")], ["[1].password"]),
        ([_pull_login("hunter2"), _pull_login(ENCRYPTED)], ["[0].password"]),
        (
            [_pull_login("hunter2"), _pull_login(ENCRYPTED), _pull_login(72736872)],
            ["[0].password", "[2].password"],
        ),
        ([_pull_login(ENCRYPTED, configFileContent="hunter2")], ["[0].configFileContent"]),
        ([_pull_login("hunter2"), _pull_login("hunter2")], ["[0].password", "[1].password"]),
    ],
)
def test_each_plain_pull_password_is_refused_with_its_index(
    logins: list[dict[str, Any]], paths: list[str]
) -> None:
    with pytest.raises(SettingsError) as failure:
        load("dev", *as_configuration({LOGINS: logins}))
    lines = str(failure.value).splitlines()[1:]
    assert [line.strip(" -").split(": ")[0] for line in lines] == [f"{LOGINS}{p}" for p in paths]
    assert all(f"--path '{LOGINS}{path}'" in line for path, line in zip(paths, lines, strict=True))
    assert "hunter2" not in str(failure.value)
    assert "72736872" not in str(failure.value)


def test_pull_passwords_may_all_be_secrets() -> None:
    both = {**_pull_login(ENCRYPTED), "address": ENCRYPTED}
    assert load("dev", *as_configuration({LOGINS: [_pull_login(ENCRYPTED), both]})).name == "dev"
    assert load("dev", *as_configuration({LOGINS: ENCRYPTED})).name == "dev"
    # Pulumi passes encrypted passwords to the program decrypted.
    assert (
        load("dev", {LOGINS: json.dumps([_pull_login("x"), _pull_login("y")])}, {LOGINS}).name
        == "dev"
    )


def test_a_message_about_a_pull_address_does_not_show_its_password() -> None:
    logins = [{"address": "https://u:hunter2@images.example.com/team"}]
    with pytest.raises(SettingsError) as failure:
        load("dev", {LOGINS: json.dumps(logins)}, set())
    assert "hunter2" not in str(failure.value)


def test_a_private_key_for_the_docker_engine_is_refused_in_plain_text() -> None:
    with pytest.raises(SettingsError) as failure:
        load("dev", {"docker:keyMaterial": "hunter2"}, set())
    assert "docker:keyMaterial: is a secret in plain text" in str(failure.value)
    assert "hunter2" not in str(failure.value)


# Printed values.

HOOKS = '[{"name":"a","headers":{"X-Key":["hunter2"]}},{"headers":{"B":[[secret: b]]}}]'
CONFIG_FILE = (
    '{\n "notifications": {"endpoints": [{"url": "https://hunter2@h/"}]},\n "x": [secret: y]\n}'
)


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("DD_API_KEY", "hunter2"),
        ("HTTPS_PROXY", "svc:hunter2@proxy.lan:3128"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS", HOOKS),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS", "[hunter2"),
        ("REGISTRY_MIDDLEWARE", '{"storage":[{"name":"a","options":{"privatekey":"hunter2"}}]}'),
        ("REGISTRY_LOG_FIELDS", '{"api_key":"hunter2"}'),
        ("REGISTRY_HTTP_HOST", "https://a:hunter2@registry.example.com"),
        ("/etc/distribution/config.yml", CONFIG_FILE),
        ("/etc/docker/registry/config.yml", CONFIG_FILE),
    ],
)
def test_a_preview_hides_secrets_that_an_earlier_version_stored_in_plain_text(
    name: str, before: str
) -> None:
    urn = "urn:pulumi:dev::oss-registry::pulumi:pulumi:Stack::oss-registry-dev"
    outputs = {"environment": {name: before}}
    plan = {"steps": [{"op": "same", "urn": urn, "oldState": {"outputs": outputs}}]}
    found = summarize(load_stack(), plan)
    assert f"{name if name.startswith('/') else f'-{name}={HIDDEN}'}" in "\n".join(found.diff)
    assert "hunter2" not in markdown(found) + plain_text(found)


def test_a_preview_of_a_changed_secret_variable_does_not_show_its_value() -> None:
    step = {
        "op": "update",
        "urn": "urn:pulumi:dev::oss-registry::docker:index/container:Container::registry",
        "oldState": {"inputs": {"envs": ["DD_API_KEY=hunter2"]}},
        "newState": {"inputs": {"envs": ["DD_API_KEY=[secret]"]}},
        "detailedDiff": {"envs[0]": {"kind": "update"}},
    }
    (change,) = summarize(load_stack(), {"steps": [step]}).changes
    assert change.details == ["envs"]


@pytest.mark.parametrize("delivery", ["env", "file"])
@pytest.mark.parametrize("release", RELEASES)
def test_variables_and_files_that_the_program_generates_are_shown_in_full(
    release: str, delivery: str
) -> None:
    bucket = {"kind": "oss", "bucket": "demo-registry", "adopt": True}
    for storage in ({}, bucket):
        registry = {"release": release, "delivery": delivery}
        stack = load_stack(region="cn-hangzhou", registry=registry, storage=storage)
        assert HIDDEN not in stack.registry.redacted.values()
        assert all(masked(name, text) == text for name, text in stack.registry.redacted.items())


def test_render_prints_the_placeholder_of_a_secret_variable(
    tmp_path: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("operations.stack_file.STACKS", tmp_path)
    config = {
        "oss-registry:proxy": {"secure": "v1:AAAB"},
        "oss-registry:registry": {"environment": {"HTTPS_PROXY": {"from_secret": "proxy"}}},
    }
    (tmp_path / "Pulumi.mine.yaml").write_text(json.dumps({"config": config}))
    assert main(["render", "mine"]) == 0
    assert "HTTPS_PROXY=[secret: proxy]\n" in capsys.readouterr().out
