"""Tests of `make comment`, which posts a preview to a pull request: one comment for each stack."""

import json
import os
from pathlib import Path

import pytest

from operations.__main__ import main

MARKER = "<!-- oss-registry: prod -->"


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file with a preview, and put a fake `gh` on PATH.

    The fake records its calls in the file LOG, and lists the comments in the file LISTED.
    """
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
    preview = tmp_path / "report.md"
    preview.write_text(f"{MARKER}\n### prod\n")
    return preview


def _comment(report: Path, *bodies: str) -> str:
    """Run `comment` on a pull request with comments of these `bodies`. Return gh's last call."""
    lines = [json.dumps({"id": number, "body": body}) for number, body in enumerate(bodies)]
    (report.parent / "LISTED").write_text("\n".join(lines))
    assert main(["comment", "7", str(report)]) == 0
    return (report.parent / "LOG").read_text().splitlines()[-1]


def test_the_first_preview_is_a_new_comment(report: Path) -> None:
    call = _comment(report, "hello", "<!-- oss-registry: dev -->\nx")
    endpoint = "repos/me/images/issues/7/comments"
    assert call.split() == ["api", "--method", "POST", endpoint, "--field", f"body=@{report}"]


def test_a_later_preview_replaces_the_comment_of_the_same_stack(report: Path) -> None:
    call = _comment(report, "hello", f"{MARKER}\nbefore")
    assert "--method PATCH repos/me/images/issues/comments/1 " in call


def test_only_comments_of_bots_are_replaced(report: Path) -> None:
    _comment(report)
    listing = (report.parent / "LOG").read_text().splitlines()[0]
    assert 'select(.user.type == "Bot")' in listing


def test_an_empty_preview_is_an_error_and_posts_no_comment(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.write_text("")
    assert main(["comment", "7", str(report)]) == 1
    assert "holds no preview" in capsys.readouterr().err
    assert not (report.parent / "LOG").read_text()
