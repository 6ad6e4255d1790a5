"""A stack file read without Pulumi: as Pulumi reads it, and printed without secrets."""

import json
from pathlib import Path

import pytest

from components.checks import SettingsError
from operations import stack_file
from operations.__main__ import main
from operations.stack_file import configuration


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    return tmp_path


def _file(stacks: Path, text: str) -> str:
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
        ("2026-11-25", "2026-11-25"),
        ("12:30", "12:30"),
        ("0x10", 16),
        ("0123", 83),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("'0899'", "0899"),
        ("-5", -5),
    ],
)
def test_values_are_those_that_pulumi_would_hand_over(
    stacks: Path, written: str, value: object
) -> None:
    name = _file(stacks, f"config:\n  oss-registry:registry:\n    key: {written}\n")
    texts, _ = configuration(name)
    read = json.loads(texts["oss-registry:registry"])["key"]
    assert (read, type(read)) == (value, type(value))


def test_a_key_without_a_namespace_is_the_projects_own(stacks: Path) -> None:
    texts, _ = configuration(_file(stacks, "config: {registry: {port: 1}, 'a:b': c}"))
    assert texts == {"oss-registry:registry": '{"port": 1}', "a:b": "c"}


def test_secrets_are_known_by_their_keys_wherever_they_are(stacks: Path) -> None:
    text = "config: {a: {secure: x}, b: {c: [{secure: x}]}, d: {e: 1}, f: [1]}"
    _, secrets = configuration(_file(stacks, text))
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
        ("", "needs a section config:"),
        ("[]", "needs a section config:"),
        ("config: 5", "needs a section config:"),
    ],
)
def test_what_is_no_stack_file_is_one_clear_message(
    stacks: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _file(stacks, text)
    assert main(["render", "mine"]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert "stacks/Pulumi.mine.yaml" in printed.err
    assert not printed.out


def test_a_stack_without_a_file_is_one_clear_message(stacks: Path) -> None:
    with pytest.raises(SettingsError, match=r"^there is no stacks/Pulumi\.other\.yaml$"):
        configuration("other")


def test_problems_go_to_stderr_and_fail(stacks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _file(stacks, "config: {registry: {port: 0}}")
    assert main(["render", "mine"]) == 1
    assert "oss-registry:registry.port: " in capsys.readouterr().err


def test_variables_are_printed_a_line_each_without_secrets(
    stacks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _file(stacks, "config: {redis-password: {secure: AAABhunter2}}")
    assert main(["render", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "REGISTRY_HTTP_ADDR=:5000\n" in printed
    assert "REGISTRY_REDIS_PASSWORD=[secret: redis-password]\n" in printed
    assert "hunter2" not in printed


def test_a_whole_file_is_printed_as_it_is_delivered(
    stacks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _file(stacks, "config: {registry: {delivery: file}}")
    assert main(["render", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "# /etc/distribution/config.yml\n{\n" in printed
    assert '"secret": [secret: http-secret]' in printed


def test_a_warning_does_not_fail(stacks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _file(stacks, "config: {registry: {config: {auth: {htpasswd: {realm: a, path: /b}}}}}")
    assert main(["render", "mine"]) == 0
    assert "warning: oss-registry:registry.config.auth.htpasswd.path: " in capsys.readouterr().err


def test_each_file_begins_on_a_line_of_its_own(
    stacks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _file(stacks, "config: {tls: {self_signed: true}, auth: {users: {bob: {}}}}")
    assert main(["render", "mine"]) == 0
    printed = capsys.readouterr().out
    files = ("htpasswd\nbob:[secret: hash of bob]", "tls.crt\n[self-signed certificate]")
    for file in (*files, "tls.key\n[secret: tls-key]"):
        assert f"\n# /etc/oss-registry/{file}\n" in printed
