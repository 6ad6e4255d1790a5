"""`make render STACK=…`: what the registry of a stack file is given, secrets redacted.

Neither Pulumi's engine nor Docker nor a cloud is asked: the stack file says it all.
"""

import sys

from config.load import warnings
from operations import stack_file


def main(name: str) -> int:
    stack = stack_file.stack(name)
    for warning in warnings(stack):
        print(f"warning: {warning}", file=sys.stderr)
    for name, text in stack.registry.redacted.items():
        if name in stack.registry.files:
            print(f"# {name}\n{text.removesuffix(chr(10))}")
        else:
            print(f"{name}={text}")
    return 0
