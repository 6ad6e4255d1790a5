"""`make import`: import a registry from a Docker Compose file.

The command writes a stack file that configures the registry as the Compose file did, and leaves the
images in place. Secrets become secrets of the stack file. The report lists each part that was not
imported, and the reason. If a security setting cannot be imported, the command writes nothing and
lists the decisions that the user must make.
"""

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from config.load import parse_value
from config.settings import PROJECT
from config.tree import merge
from operations import stack_file
from operations.clients.pulumi import run_pulumi
from operations.context import StackContext
from operations.errors import CommandError, error_text

LOGIN_HINT = (
    "Log in to Pulumi and set a passphrase first: docs/production.md, steps 2 and 3. To keep the "
    "state on this machine only, run `pulumi login --local` and set PULUMI_CONFIG_PASSPHRASE."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--loader", default="docker compose", help="the command that resolves Compose files"
    )
    parser.add_argument("--compose", default="", help="the path of the Compose file or its folder")
    parser.add_argument("--service", default="", help="the service that is the registry")
    parser.add_argument("--swarm-stack", default="", help="the name of the stack on Swarm")
    parser.add_argument("--config-path", default="", help="the configuration file in the container")
    parser.add_argument("--files", default="", help="PATH=FILE: copies of files in the container")
    parser.add_argument("--set", default="", help="KEY=VALUE: settings of the stack file")


def run(context: StackContext, arguments: Namespace) -> int:
    if not arguments.compose:
        raise CommandError("Name a Compose file: make import COMPOSE=docker-compose.yml STACK=prod")
    file = stack_file.path(context.name)
    if file.exists():
        raise CommandError(f"stacks/{file.name} exists. Choose another STACK, or remove the file.")
    # Imported here: no other command needs the packages that read Compose files.
    from operations.compose_import.convert import choose_service, import_service
    from operations.compose_import.project import enabled_services, load_project
    from operations.compose_import.report import question_lines, report_lines, stack_file_text
    from operations.compose_import.result import Answers

    loader, compose = shlex.split(arguments.loader), Path(arguments.compose)
    files = _files(arguments.files)
    answers = Answers(settings=parse_settings(arguments.set), config_path=arguments.config_path)
    project = load_project(loader, compose, arguments.swarm_stack, files)
    service = choose_service(
        project, arguments.service, lambda: enabled_services(loader, compose, arguments.swarm_stack)
    )
    result = import_service(project, service, context.name, answers)
    if result.questions:
        raise CommandError("\n".join(question_lines(result)))
    file.write_text(stack_file_text(result))
    try:
        _create_stack(result.stack_name, result.secrets)
    except BaseException:
        file.unlink()
        raise
    print("\n".join(report_lines(result)))
    return 0


def _files(text: str) -> Mapping[str, Path]:
    """Parse `PATH=FILE …` as files by their absolute path in the container. Raises CommandError."""
    files = {path: Path(file) for path, file in _pairs("FILES", text).items()}
    for path, file in files.items():
        if not path.startswith("/"):
            raise CommandError(f"FILES names {path}, which is not an absolute path.")
        if not file.is_file():
            raise CommandError(f"FILES names {file}, which does not exist.")
    return files


def _pairs(option: str, text: str) -> Mapping[str, str]:
    """Parse `NAME=VALUE …`, in which values may be quoted as in a shell. Raises CommandError."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise CommandError(f"{option} has an unclosed quote.") from None
    pairs = dict(word.partition("=")[::2] for word in words)
    if not all(name and value for name, value in pairs.items()):
        raise CommandError(f"{option} must be one or more NAME=VALUE pairs, separated by spaces.")
    return pairs


def parse_settings(text: str) -> Mapping[str, Any]:
    """Parse `KEY=VALUE …`, with text or JSON as values, as settings of a stack file by full key.

    Raises CommandError.
    """
    settings: Mapping[str, Any] = {}
    for key, value in _pairs("SET", text).items():
        namespace, colon, path = key.rpartition(":")
        section, *below = path.split(".")
        tree: Any = parse_value(value)
        for part in reversed(below):
            tree = {part: tree}
        full_key = f"{namespace if colon else PROJECT}:{section}"
        settings = merge(settings, {full_key: tree})
    return settings


def _create_stack(stack: str, secrets: Mapping[str, str]) -> None:
    """Create the stack and add the secrets to its file. Raises CommandError."""
    try:
        run_pulumi("stack", "select", "--create", "--stack", stack)
        for name, value in sorted(secrets.items()):
            words = ("config", "set", "--secret", "--stack", stack, f"{PROJECT}:{name}")
            run_pulumi(*words, stdin=value)
    except CalledProcessError as error:
        raise CommandError(f"{error_text(error)}\n{LOGIN_HINT}") from None
