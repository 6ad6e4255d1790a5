"""Import a registry from a Docker Compose file: `make import COMPOSE=FILE STACK=…`.

The command writes a stack file that configures the registry as the compose file did, and leaves the
images in place. Secrets become secrets of the stack file. The report lists what could not be
imported, each with the reason.
"""

import os
from pathlib import Path
from subprocess import CalledProcessError

from config.settings import PROJECT
from operations import stack_file
from operations.clients.pulumi import pulumi
from operations.compose_import.compose import read_compose_file
from operations.compose_import.convert import choose_service, import_service
from operations.compose_import.output import report_lines, stack_file_text
from operations.compose_import.result import ImportResult
from operations.errors import CommandError, error_text

LOGIN_HINT = (
    "A stack needs a login and a passphrase: docs/production.md, steps 2 and 3; for this machine "
    "alone, `pulumi login --local` and PULUMI_CONFIG_PASSPHRASE"
)


def main(stack: str, compose: str = "", service: str = "") -> int:
    if not compose:
        raise CommandError("say what to import: make import COMPOSE=docker-compose.yml STACK=prod")
    file = stack_file.path(stack)
    if file.exists():
        raise CommandError(f"stacks/{file.name} is there already: say another STACK, or remove it")
    content = read_compose_file(Path(compose), os.environ)
    result = import_service(content, choose_service(content, service), stack)
    file.write_text(stack_file_text(result))
    try:
        _create_stack(result)
    except BaseException:
        file.unlink()
        raise
    print("\n".join(report_lines(result)))
    return 0


def _create_stack(result: ImportResult) -> None:
    """Create the stack and add the secrets to its file. Raises CommandError."""
    stack = result.stack_name
    try:
        pulumi("stack", "select", "--create", "--stack", stack)
        for name, value in sorted(result.secrets.items()):
            words = ("config", "set", "--secret", "--stack", stack, f"{PROJECT}:{name}")
            pulumi(*words, given=value)
    except CalledProcessError as error:
        raise CommandError(f"{error_text(error)}\n{LOGIN_HINT}") from None
