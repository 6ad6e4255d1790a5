"""`make import`: import a registry from a Docker Compose file.

The command writes a stack file that configures the registry as the Compose file did, and leaves the
images in place. Secrets become secrets of the stack file. The report lists what could not be
imported, each with the reason.
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from subprocess import CalledProcessError

from config.settings import PROJECT
from operations import stack_file
from operations.clients.pulumi import run_pulumi
from operations.context import StackContext
from operations.errors import CommandError, error_text

LOGIN_HINT = (
    "A stack needs a login and a passphrase: docs/production.md, steps 2 and 3; for this machine "
    "alone, `pulumi login --local` and PULUMI_CONFIG_PASSPHRASE"
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--compose", help="the path of the Compose file")
    parser.add_argument("--service", default="", help="the service that is the registry")


def run(context: StackContext, arguments: Namespace) -> int:
    if not arguments.compose:
        raise CommandError("say what to import: make import COMPOSE=docker-compose.yml STACK=prod")
    file = stack_file.path(context.name)
    if file.exists():
        raise CommandError(f"stacks/{file.name} is there already: say another STACK, or remove it")
    # Imported here: no other command needs the packages that read Compose files.
    from operations.compose_import.compose import read_compose_file
    from operations.compose_import.convert import choose_service, import_service
    from operations.compose_import.output import report_lines, stack_file_text

    content = read_compose_file(Path(arguments.compose), os.environ)
    result = import_service(content, choose_service(content, arguments.service), context.name)
    file.write_text(stack_file_text(result))
    try:
        _create_stack(result.stack_name, result.secrets)
    except BaseException:
        file.unlink()
        raise
    print("\n".join(report_lines(result)))
    return 0


def _create_stack(stack: str, secrets: Mapping[str, str]) -> None:
    """Create the stack and add the secrets to its file. Raises CommandError."""
    try:
        run_pulumi("stack", "select", "--create", "--stack", stack)
        for name, value in sorted(secrets.items()):
            words = ("config", "set", "--secret", "--stack", stack, f"{PROJECT}:{name}")
            run_pulumi(*words, stdin=value)
    except CalledProcessError as error:
        raise CommandError(f"{error_text(error)}\n{LOGIN_HINT}") from None
