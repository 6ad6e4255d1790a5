"""Go programs built from a module mirror: a folder of `recipes/` each, pinned by its go.sum."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.cache import LOGS, Entry
from toolchain.progress import Unavailable, run, step

RECIPES = Path(__file__).parent / "recipes"
# Whatever the user's own settings are: static, changing no go.mod, and without a look at the
# checkout's history, which another user may own.
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


@dataclass(frozen=True, kw_only=True)
class GoProgram:
    """A program of the module in `sources`, or in its folder `module`, on which it depends.

    `stamp` sets its version (`symbol=value`).
    """

    binary: str
    sources: Path = field(repr=False)  # where the checkout is changes nothing
    module: str = "."
    version: str
    stamp: str = ""
    package: str = "."
    tags: str = ""
    minutes: int  # a cold build on two cores, for the progress line

    @property
    def path(self) -> Path:
        """Where `build` leaves the binary."""
        return self._entry.path / self.binary

    def build(self) -> Path:
        """`path`, built now or earlier. Raises Unavailable."""
        return self._entry.kept(self._make) / self.binary

    @property
    def _entry(self) -> Entry:
        return Entry(f"{self.binary}-{self.version}", self, self.sources)

    def _make(self, folder: Path) -> None:
        title = f"{self.binary} {self.version}"
        if not shutil.which("go"):
            raise Unavailable(
                f"install Go (https://go.dev/dl) to build {title} from modules, "
                f"or put {self.binary} on PATH"
            )
        stamp = f" -X {self.stamp}" if self.stamp else ""
        flags = ["-trimpath", f"-tags={self.tags}", f"-ldflags=-s -w{stamp}"]
        with step(f"building {title} from Go modules (about {self.minutes} min on two cores)"):
            run(
                ["go", "build", *flags, "-o", folder / self.binary, self.package],
                log=LOGS / f"{self.binary}-{self.version}.log",
                cwd=self.sources / self.module,
                env=ENVIRONMENT,
                failure=f"{title} could not be built from Go modules",
            )
