"""`python -m operations COMMAND STACK …`: see the Makefile, its one caller.

The command is the module of that name; what stops it is a text on stderr, never a traceback.
"""

import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module

from components.settings import SettingsError
from operations import Blocked


def main(arguments: Sequence[str]) -> int:
    command, stack, *words = arguments
    try:
        # Alone, as some need packages that others can do without.
        return int(import_module(f"operations.{command}").main(stack, *words))
    except (Blocked, SettingsError) as error:
        said = str(error)
    except subprocess.CalledProcessError as error:
        # What was seen while it ran needs no second print.
        said = (error.stderr or error.stdout or f"{error.cmd[0]} ended with an error").strip()
    except KeyboardInterrupt:
        said = "interrupted"
    print(f"{command.replace('_', '-')}: {said}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
