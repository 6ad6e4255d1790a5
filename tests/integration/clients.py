"""What a user does with a registry: push and pull with the Docker client and with skopeo."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integration.deployment import Deployment, command
from tests.integration.leftovers import unique_name


def random_image(folder: Path, sizes: Sequence[int]) -> Path:
    """An image, as `docker save` makes it, with a layer of each of `sizes`, in bytes."""
    folder.mkdir()
    for number, size in enumerate(sizes):
        Path(folder, f"file{number}").write_bytes(secrets.token_bytes(size))
    lines = ["FROM scratch", *(f"COPY file{number} /" for number in range(len(sizes)))]
    Path(folder, "Dockerfile").write_text("\n".join(lines))
    reference = f"{unique_name('oss-registry-test')}:1"
    # The engine's own builder: BuildKit's client is a plugin that Debian's docker.io lacks.
    command("docker", "build", "--quiet", "--tag", reference, folder, env={"DOCKER_BUILDKIT": "0"})
    try:
        command("docker", "save", "--output", folder / "image.tar", reference)
    finally:
        command("docker", "image", "rm", "--force", reference)
    return folder / "image.tar"


def push(deployment: Deployment, image: str, name: str) -> tuple[str, str]:
    """Push `image` as `name` with the Docker client; gives its reference and digest."""
    reference = f"{deployment.outputs()['login_server']}/{name}:1"
    deployment.docker("tag", image, reference)
    deployment.docker("push", reference)
    return reference, _digest(deployment, reference)


def _digest(deployment: Deployment, reference: str) -> str:
    repository = reference.rsplit(":", 1)[0]
    found = deployment.docker("image", "inspect", "--format", "{{json .RepoDigests}}", reference)
    (digest,) = [d for d in json.loads(found) if d.startswith(f"{repository}@")]
    return str(digest.partition("@")[2])


def _identity(deployment: Deployment, reference: str) -> str:
    return deployment.docker("image", "inspect", "--format", "{{.Id}}", reference).strip()


def pull_anew(deployment: Deployment, reference: str) -> str:
    """Pull `reference` into an engine that has none of it any more; gives its digest."""
    identity = _identity(deployment, reference)
    deployment.docker("image", "rm", "--force", identity)
    assert identity not in deployment.docker("image", "ls", "--all", "--quiet", "--no-trunc")
    deployment.docker("pull", reference)
    assert identity == _identity(deployment, reference)
    return _digest(deployment, reference)


def skopeo(*words: str | Path, env: Mapping[str, str] | None = None) -> str:
    return command("skopeo", "--insecure-policy", *words, env=env)


def copy_in(deployment: Deployment, archive: Path, name: str) -> None:
    """Push the image in `archive` (as `docker save` makes it) with skopeo, which does not retry."""
    there = f"docker://{deployment.outputs()['login_server']}/{name}:1"
    skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{archive}", there)


def copy_out(deployment: Deployment, name: str, folder: Path) -> Mapping[str, bytes]:
    """Pull `name` with skopeo, which checks each digest; gives the files of the image by name."""
    there = f"docker://{deployment.outputs()['login_server']}/{name}:1"
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", there, f"dir:{folder}")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    for digest in _blobs(files["manifest.json"]):
        assert hashlib.sha256(files[digest]).hexdigest() == digest
    return files


def _blobs(manifest: bytes) -> list[str]:
    content = json.loads(manifest)
    return [blob["digest"].split(":")[1] for blob in (content["config"], *content["layers"])]


def variables(deployment: Deployment) -> Mapping[str, str]:
    """The variables of the running registry."""
    return dict(env.split("=", 1) for env in deployment.inspect("registry", ".Config.Env"))


def redis(deployment: Deployment, *words: str, password: str = "") -> str:
    """What redis-cli prints inside the stack's redis."""
    auth = ["--env", f"REDISCLI_AUTH={password}"] if password else []
    return deployment.docker("exec", *auth, f"{deployment.prefix}-redis", "redis-cli", *words)
