"""Secrets that the user brings, or that are drawn once and kept, encrypted, in the state."""

import secrets
from collections.abc import Mapping

from pulumi import Input, Output, Resource, ResourceOptions, Stash


def secret(name: str, brought: Mapping[str, Input[str]], parent: Resource) -> Output[str]:
    """The secret `name` if the user brought it along, else one that is drawn.

    That is 256 random bits as text of letters, digits, `-` and `_`: the same at each `up`.
    """
    if name in brought:
        return Output.secret(brought[name])
    stash = Stash(
        name,
        input=Output.secret(secrets.token_urlsafe(32)),
        # The input is drawn anew by each run of the program: only the first one counts.
        opts=ResourceOptions(
            parent=parent, ignore_changes=["input"], additional_secret_outputs=["output"]
        ),
    )
    return Output.secret(stash.output)
