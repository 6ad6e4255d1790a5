"""What a user sees if Pulumi can't unlock a stack's secrets."""

import json
import sys
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from operations import Blocked, gc, preview, stack_file
from operations.state import pulumi, pulumi_seen

WRONG = "error: getting stack configuration: get stack secrets manager: incorrect passphrase"
MISSING = (
    "error: getting stack configuration: get stack secrets manager: passphrase must be set with "
    "PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables"
)
NO_FILE = (
    "error: getting stack configuration: get stack secrets manager: unable to read "
    "PULUMI_CONFIG_PASSPHRASE_FILE: open /nowhere: no such file or directory"
)
OTHER_KEY = "error: validating stack config: cipher: message authentication failed"


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pulumi that exports `state` and otherwise prints `error` and fails."""
    program = tmp_path / "pulumi"
    program.write_text(
        f"""#!/bin/sh
        case "$*" in
        "stack export --stack mine") cat {tmp_path}/state ;;
        *) cat {tmp_path}/error >&2; exit 255 ;;
        esac
        """
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "hunter2")
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    _have(tmp_path, WRONG, in_file="one", in_state="one")
    return tmp_path


def _have(folder: Path, error: str, in_file: str | None, in_state: str | None) -> None:
    salt = {"encryptionsalt": f"v1:{in_file}"} if in_file else {}
    (folder / "Pulumi.mine.yaml").write_text(json.dumps({"config": {}, **salt}))
    (folder / "error").write_text(f"{error}\n")
    kept = {"secrets_providers": {"state": {"salt": f"v1:{in_state}"}}} if in_state else {}
    (folder / "state").write_text(json.dumps({"deployment": kept}))


def _said(*words: str) -> str:
    with pytest.raises(Blocked) as blocked:
        pulumi(*words, "--stack", "mine")
    assert "\n" not in str(blocked.value)
    assert "hunter2" not in str(blocked.value)
    return str(blocked.value)


@pytest.mark.usefixtures("failing")
def test_a_wrong_passphrase_names_the_stack_and_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = "The passphrase in {} does not unlock the secrets of the stack mine. Set the one"
    said = _said("preview")
    assert wrong.format("PULUMI_CONFIG_PASSPHRASE") in said
    assert "encryptionsalt" not in said
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    assert wrong.format("PULUMI_CONFIG_PASSPHRASE_FILE") in _said("preview")


def test_a_left_over_salt_is_named_with_the_one_of_the_state(failing: Path) -> None:
    for error in (WRONG, "error: malformed state value", OTHER_KEY):
        _have(failing, error, in_file="other", in_state="one")
        said = _said("stack", "export", "--show-secrets")
        assert "the key encryptionsalt in stacks/Pulumi.mine.yaml belongs to another stack" in said
        assert said.endswith("Replace it with the one of the state: v1:one")
    _have(failing, WRONG, in_file="other", in_state=None)
    assert "Remove it, and set the secrets of the file again" in _said("preview")


def test_a_missing_passphrase_names_both_variables(failing: Path) -> None:
    _have(failing, MISSING, in_file="one", in_state="one")
    said = _said("config", "set")
    assert said == (
        "Pulumi needs the passphrase of the stack mine. Set PULUMI_CONFIG_PASSPHRASE, or "
        "PULUMI_CONFIG_PASSPHRASE_FILE to the path of a file that holds it."
    )


def test_a_file_that_can_t_be_read_is_named(failing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "/nowhere")
    _have(failing, NO_FILE, in_file="one", in_state="one")
    assert "the stack mine can't be read from /nowhere. Set" in _said("preview")


@pytest.mark.usefixtures("failing")
def test_a_command_whose_output_is_seen_ends_with_the_same_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Blocked, match="does not unlock the secrets of the stack mine"):
        pulumi_seen("destroy", "--stack", "mine")
    assert WRONG in capsys.readouterr().err


def test_other_errors_of_pulumi_stay_as_they_are(failing: Path) -> None:
    _have(failing, "error: no stack named 'mine' found", in_file="one", in_state="one")
    with pytest.raises(CalledProcessError) as failed:
        pulumi("preview", "--stack", "mine")
    assert "no stack named" in failed.value.stderr
    with pytest.raises(CalledProcessError):
        pulumi_seen("up", "--stack", "mine")


@pytest.mark.usefixtures("failing")
def test_garbage_collection_reports_it_and_no_pending_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gc, "tag", lambda *_: None)
    with pytest.raises(Blocked) as blocked:
        gc._collect(stack_file.stack("mine"), {}, gc._Interrupts.__new__(gc._Interrupts))
    assert "the plan fails" in str(blocked.value)
    assert "does not unlock the secrets of the stack mine" in capsys.readouterr().out
    found, _ = preview.planned("mine")
    assert "PULUMI_CONFIG_PASSPHRASE" in "".join(found.errors)


def test_an_interrupt_ends_a_command_that_is_seen(
    failing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (failing / "pulumi").write_text("#!/bin/sh\necho begun >&2\nexec sleep 60\n")

    class Interrupting:
        def write(self, text: str) -> None:
            if "begun" in text:
                raise KeyboardInterrupt

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stderr", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        pulumi_seen("up", "--stack", "mine")
