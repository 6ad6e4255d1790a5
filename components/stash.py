"""Secrets that are generated once and kept, encrypted, in the stack's state."""

import secrets

from pulumi import Output, Resource, ResourceOptions, Stash


def generated_secret(name: str, parent: Resource) -> Output[str]:
    """256 random bits as text of letters, digits, `-` and `_`: the same at each `up`."""
    stash = Stash(
        name,
        input=Output.secret(secrets.token_urlsafe(32)),
        # The input is drawn anew by each run of the program: only the first one counts.
        opts=ResourceOptions(
            parent=parent, ignore_changes=["input"], additional_secret_outputs=["output"]
        ),
    )
    return Output.secret(stash.output)
