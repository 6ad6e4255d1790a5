"""`make render STACK=…`: what the registry of a stack file is given, secrets redacted.

Neither Pulumi's engine nor Docker nor a cloud is asked: the stack file says it all.
"""

import sys

from components import checks
from components.environment import redact
from operations import stack_file


def main(name: str) -> int:
    stack = stack_file.stack(name)
    for warning in checks.warnings(stack):
        print(f"warning: {warning}", file=sys.stderr)
    for variable, text in stack.environment.items():
        print(f"{variable}={redact(text)}")
    for path, text in stack.files.items():
        print(f"# {path}")
        print(redact(text).removesuffix("\n"))
    return 0
