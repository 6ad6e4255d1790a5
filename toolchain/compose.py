"""The loader of Compose files for `make import`: Docker Compose, or a program on its library."""

import re
import subprocess
from collections.abc import Sequence

from toolchain.golang import RECIPES, GoProgram, Part

# The first release of Docker Compose that reads `!override`, and `required` of an env file.
OLDEST_COMPOSE = (2, 24)
COMPOSE_CONFIG = GoProgram(
    binary="compose-config", sources=RECIPES / "compose", version="2.16.2", minutes=0.5
)


def loader_part() -> Part:
    """Find Docker Compose, or return a part that builds the program."""
    return Part(lambda: "Docker Compose") if _is_installed() else program_part()


def program_part() -> Part:
    """Return a part that builds the program. The tests need it also beside Docker Compose."""
    return Part(lambda: COMPOSE_CONFIG.title, COMPOSE_CONFIG)


def loader() -> Sequence[str]:
    """Return the command to which options and `config --format json` can be added."""
    return ["docker", "compose"] if _is_installed() else [str(COMPOSE_CONFIG.path)]


def _is_installed() -> bool:
    """Whether Docker Compose is installed, in OLDEST_COMPOSE or a newer release."""
    command = ["docker", "compose", "version", "--short"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return False
    match = re.match(r"v?(\d+)\.(\d+)", output)
    return match is not None and (int(match[1]), int(match[2])) >= OLDEST_COMPOSE
