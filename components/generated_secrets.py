"""Secrets that the user provides, or that are generated once and persisted in the state."""

import secrets
from collections.abc import Mapping

from pulumi import Input, Output, Resource, ResourceOptions, Stash

from config.stack import Stack


def provided_secrets(stack: Stack) -> Mapping[str, Output[str]]:
    """Return the secrets that the user provides, by the labels of their placeholders."""
    return {name: Output.secret(value) for name, value in stack.secrets.items()}


def provided_or_generated(
    name: str, provided: Mapping[str, Input[str]], parent: Resource
) -> Output[str]:
    """Return the secret `name` that the user provides, or else a generated one.

    A generated secret has 256 random bits, as letters, digits, `-` and `_`.
    """
    if name in provided:
        return Output.secret(provided[name])
    return persist(name, secrets.token_urlsafe(32), parent)


def persist(
    name: str, generated: str, parent: Resource, trigger: Input[str] | None = None
) -> Output[str]:
    """Return the value that the first run generated, as a secret.

    A later value replaces it only if `trigger` has changed.
    """
    stash = Stash(
        name,
        input=Output.secret(generated),
        # Each run of the program generates another input.
        opts=ResourceOptions(
            parent=parent,
            ignore_changes=["input"],
            additional_secret_outputs=["output"],
            replacement_trigger=trigger,
        ),
    )
    return Output.secret(stash.output)
