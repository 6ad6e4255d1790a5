"""`make drift STACK=…`: what is there is what the stack file says; else it fails, and names it.

What was found is kept beside the stack's state, where `make status` reads it.
"""

import subprocess
import sys
from datetime import UTC, datetime

from operations.clients.pulumi import pulumi, tag
from operations.commands.preview import planned, show
from operations.review import Review

TAG = "oss-registry:drift"


def main(name: str, form: str) -> int:
    found, _ = planned(name, "--refresh")
    show(found, form)
    if found.errors:
        return 1
    _keep(name, found)
    return not found.empty


def _keep(name: str, found: Review) -> None:
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    try:
        pulumi("stack", "tag", "set", "--stack", name, TAG, f"{when}: {found.summary}")
    except subprocess.CalledProcessError as refused:
        # As one who may read the state, and not write it.
        why = refused.stderr.strip().partition("\n")[0]
        print(f"drift: `make status` will not know of it: {why}", file=sys.stderr)


def last(name: str) -> tuple[str, str] | None:
    """When drift was looked for at last, and what was found; None if never."""
    kept = tag(name, TAG)
    if kept is None:
        return None
    when, _, found = kept.rpartition(": ")
    return when, found
