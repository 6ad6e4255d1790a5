"""`make up STACK=…`: what a stack file says is made so, once it was seen and agreed to."""

import sys
from collections.abc import Collection

from operations import Blocked, engine, guard, recover, swarm
from operations.preview import planned, show
from operations.stack_file import configuration
from operations.state import pulumi_seen


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
