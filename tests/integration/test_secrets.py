"""The bytes of each generated secret are where they are needed, and nowhere else."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.clients import registry_variables, skopeo_pull, skopeo_push
from tests.integration.deployment import Deployment, proc_files

pytestmark = pytest.mark.local
PARTS = ("registry", "redis")


@pytest.fixture(params=["2.8.3", "3.1.2"])
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
    printed, command_lines = deployment.watch_pulumi("up", "--yes", "--show-full-output", "--diff")
    assert any("pulumi-resource-docker" in line for line in command_lines)
    return "\n".join((printed, *command_lines))


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
            *proc_files("cmdline").values(),
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
    secrets = sorted(deployment.generated_values().values())
    assert [len(secret) for secret in secrets] == [43, 43]
    skopeo_push(deployment, archive, "pushed")
    deployment.docker("container", "stop", f"{deployment.prefix}-redis")
    skopeo_pull(deployment, "pushed", tmp_path / "pulled")
    deployment.docker("container", "start", f"{deployment.prefix}-redis")
    printed.append(_everywhere(deployment))
    assert not any(secret in json.dumps(registry_variables(deployment)) for secret in secrets)

    deployment.configure(registry={"delivery": "env"})
    printed += [deployment.pulumi("preview", "--diff"), _watched_up(deployment)]
    skopeo_push(deployment, archive, "again")
    printed.append(_everywhere(deployment))
    assert all(secret in json.dumps(registry_variables(deployment)) for secret in secrets)
    assert sorted(deployment.generated_values().values()) == secrets

    for secret in secrets:
        encoded = base64.b64encode(secret.encode()).decode()
        assert not [text for text in printed if secret in text or encoded in text]
