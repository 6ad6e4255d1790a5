"""`make preview`: show what `make up` would change, in a terminal or (markdown) for a reviewer."""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from components.storage import storage_backend
from components.storage.backend import Loss
from config.problems import SettingsError
from config.stack import Stack
from operations.context import StackContext
from operations.errors import CommandError
from operations.guard import find_losses
from operations.review import Review, failed, markdown, outputs_before, plain_text, summarize

NOT_REFRESHED = (
    "This preview compares the stack file with the state only. It does not show what was changed "
    "or removed by hand, which `make up` restores."
)
_FORMATS = {"text": plain_text, "markdown": markdown}


def add_arguments(parser: ArgumentParser) -> None:
    add_format(parser)
    parser.add_argument(
        "--no-refresh", action="store_true", help="do not read the engine and the cloud"
    )


def add_format(parser: ArgumentParser) -> None:
    parser.add_argument("--format", default="text", help="text or markdown")


def run(context: StackContext, arguments: Namespace) -> int:
    if arguments.no_refresh:
        review, _ = plan(context)
        review = replace(review, warnings=[*review.warnings, NOT_REFRESHED])
    else:
        review, _ = plan(context, "--refresh")  # as `up` does
    show(review, arguments.format)
    return bool(review.errors)


def plan(
    context: StackContext, *options: str, stack: Stack | None = None
) -> tuple[Review, Sequence[Loss]]:
    """Return what `pulumi up` with `options` would change, and the losses.

    `stack` is required if `options` name another stack file. Errors are part of the review.
    """
    try:
        stack = stack or context.stack
        require_deployer_key(context, stack)
        planned = _run_preview(context, options)
    except (SettingsError, CommandError) as error:
        return failed(context.name, str(error)), ()
    review = summarize(stack, planned)
    losses = find_losses(stack, review.changes, outputs_before(planned), context.find_access_key)
    return replace(review, alarms=[loss.alarm for loss in losses]), losses


def require_deployer_key(context: StackContext, stack: Stack) -> None:
    """Raise CommandError if the stack needs an access key for the cloud and none is found."""
    storage = storage_backend(stack.registry)
    if problem := storage.deployer_problem(context.configuration.texts, os.environ):
        raise CommandError(problem)


def _run_preview(context: StackContext, options: Sequence[str]) -> Mapping[str, Any]:
    """Return Pulumi's plan. Raises CommandError if Pulumi fails before it makes one."""
    print(f"asking Pulumi what would change of {context.name} …", file=sys.stderr, flush=True)
    errors = ""
    try:
        output = context.pulumi.run("preview", "--json", "--non-interactive", *options)
    except subprocess.CalledProcessError as failure:  # it may still have printed a plan
        output, errors = failure.stdout, failure.stderr
    try:
        planned: Mapping[str, Any] = json.loads(output)
    except ValueError:
        text = (errors or output).strip()
        if "no stack named" in errors:
            text += f"\n`pulumi stack init {context.name}` makes it"
        raise CommandError(text) from None
    return planned


def require_no_changes(context: StackContext, message: str) -> None:
    """Raise CommandError if the plan fails or has changes.

    If it has changes, the error text starts with `message`.
    """
    review, _ = plan(context, "--refresh")
    if not review.is_empty:
        show(review, "text")
    if review.errors:
        raise CommandError("stopped, and nothing was changed: the plan fails, see above")
    if not review.is_empty:
        raise CommandError(f"{message}: `make up STACK={context.name}` first")


def show(review: Review, form: str) -> None:
    """Print a review in the format `form`. Raises CommandError if there is no such format."""
    if form not in _FORMATS:
        raise CommandError(f"FORMAT is {' or '.join(_FORMATS)}, not {form}")
    print(_FORMATS[form](review), end="", flush=True)
