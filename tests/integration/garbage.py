"""What the tests of `make gc` begin, and look for."""

import re
import secrets
import subprocess

from tests.integration.api import Api
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment

BLOBS = "docker/registry/v2/blobs"


def collected(deployment: Deployment, *words: str) -> str:
    """What `make gc` printed."""
    done = deployment.make("gc", *words)
    assert done.returncode == 0, done.stdout
    return done.stdout


def blobs(deployment: Deployment) -> set[str]:
    """The digests of all blobs that the storage holds."""
    if isinstance(deployment, CloudDeployment):
        names = deployment.aliyun.oss.buckets[deployment.bucket].names()
    else:
        find = ("find", f"/var/lib/registry/{BLOBS}", "-name", "data")
        names = deployment.docker("exec", f"{deployment.prefix}-registry", *find).splitlines()
    found = [re.search(rf"{BLOBS}/(\w+)/\w\w/(\w+)/data$", name) for name in names]
    return {f"{match[1]}:{match[2]}" for match in found if match}


def with_garbage(stack: Deployment) -> Api:
    """The API of a registry with one image, and one that was deleted."""
    api = Api(stack.outputs()["endpoint"])
    api.push("team/kept", secrets.token_bytes(1000))
    api.delete("team/gone", api.push("team/gone", secrets.token_bytes(200_000)))
    return api


def read_until(collecting: "subprocess.Popen[str]", words: str) -> None:
    """Read what it prints until it says `words`."""
    assert collecting.stdout
    assert any(words in line for line in collecting.stdout)
