"""`make move` moves a registry from a container to a swarm and back."""

import os
import signal
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
SWARM = {"publish_mode": "host", "endpoint_mode": "dnsrr"}  # needs no IPVS in the kernel


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_with_images() as engine:
        yield engine


@pytest.fixture
def single_node_swarm(engine: Engine) -> Iterator[None]:
    """Make the engine the only machine of a swarm."""
    docker = ("docker", "--host", engine.host, "swarm")
    run_checked(*docker, "init", "--advertise-addr=127.0.0.1")
    yield
    run_checked(*docker, "leave", "--force")


@pytest.fixture
def deployment(engine: Engine, tmp_path: Path) -> Iterator[Deployment]:
    """Provide a stack that is not deployed. It is removed together with its engine."""
    deployment = Deployment(tmp_path, host=engine.host, registry={"exposure": "open"})
    yield deployment
    deployment.kill_processes()


def _move(deployment: Deployment, runtime: str) -> str:
    """Run `make move`, print the line with the downtime, and return the output."""
    output = deployment.make_succeeds("move", f"RUNTIME={runtime}")
    print(next(line for line in output.splitlines() if "it was away for" in line))
    return output


def test_an_engine_outside_a_swarm_is_reported_before_anything_is_created(
    deployment: Deployment,
) -> None:
    deployment.configure(registry={"runtime": "swarm"})
    output = deployment.make_fails("up")
    assert "up: the engine is in no swarm: `docker swarm init` there" in output
    assert not deployment.docker_objects("volume")
    # Without make, the error of a resource reports it.
    output = deployment.pulumi_fails("up", "--yes", "--skip-preview")
    assert "error: the engine is in no swarm: `docker swarm init` there" in output


@pytest.mark.usefixtures("single_node_swarm")
def test_a_registry_moves_to_a_swarm_and_back_with_its_images(
    engine: Engine, deployment: Deployment, image: str
) -> None:
    engine.load(image)
    deployment.up()
    reference, digest = docker_push(deployment, image, "kept")
    before = deployment.generated_values()

    # `make up` cannot do this, because the old containers use the port and the names.
    deployment.configure(registry={"runtime": "swarm"})
    output = deployment.make_fails("up")
    assert f"make move STACK={deployment.stack} RUNTIME=swarm" in output
    deployment.configure(registry={"runtime": "container", "swarm": SWARM})
    result = deployment.make("up")
    assert "oss-registry:registry.swarm: belongs to runtime: swarm" in result.stdout

    output = _move(deployment, "swarm")
    assert "The registry runs by runtime: swarm; it was away for" in output
    assert deployment.docker_objects("service")
    assert remove_and_pull(deployment, reference) == digest
    after = deployment.generated_values()
    assert before == {name: after[name] for name in before}
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")

    deployment.settings["registry"]["runtime"] = "swarm"
    deployment.remove_setting("registry", "swarm")
    _start_move_and_kill(deployment)
    output = _move(deployment, "container")
    assert "The registry runs by runtime: container; it was away for" in output
    for kind in ("service", "secret", "config"):
        assert not deployment.docker_objects(kind), kind
    assert remove_and_pull(deployment, reference) == digest
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")


@pytest.mark.usefixtures("single_node_swarm")
def test_the_next_up_finishes_an_up_killed_while_creating_services(deployment: Deployment) -> None:
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


def _start_move_and_kill(deployment: Deployment) -> None:
    """Start a move to a container, and kill it when the services are deleted."""
    with deployment.start_make("move", "RUNTIME=container") as moving:
        wait_until(lambda: not deployment.docker_objects("service"))
        os.killpg(moving.pid, signal.SIGKILL)
