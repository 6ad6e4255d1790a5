"""Tests of how a configuration tree becomes REGISTRY_* variables, or one config.yml."""

import json
import re

import pytest
import yaml

from config.releases import RELEASES
from config.render import quote, redact, to_environment, to_file
from config.schema import Schema
from config.tree import ANY, Placeholder, Section

SECRET = Placeholder("password")
OLD, MIDDLE, NEW = (RELEASES[version].schema for version in ("2.8.3", "3.0.0", "3.1.2"))
each_schema = pytest.mark.parametrize("schema", [OLD, MIDDLE, NEW], ids=RELEASES)


def test_a_value_becomes_a_variable_named_after_its_path() -> None:
    tree = {"http": {"addr": ":5000"}, "log": {"level": "warn"}}
    assert to_environment(tree, NEW) == {
        "REGISTRY_HTTP_ADDR": (":5000",),
        "REGISTRY_LOG_LEVEL": ("warn",),
    }


def test_the_variable_that_names_a_driver_comes_before_those_of_its_parameters() -> None:
    tree: Section = {
        "storage": {"delete": {"enabled": True}, "filesystem": {"rootdirectory": "/somewhere"}},
        "auth": {"htpasswd": {"realm": "Team", "path": "/users"}},
    }
    assert list(to_environment(tree, NEW).items()) == [
        ("REGISTRY_AUTH", ("htpasswd",)),
        ("REGISTRY_AUTH_HTPASSWD_PATH", ("/users",)),
        ("REGISTRY_AUTH_HTPASSWD_REALM", ("Team",)),
        ("REGISTRY_STORAGE", ("filesystem",)),
        ("REGISTRY_STORAGE_DELETE_ENABLED", ("true",)),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", ("/somewhere",)),
    ]


def test_variables_are_sorted_by_name() -> None:
    names = list(to_environment({"redis": {"db": 0, "addrs": ["a"]}, "http": {"net": "tcp"}}, NEW))
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("schema", "tree", "name"),
    [
        (NEW, {"notifications": {"events": {"includereferences": True}}}, "EVENTCONFIG_INCLUDE"),
        (NEW, {"health": {"file": []}}, "HEALTH_FILECHECKERS"),
        (NEW, {"health": {"http": []}}, "HEALTH_HTTPCHECKERS"),
        (NEW, {"health": {"tcp": []}}, "HEALTH_TCPCHECKERS"),
        (OLD, {"compatibility": {"schema1": {"signingkeyfile": "/k"}}}, "SCHEMA1_TRUSTKEY"),
        (MIDDLE, {"redis": {"addrs": ["a:1"]}}, "REDIS_OPTIONS_ADDRS"),
        (MIDDLE, {"redis": {"tls": {"key": "/k"}}}, "REGISTRY_REDIS_TLS_KEY"),
        (NEW, {"redis": {"addrs": ["a:1"]}}, "REGISTRY_REDIS_ADDRS"),
    ],
)
def test_a_variable_has_the_name_that_the_release_reads(
    schema: Schema, tree: Section, name: str
) -> None:
    (variable,) = to_environment(tree, schema)
    assert name in variable


@each_schema
def test_a_list_is_one_variable_instead_of_one_for_each_index(schema: Schema) -> None:
    tree: Section = {
        "http": {"tls": {"clientcas": ["/ca"], "letsencrypt": {"hosts": ["reg.example.com"]}}},
        "notifications": {
            "endpoints": [
                {"name": "hook", "url": "https://hook.example/e", "headers": {"A": ["b"]}}
            ]
        },
    }
    assert to_environment(tree, schema) == {
        "REGISTRY_HTTP_TLS_CLIENTCAS": ('["/ca"]',),
        "REGISTRY_HTTP_TLS_LETSENCRYPT_HOSTS": ('["reg.example.com"]',),
        "REGISTRY_NOTIFICATIONS_ENDPOINTS": (
            '[{"name":"hook","url":"https://hook.example/e","headers":{"A":["b"]}}]',
        ),
    }
    assert not any(re.search(r"_\d+(_|$)", name) for name in to_environment(tree, schema))


@pytest.mark.parametrize("key", ["X-Frame-Options", "with_underscore", "Upper", "plain"])
def test_a_map_whose_keys_the_user_chooses_is_one_variable(key: str) -> None:
    variables = to_environment({"http": {"headers": {key: ["deny"]}}}, NEW)
    assert variables == {
        "REGISTRY_HTTP_HEADERS": (json.dumps({key: ["deny"]}, separators=(",", ":")),)
    }


@pytest.mark.parametrize("key", ["with_underscore", "Upper"])
def test_a_section_with_a_key_that_no_variable_name_can_spell_is_one_variable(key: str) -> None:
    tree: Section = {"storage": {"s3": {key: 1}}}
    assert to_environment(tree, NEW)["REGISTRY_STORAGE_S3"] == (f'{{"{key}":1}}',)


