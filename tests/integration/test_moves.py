"""A registry goes from a container to a swarm and back, on an engine of its own."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.clients import docker_push, remove_and_pull
from tests.integration.deployment import Deployment, run_checked, wait_until
from tests.integration.engine import ENGINE_UNAVAILABLE, Engine, engine_with_images

pytestmark = [
    pytest.mark.swarm,
    pytest.mark.skipif(ENGINE_UNAVAILABLE is not None, reason=str(ENGINE_UNAVAILABLE)),
]
SWARM = {"publish_mode": "host", "endpoint_mode": "dnsrr"}  # without IPVS in the kernel


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_with_images() as made:
        yield made


@pytest.fixture
def swarm_of_one(engine: Engine) -> Iterator[None]:
    """The engine is a swarm's only machine."""
    docker = ("docker", "--host", engine.host, "swarm")
    run_checked(*docker, "init", "--advertise-addr=127.0.0.1")
    yield
    run_checked(*docker, "leave", "--force")


@pytest.fixture
def deployment(engine: Engine, tmp_path: Path) -> Iterator[Deployment]:
    """A stack that is not up. The engine is removed with everything in it."""
    made = Deployment(tmp_path, host=engine.host, registry={"exposure": "open"})
    yield made
    made.kill_processes()


def _moved(deployment: Deployment, runtime: str) -> str:
    output = deployment.make_succeeds("move", f"RUNTIME={runtime}")
    print(next(line for line in output.splitlines() if "it was away for" in line))
    return output


def test_an_engine_that_is_in_no_swarm_is_said_so_before_anything_is_made(
    deployment: Deployment,
) -> None:
    deployment.configure(registry={"runtime": "swarm"})
    output = deployment.make_fails("up")
    assert "up: the engine is in no swarm: `docker swarm init` there" in output
    assert not deployment.docker_objects("volume")
    # Who does not use make is told by the resource that fails.
    output = deployment.pulumi_fails("up", "--yes", "--skip-preview")
    assert "error: the engine is in no swarm: `docker swarm init` there" in output


@pytest.mark.usefixtures("swarm_of_one")
def test_a_registry_moves_into_a_swarm_and_back_with_its_images(
    engine: Engine, deployment: Deployment, image: str
) -> None:
    engine.load(image)
    deployment.up()
    reference, digest = docker_push(deployment, image, "kept")
    drawn = deployment.generated_values()

    # `up` alone could not: the port and the names are taken.
    deployment.configure(registry={"runtime": "swarm"})
    output = deployment.make_fails("up")
    assert f"make move STACK={deployment.stack} RUNTIME=swarm" in output
    deployment.configure(registry={"runtime": "container", "swarm": SWARM})
    result = deployment.make("up")
    assert "oss-registry:registry.swarm: belongs to runtime: swarm" in result.stdout

    output = _moved(deployment, "swarm")
    assert "The registry runs by runtime: swarm; it was away for" in output
    assert deployment.docker_objects("service")
    assert remove_and_pull(deployment, reference) == digest
    after = deployment.generated_values()
    assert drawn == {name: after[name] for name in drawn}
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")

    deployment.settings["registry"]["runtime"] = "swarm"
    deployment.remove_setting("registry", "swarm")
    _killed_between(deployment)
    output = _moved(deployment, "container")
    assert "The registry runs by runtime: container; it was away for" in output
    for kind in ("service", "secret", "config"):
        assert not deployment.docker_objects(kind), kind
    assert remove_and_pull(deployment, reference) == digest
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


@pytest.mark.usefixtures("swarm_of_one")
def test_an_up_that_was_killed_while_it_made_a_service_is_gone_on_with(
    deployment: Deployment,
) -> None:
    deployment.configure(registry={"runtime": "swarm", "swarm": SWARM})
    with deployment.start_pulumi("up", "--yes", "--skip-preview") as running:
        wait_until(lambda: len(deployment.docker_objects("service")) == 2)
        running.kill()
    output = deployment.make_succeeds("up")
    assert "the last run ended in the middle of" in output
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    deployment.make_succeeds("down")
    for kind in ("service", "secret", "config", "network"):
        assert not deployment.docker_objects(kind), kind


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
        wait_until(lambda: not deployment.docker_objects("service"))
        os.killpg(moving.pid, signal.SIGKILL)
