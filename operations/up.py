"""`make up STACK=…`: what a stack file says is made so, once it was seen and agreed to."""

import sys
import time
from collections.abc import Collection
from http import HTTPStatus

from operations import Blocked, engine, guard, recover, status, swarm
from operations.preview import planned, show
from operations.stack_file import configuration, stack
from operations.state import pulumi_seen

SERVING_SECONDS = 60
REPORT_SECONDS = 10


def up(name: str, *, consent: bool, meant: Collection[str]) -> None:
    """Show what would change, ask unless there is `consent`, and do it.

    What is lost by it is `meant` to be, by its name. Raises Blocked, SettingsError,
    CalledProcessError.
    """
    recover.see_fit(name, recover.recover(name))
    # Read anew: a container that was removed by hand is there again.
    found, lost = planned(name, "--refresh")
    show(found, "text")
    if found.errors:
        raise Blocked("stopped, and nothing was changed: the plan fails, see above")
    guard.stop(name, "up", lost, meant)
    if not (consent or found.empty):
        ask("Do it?")
    pulumi_seen("up", "--stack", name, "--refresh", "--yes", "--skip-preview")
    config, _ = configuration(name)
    with engine.reached(config) as variables:
        swarm.remove_unused(name, variables)
    if not stack(name).only_on_engine:
        _wait_until_served(name)


def _wait_until_served(name: str) -> None:
    """Wait while the registry answers 503, which it does until a storage check succeeds.

    A registry that kept running while its storage was unreachable notices the repair at its next
    check, `health.storagedriver.interval` later (distribution, registry/handlers/app.go). Other
    answers, or none, are not waited for: this machine may not reach the endpoint at all.

    Raises Blocked if it still answers 503 after SERVING_SECONDS.
    """
    address = stack(name).endpoint
    begun = time.monotonic()
    next_line = begun
    while _refuses(address):
        waited = time.monotonic() - begun
        if waited > SERVING_SECONDS:
            raise Blocked(
                f"The stack was updated, but the registry at {address} still answers 503 after "
                f"{waited:.0f} s: its last storage check failed. Run `make status STACK={name}` "
                "for the cause."
            )
        if time.monotonic() >= next_line:
            _report(f"waiting until the registry at {address} serves again: {waited:.0f} s")
            next_line += REPORT_SECONDS
        time.sleep(1)


def _refuses(address: str) -> bool:
    try:
        return status.http_status(address) == HTTPStatus.SERVICE_UNAVAILABLE
    except OSError:
        return False


def _report(text: str) -> None:
    print(f"up: {text}", file=sys.stderr, flush=True)


def ask(question: str) -> None:
    """Raises Blocked unless whoever is at the terminal says yes."""
    if not sys.stdin.isatty():
        raise Blocked("stopped, and nothing was changed: there is nobody to ask; YES=1 says yes")
    if input(f"{question} [yes/no] ").strip().lower() not in ("y", "yes"):
        raise Blocked("nothing was changed")


def consent_and_meant(words: Collection[str]) -> tuple[bool, Collection[str]]:
    """What `--yes` and `--lose=NAME,NAME` among `words` say."""
    lose = [word.removeprefix("--lose=") for word in words if word.startswith("--lose=")]
    return "--yes" in words, [name for names in lose for name in names.split(",")]


def main(name: str, *words: str) -> int:
    consent, meant = consent_and_meant(words)
    up(name, consent=consent, meant=meant)
    return 0
