"""Write the result of an import: the stack file, and the report for the user."""

import re
from collections.abc import Iterator

import yaml

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
        f"# Imported from the service {result.service.name} of {result.project.file.name}.\n"
        "# registry.config preserves the settings of the old registry. If you delete a line, the\n"
        "# program's default applies.\n"
    )
    return comment + yaml.dump({"config": config}, Dumper=_Dumper, sort_keys=False, width=100)


def report_lines(result: ImportResult) -> Iterator[str]:
    """Yield the lines of the report: what was imported, and the next steps. They hold no secret."""
    secrets = ", ".join(sorted(result.secrets)) or "none"
    yield f"Wrote stacks/Pulumi.{result.stack_name}.yaml. Secrets in it: {secrets}."
    for title, entries in (
        ("The registry's configuration is different here:", [*result.changes()]),
        ("These parts were not imported:", result.omitted),
    ):
        yield title
        yield from (f"  {part}: {reason}" for part, reason in entries)
        if not entries:
            yield "  none"
    yield from result.notes
    yield "Run these commands:"
    steps = (
        *result.copy_steps,
        result.stop_command,
        *result.steps_before_up,
        f"make preview STACK={result.stack_name}",
        f"make up STACK={result.stack_name}",
    )
    yield from (f"  {step}" for step in steps)


def question_lines(result: ImportResult) -> Iterator[str]:
    """Yield the lines that explain why nothing was written. They hold no secret."""
    yield f"The service {result.service.name} can't be imported yet. Nothing was written."
    if result.project.unset:
        yield f"These variables are not set, so they are empty: {', '.join(result.project.unset)}."
    for question in result.questions:
        yield f"  - {question.part}: {question.problem}; {question.fix}"
    yield (
        "Run make import again with these answers. FILES and SET take several, separated by "
        "spaces. SET accepts each setting in docs/settings.md."
    )
