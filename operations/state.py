"""What a stack's state says of one resource, secrets included: read it, print none of it."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any


def resource(stack: str, kind: str, name: str) -> Mapping[str, Any]:
    """The resource `name` of type `kind`, as exported.

    Raises LookupError where there is none, CalledProcessError with pulumi's own words.
    """
    words = ["pulumi", "stack", "export", "--show-secrets", "--stack", stack]
    exported = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    for found in json.loads(exported)["deployment"].get("resources", ()):
        if found["type"] == kind and found["urn"].endswith(f"::{name}"):
            return dict(found)
    raise LookupError(f"the stack {stack} has no {name}: `make up STACK={stack}` first")


def plain(value: Any) -> str:  # noqa: ANN401
    """The text of a value; where it is a secret, it is JSON in JSON."""
    return str(json.loads(value["plaintext"]) if isinstance(value, dict) else value)
