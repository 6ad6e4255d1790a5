import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import docker_engine
from tests.emulator.emulator import Emulator
from tests.integration.clients import random_image
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, image_id, run_checked
from tests.integration.secured import SecuredDeployment

# `make` sets variables that select the Docker engine. Some tests run Pulumi without `make`.
docker_engine.set_variables({}, os.environ)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow modules first, because one worker runs all tests of a module."""

    def rank(item: pytest.Item) -> int:
        if item.path.parent.name == "reference" or item.get_closest_marker("swarm"):
            return 0
        return 1 if item.get_closest_marker("ops") else 2

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def _check_tools() -> None:
    missing = [tool for tool in ("pulumi", "docker", "skopeo") if not shutil.which(tool)]
    assert not missing, f"{', '.join(missing)} not on PATH: run `make test`, which has them"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Provide an emulated cloud for one module."""
    emulator = Emulator(tmp_path_factory.mktemp("emulator"))
    yield emulator
    emulator.close()


@pytest.fixture(scope="module")
def stack(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CloudDeployment]:
    """Deploy a stack with a bucket for one module. Each test must leave it as it was."""
    deployment = CloudDeployment(tmp_path_factory.mktemp("project"), emulator)
    with deployment.deployed():
        yield deployment


@pytest.fixture
def new_cloud_stack(emulator: Emulator, tmp_path: Path) -> Iterator[CloudDeployment]:
    """Provide an undeployed stack with a bucket. A test may leave it in any state."""
    deployment = CloudDeployment(tmp_path, emulator)
    try:
        yield deployment
    finally:
        deployment.remove()


@pytest.fixture
def new_stack(tmp_path: Path) -> Iterator[Deployment]:
    """Provide an undeployed stack with a volume. A test may leave it in any state."""
    deployment = Deployment(tmp_path)
    try:
        yield deployment
    finally:
        deployment.remove()


@pytest.fixture
def seeded_random() -> random.Random:
    """Provide a random generator, and print its seed so that a failure can be reproduced."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


# Release 3.1.2 on OSS is not repeated here, because the quick tests cover it.
@pytest.fixture(params=[("2.8.3", "oss"), ("3.1.2", "filesystem")], ids="-".join)
def stack_on_each_storage(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path
) -> Iterator[Deployment]:
    """Deploy a stack on each kind of storage, each time with another major release."""
    release, kind = request.param
    deployment: Deployment
    if kind == "oss":
        deployment = CloudDeployment(tmp_path, emulator).use_release(release)
    else:
        deployment = Deployment(tmp_path, registry={"release": release})
    with deployment.deployed():
        yield deployment


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[SecuredDeployment]:
    """Provide an undeployed stack with TLS and users. A test may leave it in any state."""
    folder = tmp_path / "project"
    folder.mkdir()
    deployment = SecuredDeployment(folder)
    try:
        yield deployment
    finally:
        deployment.remove()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an archive of a unique image with five layers, one of them of 20 MB."""
    sizes = (20_000_000, 300_000, 10_000, 10, 0)
    return random_image(tmp_path_factory.mktemp("image") / "image", sizes)


@pytest.fixture
def image(archive: Path) -> Iterator[str]:
    """Load the image of `archive` into the engine for one test, and return its reference."""
    reference = run_checked("docker", "load", "--input", archive).split()[-1]
    loaded = image_id(reference)
    yield reference
    run_checked("docker", "image", "rm", "--force", loaded)
