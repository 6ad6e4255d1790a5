"""Go programs that are built from a module mirror. The go.sum of each pins its modules."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.cache import LOGS, Entry
from toolchain.progress import Unavailable, format_estimate, run, step

RECIPES = Path(__file__).parent / "recipes"
# These replace the user's own settings. Binaries are static, go.mod stays unchanged, and Go does
# not read the history of the checkout, which may belong to another user.
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
# Compiling takes most of the time of the first set-up. Without inlining it takes 15 percent less
# CPU time. Without debug information, which the linker drops anyway (-s -w), it takes another 10
# percent less. The standard library is inlined, because it compiles in seconds. A program then
# derives the key of a passphrase in 0.28 s of CPU time instead of 0.41 s, and handles JSON in
# 0.24 s instead of 0.40 s.
COMPILER_FLAGS = ("-gcflags=all=-l -dwarf=false", "-gcflags=std=-dwarf=false")
# A template of `go list`: the packages of a program except main and the standard library.
LIBRARIES = '{{if not (or .Standard (eq .Name "main"))}}{{.ImportPath}}{{end}}'


@dataclass(frozen=True, kw_only=True)
class GoProgram:
    """A program of the Go module in the folder `sources`, or in its subfolder `module`.

    `stamp` sets the program's version (`symbol=value`). `minutes` is the time of a build on two
    cores with empty caches, for the progress line. The repr is a part of the cache key.
    """

    binary: str
    sources: Path = field(repr=False)  # not in the key: neither the path nor the estimate matters
    module: str = "."
    version: str
    stamp: str = ""
    package: str = "."
    tags: str = ""
    minutes: float = field(repr=False)

    @property
    def path(self) -> Path:
        """The path of the built binary."""
        return self.entry.path / self.binary

    @property
    def title(self) -> str:
        """The name and version, for messages."""
        return f"{self.binary} {self.version}"

    def build(self) -> Path:
        """Build the binary if it is missing, and return its path. Raises Unavailable."""
        with Builds() as builds:
            builds.add(self)
            builds.run()
        return self.path

    def download(self) -> Sequence[str]:
        """Download the program's modules, and return its packages. Raises Unavailable."""
        with tempfile.TemporaryDirectory() as folder:
            packages = Path(folder, "packages")
            self._go("list", "-deps", f"-f={LIBRARIES}", self.package, results=packages)
            return packages.read_text().split()

    def compile(self, packages: Sequence[str]) -> None:
        """Compile `packages` into Go's build cache. Raises Unavailable."""
        if packages:
            self._go("build", *packages)

    def link(self) -> None:
        """Link the binary into the cache. Raises Unavailable."""

        def make(folder: Path) -> None:
            self._go("build", f"-o={folder / self.binary}", self.package)

        self.entry.get_or_create(make)

    @property
    def entry(self) -> Entry:
        """The cache entry of the binary, whose name depends on the sources and compiler flags."""
        return Entry(f"{self.binary}-{self.version}", (self, COMPILER_FLAGS), self.sources)

    def _go(self, verb: str, *arguments: str, results: Path | None = None) -> None:
        """Run `go` in the program's module, with its output in `results`. Raises Unavailable."""
        stamp = f" -X {self.stamp}" if self.stamp else ""
        flags = ["-trimpath", *COMPILER_FLAGS, f"-tags={self.tags}", f"-ldflags=-s -w{stamp}"]
        log = LOGS / f"{self.binary}-{self.version}-{verb}.log"
        run(
            ["go", verb, *flags, *arguments],
            log=log,
            results=results,
            cwd=self.sources / self.module,
            env=ENVIRONMENT,
            failure=f"{self.title} could not be built from Go modules",
        )


@dataclass(frozen=True)
class Part:
    """A part of the toolchain. `finish` installs it and returns its name and origin.

    `program`, if there is one, must be built before `finish` is called.
    """

    finish: Callable[[], str]
    program: GoProgram | None = None


class Builds:
    """The Go programs of one run. They are built one after the other, in the order of `add`.

    A second thread keeps both cores busy. While one program compiles, it downloads the modules of
    later programs and links earlier ones.
    """

    def __init__(self) -> None:
        self._background = ThreadPoolExecutor(max_workers=1)
        self._downloads: dict[GoProgram, Future[Sequence[str]]] = {}

    def __enter__(self) -> "Builds":
        return self

    def __exit__(self, *_: object) -> None:
        self._background.shutdown(cancel_futures=True)

    def add(self, program: GoProgram) -> None:
        """Start to download `program`, unless its binary is in the cache. Raises Unavailable."""
        if program in self._downloads or program.path.exists():
            return
        if not shutil.which("go"):
            raise Unavailable(
                f"{program.title} is built from Go modules here. "
                "Install Go (https://go.dev/dl), then run the command again."
            )
        self._downloads[program] = self._background.submit(program.download)

    def run(self) -> None:
        """Build the added programs. Raises Unavailable."""
        minutes_left = sum(program.minutes for program in self._downloads)
        total = len(self._downloads)
        links = []
        for number, (program, packages) in enumerate(self._downloads.items(), 1):
            estimate = format_estimate(program.minutes)
            if total > 1:
                remaining = format_estimate(minutes_left)
                estimate = f"{number} of {total}, {estimate}; {remaining} left in all"
            with step(f"building {program.title} from Go modules", estimate):
                program.compile(packages.result())
                links.append(self._background.submit(program.link))
                if number == total:
                    for link in links:
                        link.result()
            minutes_left -= program.minutes
        self._downloads.clear()
