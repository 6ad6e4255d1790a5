"""The pulumi command, and the state of a stack."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from config.resource_names import ACCESS_KEY, ACCESS_KEY_PREFIX, STACK, STASH
from config.settings import PROJECT
from operations.errors import CommandError
from operations.stack_file import encryption_salt

Resources = Sequence[Mapping[str, Any]]
"""The resources in the state of a stack."""

_STATE_CHANGING = ("up", "destroy", "refresh", "import", "cancel")
# Pulumi's error texts (pkg/secrets/passphrase/manager.go; the last one is from Go's crypto/cipher).
_NO_PASSPHRASE = "passphrase must be set with"
_NO_FILE = "unable to read PULUMI_CONFIG_PASSPHRASE_FILE"
_WRONG_PASSPHRASE = (
    "incorrect passphrase",
    "malformed state value",
    "message authentication failed",
)


class Pulumi:
    """The pulumi command for one stack.

    Methods raise CommandError if the passphrase is missing or wrong, and CalledProcessError, with
    pulumi's error text, if the command fails.
    """

    def __init__(self, stack: str) -> None:
        self._stack = stack
        self._exported: Mapping[str, Any] | None = None
        self._is_decrypted = False

    def run(self, command: str, *options: str) -> str:
        """Run pulumi for the stack, and return its output. `command` may be two words."""
        try:
            return run_pulumi(*self._words(command, options))
        finally:
            self._drop_state_after(command)

    def run_visibly(self, command: str, *options: str) -> None:
        """Run pulumi for the stack in the terminal, where it may ask questions."""
        try:
            _run_visibly(*self._words(command, options))
        finally:
            self._drop_state_after(command)

    def _words(self, command: str, options: Sequence[str]) -> Sequence[str]:
        return [*command.split(), "--stack", self._stack, *options]

    def _drop_state_after(self, command: str) -> None:
        if command in _STATE_CHANGING:
            self.drop_state()

    def drop_state(self) -> None:
        """Drop the cached state, so that the next read exports it again."""
        self._exported, self._is_decrypted = None, False

    def state(self, *, decrypted: bool = False) -> Mapping[str, Any]:
        """Return the resources, pending operations and manifest of the stack.

        They are cached until a command changes them. Secrets are encrypted, unless `decrypted` is
        true now or was true earlier. Never print a decrypted state.
        """
        if self._exported is None or (decrypted and not self._is_decrypted):
            self._exported = self._export(*(["--show-secrets"] if decrypted else []))
            self._is_decrypted = decrypted
        return self._exported

    def _export(self, *options: str) -> Mapping[str, Any]:
        state: Mapping[str, Any] = json.loads(self.run("stack export", *options))["deployment"]
        return state

    @property
    def resources(self) -> Resources:
        resources: Resources = self.state().get("resources", ())
        return resources

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs of the stack, as the last `up` left them."""
        stacks = (each for each in self.resources if each["type"] == STACK)
        return next((each.get("outputs") or {} for each in stacks), {})

    def decrypted_resource(self, kind: str, name: str) -> Mapping[str, Any]:
        """Return the resource `name` of type `kind`, with decrypted secrets. Never print it.

        Raises CommandError if there is none.
        """
        resources: Resources = self.state(decrypted=True).get("resources", ())
        for resource in resources:
            if resource["type"] == kind and resource["urn"].endswith(f"::{name}"):
                return resource
        raise CommandError(
            f"the stack {self._stack} has no {name}: `make up STACK={self._stack}` first"
        )

    def secret(self, name: str, provided: Collection[str]) -> str:
        """Return the secret `name`: from the stack file if `provided`, or else the generated one.

        Raises CommandError if there is none.
        """
        if name not in provided:
            return plain_text(self.decrypted_resource(STASH, name)["outputs"]["output"])
        # pulumi adds a line feed.
        return self.run("config get", f"{PROJECT}:{name}")[:-1]

    def tag(self, name: str) -> str | None:
        """Return the value of a tag of the stack, or None if it does not have the tag."""
        try:
            return self.run("stack tag get", name).strip()
        except subprocess.CalledProcessError:
            return None


