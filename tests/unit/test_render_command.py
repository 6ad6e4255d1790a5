"""Tests of `make render`, which prints the registry's variables and files without secrets."""

from pathlib import Path

import pytest

from operations import stack_file
from operations.__main__ import main


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the folder of the stack files."""
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    return tmp_path


def _write_stack_file(stacks: Path, text: str) -> None:
    """Write the stack file of `mine`."""
    (stacks / "Pulumi.mine.yaml").write_text(text)


def test_render_prints_problems_on_stderr_and_fails(
    stacks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_stack_file(stacks, "config: {registry: {port: 0}}")
    assert main(["render", "mine"]) == 1
    assert "oss-registry:registry.port: " in capsys.readouterr().err


def test_render_prints_one_variable_per_line_without_secrets(
    stacks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_stack_file(stacks, "config: {redis-password: {secure: AAABhunter2}}")
    assert main(["render", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "REGISTRY_HTTP_ADDR=:5000\n" in printed
    assert "REGISTRY_REDIS_PASSWORD=[secret: redis-password]\n" in printed
    assert "hunter2" not in printed


def test_render_prints_the_configuration_file_as_it_is_delivered(
    stacks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_stack_file(stacks, "config: {registry: {delivery: file}}")
    assert main(["render", "mine"]) == 0
    printed = capsys.readouterr().out
    assert "# /etc/distribution/config.yml\n{\n" in printed
    assert '"secret": [secret: http-secret]' in printed


def test_render_prints_warnings_and_succeeds(
    stacks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_stack_file(
        stacks, "config: {registry: {config: {auth: {htpasswd: {realm: a, path: /b}}}}}"
    )
    assert main(["render", "mine"]) == 0
    assert "warning: oss-registry:registry.config.auth.htpasswd.path: " in capsys.readouterr().err


def test_render_prints_each_file_on_separate_lines(
    stacks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_stack_file(stacks, "config: {tls: {self_signed: true}, auth: {users: {bob: {}}}}")
    assert main(["render", "mine"]) == 0
    printed = capsys.readouterr().out
    files = ("htpasswd\nbob:[secret: hash of bob]", "tls.crt\n[self-signed certificate]")
    for file in (*files, "tls.key\n[secret: tls-key]"):
        assert f"\n# /etc/oss-registry/{file}\n" in printed
