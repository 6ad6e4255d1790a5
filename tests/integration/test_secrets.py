"""Generated secrets appear only where they are needed."""

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
    """Provide a stack with the most detailed logs."""
    release = {"release": request.param, "delivery": "file", "log_level": "debug"}
    deployment = Deployment(tmp_path, registry=release)
    try:
        yield deployment
    finally:
        deployment.remove()


def _up(deployment: Deployment) -> str:
    """Run `pulumi up`, and return its output with the command lines of all processes."""
    printed, command_lines = deployment.watch_pulumi("up", "--yes", "--show-full-output", "--diff")
    assert any("pulumi-resource-docker" in line for line in command_lines)
    return "\n".join((printed, *command_lines))


def _all_texts(deployment: Deployment) -> str:
    """Return files, logs, outputs and other texts of the stack, but no container variables."""
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


def test_generated_secrets_appear_only_where_they_are_needed(
    deployment: Deployment, archive: Path, tmp_path: Path
) -> None:
    printed = [deployment.pulumi("preview", "--diff"), _up(deployment)]
    secrets = sorted(deployment.generated_values().values())
    assert [len(secret) for secret in secrets] == [43, 43]
    skopeo_push(deployment, archive, "pushed")
    deployment.docker("container", "stop", f"{deployment.prefix}-redis")
    skopeo_pull(deployment, "pushed", tmp_path / "pulled")
    deployment.docker("container", "start", f"{deployment.prefix}-redis")
    printed.append(_all_texts(deployment))
    assert not any(secret in json.dumps(registry_variables(deployment)) for secret in secrets)

    deployment.configure(registry={"delivery": "env"})
    printed += [deployment.pulumi("preview", "--diff"), _up(deployment)]
    skopeo_push(deployment, archive, "again")
    printed.append(_all_texts(deployment))
    assert all(secret in json.dumps(registry_variables(deployment)) for secret in secrets)
    assert sorted(deployment.generated_values().values()) == secrets

    for secret in secrets:
        encoded = base64.b64encode(secret.encode()).decode()
        assert not [text for text in printed if secret in text or encoded in text]
