"""The override rule: from a configuration tree to REGISTRY_* variables."""

import json

import pytest
import yaml

from components.environment import (
    ANY,
    DRIVER,
    WHOLE,
    Hole,
    Schema,
    Section,
    quote,
    redact,
    to_environment,
)

SECRET = Hole("password")


def test_a_leaf_becomes_a_variable_named_by_its_path() -> None:
    tree = {"http": {"addr": ":5000"}, "log": {"level": "warn"}}
    assert to_environment(tree, {}) == {
        "REGISTRY_HTTP_ADDR": (":5000",),
        "REGISTRY_LOG_LEVEL": ("warn",),
    }


def test_a_driver_is_named_before_its_parameters() -> None:
    schema: Schema = {"storage": {ANY: DRIVER, "delete": {}}}
    tree: Section = {
        "storage": {"delete": {"enabled": True}, "filesystem": {"rootdirectory": "/somewhere"}}
    }
    assert list(to_environment(tree, schema).items()) == [
        ("REGISTRY_STORAGE", ("filesystem",)),
        ("REGISTRY_STORAGE_DELETE_ENABLED", ("true",)),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", ("/somewhere",)),
    ]


def test_variables_are_sorted_whatever_the_order_of_the_file() -> None:
    names = list(to_environment({"redis": {"db": 0, "addr": "a"}, "http": {"net": "tcp"}}, {}))
    assert names == sorted(names)


def test_lists_are_given_whole() -> None:
    tree = {"redis": {"addrs": ["redis:6379"]}}
    assert to_environment(tree, {}) == {"REGISTRY_REDIS_ADDRS": ('["redis:6379"]',)}


@pytest.mark.parametrize("key", ["X-Frame-Options", "with_underscore", "Upper"])
def test_a_map_with_a_key_that_no_name_can_spell_is_given_whole(key: str) -> None:
    variables = to_environment({"http": {"headers": {key: ["deny"]}}}, {})
    assert variables == {
        "REGISTRY_HTTP_HEADERS": (json.dumps({key: ["deny"]}, separators=(",", ":")),)
    }


def test_a_section_that_the_schema_calls_whole_is_one_variable() -> None:
    tree: Section = {"log": {"fields": {"service": "registry", "left": None}}}
    assert to_environment(tree, {"log": {"fields": WHOLE}}) == {
        "REGISTRY_LOG_FIELDS": ('{"service":"registry"}',)
    }


def test_what_is_switched_off_is_an_empty_variable() -> None:
    tree = {"http": {"debug": {"addr": None}}}
    assert to_environment(tree, {}) == {"REGISTRY_HTTP_DEBUG_ADDR": ("",)}


def test_a_secret_is_a_hole_in_the_text_of_a_value() -> None:
    tree: Section = {
        "redis": {"password": SECRET},
        "notifications": {"endpoints": [{"token": SECRET}]},
    }
    variables = to_environment(tree, {})
    assert variables["REGISTRY_REDIS_PASSWORD"] == (SECRET,)
    endpoints = variables["REGISTRY_NOTIFICATIONS_ENDPOINTS"]
    assert endpoints == ('[{"token":', SECRET, "}]")
    assert redact(endpoints) == '[{"token":[secret: password]}]'


WORDS = ("y", "No", "ON", "true", "null", "~", "", "<<", "=")
NUMBERS = ("0123", "0899", "1e5", "0x1F", "0o17", ".5", "1_000", "12:30:45")
SYNTAX = (" x", "a: b", "a #b", "*x", "&x", "%x", "@x", "- x", "{x", "tail:", 'say "hi"', "a\\b")


@pytest.mark.parametrize("text", WORDS + NUMBERS + SYNTAX)
def test_a_string_that_yaml_reads_as_something_else_is_quoted(text: str) -> None:
    ((value,),) = to_environment({"http": {"prefix": text}}, {}).values()
    assert value == quote(text)
    assert yaml.safe_load(str(value)) == text


@pytest.mark.parametrize(
    "text", ["warn", ":5000", "/var/lib", "30s", "1m30s", "http://h:1/p", "a-b.c"]
)
def test_a_plain_string_stays_as_a_person_would_write_it(text: str) -> None:
    assert to_environment({"http": {"host": text}}, {}) == {"REGISTRY_HTTP_HOST": (text,)}
    assert yaml.safe_load(text) == text


@pytest.mark.parametrize("text", ["pw😀", "\x7f", "\x85", "\u2028", "\ufeff", "\uffff", "\t\n\x00"])
def test_quoted_text_has_no_raw_character_that_a_reader_refuses(text: str) -> None:
    assert json.loads(quote(text)) == text
    assert not set(quote(text)) & set("\x7f\x85\u2028\ufeff\uffff\t\n\x00")
    assert "😀" not in text or "😀" in quote(text)  # surrogate escapes are refused by yaml.v2
