"""What Pulumi has written down of a stack."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any


def deployment(stack: str, *flags: str) -> Mapping[str, Any]:
    """The stack's resources and pending operations, secrets encrypted unless `flags` say else.

    Raises CalledProcessError with pulumi's own words.
    """
    words = ["pulumi", "stack", "export", "--stack", stack, *flags]
    exported = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    state: Mapping[str, Any] = json.loads(exported)["deployment"]
    return state


def resource(stack: str, kind: str, name: str) -> Mapping[str, Any]:
    """The resource `name` of type `kind`, secrets included: print none of it.

    Raises LookupError where there is none, CalledProcessError with pulumi's own words.
    """
    for found in deployment(stack, "--show-secrets").get("resources", ()):
        if found["type"] == kind and found["urn"].endswith(f"::{name}"):
            return dict(found)
    raise LookupError(f"the stack {stack} has no {name}: `make up STACK={stack}` first")


def plain(value: Any) -> str:  # noqa: ANN401
    """The text of a value; where it is a secret, it is JSON in JSON."""
    return str(json.loads(value["plaintext"]) if isinstance(value, dict) else value)
