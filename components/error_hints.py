"""What a provider's error means to who wrote the stack file, said beside its own words."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pulumi import ErrorHook, ErrorHookArgs, ResourceHookBinding, log

from config import addresses

Sentences: TypeAlias = Sequence[tuple[str, str]]
"""A pattern in the error, and what to say; `{name}`, `{address}` … are the resource's inputs."""


# Seconds before each further try: RAM may take half a minute to know what it has just made.
RETRIES = (1, 2, 4, 8, 15)


def explained(name: str, sentences: Sentences, transient: str = "") -> ResourceHookBinding:
    """Has what fails of the resource `name` explained in one of `sentences`.

    Errors of its creation that match the pattern `transient` are retried first.
    """

    async def explain(failed: ErrorHookArgs) -> bool:
        error, tries = failed.errors[0], len(failed.errors)
        creating = failed.failed_operation == "create"
        if transient and creating and tries <= len(RETRIES) and re.search(transient, error):
            await asyncio.sleep(RETRIES[tries - 1])
            return True
        inputs = failed.new_inputs or failed.old_inputs or {}
        if sentence := explanation(error, inputs, sentences):
            log.error(sentence)
        return False

    return ResourceHookBinding(on_error=[ErrorHook(f"explain-{name}", explain)])


def explanation(error: str, inputs: Mapping[str, Any], sentences: Sentences) -> str | None:
    """What `error` means for the resource with `inputs`, if that is known."""
    port, *_ = inputs.get("ports") or [{}]
    facts = {
        "name": inputs.get("policyName"),  # what a RAM policy calls it
        **inputs,
        "address": port.get("ip"),
        # A hook gets numbers as floats.
        "published": addresses.join(str(port.get("ip")), int(port.get("external", 0))),
    }
    found = (text for pattern, text in sentences if re.search(pattern, error))
    return next((text.format_map(facts) for text in found), None)
