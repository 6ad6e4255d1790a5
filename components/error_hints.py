"""Print a hint with an error of a provider: what the user can do about it.

The hints themselves are in `runtime/error_hints.py` for Docker, and in
`storage/oss/error_hints.py` for OSS and RAM.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pulumi import ErrorHook, ErrorHookArgs, ResourceHookBinding, log

from config import addresses

ErrorHints: TypeAlias = Sequence[tuple[str, str]]
"""Pairs of a pattern for the error and a hint. `{name}` and others are inputs of the resource."""

# Seconds before each retry. RAM may take half a minute to find a user or policy after its creation.
RETRIES = (1, 2, 4, 8, 15)


def with_hints(name: str, hints: ErrorHints, transient: str = "") -> ResourceHookBinding:
    """Return a hook that logs a hint if an operation on the resource `name` fails.

    If a creation fails with an error that matches the pattern `transient`, it is retried first.
    """

    async def handle(failure: ErrorHookArgs) -> bool:
        error, attempts = failure.errors[0], len(failure.errors)
        is_creation = failure.failed_operation == "create"
        is_transient = bool(transient and re.search(transient, error))
        if is_creation and is_transient and attempts <= len(RETRIES):
            await asyncio.sleep(RETRIES[attempts - 1])
            return True
        inputs = failure.new_inputs or failure.old_inputs or {}
        hint = error_hint(error, inputs, hints)
        if hint:
            log.error(hint)
        return False

    return ResourceHookBinding(on_error=[ErrorHook(f"explain-{name}", handle)])


def error_hint(error: str, inputs: Mapping[str, Any], hints: ErrorHints) -> str | None:
    """Return the first hint whose pattern `error` matches, for a resource with `inputs`."""
    port, *_ = inputs.get("ports") or [{}]
    values = {
        "name": inputs.get("policyName"),  # a RAM policy has no input `name`
        **inputs,
        "address": port.get("ip"),
        # Pulumi passes numbers to hooks as floats.
        "published": addresses.join(str(port.get("ip")), int(port.get("external", 0))),
    }
    matching = (hint for pattern, hint in hints if re.search(pattern, error))
    return next((hint.format_map(values) for hint in matching), None)
