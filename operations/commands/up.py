"""`make up`: apply a stack file, after the user has agreed to the planned changes."""

import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection
from contextlib import suppress
from http import HTTPStatus
from subprocess import CalledProcessError

from components.storage.backend import Unreachable
from config.resource_names import ACCESS_KEY
from config.stack import RegistryConfig
from operations import guard, orphaned_keys, preflight, swarm
from operations.clients import registry as registry_client
from operations.commands.preview import plan, show
from operations.context import StackContext
from operations.errors import CommandError, NotChecked
from operations.recovery import recover

SERVING_TIMEOUT = 60  # seconds until the registry serves and its storage accepts it
REPORT_INTERVAL = 10  # seconds between two lines of progress
# Long enough for three of the registry's storage checks, ten seconds apart, to fail.
STORAGE_CHECK_SECONDS = 40


class StorageRefused(CommandError):
    """The storage refuses the registry. The text contains the reason."""


def add_arguments(parser: ArgumentParser) -> None:
    add_consent(parser)
    add_allowed_losses(parser)


def add_consent(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


def add_allowed_losses(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--allow-loss",
        dest="allowed_losses",
        default=(),
        metavar="NAME,…",
        type=lambda names: names.split(","),
        help="resources that may be lost",
    )


def run(context: StackContext, arguments: Namespace) -> int:
    up(context, consent=arguments.yes, allowed_losses=arguments.allowed_losses)
    return 0


def up(context: StackContext, *, consent: bool, allowed_losses: Collection[str] = ()) -> None:
    """Show what would change, ask unless there is `consent`, and apply it.

    `allowed_losses` are the names of resources that may be lost. Raises CommandError,
    SettingsError, CalledProcessError.
    """
    recovery = recover(context)
    preflight.check(context)
    # With a refresh, so that a container that was removed by hand is created again.
    review, losses = plan(context, "--refresh")
    show(review, "text")
    if review.errors:
        raise CommandError(f"{recovery.stop_message}: the plan fails, see above")
    guard.require_allowed(context.name, "up", losses, allowed_losses, recovery.stop_message)
    if not (consent or review.is_empty):
        ask("Do it?", recovery.stop_message)
    earlier_keys = None
    if any(change.kind == ACCESS_KEY and change.new for change in review.changes):
        earlier_keys = orphaned_keys.list_before_update(context)
    docker = context.docker
    try:
        context.pulumi.run_visibly("up", "--refresh", "--yes", "--skip-preview")
    except CalledProcessError:
        # Release 2.8 does not start without its storage, and Pulumi cannot report the reason.
        problem = None
        with suppress(NotChecked, CommandError, CalledProcessError):
            problem = context.access_problem()
        if problem:
            raise StorageRefused(f"the update failed, see above; {problem}") from None
        raise
    finally:
        if earlier_keys is not None:
            orphaned_keys.delete_after_update(context, earlier_keys)
    swarm.remove_unused_files(context.name, docker)
    if not context.stack.registry.is_local_to_remote_engine:
        _wait_until_serving(context)


def ask(question: str, stop_message: str) -> None:
    """Ask the user in the terminal.

    Raises CommandError, whose text starts with `stop_message`, unless the answer is yes.
    """
    if not sys.stdin.isatty():
        raise CommandError(f"{stop_message}: there is nobody to ask; YES=1 says yes")
    if input(f"{question} [yes/no] ").strip().lower() not in ("y", "yes"):
        raise CommandError(stop_message)


def _wait_until_serving(context: StackContext) -> None:
    """Wait until the storage accepts the registry, and the registry does not answer 503.

    It answers 503 until a storage check succeeds. A registry that kept running while its storage
    was unreachable notices the repair at its next check, `health.storagedriver.interval` later
    (distribution, registry/handlers/app.go). It notices as late that its storage refuses it.
    Any other answer ends the wait. So does no answer, because this machine may not reach the
    endpoint.

    Raises StorageRefused if it takes longer than SERVING_TIMEOUT.
    """
    registry = context.stack.registry
    try:
        _wait("OSS takes the registry's calls", context.access_problem)
    except NotChecked as reason:
        _report(f"the registry's access to OSS was not checked: {reason}")
        if isinstance(reason, Unreachable):
            _watch_storage_checks(registry, reason)
    _wait(
        f"the registry at {registry.endpoint} serves again", lambda: _problem_of_registry(registry)
    )


def _wait(goal: str, find_problem: Callable[[], str | None]) -> None:
    """Wait until `find_problem` returns None. Raises StorageRefused after SERVING_TIMEOUT."""
    begun = time.monotonic()
    next_report = begun
    while found := find_problem():
        waited = time.monotonic() - begun
        if waited > SERVING_TIMEOUT:
            raise StorageRefused(f"The stack was updated, but after {waited:.0f} s {found}")
        if begun + waited >= next_report:
            _report(f"waiting until {goal}: {waited:.0f} s")
            next_report += REPORT_INTERVAL
        time.sleep(1)


def _watch_storage_checks(registry: RegistryConfig, reason: Unreachable) -> None:
    """Raise StorageRefused if the registry's storage checks fail within STORAGE_CHECK_SECONDS.

    `reason` is why this machine cannot check the storage.
    """
    _report(f"watching for {STORAGE_CHECK_SECONDS} s whether the registry reaches OSS …")
    end = time.monotonic() + STORAGE_CHECK_SECONDS
    while time.monotonic() < end:
        if problem := _problem_of_registry(registry):
            raise StorageRefused(
                f"The stack was updated, but {problem} {reason}: check the network."
            )
        time.sleep(1)


def _problem_of_registry(registry: RegistryConfig) -> str | None:
    """Return the problem if the registry answers 503, or None."""
    try:
        code = registry_client.http_status(registry, registry.endpoint)
    except (OSError, NotChecked):
        return None
    if code != HTTPStatus.SERVICE_UNAVAILABLE:
        return None
    return (
        f"the registry at {registry.endpoint} still answers 503: its last storage check failed. "
        f"Run `make status STACK={registry.stack.name}` for the cause."
    )


def _report(text: str) -> None:
    print(f"up: {text}", file=sys.stderr, flush=True)
