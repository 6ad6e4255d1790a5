"""`make preview STACK=…`: what `make up` would change, for a terminal or (markdown) a reviewer."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from config import credentials
from config.problems import SettingsError
from config.stack import Stack
from operations import stack_file
from operations.clients.pulumi import pulumi
from operations.errors import CommandError
from operations.guard import Loss, losses
from operations.review import Review, failed, markdown, outputs, review, text

NOT_REFRESHED = (
    "This preview compares the stack file with the state only. It does not show what was changed "
    "or removed by hand, which `make up` restores."
)
_FORMATS = {"text": text, "markdown": markdown}


def planned(name: str, *flags: str, stack: Stack | None = None) -> tuple[Review, Sequence[Loss]]:
    """What `up` with `flags` would do to the stack `name`, and what would be lost by it.

    `stack` is given where `flags` name another stack file. What is wrong with the stack file, or
    fails, is in the review.
    """
    try:
        stack = stack or stack_file.stack(name)
        require_deployer(stack)
        plan = _plan(name, *flags)
    except (SettingsError, CommandError) as wrong:
        return failed(name, str(wrong)), ()
    found = review(stack, plan)
    lost = losses(stack, found.changes, outputs(plan))
    return replace(found, alarms=[loss.alarm for loss in lost]), lost


def require_deployer(stack: Stack) -> None:
    """Raises CommandError if the stack needs an access key for the cloud and none is found."""
    if stack.settings.storage.kind != "oss":
        return
    config, _ = stack_file.configuration(stack.name)
    if problem := credentials.problem(config, os.environ):
        raise CommandError(problem)


def _plan(name: str, *flags: str) -> Mapping[str, Any]:
    """What Pulumi plans. Raises CommandError where it does not get that far."""
    print(f"asking Pulumi what would change of {name} …", file=sys.stderr, flush=True)
    errors = ""
    try:
        printed = pulumi("preview", "--json", "--non-interactive", "--stack", name, *flags)
    except subprocess.CalledProcessError as failure:  # its plan is JSON all the same
        printed, errors = failure.stdout, failure.stderr
    try:
        plan: Mapping[str, Any] = json.loads(printed)
    except ValueError:
        hint = f"\n`pulumi stack init {name}` makes it" * ("no stack named" in errors)
        raise CommandError(f"{(errors or printed).strip()}{hint}") from None
    return plan


def show(found: Review, form: str) -> None:
    """Print it in that format. Raises CommandError where there is none of that name."""
    if form not in _FORMATS:
        raise CommandError(f"FORMAT is {' or '.join(_FORMATS)}, not {form}")
    print(_FORMATS[form](found), end="", flush=True)


def main(name: str, form: str, *words: str) -> int:
    if "--no-refresh" in words:
        found, _ = planned(name)
        found = replace(found, warnings=[*found.warnings, NOT_REFRESHED])
    else:
        found, _ = planned(name, "--refresh")  # as `up` does
    show(found, form)
    return bool(found.errors)
