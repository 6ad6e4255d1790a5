"""Servers of other projects that a page of ours has a recipe for: Debian's, run by that recipe."""

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


def recipe(page: str, language: str, here: Mapping[str, str]) -> str:
    """The block of `language` in docs/`page`, with what it names there replaced by what is `here`.

    Raises AssertionError where it does not name that.
    """
    text = (PROJECT / "docs" / page).read_text()
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    for theirs, ours in here.items():
        assert theirs in found, theirs
        found = found.replace(theirs, ours)
    return str(found)


def program(name: str, packages: Sequence[str]) -> tuple[Path, Mapping[str, str]]:
    """The one on PATH, else Debian's, unpacked (to install it would start it); and variables."""
    if found := shutil.which(name):
        return Path(found), {}

    def make(folder: Path) -> None:
        scratch = folder / "packages"
        scratch.mkdir()
        debian.unpack(packages, folder / "root", scratch)

    root = Entry(name, packages).kept(make) / "root"
    libraries = ":".join(map(str, root.glob("usr/lib/*-linux-gnu")))
    return root / "usr/sbin" / name, {"LD_LIBRARY_PATH": libraries}


@contextmanager
def serving(name: str, packages: Sequence[str], log: Path, *words: str | Path) -> Iterator[None]:
    """The program `name` with `words`, as long as it takes; what it prints is in `log`."""
    path, variables = program(name, packages)
    environment = {**os.environ, **variables}
    with log.open("w") as printed:
        server = subprocess.Popen(
            [path, *words], env=environment, stdout=printed, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            server.terminate()
            server.wait()
