"""What the tests of `make gc` begin, and look for."""

import re
import secrets
from pathlib import Path

from tests.aliyun.aliyun import Aliyun
from tests.integration.api import Api
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment

BLOBS = "docker/registry/v2/blobs"
# Releases, and what the images are in.
PLACES = [(release, kind) for release in ("2.8.3", "3.1.2") for kind in ("filesystem", "oss")]


def placed(folder: Path, aliyun: Aliyun, release: str, kind: str) -> Deployment:
    """A stack of that release whose images are there; it is not up."""
    if kind == "oss":
        return CloudDeployment(folder, aliyun).as_release(release)
    return Deployment(folder, registry={"release": release})


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
