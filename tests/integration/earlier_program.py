"""Run a stack with the program of an earlier commit, in place of the one in this checkout.

`earlier_program.tar.gz` is the output of
`git archive 230b0e2 Pulumi.yaml __main__.py components | gzip -9n`. A shallow clone does not have
that commit. Do not update the archive, because stacks of that program exist.
"""

import shutil
import tarfile
from pathlib import Path

from tests.integration.deployment import PROJECT, Deployment

ARCHIVE = Path(__file__).with_suffix(".tar.gz")
FILES = ("Pulumi.yaml", "__main__.py", "components")


def use_earlier_program(deployment: Deployment) -> None:
    """Replace the project's program with the one in the archive."""
    for name in FILES:
        (deployment.folder / name).unlink()
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(deployment.folder, filter="data")


def use_current_program(deployment: Deployment) -> None:
    """Replace the earlier program with the one in this checkout."""
    shutil.rmtree(deployment.folder / "components")
    for name in FILES:
        path = deployment.folder / name
        path.unlink(missing_ok=True)
        path.symlink_to(PROJECT / name)
