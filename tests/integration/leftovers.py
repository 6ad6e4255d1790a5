"""Fail a test run that leaves something on the machine. Load this module with `pytest -p`.

RUN identifies the test run. Processes inherit it in the environment variable RUN_VARIABLE. The
names of stacks, networks, folders and most images contain it.
"""

import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path

import pytest

RUN_VARIABLE = "OSS_REGISTRY_TEST_RUN"
# The first process of a run sets the variable, and pytest-xdist's workers inherit it.
RUN = os.environ.setdefault(RUN_VARIABLE, secrets.token_hex(2))

LIST_COMMANDS = {
    "container": ("container", "ls", "--all", "--format", "{{.Names}}"),
    "network": ("network", "ls", "--format", "{{.Name}}"),
    "volume": ("volume", "ls", "--format", "{{.Name}}"),
    "image": ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}"),
    "untagged image": ("image", "ls", "--filter", "dangling=true", "--quiet", "--no-trunc"),
}
LEFTOVER_NAMES = re.compile(
    rf"-{RUN}"
    r"|^(localhost|127\.0\.0\.1|198\.18\.\d+\.\d+):\d+/"  # an image pushed to a test's registry
    r"|^(sha256:)?[0-9a-f]{64}$"  # an untagged image, or the volume of a removed container
)
Object = tuple[str, str]
"""The kind and the name of an object on this machine."""

OBJECTS_BEFORE = pytest.StashKey[Set[Object]]()


def unique_name(prefix: str) -> str:
    """Return a name that no other test uses, and that the check for leftovers recognizes."""
    return f"{prefix}-{RUN}{secrets.token_hex(3)}"


def pytest_sessionstart(session: pytest.Session) -> None:
    if _is_whole_run(session):
        session.config.stash[OBJECTS_BEFORE] = objects()


# This hook runs last, when pytest-xdist's workers have ended.
@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    yield
    if not _is_whole_run(session):
        return
    left = [f"process {number} {line}" for number, line in processes_of(RUN_VARIABLE, RUN).items()]
    left += [f"{kind} {name}" for kind, name in objects() - session.config.stash[OBJECTS_BEFORE]]
    if left:
        lines = "\n  ".join(sorted(left))
        print(f"\nThe tests left {len(left)} things on this machine:\n  {lines}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def processes_of(variable: str, value: str) -> dict[int, str]:
    """Return the command line of each process that was started with `variable` set to `value`."""
    assignment = f"{variable}={value}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended, or belongs to another user
            if assignment in (folder / "environ").read_bytes().split(b"\0"):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = line.decode(errors="replace").strip()
    return found


def objects() -> Set[Object]:
    """Return the objects on this machine that a test run could have created."""
    found = {(kind, name) for kind, words in LIST_COMMANDS.items() for name in _docker(words)}
    found |= {("network namespace", file.name) for file in Path("/run/netns").glob("*")}
    found |= {("network device", file.name) for file in Path("/sys/class/net").glob("*")}
    found |= {("folder", file.name) for file in Path(tempfile.gettempdir()).glob("oss-registry-*")}
    return {(kind, name) for kind, name in found if LEFTOVER_NAMES.search(name)}


def _docker(words: Sequence[str]) -> Sequence[str]:
    """Run docker, and return the lines of its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def _is_whole_run(session: pytest.Session) -> bool:
    """Return whether this process controls the run. A pytest-xdist worker runs only a part."""
    return not hasattr(session.config, "workerinput")
