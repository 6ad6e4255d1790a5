"""`python -m toolchain up STACK`, `cli`, `test` or `engine-stop`: the Makefile is the one caller.

Reads PULUMI_HOME, DOCKER_HOST, XDG_CACHE_HOME and PATH, which should end with CLI.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from toolchain import debian, engine, images, pulumi_cli
from toolchain.golang import GoProgram
from toolchain.progress import Unavailable, say

PROJECT = Path(__file__).parent.parent
CLI = PROJECT / ".state" / "bin"  # a link to the CLI's folder, where none is on PATH
PLUGINS = (pulumi_cli.DOCKER_PLUGIN, pulumi_cli.ALICLOUD_PLUGIN)


def main(arguments: Sequence[str]) -> int:
    begun = time.monotonic()
    try:
        match arguments:
            case ["up", stack]:
                config = _config_of(stack)
                parts = [*_pulumi(_plugins_of(config)), *_engine_of(config)]
            case ["cli"]:
                parts = _pulumi(())
            case ["test"]:
                parts = [*_pulumi(PLUGINS), *_engine([image.reference for image in images.IMAGES])]
                debian.have("skopeo", ["skopeo"], "install skopeo, which the tests use")
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
        say("interrupted; what was built so far is kept")
        return 130
    say(f"{', '.join(parts)}; ready in {time.monotonic() - begun:.1f} s")
    return 0


def _have_compose() -> None:
    """For the test of a registry that moves in: Docker's plugin, else the program it was before."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode:
        advice = "install docker compose, which the tests use"
        debian.have("docker-compose", ["docker-compose"], advice)


def _have_sshd() -> None:
    """For the test of an engine that is reached by ssh; where there is none, it is left out."""
    advice = "the test of a remote engine is left out: install openssh-server for it"
    try:
        # Only where an installation starts no service.
        if shutil.which("sshd") or Path("/usr/sbin/policy-rc.d").exists():
            debian.have("sshd", ["openssh-server"], advice)
        else:
            raise Unavailable(advice)
    except Unavailable as left_out:
        say(str(left_out))


def _config_of(stack: str) -> Mapping[str, object]:
    """What the stack's file sets; what is wrong with it is for Pulumi and the program to say."""
    file = PROJECT / "stacks" / f"Pulumi.{stack}.yaml"
    if not file.exists():
        known = sorted(other.name.split(".")[1] for other in file.parent.glob("Pulumi.*.yaml"))
        raise Unavailable(
            f"there is no {file.relative_to(PROJECT)}: STACK is one of {', '.join(known)}"
        )
    try:
        config = yaml.safe_load(file.read_text())["config"]
    except (yaml.YAMLError, LookupError, TypeError):
        return {}
    if not isinstance(config, dict):
        return {}
    # As Pulumi has it, a key without a namespace is the project's own.
    return {k if ":" in str(k) else f"oss-registry:{k}": value for k, value in config.items()}


def _engine_of(config: Mapping[str, object]) -> list[str]:
    """Have a stack's engine, with the images that the stack may ask for."""
    if host := config.get("docker:host"):
        engine.client_ready()
        return [f"Docker engine at {host}, which has or pulls its images itself"]
    return _engine(_images_of(config))


def _images_of(config: Mapping[str, object]) -> list[str]:
    """The images that a stack may ask for; all, where it does not say which release."""
    registry = config.get("oss-registry:registry")
    release = registry.get("release") if isinstance(registry, dict) else None
    return [
        image.reference
        for image in images.IMAGES
        if not image.program or release in (None, image.program.version)
    ]


def _engine(references: Sequence[str]) -> list[str]:
    return [f"Docker engine {engine.ready()}", *images.ready(references)]


def _plugins_of(config: Mapping[str, object]) -> Sequence[GoProgram]:
    """The plugins that a stack needs: one that knows no cloud need not wait for the large one."""
    storage = config.get("oss-registry:storage")
    in_cloud = isinstance(storage, dict) and storage.get("kind") == "oss"
    return PLUGINS if in_cloud else PLUGINS[:1]


def _pulumi(plugins: Sequence[GoProgram]) -> list[str]:
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    cli = pulumi_cli.cli_ready(link=CLI)
    return [cli, *(pulumi_cli.plugin_ready(plugin, home) for plugin in plugins)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
