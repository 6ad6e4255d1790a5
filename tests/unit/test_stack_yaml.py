"""Tests that this project reads a stack file as Pulumi does, without running Pulumi."""

import json
from pathlib import Path

import pytest

from config.problems import SettingsError
from operations import stack_file
from operations.__main__ import main
from operations.stack_file import read_configuration


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the folder of the stack files."""
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    return tmp_path


def _write_stack_file(stacks: Path, text: str) -> str:
    """Write the stack file of `mine`, and return that name."""
    (stacks / "Pulumi.mine.yaml").write_text(text)
    return "mine"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("3.0", 3),
        ("2.8", 2.8),
        ("1e3", 1000),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("2026-11", "2026-11"),
        ("12:30", "12:30"),
        ("0x10", 16),
        ("0123", 83),
        ("0o17", 15),
        ("1_000", 1000),
        ("0b11", 3),
        ("08", 8),
        ("1e400", "1e400"),
        ("9223372036854775808", 9223372036854776000),
        ("!!str 0123", "0123"),
        ("'0899'", "0899"),
        ("-5", -5),
    ],
)
def test_values_are_read_as_pulumi_reads_them(stacks: Path, written: str, value: object) -> None:
    name = _write_stack_file(stacks, f"config:\n  oss-registry:registry:\n    key: {written}\n")
    texts, _ = read_configuration(name)
    read = json.loads(texts["oss-registry:registry"])["key"]
    assert (read, type(read)) == (value, type(value))


def test_merge_keys_add_to_a_section_without_replacing_its_own_keys(stacks: Path) -> None:
    text = "x: &x {port: 1, bind: a}\nconfig: {registry: {<<: [*x, {port: 2, log: b}], bind: c}}"
    texts, _ = read_configuration(_write_stack_file(stacks, text))
    assert json.loads(texts["oss-registry:registry"]) == {"port": 1, "bind": "c", "log": "b"}


def test_a_null_section_is_read_as_an_empty_text(stacks: Path) -> None:
    texts, _ = read_configuration(_write_stack_file(stacks, "config: {registry: ~, cache: }"))
    assert texts == {"oss-registry:registry": "", "oss-registry:cache": ""}


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("2026-11-25", "has a date, which Pulumi rewrites; put it in quotes"),
        ("2026-1-2 10:00:00", "has a date, which Pulumi rewrites; put it in quotes"),
        (".inf", "has no number that Pulumi takes; put it in quotes"),
        ("-.INF", "has no number that Pulumi takes; put it in quotes"),
        (".NaN", "has no number that Pulumi takes; put it in quotes"),
        ("!!binary aGk=", "has the tag !!binary; remove the tag"),
        ("!mine {}", "has the tag !mine; remove the tag"),
        ('"\\ud83d"', "has half of a character; write it in UTF-8"),
        ('"\\nx"', "begins with an empty line or a tab, which Pulumi loses; remove it"),
        ("{0123: {}}", "has the key 0123, which is read as a number; put the key in quotes"),
        ("{true: {}}", "has the key true, which is read as true or false; put the key in quotes"),
        ("{~: {}}", "has the key ~, which is read as null; put the key in quotes"),
        ("{2026-11-25: {}}", "has a date, which Pulumi rewrites; put it in quotes"),
        ("{[a]: {}}", "has a list or a section for a key; write a text"),
    ],
)
def test_a_value_that_pulumi_would_change_is_refused_with_its_key_and_line(
    stacks: Path, written: str, problem: str
) -> None:
    name = _write_stack_file(stacks, f"config:\n  oss-registry:auth:\n    users: {written}\n")
    with pytest.raises(SettingsError) as failure:
        read_configuration(name)
    assert f"oss-registry:auth.users: line 3: {problem}" in str(failure.value)


@pytest.mark.parametrize(
    ("written", "value"), [("1.10", 1.1), ("0123", 83), ("1e3", 1000), ("5_000", 5000)]
)
def test_a_number_that_pulumi_rewrites_is_refused_where_the_registry_accepts_any_type(
    stacks: Path, written: str, value: float
) -> None:
    text = "config: {{registry: {{config: {{log: {{fields: {{j: {}}}}}}}}}}}"
    with pytest.raises(SettingsError) as failure:
        read_configuration(_write_stack_file(stacks, text.format(written)))
    key = "oss-registry:registry.config.log.fields.j"
    assert f"{key}: line 1: has a number, which Pulumi rewrites as {value}" in str(failure.value)
    assert f"put it in quotes, or write {value}" in str(failure.value)
    assert str(failure.value).count(key) == 1
    read_configuration(_write_stack_file(stacks, text.format("5")))


def test_unquoted_values_and_other_problems_are_reported_together(stacks: Path) -> None:
    name = _write_stack_file(
        stacks, "config:\n  registry: {port: 0}\n  storage: {access_keys: [2026-11-01]}"
    )
    with pytest.raises(SettingsError) as failure:
        read_configuration(name)
    assert "oss-registry:storage.access_keys[0]: line 3: has a date" in str(failure.value)
    assert "oss-registry:registry.port: " in str(failure.value)


def test_a_key_without_a_namespace_belongs_to_the_project(stacks: Path) -> None:
    texts, _ = read_configuration(
        _write_stack_file(stacks, "config: {registry: {port: 1}, 'a:b': c}")
    )
    assert texts == {"oss-registry:registry": '{"port": 1}', "a:b": "c"}


def test_settings_that_contain_a_secret_at_any_depth_are_listed(stacks: Path) -> None:
    text = "config: {a: {secure: x}, b: {c: [{secure: x}]}, d: {e: 1}, f: [1]}"
    _, secrets = read_configuration(_write_stack_file(stacks, text))
    assert secrets == {"oss-registry:a", "oss-registry:b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config:\n  a: 1\n  a: 2\n", "line 3: the key a is there twice"),
        ("config:\n  a: {b: 1,\n    b: 2}\n", "line 3: the key b is there twice"),
        ("config: {a: [}", "line 1: "),
        ("config:\n\ta: 1", "line 2: "),
        ("config: {a: \x00}", "is not YAML"),
        ("config: {[1]: 2, {}: 3}", "line 1: "),
        ("config: {a: 1}\n---\nb: 1", "line 3: Pulumi reads the first document only"),
        ("config: {a:\t1}", "line 1: there is a tab between words"),
        ("config: {a: &a [*a]}", "line 1: an anchor contains itself"),
        ("config: {<<: 5}", "line 1: << needs a section"),
        ('config: {a: "\\/"}', "line 1: found unknown escape character"),
        ('config: {a: "\\U00110000"}', "is not YAML"),
        ("%YAML 1.2\n---\nconfig: {}", "Pulumi reads YAML 1.1 only"),
        ("config: {registry: {}, 'oss-registry:registry': {}}", "registry is there twice"),
        ("config: {'a:b:c': 1}", "the key a:b:c is not of the form namespace:name"),
        ("", "needs a section config:"),
        ("[]", "needs a section config:"),
        ("config: 5", "needs a section config:"),
    ],
)
def test_an_invalid_stack_file_is_reported_with_its_name_and_line(
    stacks: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_stack_file(stacks, text)
    assert main(["render", "mine"]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert "stacks/Pulumi.mine.yaml" in printed.err
    assert not printed.out


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "", "a;id", "x" * 101, "é", "a\\b", "a\n"])
@pytest.mark.parametrize(
    "options", [["render"], ["import"], ["up"], ["gc"], ["login", "--user=bob"], ["status"]]
)
def test_an_invalid_stack_name_is_reported_in_one_sentence(
    options: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *others = options
    assert main([command, name, *others]) == 1
    assert capsys.readouterr().err == (
        f"{command}: {name!r} is not a stack's name: write letters, digits, hyphens, underscores "
        "and dots, such as STACK=prod\n"
    )


def test_a_missing_stack_file_is_reported(stacks: Path) -> None:
    with pytest.raises(SettingsError, match=r"^there is no stacks/Pulumi\.other\.yaml$"):
        read_configuration("other")