@each_schema
@pytest.mark.parametrize("key", ["uploadpurging", "readonly"])
def test_a_section_is_one_variable_if_the_registry_panics_at_variables_for_its_keys(
    schema: Schema, key: str
) -> None:
    tree: Section = {"storage": {"maintenance": {key: {"enabled": False}}}}
    assert to_environment(tree, schema) == {
        f"REGISTRY_STORAGE_MAINTENANCE_{key.upper()}": ('{"enabled":false}',)
    }


@pytest.mark.parametrize("schema", [MIDDLE, NEW], ids=["3.0.0", "3.1.2"])
def test_proxy_exec_is_one_variable_because_release_3_cannot_read_its_keys(schema: Schema) -> None:
    tree: Section = {"proxy": {"exec": {"command": "/get", "lifetime": "1h"}}}
    assert to_environment(tree, schema) == {
        "REGISTRY_PROXY_EXEC": ('{"command":"/get","lifetime":"1h"}',)
    }


def test_a_switched_off_key_is_an_empty_variable_and_is_left_out_of_maps_and_files() -> None:
    tree: Section = {"http": {"debug": {"addr": None}}, "log": {"fields": {"a": 1, "b": None}}}
    assert to_environment(tree, NEW) == {
        "REGISTRY_HTTP_DEBUG_ADDR": ("",),
        "REGISTRY_LOG_FIELDS": ('{"a":1}',),
    }
    (text,) = to_file(tree)
    assert json.loads(str(text)) == {
        "version": "0.1",
        "http": {"debug": {}},
        "log": {"fields": {"a": 1}},
    }


def test_a_secret_is_a_placeholder_in_the_text_of_a_variable_and_of_a_file() -> None:
    tree: Section = {
        "redis": {"password": SECRET},
        "notifications": {"endpoints": [{"token": SECRET}]},
    }
    variables = to_environment(tree, NEW)
    assert variables["REGISTRY_REDIS_PASSWORD"] == (SECRET,)
    endpoints = variables["REGISTRY_NOTIFICATIONS_ENDPOINTS"]
    assert endpoints == ('[{"token":', SECRET, "}]")
    assert redact(endpoints) == '[{"token":[secret: password]}]'
    assert to_file(tree).count(SECRET) == 2
    assert '"password": [secret: password]' in redact(to_file(tree))


def test_a_placeholder_that_is_no_secret_is_shown_by_its_label_alone() -> None:
    assert redact(("a", Placeholder("access key id 1", secret=False))) == "a[access key id 1]"


WORDS = ("y", "yes", "n", "No", "ON", "off", "true", "FALSE", "null", "~", "", "<<", "=")
NUMBERS = ("0123", "0899", "1e5", "12e03", "1e+5", "08", "0x1F", "0o17", ".5", "1_000", "12:30:45")
SYNTAX = (
    " x",
    "x ",
    ":",
    ":/",
    "a:",
    "a: b",
    "a #b",
    "*x",
    "&x",
    "%x",
    "@x",
    "- x",
    "{x",
    "tail:",
    'say "hi"',
    "a\\b",
)
SECRETS = (">Kq7&w2}z", "&%x1", "*tok", "%tok", "{tok", "k: v", "#tok", "!tok", "tok #2", " lead ")


@pytest.mark.parametrize("text", WORDS + NUMBERS + SYNTAX + SECRETS + ("9" * 23,))
def test_a_string_that_yaml_would_not_read_back_as_itself_is_quoted(text: str) -> None:
    ((value,),) = to_environment({"http": {"prefix": text}}, NEW).values()
    assert value == quote(text)
    assert yaml.safe_load(str(value)) == text


@pytest.mark.parametrize(
    "text", ["warn", ":5000", "/var/lib", "30s", "1m30s", "http://h:1/p", "a-b.c"]
)
def test_a_string_that_yaml_reads_back_as_itself_is_not_quoted(text: str) -> None:
    assert to_environment({"http": {"host": text}}, NEW) == {"REGISTRY_HTTP_HOST": (text,)}
    assert yaml.safe_load(text) == text


@pytest.mark.parametrize(
    "text",
    ["pw😀", "\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ufeff", "\ufffe", "\uffff", "\t\n\x00"],
)
def test_quoted_text_has_no_raw_character_that_a_yaml_reader_refuses(text: str) -> None:
    assert json.loads(quote(text)) == text
    assert not set(quote(text)) & set("\x7f\x85\x9f\u2028\u2029\ufeff\ufffe\uffff\t\n\x00")
    assert "😀" not in text or "😀" in quote(text)  # yaml.v2 refuses surrogate escapes


@pytest.mark.parametrize("number", [5000, -1, 0.5, True])
def test_numbers_and_booleans_are_not_quoted(number: float | bool) -> None:
    ((value,),) = to_environment({"x": number}, Schema({ANY: "any"})).values()
    assert yaml.safe_load(str(value)) == number
