"""The Pulumi CLI with its language host, and the plugins.

Each is used if it is installed, else fetched from its vendor, else built from Go modules.
"""

import hashlib
import os
import platform
import shutil
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from toolchain.cache import LOGS, Entry
from toolchain.golang import RECIPES, GoProgram, Part
from toolchain.network import FAULTS, succeeds
from toolchain.progress import Unavailable, Untrusted, run, say, step

VENDOR = "https://get.pulumi.com"
ANSWER_SECONDS = 5.0
STALL_SECONDS = 60.0  # how long a download may pause once the vendor has answered
LANGUAGE_HOST = Path(__file__).with_name("language_host.py")
BUILT = "built from mirrors"
INSTALL_PULUMI = (
    "Try again later, or install the Pulumi CLI yourself "
    "(https://www.pulumi.com/docs/install) so that `pulumi` is on PATH."
)
MACHINES = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}

CLI = GoProgram(
    binary="pulumi",
    sources=RECIPES / "pulumi",
    version="3.274.1",
    package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
    stamp="github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.274.1",
    minutes=5,
)
DOCKER_PLUGIN = GoProgram(
    binary="pulumi-resource-docker",
    sources=RECIPES / "plugins",
    module="docker",
    version="5.2.0",
    stamp="main.version=5.2.0",
    minutes=4,
)
ALICLOUD_PLUGIN = GoProgram(
    binary="pulumi-resource-alicloud",
    sources=RECIPES / "plugins",
    module="alicloud",
    version="4.0.0",
    stamp="main.version=4.0.0",
    minutes=8,
)


def cli(link: Path) -> Part:
    """Have `pulumi` on PATH, which ends with `link`, a link to the CLI's folder.

    Raises Unavailable, and Untrusted if the vendor's archive fails its check.
    """
    others = [entry for entry in os.get_exec_path() if Path(entry) != link]
    if found := shutil.which("pulumi", path=os.pathsep.join(others)):
        link.unlink(missing_ok=True)
        return Part(lambda: f"pulumi ({found})")
    ours, vendors = _our_cli(), _vendors_cli()
    if not ours.path.is_dir() and _fetched("pulumi", lambda: vendors.kept(_download_cli)):
        return _linked(link, vendors.path, VENDOR)
    if ours.path.is_dir():
        return _linked(link, ours.path, BUILT)
    return Part(lambda: _linked(link, ours.kept(_assemble_cli), BUILT).finish(), CLI)


def plugin(program: GoProgram, home: Path) -> Part:
    """Have the plugin `program` in the PULUMI_HOME `home`. Raises Unavailable."""
    name, version, ours = _name(program), program.version, program.path
    file = home / "plugins" / f"resource-{name}-v{version}" / ours.name

    def found() -> str:
        return f"{name} plugin {version} ({BUILT if file.is_symlink() else 'its vendor'})"

    def link() -> str:
        file.parent.mkdir(parents=True)
        # A link, because each checkout has its own PULUMI_HOME and a plugin is 100 MB or more.
        file.symlink_to(ours)
        return found()

    if file.exists() and (not file.is_symlink() or file.resolve() == ours):
        return Part(found)
    shutil.rmtree(file.parent, ignore_errors=True)
    # A CLI that is still to be built can fetch nothing.
    can_fetch = shutil.which("pulumi") and not ours.exists()
    if can_fetch and _fetched(f"the {name} plugin", lambda: _fetch_plugin(program)):
        return Part(found)
    return Part(link, program)


def _linked(link: Path, folder: Path, origin: str) -> Part:
    if link.resolve() != folder:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
    return Part(lambda: f"pulumi {CLI.version} ({origin})")


def _name(program: GoProgram) -> str:
    return program.binary.rpartition("-")[2]


def _fetched(part: str, fetch: Callable[[], object]) -> bool:
    try:
        fetch()
    except Untrusted:
        raise
    except Unavailable as closed:
        say(f"{closed}. Building {part} from Go modules instead.")
        return False
    return True


def _fetch_plugin(program: GoProgram) -> None:
    name, version = _name(program), program.version
    _require_answer(f"{VENDOR}/latest-version")
    with step(f"fetching the {name} plugin {version} from its vendor"):
        run(
            ["pulumi", "plugin", "install", "resource", name, version],
            log=LOGS / f"plugin-{name}.log",
            failure=f"the {name} plugin {version} could not be fetched",
        )


def _vendors_cli() -> Entry:
    return Entry(f"pulumi-cli-{CLI.version}-vendor", (_archive(), _checksums()))


def _our_cli() -> Entry:
    return Entry(f"pulumi-cli-{CLI.version}", (CLI.entry.path.name, LANGUAGE_HOST.read_text()))


def _assemble_cli(folder: Path) -> None:
    # The CLI warns about a language host that it finds on PATH, but not about one beside itself.
    shutil.copy(LANGUAGE_HOST, folder / "pulumi-language-python")
    (folder / "pulumi").hardlink_to(CLI.path)


def _archive() -> str:
    machine = MACHINES.get(platform.machine(), platform.machine())
    return f"{VENDOR}/releases/sdk/pulumi-v{CLI.version}-{sys.platform}-{machine}.tar.gz"


def _checksums() -> str:
    # Without the v: https://github.com/pulumi/pulumi/issues/10807.
    return f"{VENDOR}/releases/sdk/pulumi-{CLI.version}-checksums.txt"


def _download_cli(folder: Path) -> None:
    """Fetch the vendor's CLI, check it, and unpack it into `folder`."""
    address = _archive()
    _require_answer(address)
    checksums, archive = folder / "checksums.txt", folder / "archive.tar.gz"
    with step(f"fetching pulumi {CLI.version} from {VENDOR}"):
        _fetch(_checksums(), checksums)
        published = _published_sha256(checksums.read_text(errors="replace"))
        _fetch(address, archive)
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != published:
            raise Untrusted(
                f"{address} has the SHA-256 {found}, but {_checksums()} lists {published}. "
                f"The archive was not unpacked. {INSTALL_PULUMI}"
            )
        run(
            ["tar", "--extract", "--strip-components=1", "--file", archive, "--directory", folder],
            log=LOGS / "pulumi-unpack.log",
            failure=f"{address} could not be unpacked",
        )
    checksums.unlink()
    archive.unlink()


def _published_sha256(checksums: str) -> str:
    """The SHA-256 of the archive in the vendor's list, whose lines are `digest  file name`."""
    archive = _archive().rpartition("/")[2]
    for line in checksums.splitlines():
        digest, _, name = line.partition("  ")
        if name == archive:
            return digest
    raise Untrusted(
        f"{_checksums()} lists no SHA-256 for {archive}. The archive was not fetched. "
        f"{INSTALL_PULUMI}"
    )


def _fetch(address: str, file: Path) -> None:
    try:
        with (
            urllib.request.urlopen(address, timeout=STALL_SECONDS) as answer,
            file.open("wb") as target,
        ):
            shutil.copyfileobj(answer, target)
    except FAULTS as error:
        raise Unavailable(f"{address} could not be fetched ({error})") from error


def _require_answer(address: str) -> None:
    """Raise Unavailable unless `address` answers in time."""

    def ask() -> None:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
            pass

    if not succeeds(ask, ANSWER_SECONDS):
        raise Unavailable(f"{address} does not answer")
