"""`python -m toolchain up STACK`, `test` or `engine-stop`: see the Makefile, their one caller.

Reads PULUMI_HOME, DOCKER_HOST, XDG_CACHE_HOME and PATH, whose last entry is for the CLI.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from toolchain import debian, engine, images, pulumi_cli
from toolchain.progress import Unavailable, say

PROJECT = Path(__file__).parent.parent


def main(arguments: Sequence[str]) -> int:
    begun = time.monotonic()
    try:
        match arguments:
            case ["up", stack]:
                parts = _ready(_images_of(stack))
            case ["test"]:
                parts = _ready([image.reference for image in images.IMAGES])
                debian.have("skopeo", ["skopeo"], "install skopeo, which the tests use")
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


def _images_of(stack: str) -> list[str]:
    """The images that the stack may ask for; all, where its file does not say which release."""
    file = PROJECT / "stacks" / f"Pulumi.{stack}.yaml"
    if not file.exists():
        known = sorted(other.name.split(".")[1] for other in file.parent.glob("Pulumi.*.yaml"))
        raise Unavailable(
            f"there is no {file.relative_to(PROJECT)}: STACK is one of {', '.join(known)}"
        )
    try:
        config = yaml.safe_load(file.read_text())["config"]
        release = config["oss-registry:registry"]["release"]
    except (yaml.YAMLError, LookupError, TypeError):
        release = None  # what is wrong with the file is for Pulumi and the program to say
    return [
        image.reference
        for image in images.IMAGES
        if not image.program or release in (None, image.program.version)
    ]


def _ready(references: Sequence[str]) -> list[str]:
    return [
        pulumi_cli.cli_ready(link=Path(os.get_exec_path()[-1])),
        pulumi_cli.docker_plugin_ready(
            home=Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
        ),
        f"Docker engine {engine.ready()}",
        *images.ready(references),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
