"""The Pulumi CLI with its language host, and plugins: on PATH, of the vendor, or from modules."""

import http.client
import os
import platform
import shutil
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

from toolchain.cache import LOGS, Entry
from toolchain.golang import RECIPES, GoProgram
from toolchain.progress import Unavailable, run, say, step

VENDOR = "https://get.pulumi.com"
ANSWER_SECONDS = 5.0
STALL_SECONDS = 60.0  # once it has answered, a slow network may take its time
FAULTS = (OSError, http.client.HTTPException)
LANGUAGE_HOST = Path(__file__).with_name("language_host.py")
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
    minutes=3,
)
ALICLOUD_PLUGIN = GoProgram(
    binary="pulumi-resource-alicloud",
    sources=RECIPES / "plugins",
    module="alicloud",
    version="4.0.0",
    stamp="main.version=4.0.0",
    minutes=6,
)


def cli_ready(link: Path) -> str:
    """Have `pulumi` on PATH, which ends with `link`, a link to a folder; says where it is from.

    Raises Unavailable.
    """
    others = [entry for entry in os.get_exec_path() if Path(entry) != link]
    if found := shutil.which("pulumi", path=os.pathsep.join(others)):
        link.unlink(missing_ok=True)
        return f"pulumi ({found})"
    ours = _our_cli().path
    if link.resolve() not in (_vendors_cli().path, ours) or not link.exists():
        folder = _cli()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
    origin = "built from mirrors" if link.resolve() == ours else VENDOR
    return f"pulumi {CLI.version} ({origin})"


def plugin_ready(program: GoProgram, home: Path) -> str:
    """Have the plugin `program` in the PULUMI_HOME `home`; says whence. Raises Unavailable."""
    name, version, ours = _name(program), program.version, program.path
    plugin = home / "plugins" / f"resource-{name}-v{version}" / ours.name
    if not plugin.exists() or (plugin.is_symlink() and plugin.resolve() != ours):
        shutil.rmtree(plugin.parent, ignore_errors=True)
        if ours.exists() or not _fetched(f"the {name} plugin", lambda: _fetch_plugin(program)):
            program.build()
            plugin.parent.mkdir(parents=True)
            # A link: each checkout has a PULUMI_HOME of its own, a plugin is 115 MB or more.
            plugin.symlink_to(ours)
    origin = "built from mirrors" if plugin.is_symlink() else "its vendor"
    return f"{name} plugin {version} ({origin})"


def _name(program: GoProgram) -> str:
    return program.binary.rpartition("-")[2]


def _fetched(part: str, fetch: Callable[[], object]) -> bool:
    try:
        fetch()
    except Unavailable as closed:
        say(f"{closed}: building {part} instead")
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


def _cli() -> Path:
    vendors, ours = _vendors_cli(), _our_cli()
    if ours.path.is_dir() or not _fetched("pulumi", lambda: vendors.kept(_download_cli)):
        return ours.kept(_assemble_cli)
    return vendors.path


def _vendors_cli() -> Entry:
    return Entry(f"pulumi-cli-{CLI.version}-vendor", _cli_address())


def _our_cli() -> Entry:
    return Entry(f"pulumi-cli-{CLI.version}", (CLI, LANGUAGE_HOST.read_text()), CLI.sources)


def _assemble_cli(folder: Path) -> None:
    # Beside the binary, as in the vendor's archive: on PATH, each run would warn about it.
    shutil.copy(LANGUAGE_HOST, folder / "pulumi-language-python")
    (folder / "pulumi").hardlink_to(CLI.build())


def _cli_address() -> str:
    machine = MACHINES.get(platform.machine(), platform.machine())
    return f"{VENDOR}/releases/sdk/pulumi-v{CLI.version}-{sys.platform}-{machine}.tar.gz"


def _download_cli(folder: Path) -> None:
    address = _cli_address()
    _require_answer(address)
    archive = folder / "archive.tar.gz"
    with step(f"fetching pulumi {CLI.version} from {VENDOR}"):
        try:
            with (
                urllib.request.urlopen(address, timeout=STALL_SECONDS) as answer,
                archive.open("wb") as file,
            ):
                shutil.copyfileobj(answer, file)
        except FAULTS as error:
            raise Unavailable(f"{address} broke off ({error})") from error
        run(
            ["tar", "--extract", "--strip-components=1", "--file", archive, "--directory", folder],
            log=LOGS / "pulumi-unpack.log",
            failure=f"{address} could not be unpacked",
        )
    archive.unlink()


def _require_answer(address: str) -> None:
    """Raises Unavailable unless `address` answers in time, name resolution included."""
    answers = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(address, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
                answers.set()
        except FAULTS:
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    if not answers.is_set():
        raise Unavailable(f"{address} does not answer")