def access_keys(resources: Iterable[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Return the access keys among `resources`, by their labels."""
    keys = (resource for resource in resources if resource["type"] == ACCESS_KEY)
    return {key["urn"].rpartition(f"::{ACCESS_KEY_PREFIX}")[2]: key for key in keys}


def plain_text(value: Any) -> str:  # noqa: ANN401
    """Return a value in a decrypted state as text.

    A secret value is a mapping, whose key `plaintext` has the value as JSON.
    """
    return str(json.loads(value["plaintext"]) if isinstance(value, dict) else value)


def run_pulumi(*words: str, stdin: str | None = None) -> str:
    """Run pulumi with these arguments, and return its output.

    Raises CommandError if the passphrase is missing or wrong, and CalledProcessError with pulumi's
    error text.
    """
    try:
        return subprocess.run(
            ["pulumi", *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=_end_with_parent,
        ).stdout
    except subprocess.CalledProcessError as failure:
        _check_passphrase(failure.stderr, words)
        raise


def _run_visibly(*words: str) -> None:
    command = ["pulumi", *words]
    errors: list[str] = []
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=_end_with_parent
    ) as process:
        assert process.stderr
        try:
            for line in process.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                errors.append(line)
        except BaseException:
            # Pulumi received the same interrupt. Give it 0.25 s to exit, as subprocess.run does.
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.25)
            process.kill()
            raise
    if process.returncode:
        _check_passphrase("".join(errors), words)
        raise subprocess.CalledProcessError(process.returncode, command)


def _check_passphrase(errors: str, words: Sequence[str]) -> None:
    """Raise CommandError if pulumi's `errors` are about the passphrase of the stack.

    `words` are the arguments of pulumi, which name the stack.
    """
    stack = words[words.index("--stack") + 1] if "--stack" in words else ""
    if _NO_PASSPHRASE in errors:
        raise CommandError(
            f"Pulumi needs the passphrase of the stack {stack}. Set PULUMI_CONFIG_PASSPHRASE, or "
            "PULUMI_CONFIG_PASSPHRASE_FILE to the path of a file that holds it."
        )
    if _NO_FILE in errors:
        path = os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
        raise CommandError(
            f"The passphrase of the stack {stack} can't be read from {path}. Set "
            "PULUMI_CONFIG_PASSPHRASE_FILE to the path of a file that holds it."
        )
    if any(text in errors for text in _WRONG_PASSPHRASE):
        variable = "PULUMI_CONFIG_PASSPHRASE"
        if variable not in os.environ:
            variable = "PULUMI_CONFIG_PASSPHRASE_FILE"
        raise CommandError(
            f"The passphrase in {variable} does not unlock the secrets of the stack {stack}. Set "
            f"the one that the stack was created with.{_salt_hint(stack)}"
        )


def _salt_hint(stack: str) -> str:
    """Return the fix if the salt in the stack file differs from that in the state, or no text.

    A salt is no secret.
    """
    file, salt = f"stacks/Pulumi.{stack}.yaml", encryption_salt(stack)
    command = ["pulumi", "stack", "export", "--stack", stack]
    exported = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    try:
        state_salt = json.loads(exported)["deployment"]["secrets_providers"]["state"]["salt"]
    except (ValueError, LookupError, TypeError):
        state_salt = None
    if state_salt == salt:
        return ""
    if state_salt:
        return (
            f" If you have, the key encryptionsalt in {file} belongs to another stack. Replace it "
            f"with the one of the state: {state_salt}"
        )
    return (
        f" If you have, the key encryptionsalt in {file} belongs to another stack. Remove it, and "
        "set the secrets of the file again."
    )


def _end_with_parent() -> None:
    """On Linux, kill pulumi when this process is killed. Otherwise it would block the next run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
