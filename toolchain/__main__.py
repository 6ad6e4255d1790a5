"""`python -m toolchain up STACK`, `cli`, `test`, `test-all` or `engine-stop`, for the Makefile.

Reads PULUMI_HOME, DOCKER_HOST, DOCKER_CONTEXT, XDG_CACHE_HOME and PATH, which ends with CLI.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from config import docker_engine, stack_yaml
from config.releases import DEFAULT_RELEASE
from toolchain import debian, engine, images, pulumi_cli
from toolchain.golang import Builds, GoProgram, Part
from toolchain.progress import Unavailable, say

PROJECT = Path(__file__).parent.parent
CLI = PROJECT / ".state" / "bin"  # a link to the CLI's folder, if no CLI is on PATH
PLUGINS = (pulumi_cli.DOCKER_PLUGIN, pulumi_cli.ALICLOUD_PLUGIN)
# `make test` covers the default release and 2.8.3, which is configured most differently.
TEST_IMAGES = (f"registry:{DEFAULT_RELEASE}", "registry:2.8.3", images.REDIS)
ALL_IMAGES = tuple(image.reference for image in images.IMAGES)


def main(arguments: Sequence[str]) -> int:
    begun = time.monotonic()
    try:
        match arguments:
            case ["up", stack]:
                config = _config_of(stack)
                parts = _ready(chain(_pulumi(_plugins_of(config)), _engine_of(config)))
            case ["cli"]:
                parts = _ready(_pulumi(()))
            case ["test"]:
                parts = _ready(chain(_pulumi(PLUGINS), _engine(TEST_IMAGES)))
                _have_skopeo()
                _have_compose()
            case ["test-all"]:
                parts = _ready(chain(_pulumi(PLUGINS), _engine(ALL_IMAGES)))
                _have_skopeo()
                _have_compose()
                _have_sshd()
            case ["engine-stop"]:
                engine.stop()
                return 0
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except Unavailable as missing:
        say(str(missing))
        return 1
    except KeyboardInterrupt:
        say("interrupted; finished builds are kept")
        return 130
    say(f"{', '.join(parts)}; ready in {time.monotonic() - begun:.1f} s")
    return 0


def _ready(parts: Iterable[Part]) -> list[str]:
    """Build and install `parts`. Returns where each is from.

    The modules of the first programs are downloaded while later parts are looked for, which may
    install a Docker engine. All programs are built together.
    """
    known = []
    with Builds() as builds:
        for part in parts:
            if part.program:
                builds.add(part.program)
            known.append(part)
        builds.run()
    return [part.finish() for part in known]


def _pulumi(plugins: Sequence[GoProgram]) -> Iterator[Part]:
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    yield pulumi_cli.cli(link=CLI)
    for plugin in plugins:
        yield pulumi_cli.plugin(plugin, home)


def _plugins_of(config: Mapping[str, object]) -> Sequence[GoProgram]:
    """The plugins of a stack. Only a stack with a bucket needs the large one for Alibaba Cloud."""
    in_cloud = _section(config, "storage").get("kind") == "oss"
    return PLUGINS if in_cloud else PLUGINS[:1]


def _engine(references: Iterable[str], *, login: bool = False) -> Iterator[Part]:
    version = engine.ready()
    yield Part(lambda: f"Docker engine {version}")
    for reference in references:
        yield images.image(reference, login=login)


def _engine_of(config: Mapping[str, object]) -> Iterator[Part]:
    """A stack's engine, with the images that the stack uses."""
    if config.get(docker_engine.HOST) or config.get(docker_engine.CONTEXT):
        engine.client_ready()
        host = engine.named(config).host
        return iter([Part(lambda: f"Docker engine at {host}, which pulls its own images")])
    return _engine(_images_of(config), login="docker:registryAuth" in config)


def _images_of(config: Mapping[str, object]) -> list[str]:
    """The images that a stack uses. An unknown release has none, and is reported by `up`."""
    registry, cache = _section(config, "registry"), _section(config, "cache")
    release = registry.get("release", DEFAULT_RELEASE)
    names = [registry.get("image") or images.registry(release)]
    if cache.get("enabled") is not False and not cache.get("address"):
        names.append(cache.get("image") or images.REDIS)
    return [name for name in names if isinstance(name, str)]


def _config_of(stack: str) -> Mapping[str, object]:
    """The configuration in the stack's file. Errors in it are reported later, by `up`."""
    try:
        file = PROJECT / "stacks" / stack_yaml.file_name(stack)
    except stack_yaml.Unreadable as error:
        raise Unavailable(str(error)) from None
    if not file.exists():
        known = sorted(other.name.split(".")[1] for other in file.parent.glob("Pulumi.*.yaml"))
        raise Unavailable(
            f"{file.relative_to(PROJECT)} does not exist. Create it, or set STACK to one of "
            f"{', '.join(known)}."
        )
    try:
        content, _ = stack_yaml.read(file.read_text(encoding="utf-8"), "oss-registry")
    except (stack_yaml.Unreadable, UnicodeDecodeError):
        return {}
    config: Mapping[str, object] = content["config"]
    return config


def _section(config: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = config.get(f"oss-registry:{name}")
    return section if isinstance(section, dict) else {}


def _have_skopeo() -> None:
    debian.have("skopeo", ["skopeo"], "Install skopeo, which the tests use.")


def _have_compose() -> None:
    """Have Docker's compose plugin or docker-compose, for the import tests. Raises Unavailable."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode:
        advice = "Install docker compose, which the import tests use."
        debian.have("docker-compose", ["docker-compose"], advice)


def _have_sshd() -> None:
    """Have sshd, for the tests of an engine that is reached over SSH. They are skipped without."""
    advice = "The tests of a remote engine are skipped. Install openssh-server to run them."
    try:
        # Debian's package starts a service. Install it only where a policy forbids that.
        if shutil.which("sshd") or Path("/usr/sbin/policy-rc.d").exists():
            debian.have("sshd", ["openssh-server"], advice)
        else:
            raise Unavailable(advice)
    except Unavailable as skipped:
        say(str(skipped))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
