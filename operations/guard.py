"""Stops a command that would delete images, or the registry's access to them.

Before a command changes a stack, it checks whether the registry would still find its images.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from components.storage import all_backends
from components.storage.backend import FindAccessKey, Loss, ResourceChange
from config.stack import Stack
from operations.errors import CommandError


def find_losses(
    stack: Stack,
    changes: Sequence[ResourceChange],
    outputs: Mapping[str, Any],
    access_key: FindAccessKey,
) -> Sequence[Loss]:
    """Return the images that `changes` to `stack` would delete or make unreachable.

    Each name of a lost resource is listed once. `outputs` are the outputs of the last `make up`.
    """
    losses = {
        loss.name: loss
        for backend in all_backends(stack.registry)
        for loss in backend.losses(changes, outputs, access_key)
    }
    return [*losses.values()]


def require_allowed(
    stack: str,
    command: str,
    losses: Sequence[Loss],
    allowed_losses: Collection[str],
    stop_message: str = "stopped, and nothing was changed",
) -> None:
    """Raise CommandError if the name of one of the `losses` is not in `allowed_losses`.

    `stop_message` is how the text starts.
    """
    refused = [loss for loss in losses if loss.name not in allowed_losses]
    if not refused:
        return
    alarms = "".join(f"\n  - {loss.alarm}" for loss in refused)
    names = ",".join(loss.name for loss in losses)
    raise CommandError(
        f"{stop_message}:{alarms}\n"
        f"If that is what you want: make {command} STACK={stack} ALLOW_LOSS={names}"
    )
