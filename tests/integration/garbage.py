"""Helpers of the tests of `make gc`."""

import re
import secrets
import subprocess

from tests.integration.api import Api
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment

BLOBS = "docker/registry/v2/blobs"


def collect_garbage(deployment: Deployment, *words: str) -> str:
    """Run `make gc` and return its output."""
    return deployment.make_succeeds("gc", *words)


def stored_blobs(deployment: Deployment) -> set[str]:
    """Return the digests of all blobs in the registry's storage."""
    if isinstance(deployment, CloudDeployment):
        names = deployment.emulator.oss.buckets[deployment.bucket].names()
    else:
        find = ("find", f"/var/lib/registry/{BLOBS}", "-name", "data")
        names = deployment.docker("exec", f"{deployment.prefix}-registry", *find).splitlines()
    found = [re.search(rf"{BLOBS}/(\w+)/\w\w/(\w+)/data$", name) for name in names]
    return {f"{match[1]}:{match[2]}" for match in found if match}


def push_garbage(stack: Deployment) -> Api:
    """Push an image, push and delete another one, and return the registry's API."""
    api = Api(stack.outputs()["endpoint"])
    api.push("team/kept", secrets.token_bytes(1000))
    api.delete("team/deleted", api.push("team/deleted", secrets.token_bytes(200_000)))
    return api


def read_until(process: "subprocess.Popen[str]", text: str) -> None:
    """Read the output of a running process until a line includes `text`."""
    assert process.stdout
    assert any(text in line for line in process.stdout)
