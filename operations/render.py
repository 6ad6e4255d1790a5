"""`make render STACK=…`: what the registry of a stack file is given, secrets redacted.

Neither Pulumi's engine nor Docker nor a cloud is asked: the stack file says it all.
"""

import os
import sys
from collections.abc import Sequence

from components.environment import redact
from components.settings import SettingsError, load
from operations.stack_file import configuration


def main(arguments: Sequence[str]) -> int:
    (name,) = arguments
    try:
        stack = load(name, *configuration(name), os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    for warning in stack.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for variable, text in stack.environment.items():
        print(f"{variable}={redact(text)}")
    for path, text in stack.files.items():
        print(f"# {path}")
        print(redact(text).removesuffix("\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
