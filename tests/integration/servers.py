"""Servers from Debian packages, run with the configuration that a page of docs/ shows."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.integration.deployment import PROJECT
from toolchain import debian
from toolchain.cache import Entry


def docs_example(page: str, language: str, replacements: Mapping[str, str]) -> str:
    """Return the only code block in `language` of docs/`page`, with `replacements` applied.

    `replacements` has the new texts by documented text. Raises AssertionError if the block does not
    contain a documented text.
    """
    text = (PROJECT / "docs" / page).read_text()
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    for documented, actual in replacements.items():
        assert documented in found, documented
        found = found.replace(documented, actual)
    return str(found)


def find_program(name: str, packages: Sequence[str]) -> tuple[Path, Mapping[str, str]]:
    """Return the path of a program and the environment variables that it needs.

    If the program is not on PATH, unpack it from Debian's `packages`. They are not installed,
    because that would start the server.
    """
    if found := shutil.which(name):
        return Path(found), {}

    def unpack(folder: Path) -> None:
        scratch = folder / "packages"
        scratch.mkdir()
        debian.unpack(packages, folder / "root", scratch)

    root = Entry(name, packages).get_or_create(unpack) / "root"
    libraries = ":".join(map(str, root.glob("usr/lib/*-linux-gnu")))
    return root / "usr/sbin" / name, {"LD_LIBRARY_PATH": libraries}


@contextmanager
def running_server(
    name: str, packages: Sequence[str], log: Path, *words: str | Path
) -> Iterator[None]:
    """Run the server `name` with arguments `words` until the end of the block.

    The server's output is written to `log`.
    """
    path, variables = find_program(name, packages)
    environment = {**os.environ, **variables}
    with log.open("w") as output:
        server = subprocess.Popen(
            [path, *words], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            server.terminate()
            server.wait()
