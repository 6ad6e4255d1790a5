"""The bytes of each generated secret are where they are needed, and nowhere else."""

import base64
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from components.distribution import RELEASES
from tests.integration.clients import copy_in, copy_out, variables
from tests.integration.deployment import Deployment

pytestmark = pytest.mark.local
PARTS = ("registry", "redis")


@pytest.fixture(params=RELEASES)
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    """One that logs all it can."""
    release = {"release": request.param, "delivery": "file", "log_level": "debug"}
    made = Deployment(tmp_path, registry=release)
    try:
        yield made
    finally:
        made.remove()


def _watched_up(deployment: Deployment) -> str:
    """What an `up` prints, and the command lines of all processes meanwhile."""
    command_lines = set()
    log = deployment.folder / "up.log"
    with (
        log.open("w") as output,
        deployment.started("up", "--yes", "--show-full-output", "--diff", output=output) as up,
    ):
        while up.poll() is None:
            command_lines |= set(_command_lines())
            time.sleep(0.02)
    assert up.returncode == 0, log.read_text()
    assert any("pulumi-resource-docker" in line for line in command_lines)
    return "\n".join((log.read_text(), *command_lines))


def _command_lines() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # one that has ended
            yield process.read_text(errors="replace")


def _generated(deployment: Deployment) -> Sequence[str]:
    exported = json.loads(deployment.pulumi("stack", "export", "--show-secrets"))
    return sorted(
        json.loads(resource["outputs"]["output"]["plaintext"])
        for resource in exported["deployment"]["resources"]
        if resource["type"] == "pulumi:index:Stash"
    )


def _everywhere(deployment: Deployment) -> str:
    """All that says something of the stack, but the variables of a container."""
    inspected = [deployment.inspect(part, ".") for part in PARTS]
    for container in inspected:
        del container["Config"]["Env"]
    files = (file for file in deployment.folder.rglob("*") if file.is_file())
    return "\n".join(
        (
            json.dumps(inspected),
            *map(deployment.log, PARTS),
            *_command_lines(),
            *(file.read_text(errors="replace") for file in files),
            deployment.pulumi("preview", "--diff", "--refresh"),
            deployment.pulumi("stack", "output", "--json"),
            deployment.pulumi("stack", "export"),
            deployment.pulumi("stack", "history", "--json"),
            deployment.pulumi("config", "--json"),
        )
    )


def test_generated_secrets_are_only_where_they_are_needed(
    deployment: Deployment, archive: Path, tmp_path: Path
) -> None:
    printed = [deployment.pulumi("preview", "--diff"), _watched_up(deployment)]
    secrets = _generated(deployment)
    assert [len(secret) for secret in secrets] == [43, 43]
    copy_in(deployment, archive, "pushed")
    deployment.docker("container", "stop", f"{deployment.prefix}-redis")
    copy_out(deployment, "pushed", tmp_path / "pulled")
    deployment.docker("container", "start", f"{deployment.prefix}-redis")
    printed.append(_everywhere(deployment))
    assert not any(secret in json.dumps(variables(deployment)) for secret in secrets)

    deployment.configure(registry={"delivery": "env"})
    printed += [deployment.pulumi("preview", "--diff"), _watched_up(deployment)]
    copy_in(deployment, archive, "again")
    printed.append(_everywhere(deployment))
    assert all(secret in json.dumps(variables(deployment)) for secret in secrets)
    assert _generated(deployment) == secrets

    for secret in secrets:
        encoded = base64.b64encode(secret.encode()).decode()
        assert not [text for text in printed if secret in text or encoded in text]
