"""`make up STACK=…`: what a stack file says is made so, once it was seen and agreed to."""

import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from http import HTTPStatus
from subprocess import CalledProcessError

from config.stack import Stack
from operations import guard, oss, swarm
from operations import orphaned_keys as orphans
from operations import recovery as recover
from operations.clients import docker as engine
from operations.clients import registry as registry_api
from operations.clients.pulumi import ACCESS_KEY, pulumi_seen
from operations.commands.preview import planned, show
from operations.errors import CommandError, NotChecked
from operations.stack_file import configuration, stack

SERVING_SECONDS = 60
REPORT_SECONDS = 10
CHECKS_SECONDS = 40  # in which the registry's storage checks fail three times, ten seconds apart


class StorageRefused(CommandError):
    """The registry's storage refuses it; the text is why."""


def up(name: str, *, consent: bool, meant: Collection[str]) -> None:
    """Show what would change, ask unless there is `consent`, and do it.

    What is lost by it is `meant` to be, by its name. Raises CommandError, SettingsError,
    CalledProcessError.
    """
    recovered = recover.recover(name)
    recover.see_fit(name, recovered.resources)
    # Read anew: a container that was removed by hand is there again.
    found, lost = planned(name, "--refresh")
    show(found, "text")
    if found.errors:
        raise CommandError(f"{recovered.stopped}: the plan fails, see above")
    guard.stop(name, "up", lost, meant, recovered.stopped)
    if not (consent or found.empty):
        ask("Do it?", recovered.stopped)
    keys = None
    if any(change.kind == ACCESS_KEY and change.new for change in found.changes):
        keys = orphans.before(stack(name).prefix, recovered.resources)
    config, _ = configuration(name)
    with engine.reached(config) as variables:
        try:
            pulumi_seen("up", "--stack", name, "--refresh", "--yes", "--skip-preview")
        except CalledProcessError:
            # Release 2.8 does not start without its storage, and Pulumi cannot see why.
            refused = None
            with suppress(NotChecked, CommandError, CalledProcessError):
                refused = _storage_refused(stack(name), variables)
            if refused:
                raise StorageRefused(f"the update failed, see above; {refused}") from None
            raise
        finally:
            if keys is not None:
                orphans.drop(name, stack(name).prefix, keys)
        swarm.remove_unused(name, variables)
        if not stack(name).registry.is_local_to_remote_engine:
            _wait_until_served(stack(name), variables)


def _wait_until_served(its: Stack, variables: Mapping[str, str]) -> None:
    """Wait until OSS takes the registry's calls, and the registry does not answer 503.

    It answers so until a storage check succeeds. A registry that kept running while its storage was
    unreachable notices the repair at its next check, `health.storagedriver.interval` later
    (distribution, registry/handlers/app.go). One whose storage refuses it notices that later, too.
    Other answers, or none, are not waited for: this machine may not reach the endpoint at all.

    Raises StorageRefused if it takes longer than SERVING_SECONDS.
    """
    try:
        _wait("OSS takes the registry's calls", lambda: _storage_refused(its, variables))
    except NotChecked as reason:
        _report(f"the registry's access to OSS was not checked: {reason}")
        if isinstance(reason, oss.Unreachable):
            _watch(its, reason)
    _wait(f"the registry at {its.registry.endpoint} serves again", lambda: _unserved(its))


def _wait(what: str, problem: Callable[[], str | None]) -> None:
    """Wait until there is no `problem` any more. Raises StorageRefused after SERVING_SECONDS."""
    begun = time.monotonic()
    next_line = begun
    while found := problem():
        waited = time.monotonic() - begun
        if waited > SERVING_SECONDS:
            raise StorageRefused(f"The stack was updated, but after {waited:.0f} s {found}")
        if begun + waited >= next_line:
            _report(f"waiting until {what}: {waited:.0f} s")
            next_line += REPORT_SECONDS
        time.sleep(1)


def _watch(its: Stack, reason: oss.Unreachable) -> None:
    """Raises StorageRefused if the registry's own storage checks fail."""
    _report(f"watching for {CHECKS_SECONDS} s whether the registry reaches OSS …")
    end = time.monotonic() + CHECKS_SECONDS
    while time.monotonic() < end:
        if found := _unserved(its):
            raise StorageRefused(f"The stack was updated, but {found} {reason}: check the network.")
        time.sleep(1)


def _storage_refused(its: Stack, variables: Mapping[str, str]) -> str | None:
    """Return why OSS refuses the registry its images. Raises NotChecked, CommandError."""
    if its.settings.storage.kind != "oss":
        return None
    return oss.check(its, oss.bucket_of(its).access_key, variables)


def _unserved(its: Stack) -> str | None:
    """Return the registry's refusal to serve, if it is one."""
    try:
        code = registry_api.http_status(its, its.registry.endpoint)
    except (OSError, NotChecked):
        return None
    if code != HTTPStatus.SERVICE_UNAVAILABLE:
        return None
    return (
        f"the registry at {its.registry.endpoint} still answers 503: its last storage check "
        f"failed. Run `make status STACK={its.name}` for the cause."
    )


def _report(text: str) -> None:
    print(f"up: {text}", file=sys.stderr, flush=True)


def ask(question: str, stopped: str) -> None:
    """Raises CommandError, beginning with `stopped`, unless the user says yes."""
    if not sys.stdin.isatty():
        raise CommandError(f"{stopped}: there is nobody to ask; YES=1 says yes")
    if input(f"{question} [yes/no] ").strip().lower() not in ("y", "yes"):
        raise CommandError(stopped)


def consent_and_meant(words: Collection[str]) -> tuple[bool, Collection[str]]:
    """What `--yes` and `--lose=NAME,NAME` among `words` say."""
    lose = [word.removeprefix("--lose=") for word in words if word.startswith("--lose=")]
    return "--yes" in words, [name for names in lose for name in names.split(",")]


def main(name: str, *words: str) -> int:
    consent, meant = consent_and_meant(words)
    up(name, consent=consent, meant=meant)
    return 0
