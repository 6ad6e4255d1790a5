"""Errors that end a command. The command line prints their text without a traceback."""

from subprocess import CalledProcessError

from components.storage.backend import NotChecked

__all__ = ["CommandError", "NotChecked", "error_text"]


class CommandError(Exception):
    """A command cannot continue. The text contains the reason and the fix."""


def error_text(error: Exception) -> str:
    """Return the text of an error: its own, or that of the program that failed."""
    if isinstance(error, CalledProcessError):
        # The output of a program that ran visibly is not printed again.
        return str(error.stderr or error.stdout or f"{error.cmd[0]} ended with an error").strip()
    return str(error)
