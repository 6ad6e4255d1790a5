import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import docker_engine
from tests.aliyun.aliyun import Aliyun
from tests.integration.clients import random_image
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, command, image_id
from tests.integration.guarded import Guarded

# For the tests that run Pulumi without `make`.
docker_engine.set_variables({}, os.environ)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long modules first: each one occupies one worker."""

    def rank(item: pytest.Item) -> int:
        if item.path.parent.name == "oracle" or item.get_closest_marker("swarm"):
            return 0
        return 1 if item.get_closest_marker("ops") else 2

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    missing = [tool for tool in ("pulumi", "docker", "skopeo") if not shutil.which(tool)]
    assert not missing, f"{', '.join(missing)} not on PATH: run `make test`, which has them"


@pytest.fixture(scope="module")
def aliyun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aliyun]:
    """A cloud of the module's own."""
    double = Aliyun(tmp_path_factory.mktemp("aliyun"))
    yield double
    double.close()


@pytest.fixture(scope="module")
def stack(aliyun: Aliyun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudDeployment]:
    """One whose images are in a bucket, and that is up: a module's tests leave it as it was."""
    made = CloudDeployment(tmp_path_factory.mktemp("project"), aliyun)
    with made.running():
        yield made


@pytest.fixture
def in_cloud(aliyun: Aliyun, tmp_path: Path) -> Iterator[CloudDeployment]:
    """A stack whose images are in a bucket; it is not up, and may be left in any state."""
    made = CloudDeployment(tmp_path, aliyun)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def undeployed(tmp_path: Path) -> Iterator[Deployment]:
    """A stack that is not up, and may be left in any state."""
    made = Deployment(tmp_path)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def moments() -> random.Random:
    """What is left to chance in a test, and can be had again by what it prints."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


# `make test` has release 3.1.2 on OSS.
@pytest.fixture(params=[("2.8.3", "oss"), ("3.1.2", "filesystem")], ids="-".join)
def in_each_place(
    request: pytest.FixtureRequest, aliyun: Aliyun, tmp_path: Path
) -> Iterator[Deployment]:
    """A stack that is up: each release once, and each kind of storage once."""
    release, kind = request.param
    made: Deployment
    if kind == "oss":
        made = CloudDeployment(tmp_path, aliyun).as_release(release)
    else:
        made = Deployment(tmp_path, registry={"release": release})
    with made.running():
        yield made


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """One with TLS and users that is not up, and may be left in any state."""
    folder = tmp_path / "project"
    folder.mkdir()
    made = Guarded(folder)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of five layers, one of them of 20 MB, that nobody has elsewhere."""
    sizes = (20_000_000, 300_000, 10_000, 10, 0)
    return random_image(tmp_path_factory.mktemp("image") / "image", sizes)


@pytest.fixture
def image(archive: Path) -> Iterator[str]:
    """The reference of that image, in the engine for one test."""
    reference = command("docker", "load", "--input", archive).split()[-1]
    identity = image_id(reference)
    yield reference
    command("docker", "image", "rm", "--force", identity)
