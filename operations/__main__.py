"""`python -m operations COMMAND STACK …`: see the Makefile, its one caller.

The command is the module of that name; what stops it is a text on stderr, never a traceback.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from subprocess import CalledProcessError

from config import credentials
from config.problems import SettingsError
from operations import stack_file
from operations.errors import CommandError, error_text

ON_ENGINE = ("up", "preview", "drift", "down", "move", "rotate", "gc", "status")


def main(arguments: Sequence[str]) -> int:
    command, stack, *words = arguments
    try:
        if command != "comment":
            stack_file.path(stack)
        if command in ON_ENGINE:
            credentials.set_client_variables(os.environ)
            import_module("operations.clients.docker").use(stack)
        # Alone, as some need packages that others can do without.
        package = "operations" if command == "importing" else "operations.commands"
        return int(import_module(f"{package}.{command}").main(stack, *words))
    except (CommandError, SettingsError, CalledProcessError) as error:
        why = error_text(error)
    except KeyboardInterrupt:
        why = "interrupted"
    print(f"{command.replace('_', '-')}: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
