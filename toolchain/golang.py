"""Go programs built from a module mirror: a folder of `recipes/` each, pinned by its go.sum."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from toolchain.cache import LOGS, Entry
from toolchain.progress import Unavailable, run, step

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class GoProgram:
    """A program of the module `recipes/<recipe>`; `stamp` sets its version (`symbol=value`)."""

    recipe: str
    version: str
    stamp: str
    package: str = "."
    tags: str = ""
    minutes: int  # a cold build on two cores, for the progress line

    @property
    def sources(self) -> Path:
        return RECIPES / self.recipe


def entry(program: GoProgram, binary: str) -> Entry:
    """The cache entry that holds the program, as `binary`."""
    return Entry(f"{binary}-{program.version}", program, program.sources)


def build(program: GoProgram, binary: str) -> Path:
    """The path of the program, called `binary`, built now or earlier. Raises Unavailable."""

    def make(folder: Path) -> None:
        if not shutil.which("go"):
            raise Unavailable(
                f"install Go (https://go.dev/dl) to build {binary} {program.version} from modules, "
                f"or put {binary} on PATH"
            )
        about = f"about {program.minutes} min on two cores, once"
        with step(f"building {binary} {program.version} from Go modules ({about})"):
            run(
                [
                    "go",
                    "build",
                    "-trimpath",
                    f"-tags={program.tags}",
                    f"-ldflags=-s -w -X {program.stamp}",
                    "-o",
                    folder / binary,
                    program.package,
                ],
                log=LOGS / f"{program.recipe}-{program.version}.log",
                cwd=program.sources,
                env={"CGO_ENABLED": "0", "GOWORK": "off"},
                failure=f"{binary} {program.version} could not be built from Go modules",
            )

    return entry(program, binary).kept(make) / binary
