"""Debian packages: install them as root on Debian, or unpack them for an image."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from toolchain.cache import LOGS
from toolchain.progress import Unavailable, run, step


def is_debian() -> bool:
    """Whether this machine runs Debian or a system based on it, with apt-get."""
    return Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def ensure_installed(program: str, packages: Sequence[str], advice: str) -> None:
    """Install `packages` unless `program` is on PATH. Raises Unavailable with `advice`."""
    if shutil.which(program):
        return
    if not (is_debian() and os.geteuid() == 0):
        raise Unavailable(advice)
    with step(f"installing Debian's {' '.join(packages)}"):
        _apt_get(
            ["install", "--yes", "--no-install-recommends", *packages],
            failure=f"Debian's {' '.join(packages)} could not be installed",
        )
    if not shutil.which(program):
        raise Unavailable(advice)


def unpack(packages: Sequence[str], root: Path, scratch: Path) -> None:
    """Unpack `packages` without their dependencies below `root`. Raises Unavailable.

    The archives are downloaded into `scratch`, an empty folder.
    """
    _apt_get(
        ["download", *packages],
        cwd=scratch,
        failure=f"Debian's packages {' '.join(packages)} could not be fetched",
    )
    for archive in sorted(scratch.glob("*.deb")):
        run(
            ["dpkg-deb", "--extract", archive, root],
            log=LOGS / "unpack.log",
            failure=f"{archive.name} could not be unpacked",
        )


def _apt_get(arguments: Sequence[str], *, failure: str, cwd: Path | None = None) -> None:
    """Run apt-get, and again after an update of its lists if it fails. Raises Unavailable."""
    command = ["apt-get", "--quiet", *arguments]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(command, log=LOGS / "apt.log", cwd=cwd, env=quiet, failure=failure)
    except Unavailable:
        # The package lists may be missing or stale.
        run(
            ["apt-get", "--quiet", "update"],
            log=LOGS / "apt-update.log",
            env=quiet,
            failure=failure,
        )
        run(command, log=LOGS / "apt.log", cwd=cwd, env=quiet, failure=failure)
