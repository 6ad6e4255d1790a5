"""Engines that are not this machine's usual one: restarted, set up otherwise, or far away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.distribution import DEFAULT_RELEASE
from components.settings import CacheSettings
from tests.integration.clients import pull_anew, push
from tests.integration.deployment import Deployment, eventually
from tests.integration.engine import MISSING, Engine

pytestmark = pytest.mark.local
# All that an engine may be told to give to each container.
DEFAULTS = (
    "--log-opt=max-size=5m",
    "--init",
    "--default-shm-size=128M",
    "--default-ulimit=nofile=4096:8192",
    "--default-cgroupns-mode=host",
    "--no-new-privileges",
)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine with defaults of its own."""
    if MISSING:
        pytest.skip(MISSING)
    made = Engine(*DEFAULTS)
    try:
        made.start()
        made.load(f"registry:{DEFAULT_RELEASE}", CacheSettings().image)
        yield made
    finally:
        made.remove()


def test_on_an_engine_with_other_defaults_nothing_is_left_to_do_and_all_is_back_after_its_restart(
    engine: Engine, archive: Path, tmp_path: Path
) -> None:
    deployment = Deployment(tmp_path, host=engine.host)
    deployment.up()
    deployment.pulumi("up", "--yes", "--expect-no-changes")
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
    image = deployment.docker("load", "--input", archive).split()[-1]
    reference, digest = push(deployment, image, "kept")
    before = deployment.made("container")

    engine.stop()
    engine.start()

    eventually(lambda: deployment.healthy("registry") and deployment.healthy("redis"))
    assert deployment.made("container") == before
    assert pull_anew(deployment, reference) == digest
    deployment.pulumi("preview", "--refresh", "--expect-no-changes")
