"""The cache of downloads and builds, outside the checkout. It has an entry for each version."""

import fcntl
import hashlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oss-registry"
LOGS = DIRECTORY / "logs"


@dataclass(frozen=True)
class Entry:
    """A part and its inputs: `recipe` (by its repr) and the files below `sources`.

    A change to them or to the machine type gives another entry.
    """

    name: str
    recipe: object
    sources: Path | None = None

    @property
    def path(self) -> Path:
        digest = hashlib.sha256(f"{platform.machine()} {self.recipe!r}".encode())
        if self.sources:
            for file in sorted(file for file in self.sources.rglob("*") if file.is_file()):
                digest.update(f"\0{file.relative_to(self.sources)}\0".encode() + file.read_bytes())
        return DIRECTORY / f"{self.name}-{digest.hexdigest()[:12]}"

    def kept(self, make: Callable[[Path], None]) -> Path:
        """The entry's folder, filled by `make` now or in an earlier run.

        `make` gets an empty folder. A lock keeps two checkouts from making one entry at once, and
        the folder has its final name only after `make` returned.
        """
        path = self.path
        if path.is_dir():
            return path
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        with _lock(DIRECTORY / f"{path.name}.lock"):
            if not path.is_dir():
                partial = DIRECTORY / f"{path.name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                make(partial)
                partial.rename(path)
        return path


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
