"""`make rotate`: replace the access key in use by a new one.

RAM allows two keys, so this takes two steps. First the new key is created and used. When the
registry works with it, the old key is deleted. The stack file and the state record the progress:
after an interruption, the same command continues.
"""

import json
import re
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from config.settings import LABEL, PROJECT
from operations import stack_file
from operations.clients.pulumi import access_keys
from operations.commands import status
from operations.commands.preview import require_no_changes
from operations.commands.up import StorageRefused, add_consent, ask, up
from operations.context import StackContext
from operations.errors import CommandError
from operations.recovery import recover

STORAGE_SECTION = f"{PROJECT}:storage"


def add_arguments(parser: ArgumentParser) -> None:
    add_consent(parser)
    parser.add_argument("--label", help="the label of the new key, by default the month")


def run(context: StackContext, arguments: Namespace) -> int:
    begun = time.monotonic()
    recovery = recover(context)
    labels = context.storage.access_keys
    if not labels:
        kind = context.stack.settings.storage.kind
        raise CommandError(
            f"the stack {context.name} has no access key: its storage.kind is {kind}"
        )
    existing, in_use = _keys_in_state(context)
    if existing and in_use not in existing:
        # After a failed update, outputs are missing, or describe a state that it did not reach.
        _print("the last update failed: finishing it first …")
        up(context, consent=arguments.yes)
        existing, in_use = _keys_in_state(context)
    steps = plan_steps(labels, existing, in_use, _new_label(arguments), bool(recovery.steps))
    new = steps[-1][0]
    if _is_idle(labels, existing, in_use) and steps != [[in_use]]:
        require_no_changes(context, "more would change than the key")
    else:
        _print(f"a rotation to {new} is under way: going on with it")
    if not arguments.yes:
        ask(f"Replace the access key {in_use} by {new}?", recovery.stop_message)
    for number, step_labels in enumerate(steps, start=1):
        _take_step(context, step_labels, f"step {number} of {len(steps)}")
    _print(f"the access key is {new}; done in {time.monotonic() - begun:.0f} s")
    return 0


def plan_steps(
    labels: Sequence[str],
    existing: Collection[str],
    in_use: str | None,
    wanted: str,
    is_recovered: bool = False,
) -> Sequence[Sequence[str]]:
    """Return the values of `access_keys` to apply one after the other.

    `labels` are those in the stack file, and `existing` those in the state. If no rotation is under
    way, `wanted` is the label of the new key. `is_recovered` means that a killed run was just
    cleaned up, which may have been the last step of this rotation. Raises CommandError.
    """
    if in_use not in existing:
        raise CommandError("there is no access key in use yet: `make up` first")
    is_idle = _is_idle(labels, existing, in_use)
    if is_idle and wanted == in_use:
        if is_recovered:
            return [[wanted]]
        raise CommandError(
            f"the access key in use is {wanted} already: name another one, as in LABEL=…"
        )
    new = wanted if is_idle else labels[-1]
    old = [label for label in existing if label != new]
    if len(old) > 1:
        raise CommandError(
            f"{' and '.join(old)} are there, RAM's limit: leave one of them, `make up`"
        )
    if not old or [new] == [*labels] == [in_use]:
        return [[new]]
    return [[*old, new], [new]]


def _is_idle(labels: Sequence[str], existing: Collection[str], in_use: str | None) -> bool:
    """Return whether no rotation is under way."""
    return [in_use] == [*labels] == [*existing]


def _keys_in_state(context: StackContext) -> tuple[Collection[str], str | None]:
    """Return the labels of the stack's access keys, and the label of the one in use."""
    pulumi = context.pulumi
    return access_keys(pulumi.resources).keys(), pulumi.outputs.get("access_key")


def _new_label(arguments: Namespace) -> str:
    label = str(arguments.label or f"{datetime.now(UTC):%Y-%m}")
    if not re.fullmatch(LABEL, label):
        raise CommandError(f"LABEL must be of a-z, 0-9 and -, such as 2026-11, not {label}")
    return label


def _take_step(context: StackContext, labels: Sequence[str], step: str) -> None:
    """Set `access_keys` to `labels`, the old and new key or the new one alone, and apply them."""
    *old, new = labels
    if old:
        _print(f"{step}: {new} beside {old[0]}, and used …")
    else:
        _require_working_registry(context)
        _print(f"{step}: {new} alone …")
    _write_labels(context, labels)
    context.reload()
    try:
        up(context, consent=True)
    except StorageRefused as refused:
        if old:
            raise _old_key_kept_error(context, str(refused)) from None
        raise


def _require_working_registry(context: StackContext) -> None:
    """Raise CommandError unless the registry works with its present key."""
    _print("looking whether the registry works with it …")
    rows = [*status.check_parts(context, status.ESSENTIAL)]
    for row in rows:
        if row.state == status.SKIP:
            _print(f"{row.part}: {row.text}")
    if broken := [row.text for row in rows if row.state == status.FAIL]:
        raise _old_key_kept_error(context, "; ".join(broken))


def _old_key_kept_error(context: StackContext, reason: str) -> CommandError:
    return CommandError(
        f"the old key is kept, as the new one does not work: {reason}\n"
        f"Fix that, then run `make rotate STACK={context.name}` again: it goes on from here."
    )


def _write_labels(context: StackContext, labels: Sequence[str]) -> None:
    """Set `access_keys` in the stack file. The file is valid after each write."""
    texts, _ = stack_file.read_configuration(context.name)
    section = json.loads(texts[STORAGE_SECTION])
    written = section.get("access_keys", [])
    if len(labels) == 1 and labels[0] in written:
        for index in reversed(range(len(written))):
            if written[index] not in labels:
                context.pulumi.run("config rm", "--path", _label_path(index))
        return
    for index, label in enumerate(labels):
        if written[index : index + 1] != [label]:
            # As a string: pulumi would write 2026 as a number.
            options = ("--path", "--type", "string", _label_path(index), label)
            context.pulumi.run("config set", *options)


def _label_path(index: int) -> str:
    return f"{STORAGE_SECTION}.access_keys[{index}]"


def _print(text: str) -> None:
    print(f"rotate: {text}", flush=True)
