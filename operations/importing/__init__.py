"""`make import COMPOSE=docker-compose.yml STACK=…`: a registry that runs by compose moves in here.

Its compose file, and what that names, becomes a stack file by which the registry is configured as
it was, its images where they are. What is secret becomes a secret of the stack file; what can't be
as it was, or has no place, is listed with the reason.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError

import yaml

from config.messages import message
from config.settings import PROJECT
from operations import stack_file
from operations.clients.pulumi import pulumi
from operations.errors import CommandError, error_text
from operations.importing.compose import read
from operations.importing.moving import Moved, chosen, moved

PLACE = (
    "A stack needs a login and a passphrase: docs/production.md, steps 2 and 3; for this machine "
    "alone, `pulumi login --local` and PULUMI_CONFIG_PASSPHRASE"
)


class _Dumper(yaml.SafeDumper):
    """Text that Pulumi's YAML could take for something else is quoted, and lines stay lines."""


def _as_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain = re.fullmatch(r"[A-Za-z/][\w./:@ -]*", text) and not text.endswith((":", " "))
    words = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    style = "|" if "\n" in text else None if plain and text.lower() not in words else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _as_text)


def written(its: Moved) -> str:
    """The stack file's text."""
    config = {key: value for key, value in its.config.items() if value not in ({}, None)}
    comment = (
        f"# What {Path(its.compose.file).name} said of {its.service.name}. Below registry.config\n"
        "# stands what keeps it as it was; without a line of it, the program's default holds.\n"
    )
    return comment + yaml.dump({"config": config}, Dumper=_Dumper, sort_keys=False, width=100)


def main(stack: str, compose: str = "", service: str = "") -> int:
    if not compose:
        raise CommandError("say what to import: make import COMPOSE=docker-compose.yml STACK=prod")
    file = stack_file.path(stack)
    if file.exists():
        raise CommandError(f"stacks/{file.name} is there already: say another STACK, or remove it")
    found = read(Path(compose), os.environ)
    its = moved(found, chosen(found, service), stack)
    file.write_text(written(its))
    try:
        _keep(its)
    except BaseException:
        file.unlink()
        raise
    print("\n".join(report(its)))
    return 0


def _keep(its: Moved) -> None:
    """Make the stack, and its secrets secrets of it. Raises CommandError."""
    try:
        pulumi("stack", "select", "--create", "--stack", its.stack)
        for name, value in sorted(its.secrets.items()):
            words = ("config", "set", "--secret", "--stack", its.stack, f"{PROJECT}:{name}")
            pulumi(*words, given=value)
    except CalledProcessError as failed:
        raise CommandError(f"{error_text(failed)}\n{PLACE}") from None


def report(its: Moved) -> Iterator[str]:
    """The lines that tell a user what became of it, and what to do next; no secret is in them."""
    secrets = ", ".join(sorted(its.secrets)) or "nothing"
    yield f"wrote stacks/Pulumi.{its.stack}.yaml; secret in it: {secrets}"
    _, problems = its.checked()
    for title, entries in (
        ("What the registry is told otherwise than before:", its.changed()),
        ("What has no place here:", its.lost),
    ):
        listed = [f"  {what}: {why}" for what, why in entries]
        yield from (title, *(listed or ["  nothing"]))
    if problems:
        yield "What you are to decide first, as `make up` would refuse it:"
        yield from (f"  {message(problem)}" for problem in problems)
    yield "Then:"
    yield from (
        f"  {step}"
        for step in (
            its.stop,
            *its.steps,
            f"make preview STACK={its.stack}",
            f"make up STACK={its.stack}",
            *its.last,
        )
    )
