"""Tests of the errors that are reported if Pulumi cannot unlock a stack's secrets."""

import json
import sys
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from operations import stack_file
from operations.clients.pulumi import Pulumi, run_pulumi
from operations.commands import gc, preview
from operations.context import StackContext
from operations.errors import CommandError
from operations.garbage_collection.interrupts import Interrupts

WRONG_PASSPHRASE = (
    "error: getting stack configuration: get stack secrets manager: incorrect passphrase"
)
MISSING_PASSPHRASE = (
    "error: getting stack configuration: get stack secrets manager: passphrase must be set with "
    "PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables"
)
MISSING_PASSPHRASE_FILE = (
    "error: getting stack configuration: get stack secrets manager: unable to read "
    "PULUMI_CONFIG_PASSPHRASE_FILE: open /nowhere: no such file or directory"
)
DECRYPTION_FAILED = "error: validating stack config: cipher: message authentication failed"


@pytest.fixture
def failing_pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake `pulumi` on PATH: it exports `state`, or prints `error` and fails."""
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
    _write_stack(tmp_path, WRONG_PASSPHRASE, file_salt="one", state_salt="one")
    return tmp_path


def _write_stack(folder: Path, error: str, file_salt: str | None, state_salt: str | None) -> None:
    """Write the stack file and the state, each with its salt, and the error of pulumi."""
    salt = {"encryptionsalt": f"v1:{file_salt}"} if file_salt else {}
    (folder / "Pulumi.mine.yaml").write_text(json.dumps({"config": {}, **salt}))
    (folder / "error").write_text(f"{error}\n")
    provider = {"secrets_providers": {"state": {"salt": f"v1:{state_salt}"}}} if state_salt else {}
    (folder / "state").write_text(json.dumps({"deployment": provider}))


def _error_of(*words: str) -> str:
    """Run `pulumi` with these arguments. Return its error: one line without the passphrase."""
    with pytest.raises(CommandError) as failure:
        run_pulumi(*words, "--stack", "mine")
    assert "\n" not in str(failure.value)
    assert "hunter2" not in str(failure.value)
    return str(failure.value)


@pytest.mark.usefixtures("failing_pulumi")
def test_a_wrong_passphrase_is_reported_with_the_stack_and_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = "The passphrase in {} does not unlock the secrets of the stack mine. Set the one"
    message = _error_of("preview")
    assert wrong.format("PULUMI_CONFIG_PASSPHRASE") in message
    assert "encryptionsalt" not in message
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    assert wrong.format("PULUMI_CONFIG_PASSPHRASE_FILE") in _error_of("preview")


def test_a_salt_of_another_stack_is_reported_with_the_salt_of_the_state(
    failing_pulumi: Path,
) -> None:
    for error in (WRONG_PASSPHRASE, "error: malformed state value", DECRYPTION_FAILED):
        _write_stack(failing_pulumi, error, file_salt="other", state_salt="one")
        message = _error_of("stack", "export", "--show-secrets")
        assert (
            "the key encryptionsalt in stacks/Pulumi.mine.yaml belongs to another stack" in message
        )
        assert message.endswith("Replace it with the one of the state: v1:one")
    _write_stack(failing_pulumi, WRONG_PASSPHRASE, file_salt="other", state_salt=None)
    assert "Remove it, and set the secrets of the file again" in _error_of("preview")


def test_a_missing_passphrase_is_reported_with_both_variables(failing_pulumi: Path) -> None:
    _write_stack(failing_pulumi, MISSING_PASSPHRASE, file_salt="one", state_salt="one")
    message = _error_of("config", "set")
    assert message == (
        "Pulumi needs the passphrase of the stack mine. Set PULUMI_CONFIG_PASSPHRASE, or "
        "PULUMI_CONFIG_PASSPHRASE_FILE to the path of a file that holds it."
    )


def test_a_passphrase_file_that_cannot_be_read_is_reported_with_its_path(
    failing_pulumi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "/nowhere")
    _write_stack(failing_pulumi, MISSING_PASSPHRASE_FILE, file_salt="one", state_salt="one")
    assert "the stack mine can't be read from /nowhere. Set" in _error_of("preview")


@pytest.mark.usefixtures("failing_pulumi")
def test_a_command_with_visible_output_ends_with_the_same_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(CommandError, match="does not unlock the secrets of the stack mine"):
        Pulumi("mine").run_visibly("destroy")
    assert WRONG_PASSPHRASE in capsys.readouterr().err


def test_other_errors_of_pulumi_are_not_changed(failing_pulumi: Path) -> None:
    _write_stack(
        failing_pulumi, "error: no stack named 'mine' found", file_salt="one", state_salt="one"
    )
    with pytest.raises(CalledProcessError) as failure:
        Pulumi("mine").run("preview")
    assert "no stack named" in failure.value.stderr
    with pytest.raises(CalledProcessError):
        Pulumi("mine").run_visibly("up")


@pytest.mark.usefixtures("failing_pulumi")
def test_garbage_collection_reports_a_wrong_passphrase_instead_of_pending_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Pulumi, "tag", lambda *_: None)
    context = StackContext("mine")
    with pytest.raises(CommandError) as failure:
        gc.collect(context, Interrupts.__new__(Interrupts))
    assert "the plan fails" in str(failure.value)
    assert "does not unlock the secrets of the stack mine" in capsys.readouterr().out
    report, _ = preview.plan(context)
    assert "PULUMI_CONFIG_PASSPHRASE" in "".join(report.errors)


def test_an_interrupt_stops_a_command_with_visible_output(
    failing_pulumi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (failing_pulumi / "pulumi").write_text("#!/bin/sh\necho started >&2\nexec sleep 60\n")

    class Interrupting:
        def write(self, text: str) -> None:
            if "started" in text:
                raise KeyboardInterrupt

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stderr", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        Pulumi("mine").run_visibly("up")
