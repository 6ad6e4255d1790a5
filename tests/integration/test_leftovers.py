"""The check for leftovers of a test run finds processes, Docker objects and folders."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration import leftovers
from tests.integration.deployment import run_checked
from tests.integration.leftovers import RUN, RUN_VARIABLE, unique_name

pytestmark = [pytest.mark.local, pytest.mark.quick]


def test_a_process_of_a_test_is_found_until_it_ends() -> None:
    environment = {**os.environ, RUN_VARIABLE: RUN}
    with subprocess.Popen(["sleep", "600"], env=environment) as running:
        assert leftovers.processes_of(RUN_VARIABLE, RUN)[running.pid] == "sleep 600"
        assert running.pid not in leftovers.processes_of(RUN_VARIABLE, f"{RUN}0")
        running.kill()
    assert running.pid not in leftovers.processes_of(RUN_VARIABLE, RUN)


@pytest.mark.parametrize("kind", ["volume", "network"])
def test_a_docker_object_of_a_test_is_found_until_it_is_removed(kind: str) -> None:
    name = unique_name("test")
    run_checked("docker", kind, "create", name)
    try:
        assert (kind, name) in leftovers.objects()
    finally:
        run_checked("docker", kind, "rm", name)
    assert (kind, name) not in leftovers.objects()


def test_an_anonymous_volume_that_a_test_leaves_is_found() -> None:
    name = run_checked("docker", "volume", "create").strip()
    try:
        assert ("volume", name) in leftovers.objects()
    finally:
        run_checked("docker", "volume", "rm", name)


def test_the_folder_of_an_engine_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / f"oss-registry-{RUN}-x").mkdir()
    (tmp_path / "oss-registry-of-another-run").mkdir()
    folders = [name for kind, name in leftovers.objects() if kind == "folder"]
    assert folders == [f"oss-registry-{RUN}-x"]
