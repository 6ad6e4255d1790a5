"""`python -m toolchain up STACK`, `import`, `test`, `test-all` or `engine-stop`, for the Makefile.

`import` prints the command that resolves Compose files.

Reads PULUMI_HOME, DOCKER_HOST, DOCKER_CONTEXT, XDG_CACHE_HOME and PATH, which ends with CLI.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from config import docker_engine, stack_yaml
from config.releases import DEFAULT_RELEASE
from toolchain import compose, debian, engine, images, pulumi_cli
from toolchain.golang import Builds, GoProgram, Part
from toolchain.progress import Unavailable, report

PROJECT = Path(__file__).parent.parent
CLI = PROJECT / ".state" / "bin"  # a link to the CLI's folder, if no CLI is on PATH
PLUGINS = (pulumi_cli.DOCKER_PLUGIN, pulumi_cli.ALICLOUD_PLUGIN)
# `make test` covers the default release and 2.8.3, which is configured most differently.
TEST_IMAGES = (f"registry:{DEFAULT_RELEASE}", "registry:2.8.3", images.REDIS)
ALL_IMAGES = tuple(image.reference for image in images.IMAGES)


def main(arguments: Sequence[str]) -> int:
    started = time.monotonic()
    try:
        match arguments:
            case ["up", stack]:
                config = _stack_config(stack)
                parts = _install(
                    chain(_pulumi_parts(_plugins_for(config)), _engine_parts_for(config))
                )
            case ["import"]:
                parts = _install(chain(_pulumi_parts(()), [compose.loader_part()]))
                print(shlex.join(compose.loader()))
            case ["test"]:
                parts = _install(_test_parts(TEST_IMAGES))
                _ensure_skopeo()
                _ensure_compose()
            case ["test-all"]:
                parts = _install(_test_parts(ALL_IMAGES))
                _ensure_skopeo()
                _ensure_compose()
                _ensure_sshd()
            case ["engine-stop"]:
                engine.stop()
                return 0
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except Unavailable as missing:
        report(str(missing))
        return 1
    except KeyboardInterrupt:
        report("interrupted; finished builds are kept")
        return 130
    report(f"{', '.join(parts)}; ready in {time.monotonic() - started:.1f} s")
    return 0


def _install(parts: Iterable[Part]) -> list[str]:
    """Build and install `parts`, and return the origin of each.

    Modules of the first programs are downloaded while later parts are looked up, because looking up
    the engine may install one. All programs are built together.
    """
    found = []
    with Builds() as builds:
        for part in parts:
            if part.program:
                builds.add(part.program)
            found.append(part)
        builds.run()
    return [part.finish() for part in found]


def _test_parts(references: Iterable[str]) -> Iterable[Part]:
    """The parts that the tests need, with the images `references`."""
    return chain(_pulumi_parts(PLUGINS), [compose.program_part()], _engine_parts(references))


def _pulumi_parts(plugins: Sequence[GoProgram]) -> Iterator[Part]:
    """The Pulumi CLI and `plugins`."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    yield pulumi_cli.cli_part(link=CLI)
    for plugin in plugins:
        yield pulumi_cli.plugin_part(plugin, home)


def _plugins_for(config: Mapping[str, object]) -> Sequence[GoProgram]:
    """The plugins of a stack. Only OSS storage needs the large plugin for Alibaba Cloud."""
    if _section(config, "storage").get("kind") == "oss":
        return PLUGINS
    return (pulumi_cli.DOCKER_PLUGIN,)


def _engine_parts(references: Iterable[str], *, login: bool = False) -> Iterator[Part]:
    """The local Docker engine with the images `references`. See `images.image_part` for `login`."""
    version = engine.ensure_running()
    yield Part(lambda: f"Docker engine {version}")
    for reference in references:
        yield images.image_part(reference, login=login)


def _engine_parts_for(config: Mapping[str, object]) -> Iterator[Part]:
    """The Docker engine of a stack, with its images. A remote engine pulls its images itself."""
    if config.get(docker_engine.HOST) or config.get(docker_engine.CONTEXT):
        engine.require_client()
        host = engine.configured(config).host
        return iter([Part(lambda: f"Docker engine at {host}, which pulls its own images")])
    return _engine_parts(_images_for(config), login="docker:registryAuth" in config)


def _images_for(config: Mapping[str, object]) -> list[str]:
    """The images that a stack uses. An unknown release adds no image, because `up` reports it."""
    registry, cache = _section(config, "registry"), _section(config, "cache")
    release = registry.get("release", DEFAULT_RELEASE)
    names = [registry.get("image") or images.registry_image(release)]
    if cache.get("enabled") is not False and not cache.get("address"):
        names.append(cache.get("image") or images.REDIS)
    return [name for name in names if isinstance(name, str)]


def _stack_config(stack: str) -> Mapping[str, object]:
    """The configuration in the stack's file, or an empty one if the file has errors.

    `up` reports these errors. Raises Unavailable if there is no such file.
    """
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
    """A section of the stack file, or an empty one if it is missing or no mapping."""
    section = config.get(f"oss-registry:{name}")
    return section if isinstance(section, dict) else {}


def _ensure_skopeo() -> None:
    debian.ensure_installed("skopeo", ["skopeo"], "Install skopeo, which the tests use.")


def _ensure_compose() -> None:
    """Install docker-compose for the import tests, unless Docker's compose plugin is installed.

    Raises Unavailable.
    """
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode:
        advice = "Install docker compose, which the import tests use."
        debian.ensure_installed("docker-compose", ["docker-compose"], advice)


def _ensure_sshd() -> None:
    """Install sshd for the tests of an engine behind SSH. Without sshd, they are skipped."""
    advice = "The tests of a remote engine are skipped. Install openssh-server to run them."
    try:
        # Debian's package starts a service. Install it only if a policy forbids that.
        if shutil.which("sshd") or Path("/usr/sbin/policy-rc.d").exists():
            debian.ensure_installed("sshd", ["openssh-server"], advice)
        else:
            raise Unavailable(advice)
    except Unavailable as skipped:
        report(str(skipped))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
