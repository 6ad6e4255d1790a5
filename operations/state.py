"""What Pulumi has written down of a stack."""

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from components.settings import PROJECT
from operations import Blocked

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

    Raises Blocked where there is none, CalledProcessError with pulumi's own words.
    """
    for found in deployment(stack, "--show-secrets").get("resources", ()):
        if found["type"] == kind and found["urn"].endswith(f"::{name}"):
            return dict(found)
    raise Blocked(f"the stack {stack} has no {name}: `make up STACK={stack}` first")


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

    Raises Blocked where there is none, CalledProcessError with pulumi's own words.
    """
    if name not in brought:
        return plain(resource(stack, STASH, name)["outputs"]["output"])
    # It ends with a line feed of pulumi's own.
    return pulumi("config", "get", "--stack", stack, f"{PROJECT}:{name}")[:-1]


def pulumi(*words: str, given: str | None = None) -> str:
    """What pulumi prints; it reads what is `given`. Raises CalledProcessError with its errors."""
    return subprocess.run(
        ["pulumi", *words],
        input=given,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=_end_with_parent,
    ).stdout


def pulumi_seen(*words: str) -> None:
    """Run pulumi, which may ask and is seen. Raises CalledProcessError."""
    subprocess.run(["pulumi", *words], check=True, preexec_fn=_end_with_parent)


def _end_with_parent() -> None:
    """Whoever is killed leaves nothing at work that would keep the next one out (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
