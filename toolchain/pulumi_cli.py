"""The Pulumi CLI with its language host, and Pulumi's plugins.

A part that is installed is used. Otherwise it is fetched from its vendor or built from Go modules.
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
from toolchain.progress import Unavailable, Untrusted, report, run, step

VENDOR = "https://get.pulumi.com"
ANSWER_SECONDS = 5.0
STALL_SECONDS = 60.0  # The longest pause of a download after the vendor has answered.
LANGUAGE_HOST = Path(__file__).with_name("language_host.py")
BUILT = "built from mirrors"
INSTALL_PULUMI = (
    "Try again later, or install the Pulumi CLI yourself "
    "(https://www.pulumi.com/docs/install) so that `pulumi` is on PATH."
)
# The names of machine types in the vendor's archives, by Python's names.
MACHINE_NAMES = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}

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


def cli_part(link: Path) -> Part:
    """Find the CLI on PATH or fetch it now. Otherwise return a part that builds it.

    PATH ends with `link`, which becomes a link to the CLI's folder unless another CLI is on PATH.
    Raises Untrusted if the vendor's archive fails its check.
    """
    others = [entry for entry in os.get_exec_path() if Path(entry) != link]
    if found := shutil.which("pulumi", path=os.pathsep.join(others)):
        link.unlink(missing_ok=True)
        return Part(lambda: f"pulumi ({found})")
    built, fetched = _built_cli(), _vendor_cli()
    if built.path.is_dir():
        return _link_cli(link, built.path, BUILT)
    if _try_fetch("pulumi", lambda: fetched.get_or_create(_download_cli)):
        return _link_cli(link, fetched.path, VENDOR)
    return Part(lambda: _link_cli(link, built.get_or_create(_assemble_cli), BUILT).finish(), CLI)


def plugin_part(program: GoProgram, home: Path) -> Part:
    """Find the plugin in `home`, the PULUMI_HOME, or fetch it. Otherwise return a part to build."""
    name, version, built = _plugin_name(program), program.version, program.path
    file = home / "plugins" / f"resource-{name}-v{version}" / built.name

    def title() -> str:
        return f"{name} plugin {version} ({BUILT if file.is_symlink() else 'its vendor'})"

    def link() -> str:
        file.parent.mkdir(parents=True)
        # A link, because each checkout has its own PULUMI_HOME and a plugin is 100 MB or more.
        file.symlink_to(built)
        return title()

    if file.exists() and (not file.is_symlink() or file.resolve() == built):
        return Part(title)
    shutil.rmtree(file.parent, ignore_errors=True)
    # The CLI fetches plugins, so it must exist already.
    can_fetch = shutil.which("pulumi") and not built.exists()
    if can_fetch and _try_fetch(f"the {name} plugin", lambda: _fetch_plugin(program)):
        return Part(title)
    return Part(link, program)


def _link_cli(link: Path, folder: Path, origin: str) -> Part:
    """Make `link` a link to `folder`, which has the CLI. `origin` is where that comes from."""
    if link.resolve() != folder:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
    return Part(lambda: f"pulumi {CLI.version} ({origin})")


def _plugin_name(program: GoProgram) -> str:
    """The name of a plugin: `docker` for pulumi-resource-docker."""
    return program.binary.rpartition("-")[2]


def _try_fetch(part: str, fetch: Callable[[], object]) -> bool:
    """Call `fetch`, and return whether it succeeded. Raises Untrusted."""
    try:
        fetch()
    except Untrusted:
        raise
    except Unavailable as error:
        report(f"{error}. Building {part} from Go modules instead.")
        return False
    return True


def _fetch_plugin(program: GoProgram) -> None:
    """Let the CLI fetch the plugin from its vendor. Raises Unavailable."""
    name, version = _plugin_name(program), program.version
    _require_answer(f"{VENDOR}/latest-version")
    with step(f"fetching the {name} plugin {version} from its vendor"):
        run(
            ["pulumi", "plugin", "install", "resource", name, version],
            log=LOGS / f"plugin-{name}.log",
            failure=f"the {name} plugin {version} could not be fetched",
        )


def _vendor_cli() -> Entry:
    """The cache entry of the CLI that is fetched from its vendor."""
    return Entry(f"pulumi-cli-{CLI.version}-vendor", (_archive(), _checksums()))


def _built_cli() -> Entry:
    """The cache entry of the CLI that is built from Go modules, with its language host."""
    return Entry(f"pulumi-cli-{CLI.version}", (CLI.entry.path.name, LANGUAGE_HOST.read_text()))


def _assemble_cli(folder: Path) -> None:
    """Put the built CLI and its language host into `folder`."""
    # The CLI warns about a language host on PATH, but not about one in its own folder.
    shutil.copy(LANGUAGE_HOST, folder / "pulumi-language-python")
    (folder / "pulumi").hardlink_to(CLI.path)


def _archive() -> str:
    """The URL of the vendor's archive for this machine."""
    machine = MACHINE_NAMES.get(platform.machine(), platform.machine())
    return f"{VENDOR}/releases/sdk/pulumi-v{CLI.version}-{sys.platform}-{machine}.tar.gz"


def _checksums() -> str:
    """The URL of the vendor's list of checksums."""
    # Its name has no `v` before the version: https://github.com/pulumi/pulumi/issues/10807.
    return f"{VENDOR}/releases/sdk/pulumi-{CLI.version}-checksums.txt"


def _download_cli(folder: Path) -> None:
    """Fetch the vendor's CLI, check it, and unpack it into `folder`.

    Raises Unavailable, or Untrusted if the archive is not the published one.
    """
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
    """The SHA-256 of the archive in the vendor's list, whose lines are `digest  file name`.

    Raises Untrusted if the list does not have it.
    """
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
    """Download `address` into `file`. Raises Unavailable."""
    try:
        with (
            urllib.request.urlopen(address, timeout=STALL_SECONDS) as answer,
            file.open("wb") as target,
        ):
            shutil.copyfileobj(answer, target)
    except FAULTS as error:
        raise Unavailable(f"{address} could not be fetched ({error})") from error


def _require_answer(address: str) -> None:
    """Raise Unavailable unless `address` answers within ANSWER_SECONDS."""

    def request_headers() -> None:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
            pass

    if not succeeds(request_headers, ANSWER_SECONDS):
        raise Unavailable(f"{address} does not answer")
