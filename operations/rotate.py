"""`make rotate STACK=… [LABEL=…]`: another access key takes the place of the one in use.

RAM allows two, so it takes two steps: the new one is made and used, and once it is seen to work the
old one is deleted. How far it is, the stack file and the state say: after whatever ended it, the
same command goes on from there.
"""

import json
import re
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from components.settings import LABEL, PROJECT
from operations import Blocked, stack_file, status
from operations.preview import planned, show
from operations.recover import recover
from operations.state import access_keys, deployment, outputs_of, pulumi
from operations.up import StorageRefused, ask, consent_and_meant, up

STORAGE = f"{PROJECT}:storage"


def steps(
    labels: Sequence[str],
    made: Collection[str],
    in_use: str | None,
    wanted: str,
    recovered: bool = False,
) -> Sequence[Sequence[str]]:
    """The `access_keys` to go through, from those in the stack file (`labels`) and the state.

    Where no rotation is under way, the new key is `wanted`. `recovered` is true if a killed run was
    cleaned up just now: it may have been this rotation, in its last step. Raises Blocked.
    """
    if in_use not in made:
        raise Blocked("there is no access key in use yet: `make up` first")
    idle = _idle(labels, made, in_use)
    if idle and wanted == in_use:
        if recovered:
            return [[wanted]]
        raise Blocked(f"the access key in use is {wanted} already: name another one, as in LABEL=…")
    new = wanted if idle else labels[-1]
    old = [label for label in made if label != new]
    if len(old) > 1:
        raise Blocked(f"{' and '.join(old)} are there, RAM's limit: leave one of them, `make up`")
    if not old or [new] == [*labels] == [in_use]:
        return [[new]]
    return [[*old, new], [new]]


def _idle(labels: Sequence[str], made: Collection[str], in_use: str | None) -> bool:
    """Whether no rotation is under way."""
    return [in_use] == [*labels] == [*made]


def main(name: str, *words: str) -> int:
    begun = time.monotonic()
    consent, _ = consent_and_meant(words)
    recovered = recover(name)
    storage = stack_file.stack(name).settings.storage
    if storage.kind != "oss":
        raise Blocked(f"the stack {name} has no access key: its storage.kind is filesystem")
    made, in_use = _keys(recovered.resources)
    if made and in_use not in made:
        # A failed update leaves no outputs, or the outputs of the state that it did not reach.
        _say("the last update failed: finishing it first …")
        up(name, consent=consent, meant=())
        made, in_use = _keys(deployment(name)["resources"])
    way = steps(storage.access_keys, made, in_use, _label(words), bool(recovered.done))
    if _idle(storage.access_keys, made, in_use) and way != [[in_use]]:
        found, _ = planned(name, "--refresh")
        if found.errors:
            show(found, "text")
            raise Blocked("stopped, and nothing was changed: the plan fails, see above")
        if not found.empty:
            show(found, "text")
            raise Blocked(f"more would change than the key: `make up STACK={name}` first")
    else:
        _say(f"a rotation to {way[-1][0]} is under way: going on with it")
    if not consent:
        ask(f"Replace the access key {in_use} by {way[-1][0]}?", recovered.stopped)
    for number, labels in enumerate(way, start=1):
        *old, new = labels
        if not old:
            _see(name)
        what = f"{new} beside {old[0]}, and used" if old else f"{new} alone"
        _say(f"step {number} of {len(way)}: {what} …")
        _write(name, labels)
        try:
            up(name, consent=True, meant=())
        except StorageRefused as refused:
            raise _kept(name, str(refused)) if old else refused from None
    _say(f"the access key is {way[-1][0]}; done in {time.monotonic() - begun:.0f} s")
    return 0


def _keys(resources: Sequence[Mapping[str, Any]]) -> tuple[Collection[str], str | None]:
    """Return the labels of the stack's access keys, and the label of the one in use."""
    return access_keys(resources).keys(), outputs_of(resources).get("access_key")


def _label(words: Sequence[str]) -> str:
    """The new key's: the one that was said, else the month."""
    label = next((w for w in words if not w.startswith("--")), f"{datetime.now(UTC):%Y-%m}")
    if not re.fullmatch(LABEL, label):
        raise Blocked(f"LABEL must be of a-z, 0-9 and -, such as 2026-11, not {label}")
    return label


def _see(name: str) -> None:
    """Raises Blocked unless the registry works by the key that it has now."""
    _say("looking whether the registry works with it …")
    rows = [*status.rows(name, status.WORKS)]
    for row in rows:
        if row.state == status.SKIP:
            _say(f"{row.part}: {row.text}")
    if broken := [row.text for row in rows if row.state == status.FAIL]:
        raise _kept(name, "; ".join(broken))


def _kept(name: str, why: str) -> Blocked:
    return Blocked(
        f"the old key is kept, as the new one does not work: {why}\n"
        f"Fix that, then run `make rotate STACK={name}` again: it goes on from here."
    )


def _write(name: str, labels: Sequence[str]) -> None:
    """Have the stack file say `labels`; each write leaves one that is right."""
    config, _ = stack_file.configuration(name)
    written = json.loads(config[STORAGE]).get("access_keys", [])
    flags = ("--stack", name, "--path")
    if len(labels) == 1 and labels[0] in written:
        for index in reversed(range(len(written))):
            if written[index] not in labels:
                pulumi("config", "rm", *flags, f"{STORAGE}.access_keys[{index}]")
        return
    for index, label in enumerate(labels):
        if written[index : index + 1] != [label]:
            key = f"{STORAGE}.access_keys[{index}]"
            # Else 2026 were a number.
            pulumi("config", "set", *flags, "--type", "string", key, label)


def _say(text: str) -> None:
    print(f"rotate: {text}", flush=True)
