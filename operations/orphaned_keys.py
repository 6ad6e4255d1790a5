"""Access keys of a stack's RAM user that are not in the state of the stack.

RAM shows the secret of a key once, in its response to CreateAccessKey. If that response is lost,
the provider creates another key. RAM then has one that nobody can use.
"""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from subprocess import CalledProcessError
from typing import Any

from operations.clients.pulumi import access_keys
from operations.context import StackContext
from operations.errors import CommandError


def not_in_state(ids: Iterable[str], resources: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """Return which access key `ids` are missing in the state, whose resources are `resources`."""
    known = {key["id"] for key in access_keys(resources).values()}
    return sorted(set(ids) - known)


def list_before_update(context: StackContext) -> Collection[str] | None:
    """Return the ids of the RAM user's access keys, before an update creates another one.

    Returns None if RAM cannot be called, and prints the reason. Raises CommandError if
    RAM would refuse another key because of an orphaned one.
    """
    # Imported here, because the import takes a second.
    from operations.clients import ram

    user = context.prefix
    try:
        keys = ram.list_access_keys(user)
    except ram.RamError as reason:
        _report(f"the access keys of the RAM user {user} were not checked: {reason}")
        return None
    orphaned = not_in_state(keys, context.pulumi.resources)
    if orphaned and len(keys) >= ram.KEY_LIMIT:
        raise CommandError(
            f"the RAM user {user} has {ram.KEY_LIMIT} access keys, RAM's limit, and a new one is "
            f"to be made. {describe(user, orphaned)}"
        )
    return keys.keys()


def delete_after_update(context: StackContext, earlier: Collection[str]) -> None:
    """Delete the keys that an update created and lost.

    `earlier` are the ids that `list_before_update` returned. Pulumi records a pending operation
    before it creates a key, and the key afterwards. So RAM's keys are listed first, and the state
    is read second. If this state has no pending operations, then no update that still runs has
    created a listed key that the state lacks.
    """
    from operations.clients import ram

    user = context.prefix
    try:
        keys = ram.list_access_keys(user)
        context.pulumi.drop_state()
        if context.pulumi.state().get("pending_operations"):
            return  # another update may be creating a key; otherwise `recover` cleans up
        orphaned = not_in_state(keys, context.pulumi.resources)
        for key in orphaned:
            if key not in earlier:
                ram.delete_access_key(user, key)
                _report(
                    f"deleted the access key {key} of {user}: RAM's answer with it was lost. If "
                    "the update failed for want of a key, run the command again."
                )
        if remaining := [key for key in orphaned if key in earlier]:
            _report(describe(user, remaining))
    except (ram.RamError, CalledProcessError) as reason:
        _report(f"the access keys of the RAM user {user} were not checked: {reason}")


def describe(user: str, orphaned: Sequence[str]) -> str:
    """Return a sentence about orphaned keys of `user`, with the commands that delete them."""
    commands = " and ".join(
        f"`aliyun ram DeleteAccessKey --UserName {user} --UserAccessKeyId {key}`"
        for key in orphaned
    )
    return (
        f"The state does not have the access key {' and '.join(orphaned)} of {user}. If nobody "
        f"uses it, delete it: {commands}."
    )


def _report(text: str) -> None:
    print(f"access keys: {text}", file=sys.stderr, flush=True)
