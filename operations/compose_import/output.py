"""Write the result of an import: the stack file, and the report for the user."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from config.messages import message
from operations.compose_import.result import ImportResult

# YAML readers resolve these, and some other scalars, to values other than text.
_NOT_TEXT = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z/][\w./:@ -]*")


class _Dumper(yaml.SafeDumper):
    """Quotes text that Pulumi's YAML reader could take for another type, and keeps line breaks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style: str | None = '"'
    if "\n" in text:
        style = "|"
    elif (
        _NEEDS_NO_QUOTES.fullmatch(text)
        and not text.endswith((":", " "))
        and text.lower() not in _NOT_TEXT
    ):
        style = None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def stack_file_text(result: ImportResult) -> str:
    """Return the text of the stack file, without its secrets."""
    config = {key: value for key, value in result.config.items() if value not in ({}, None)}
    comment = (
        f"# What {Path(result.compose.file).name} said of {result.service.name}. "
        "Below registry.config\n"
        "# stands what keeps it as it was; without a line of it, the program's default holds.\n"
    )
    return comment + yaml.dump({"config": config}, Dumper=_Dumper, sort_keys=False, width=100)


def report_lines(result: ImportResult) -> Iterator[str]:
    """Yield the lines of the report: what was imported, and the next steps. They hold no secret."""
    secrets = ", ".join(sorted(result.secrets)) or "nothing"
    yield f"wrote stacks/Pulumi.{result.stack_name}.yaml; secret in it: {secrets}"
    for title, entries in (
        ("What the registry is told otherwise than before:", [*result.changes()]),
        ("What has no place here:", result.not_imported),
    ):
        yield title
        yield from (f"  {part}: {reason}" for part, reason in entries)
        if not entries:
            yield "  nothing"
    _, problems = result.validated()
    if problems:
        yield "What you are to decide first, as `make up` would refuse it:"
        yield from (f"  {message(problem)}" for problem in problems)
    yield "Then:"
    steps = (
        result.stop_command,
        *result.steps_before_up,
        f"make preview STACK={result.stack_name}",
        f"make up STACK={result.stack_name}",
        *result.steps_after_up,
    )
    yield from (f"  {step}" for step in steps)
