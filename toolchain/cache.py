"""The cache of downloads and builds. It is outside the checkout and has an entry per version."""

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
    """A folder in the cache, named after a part and a digest of its inputs.

    The inputs are the repr of `recipe`, the files below `sources`, and the machine type. If one of
    them changes, the entry has another name.
    """

    name: str
    recipe: object
    sources: Path | None = None

    @property
    def path(self) -> Path:
        """The entry's folder, which may not exist yet."""
        digest = hashlib.sha256(f"{platform.machine()} {self.recipe!r}".encode())
        if self.sources:
            for file in sorted(file for file in self.sources.rglob("*") if file.is_file()):
                digest.update(f"\0{file.relative_to(self.sources)}\0".encode() + file.read_bytes())
        return DIRECTORY / f"{self.name}-{digest.hexdigest()[:12]}"

    def get_or_create(self, make: Callable[[Path], None]) -> Path:
        """Return the entry's folder, and let `make` fill it first if it does not exist.

        `make` gets an empty folder. A lock keeps two checkouts from creating one entry at once. The
        folder gets its final name only after `make` has returned.
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
    """Hold an exclusive lock on the file `path`, and wait for it if necessary."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
