"""The current program finds no changes in stacks that an earlier program created."""

from pathlib import Path

import pytest

from tests.integration.clients import docker_push, remove_and_pull
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment
from tests.integration.earlier_program import use_current_program, use_earlier_program
from tests.integration.engine import ENGINE_UNAVAILABLE, engine_with_images


@pytest.mark.local
def test_a_local_stack_of_an_earlier_program_needs_no_changes(tmp_path: Path, image: str) -> None:
    deployment = Deployment(tmp_path)
    try:
        _assert_no_change(deployment, image)
    finally:
        deployment.remove()


@pytest.mark.oss
def test_a_bucket_stack_of_an_earlier_program_needs_no_changes(
    new_cloud_stack: CloudDeployment, image: str
) -> None:
    _assert_no_change(new_cloud_stack, image)


@pytest.mark.swarm
@pytest.mark.skipif(ENGINE_UNAVAILABLE is not None, reason=str(ENGINE_UNAVAILABLE))
def test_a_swarm_stack_of_an_earlier_program_needs_no_changes(tmp_path: Path, image: str) -> None:
    swarm = {"publish_mode": "host", "endpoint_mode": "dnsrr"}  # needs no IPVS in the kernel
    with engine_with_images() as engine:
        engine.load(image)
        settings = {"exposure": "open", "runtime": "swarm", "swarm": swarm}
        deployment = Deployment(tmp_path, host=engine.host, registry=settings)
        deployment.docker("swarm", "init", "--advertise-addr=127.0.0.1")
        try:
            _assert_no_change(deployment, image)
        finally:
            deployment.kill_processes()


def _assert_no_change(deployment: Deployment, image: str) -> None:
    """Create the stack with the earlier program. Assert that the current one changes nothing."""
    use_earlier_program(deployment)
    deployment.up()
    reference, digest = docker_push(deployment, image, "kept")
    environment = deployment.outputs()["environment"]

    use_current_program(deployment)
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    assert "no change" in deployment.make_succeeds("preview")
    assert remove_and_pull(deployment, reference) == digest
    deployment.make_succeeds("up")
    assert deployment.outputs()["environment"] == environment
    assert remove_and_pull(deployment, reference) == digest
