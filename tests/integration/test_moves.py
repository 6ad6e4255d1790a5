"""A registry goes from a container to a swarm and back, on an engine of its own."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.clients import pull_anew, push
from tests.integration.deployment import Deployment, command, eventually
from tests.integration.engine import MISSING, Engine, engine_with_images

pytestmark = [pytest.mark.swarm, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
SWARM = {"publish_mode": "host", "endpoint_mode": "dnsrr"}  # without IPVS in the kernel


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_with_images() as made:
        yield made


@pytest.fixture
def swarm_of_one(engine: Engine) -> Iterator[None]:
    """The engine is a swarm's only machine."""
    docker = ("docker", "--host", engine.host, "swarm")
    command(*docker, "init", "--advertise-addr=127.0.0.1")
    yield
    command(*docker, "leave", "--force")


@pytest.fixture
def deployment(engine: Engine, tmp_path: Path) -> Iterator[Deployment]:
    """A stack that is not up. The engine is removed with everything in it."""
    made = Deployment(tmp_path, host=engine.host, registry={"exposure": "open"})
    yield made
    made.end_processes()


def _moved(deployment: Deployment, runtime: str) -> str:
    done = deployment.make("move", f"RUNTIME={runtime}")
    assert done.returncode == 0, done.stdout
    print(next(line for line in done.stdout.splitlines() if "it was away for" in line))
    return done.stdout


def test_an_engine_that_is_in_no_swarm_is_said_so_before_anything_is_made(
    deployment: Deployment,
) -> None:
    deployment.configure(registry={"runtime": "swarm"})
    done = deployment.make("up")
    assert done.returncode != 0
    assert "up: the engine is in no swarm: `docker swarm init` there" in done.stdout
    assert not deployment.made("volume")
    # Who does not use make is told by the resource that fails.
    said = deployment.refused("up", "--yes", "--skip-preview")
    assert "error: the engine is in no swarm: `docker swarm init` there" in said


@pytest.mark.usefixtures("swarm_of_one")
def test_a_registry_moves_into_a_swarm_and_back_with_its_images(
    engine: Engine, deployment: Deployment, image: str
) -> None:
    engine.load(image)
    deployment.up()
    reference, digest = push(deployment, image, "kept")
    drawn = deployment.stashed()

    # `up` alone could not: the port and the names are taken.
    deployment.configure(registry={"runtime": "swarm"})
    done = deployment.make("up")
    assert done.returncode != 0
    assert f"make move STACK={deployment.stack} RUNTIME=swarm" in done.stdout
    deployment.configure(registry={"runtime": "container", "swarm": SWARM})
    done = deployment.make("up")
    assert "oss-registry:registry.swarm: belongs to runtime: swarm" in done.stdout

    said = _moved(deployment, "swarm")
    assert "The registry runs by runtime: swarm; it was away for" in said
    assert deployment.made("service")
    assert pull_anew(deployment, reference) == digest
    after = deployment.stashed()
    assert drawn == {name: after[name] for name in drawn}
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")

    deployment.settings["registry"]["runtime"] = "swarm"
    deployment.forget("registry", "swarm")
    _killed_between(deployment)
    said = _moved(deployment, "container")
    assert "The registry runs by runtime: container; it was away for" in said
    for kind in ("service", "secret", "config"):
        assert not deployment.made(kind), kind
    assert pull_anew(deployment, reference) == digest
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


@pytest.mark.usefixtures("swarm_of_one")
def test_an_up_that_was_killed_while_it_made_a_service_is_gone_on_with(
    deployment: Deployment,
) -> None:
    deployment.configure(registry={"runtime": "swarm", "swarm": SWARM})
    with deployment.started("up", "--yes", "--skip-preview") as running:
        eventually(lambda: len(deployment.made("service")) == 2)
        running.kill()
    done = deployment.make("up")
    assert done.returncode == 0, done.stdout
    assert "the last run ended in the middle of" in done.stdout
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    done = deployment.make("down")
    assert done.returncode == 0, done.stdout
    for kind in ("service", "secret", "config", "network"):
        assert not deployment.made(kind), kind


def _killed_between(deployment: Deployment) -> None:
    """Begin to move it to a container, and die when the services are gone."""
    words = ("move", "RUNTIME=container", f"STACK={deployment.stack}", "YES=1")
    with subprocess.Popen(
        ["make", "--directory", deployment.folder, *words],
        env={**os.environ, **deployment.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as moving:
        eventually(lambda: not deployment.made("service"))
        os.killpg(moving.pid, signal.SIGKILL)
