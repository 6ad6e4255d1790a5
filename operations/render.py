"""`make render STACK=…`: what the registry of a stack file is given, secrets redacted.

Neither Pulumi's engine nor Docker nor a cloud is asked: the stack file says it all.
"""

import os
import sys

from components.environment import redact
from components.settings import load
from operations.stack_file import configuration


def main(name: str) -> int:
    stack = load(name, *configuration(name), os.environ)
    for warning in stack.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for variable, text in stack.environment.items():
        print(f"{variable}={redact(text)}")
    for path, text in stack.files.items():
        print(f"# {path}")
        print(redact(text).removesuffix("\n"))
    return 0
