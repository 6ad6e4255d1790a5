"""Third-party clients: crane pushes four layers at once, and skopeo pulls six."""

import functools
from collections.abc import Mapping
from pathlib import Path

from tests.integration.clients import skopeo
from tests.integration.deployment import run_checked
from toolchain.golang import RECIPES, GoProgram

CRANE = GoProgram(
    binary="crane",
    sources=RECIPES / "crane",
    version="0.20.6",
    package="github.com/google/go-containerregistry/cmd/crane",
    minutes=1,
)


def push(layout: Path, name: str, env: Mapping[str, str]) -> None:
    """Push the image in `layout` as `name`, SERVER/REPOSITORY:TAG."""
    run_checked(_crane(), "push", "--insecure", layout, name, env=env)


def pull(name: str, layout: Path, env: Mapping[str, str]) -> None:
    """Pull the image `name` into `layout`. skopeo checks each digest."""
    layout.parent.mkdir(parents=True, exist_ok=True)
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}:1", env=env)


@functools.cache
def _crane() -> Path:
    return CRANE.build()
