"""Values that the user brings, or that are drawn once and kept, encrypted, in the state."""

import secrets
from collections.abc import Mapping

from pulumi import Input, Output, Resource, ResourceOptions, Stash

from config.stack import Stack


def provided(stack: Stack) -> Mapping[str, Output[str]]:
    """Return the secrets that the user provides, by the labels of their placeholders."""
    return {name: Output.secret(value) for name, value in stack.secrets.items()}


def secret(name: str, brought: Mapping[str, Input[str]], parent: Resource) -> Output[str]:
    """The secret `name` if the user brought it along, else one that is drawn.

    That is 256 random bits as text of letters, digits, `-` and `_`: the same at each `up`.
    """
    if name in brought:
        return Output.secret(brought[name])
    return kept(name, secrets.token_urlsafe(32), parent)


def kept(name: str, drawn: str, parent: Resource, trigger: Input[str] | None = None) -> Output[str]:
    """What was `drawn` by the first run, a secret; drawn anew only when `trigger` changes."""
    stash = Stash(
        name,
        input=Output.secret(drawn),
        # The input is drawn anew by each run of the program: only the first one counts.
        opts=ResourceOptions(
            parent=parent,
            ignore_changes=["input"],
            additional_secret_outputs=["output"],
            replacement_trigger=trigger,
        ),
    )
    return Output.secret(stash.output)
