"""What acts on a stack beside `pulumi up`. It knows the settings, never a resource."""

import subprocess


class Blocked(Exception):
    """The stack can't be worked on now; the text says why and what to do."""


class NotChecked(Exception):
    """This machine cannot check something; the text is the reason. It is no sign of a fault."""


def said(why: Exception) -> str:
    """The text of what ended a command: its own, or that of the program which it ran."""
    if isinstance(why, subprocess.CalledProcessError):
        # What was seen while it ran needs no second print.
        return str(why.stderr or why.stdout or f"{why.cmd[0]} ended with an error").strip()
    return str(why)
