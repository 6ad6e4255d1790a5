"""`make render`: print the variables and files of a registry, without secrets.

It reads the stack file only, and needs neither Pulumi nor Docker nor a cloud.
"""

import sys
from argparse import ArgumentParser, Namespace

from config.load import warnings
from operations.context import StackContext


def add_arguments(_: ArgumentParser) -> None:
    pass


def run(context: StackContext, _: Namespace) -> int:
    registry = context.stack.registry
    for warning in warnings(context.stack):
        print(f"warning: {warning}", file=sys.stderr)
    for name, text in registry.redacted.items():
        if name in registry.files:
            print(f"# {name}\n{text.removesuffix(chr(10))}")
        else:
            print(f"{name}={text}")
    return 0
