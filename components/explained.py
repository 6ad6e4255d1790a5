"""What a provider's error means to who wrote the stack file, said beside its own words."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pulumi import ErrorHook, ErrorHookArgs, ResourceHookBinding, log

from components import addresses

Sentences: TypeAlias = Sequence[tuple[str, str]]
"""A pattern in the error, and what to say; `{name}`, `{address}` … are the resource's inputs."""


def explained(name: str, sentences: Sentences) -> ResourceHookBinding:
    """Has what fails of the resource `name` explained in one of `sentences`."""

    def explain(failed: ErrorHookArgs) -> bool:
        inputs = failed.new_inputs or failed.old_inputs or {}
        if sentence := explanation(failed.errors[0], inputs, sentences):
            log.error(sentence)
        return False  # no second try

    return ResourceHookBinding(on_error=[ErrorHook(f"explain-{name}", explain)])


def explanation(error: str, inputs: Mapping[str, Any], sentences: Sentences) -> str | None:
    """What `error` means for the resource with `inputs`, if that is known."""
    port, *_ = inputs.get("ports") or [{}]
    facts = {
        "name": inputs.get("policyName"),  # what a RAM policy calls it
        **inputs,
        "address": port.get("ip"),
        # A hook gets numbers as floats.
        "published": addresses.joined(str(port.get("ip")), int(port.get("external", 0))),
    }
    found = (text for pattern, text in sentences if re.search(pattern, error))
    return next((text.format_map(facts) for text in found), None)
