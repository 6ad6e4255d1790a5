"""A preview goes below its pull request: one comment for each stack, which is written anew."""

import json
import os
from pathlib import Path

import pytest

from operations.__main__ import main

MARKER = "<!-- oss-registry: prod -->"


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was previewed; `gh` writes down how it was called, and lists what `listed` holds."""
    gh = tmp_path / "bin/gh"
    gh.parent.mkdir()
    gh.write_text(
        '#!/bin/sh\nprintf "%s " "$@" >> "$LOG"; echo >> "$LOG"\n'
        'case "$*" in *--paginate*) cat "$LISTED" ;; esac\n'
    )
    gh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gh.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_REPOSITORY", "me/images")
    for name in ("LOG", "LISTED"):
        (tmp_path / name).write_text("")
        monkeypatch.setenv(name, str(tmp_path / name))
    made = tmp_path / "report.md"
    made.write_text(f"{MARKER}\n### prod\n")
    return made


def _commented(report: Path, *bodies: str) -> str:
    """The last call, where there are comments of those `bodies`."""
    lines = [json.dumps({"id": number, "body": body}) for number, body in enumerate(bodies)]
    (report.parent / "LISTED").write_text("\n".join(lines))
    assert main(["comment", "7", str(report)]) == 0
    return (report.parent / "LOG").read_text().splitlines()[-1]


def test_the_first_preview_is_a_new_comment(report: Path) -> None:
    call = _commented(report, "hello", "<!-- oss-registry: dev -->\nx")
    where = "repos/me/images/issues/7/comments"
    assert call.split() == ["api", "--method", "POST", where, "--field", f"body=@{report}"]


def test_the_next_one_takes_its_place(report: Path) -> None:
    call = _commented(report, "hello", f"{MARKER}\nbefore")
    assert "--method PATCH repos/me/images/issues/comments/1 " in call


def test_what_people_write_is_never_overwritten(report: Path) -> None:
    _commented(report)
    listing = (report.parent / "LOG").read_text().splitlines()[0]
    assert 'select(.user.type == "Bot")' in listing


def test_no_preview_is_no_comment(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.write_text("")
    assert main(["comment", "7", str(report)]) == 1
    assert "holds no preview" in capsys.readouterr().err
    assert not (report.parent / "LOG").read_text()
