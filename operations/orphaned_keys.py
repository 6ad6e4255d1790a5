"""Access keys of a stack's RAM user that its state does not have.

RAM shows the secret of a key once, in the answer to CreateAccessKey. If that answer is lost, the
provider asks for another key: RAM then has one that nobody can use.
"""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from subprocess import CalledProcessError
from typing import Any

from operations.clients.pulumi import access_keys, deployment
from operations.errors import CommandError


def unknown(listed: Iterable[str], resources: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return those ids of RAM's that `resources` do not have."""
    known = {key["id"] for key in access_keys(resources).values()}
    return sorted(set(listed) - known)


def before(user: str, resources: Iterable[Mapping[str, Any]]) -> Collection[str] | None:
    """Return the ids of the keys of `user` before another one is made; None if RAM can't be asked.

    Raises CommandError if RAM would refuse another key because of one that the state does not have.
    """
    # Imported where it is needed: it takes a second.
    from operations.clients import ram

    try:
        listed = ram.keys(user)
    except ram.Unasked as why:
        _report(f"the access keys of the RAM user {user} were not checked: {why}")
        return None
    if (extra := unknown(listed, resources)) and len(listed) >= ram.LIMIT:
        raise CommandError(
            f"the RAM user {user} has {ram.LIMIT} access keys, RAM's limit, and a new one is to be "
            f"made. {named(user, extra)}"
        )
    return listed.keys()


def drop(stack: str, user: str, earlier: Collection[str]) -> None:
    """Delete the keys of `user` that an update of `stack` made and lost.

    `earlier` are the ids from before the update. Pulumi writes down that it creates a key before it
    does so, and its result afterwards. So a key that RAM lists before a state without pending
    operations is read, and that this state does not have, belongs to no run that goes on.
    """
    from operations.clients import ram

    try:
        listed = ram.keys(user)
        state = deployment(stack)
        if state.get("pending_operations"):
            return  # what another run makes now, or `recover` cleans up
        extra = unknown(listed, state.get("resources", ()))
        for key in extra:
            if key not in earlier:
                ram.delete(user, key)
                _report(
                    f"deleted the access key {key} of {user}: RAM's answer with it was lost. If "
                    "the update failed for want of a key, run the command again."
                )
        if left := [key for key in extra if key in earlier]:
            _report(named(user, left))
    except (ram.Unasked, CalledProcessError) as why:
        _report(f"the access keys of the RAM user {user} were not checked: {why}")


def named(user: str, extra: Sequence[str]) -> str:
    """Return a sentence about keys of `user` that the state does not have."""
    commands = " and ".join(
        f"`aliyun ram DeleteAccessKey --UserName {user} --UserAccessKeyId {key}`" for key in extra
    )
    return (
        f"The state does not have the access key {' and '.join(extra)} of {user}. If nobody uses "
        f"it, delete it: {commands}."
    )


def _report(text: str) -> None:
    print(f"access keys: {text}", file=sys.stderr, flush=True)
