"""The command line `python -m operations COMMAND …`, which the Makefile calls."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from subprocess import CalledProcessError

from config import credentials
from config.problems import SettingsError
from operations import stack_file
from operations.commands import (
    comment,
    down,
    drift,
    gc,
    import_compose,
    login,
    move,
    preview,
    render,
    rotate,
    schema,
    status,
    up,
    verify_oss,
)
from operations.context import StackContext
from operations.errors import CommandError, error_text

# Commands on a stack that use its Docker engine and the cloud.
_ENGINE_COMMANDS = {
    "up": up,
    "preview": preview,
    "drift": drift,
    "down": down,
    "move": move,
    "rotate": rotate,
    "gc": gc,
    "status": status,
}
# Other commands on a stack.
_STACK_COMMANDS = {
    "import": import_compose,
    "render": render,
    "login": login,
    "verify-oss": verify_oss,
}
_OTHER_COMMANDS = {"comment": comment, "schema": schema}


def main(words: Sequence[str]) -> int:
    """Run the command line `words`, and return its exit code."""
    arguments = _create_parser().parse_args(words)
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of the output has ended, such as `head`. Python flushes again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (CommandError, SettingsError, CalledProcessError) as error:
        text = error_text(error)
    except KeyboardInterrupt:
        text = "interrupted"
    print(f"{arguments.command}: {text}", file=sys.stderr)
    return 1


def _create_parser() -> ArgumentParser:
    parser = ArgumentParser("operations", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in (_ENGINE_COMMANDS | _STACK_COMMANDS | _OTHER_COMMANDS).items():
        summary = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name not in _OTHER_COMMANDS:
            command.add_argument("stack", help="the name of a stack")
        module.add_arguments(command)
    return parser


def _run(arguments: Namespace) -> int:
    name = arguments.command
    if name in _OTHER_COMMANDS:
        return int(_OTHER_COMMANDS[name].run(arguments))
    stack_file.path(arguments.stack)  # raises SettingsError if the name is invalid
    with StackContext(arguments.stack) as context:
        if name in _ENGINE_COMMANDS:
            credentials.set_client_variables(os.environ)
            context.select_engine()
            return int(_ENGINE_COMMANDS[name].run(context, arguments))
        return int(_STACK_COMMANDS[name].run(context, arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
