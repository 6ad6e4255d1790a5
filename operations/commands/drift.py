"""`make drift`: fail if the engine or the cloud differs from the stack file.

The result is recorded as a tag of the stack, which `make status` reads.
"""

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

from operations.commands.preview import add_format, plan, show
from operations.context import StackContext
from operations.review import Review

TAG = "oss-registry:drift"


def add_arguments(parser: ArgumentParser) -> None:
    add_format(parser)


def run(context: StackContext, arguments: Namespace) -> int:
    review, _ = plan(context, "--refresh")
    show(review, arguments.format)
    if review.errors:
        return 1
    _record(context, review)
    return not review.is_empty


def _record(context: StackContext, review: Review) -> None:
    time = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    try:
        context.pulumi.run("stack tag set", TAG, f"{time}: {review.summary}")
    except subprocess.CalledProcessError as error:
        # For example, the user may read the state, but not write it.
        reason = error.stderr.strip().partition("\n")[0]
        print(f"drift: `make status` will not know of it: {reason}", file=sys.stderr)


def last_result(context: StackContext) -> tuple[str, str] | None:
    """Return the time and the summary of the last check, or None if there was none."""
    recorded = context.pulumi.tag(TAG)
    if recorded is None:
        return None
    time, _, summary = recorded.rpartition(": ")
    return time, summary
