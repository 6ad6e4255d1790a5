"""What Pulumi has written down of a stack."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from config.settings import PROJECT
from operations.errors import CommandError
from operations.stack_file import encryption_salt

ACCESS_KEY = "alicloud:ram/accessKey:AccessKey"
BUCKET = "alicloud:oss/bucket:Bucket"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
RAM_USER = "alicloud:ram/user:User"
SERVICE = "docker:index/service:Service"
STACK = "pulumi:pulumi:Stack"
STASH = "pulumi:index:Stash"
VOLUME = "docker:index/volume:Volume"


def deployment(stack: str, *flags: str) -> Mapping[str, Any]:
    """The stack's resources and pending operations, secrets encrypted unless `flags` say else.

    Raises CalledProcessError with pulumi's own words.
    """
    exported = pulumi("stack", "export", "--stack", stack, *flags)
    state: Mapping[str, Any] = json.loads(exported)["deployment"]
    return state


def resource(stack: str, kind: str, name: str) -> Mapping[str, Any]:
    """The resource `name` of type `kind`, secrets included: print none of it.

    Raises CommandError where there is none, CalledProcessError with pulumi's own words.
    """
    for found in deployment(stack, "--show-secrets").get("resources", ()):
        if found["type"] == kind and found["urn"].endswith(f"::{name}"):
            return dict(found)
    raise CommandError(f"the stack {stack} has no {name}: `make up STACK={stack}` first")


def outputs_of(resources: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The outputs of the stack that has `resources`, as its last `up` left them."""
    found = (each.get("outputs") or {} for each in resources if each["type"] == STACK)
    return next(found, {})


def access_keys(resources: Iterable[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Those among `resources`, by their labels."""
    keys = (each for each in resources if each["type"] == ACCESS_KEY)
    return {key["urn"].rpartition("::access-key-")[2]: key for key in keys}


def tag(stack: str, name: str) -> str | None:
    """What that tag of the stack says; None where it has none."""
    try:
        return pulumi("stack", "tag", "get", "--stack", stack, name).strip()
    except subprocess.CalledProcessError:
        return None


def plain(value: Any) -> str:  # noqa: ANN401
    """The text of a value; where it is a secret, it is JSON in JSON."""
    return str(json.loads(value["plaintext"]) if isinstance(value, dict) else value)


def secret(stack: str, name: str, brought: Collection[str]) -> str:
    """The stack's secret `name`: the one in its file, if it is among those `brought`, else drawn.

    Raises CommandError where there is none, CalledProcessError with pulumi's own words.
    """
    if name not in brought:
        return plain(resource(stack, STASH, name)["outputs"]["output"])
    # It ends with a line feed of pulumi's own.
    return pulumi("config", "get", "--stack", stack, f"{PROJECT}:{name}")[:-1]


def pulumi(*words: str, given: str | None = None) -> str:
    """What pulumi prints; it reads what is `given`.

    Raises CommandError if the passphrase does not fit, CalledProcessError with pulumi's errors.
    """
    try:
        return subprocess.run(
            ["pulumi", *words],
            input=given,
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=_end_with_parent,
        ).stdout
    except subprocess.CalledProcessError as failure:
        _require_passphrase(failure.stderr, words)
        raise


def pulumi_seen(*words: str) -> None:
    """Run pulumi, which may ask and is seen.

    Raises CommandError if the passphrase does not fit, CalledProcessError.
    """
    command = ["pulumi", *words]
    errors: list[str] = []
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=_end_with_parent
    ) as running:
        assert running.stderr
        try:
            for line in running.stderr:
                print(line, end="", file=sys.stderr, flush=True)
                errors.append(line)
        except BaseException:
            # As subprocess.run does: an interrupt has reached pulumi as well.
            with suppress(subprocess.TimeoutExpired):
                running.wait(0.25)
            running.kill()
            raise
    if running.returncode:
        _require_passphrase("".join(errors), words)
        raise subprocess.CalledProcessError(running.returncode, command)


# What the CLI prints (pkg/secrets/passphrase/manager.go; the last one is Go's crypto/cipher).
_NO_PASSPHRASE = "passphrase must be set with"
_NO_FILE = "unable to read PULUMI_CONFIG_PASSPHRASE_FILE"
_LOCKED = ("incorrect passphrase", "malformed state value", "message authentication failed")


def _require_passphrase(errors: str, words: Sequence[str]) -> None:
    """Raises CommandError if pulumi's `errors` are about the passphrase of the stack in `words`."""
    stack = words[words.index("--stack") + 1] if "--stack" in words else ""
    by_file = "PULUMI_CONFIG_PASSPHRASE" not in os.environ
    variable = f"PULUMI_CONFIG_PASSPHRASE{'_FILE' if by_file else ''}"
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
    if any(text in errors for text in _LOCKED):
        raise CommandError(
            f"The passphrase in {variable} does not unlock the secrets of the stack {stack}. Set "
            f"the one that the stack was created with.{_other_salt(stack)}"
        )


def _other_salt(stack: str) -> str:
    """What to do if the salt in the stack file is not the state's. It is not secret."""
    file, written = f"stacks/Pulumi.{stack}.yaml", encryption_salt(stack)
    words = ["pulumi", "stack", "export", "--stack", stack]
    exported = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    try:
        kept = json.loads(exported)["deployment"]["secrets_providers"]["state"]["salt"]
    except (ValueError, LookupError, TypeError):
        kept = None
    if kept == written:
        return ""
    if kept:
        return (
            f" If you have, the key encryptionsalt in {file} belongs to another stack. Replace it "
            f"with the one of the state: {kept}"
        )
    return (
        f" If you have, the key encryptionsalt in {file} belongs to another stack. Remove it, and "
        "set the secrets of the file again."
    )


def _end_with_parent() -> None:
    """Whoever is killed leaves nothing at work that would keep the next one out (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
