"""Push and pull images with the Docker client and with skopeo, as users do."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integration.deployment import Deployment, run_checked
from tests.integration.leftovers import unique_name


def random_image(folder: Path, sizes: Sequence[int]) -> Path:
    """Create an image with a layer of random bytes for each size in `sizes` (in bytes).

    Returns the path of an archive in `folder`, in the format of `docker save`.
    """
    folder.mkdir()
    for number, size in enumerate(sizes):
        Path(folder, f"file{number}").write_bytes(secrets.token_bytes(size))
    lines = ["FROM scratch", *(f"COPY file{number} /" for number in range(len(sizes)))]
    Path(folder, "Dockerfile").write_text("\n".join(lines))
    reference = f"{unique_name('oss-registry-test')}:1"
    # BuildKit's client is a plugin that Debian's docker.io lacks, so the engine's builder is used.
    run_checked(
        "docker", "build", "--quiet", "--tag", reference, folder, env={"DOCKER_BUILDKIT": "0"}
    )
    try:
        run_checked("docker", "save", "--output", folder / "image.tar", reference)
    finally:
        run_checked("docker", "image", "rm", "--force", reference)
    return folder / "image.tar"


def docker_push(deployment: Deployment, image: str, name: str) -> tuple[str, str]:
    """Push `image` as `name` with the Docker client, and return its reference and digest."""
    reference = f"{deployment.outputs()['login_server']}/{name}:1"
    deployment.docker("tag", image, reference)
    deployment.docker("push", reference)
    return reference, _digest(deployment, reference)


def _digest(deployment: Deployment, reference: str) -> str:
    """Return the manifest digest that the engine has recorded for a pushed or pulled image."""
    repository = reference.rsplit(":", 1)[0]
    found = deployment.docker("image", "inspect", "--format", "{{json .RepoDigests}}", reference)
    (digest,) = [d for d in json.loads(found) if d.startswith(f"{repository}@")]
    return str(digest.partition("@")[2])


def _image_id(deployment: Deployment, reference: str) -> str:
    return deployment.docker("image", "inspect", "--format", "{{.Id}}", reference).strip()


def remove_and_pull(deployment: Deployment, reference: str) -> str:
    """Remove an image from the engine, pull it from the registry, and return its digest."""
    before = _image_id(deployment, reference)
    deployment.docker("image", "rm", "--force", before)
    assert before not in deployment.docker("image", "ls", "--all", "--quiet", "--no-trunc")
    deployment.docker("pull", reference)
    assert before == _image_id(deployment, reference)
    return _digest(deployment, reference)


def skopeo(*words: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run skopeo, assert that it succeeded, and return its output."""
    return run_checked("skopeo", "--insecure-policy", *words, env=env)


def skopeo_push(deployment: Deployment, archive: Path, name: str) -> None:
    """Push the image in `archive` with skopeo, which does not retry a failed request.

    The archive has the format of `docker save`.
    """
    destination = f"docker://{deployment.outputs()['login_server']}/{name}:1"
    skopeo("copy", "--dest-tls-verify=false", f"docker-archive:{archive}", destination)


def skopeo_pull(deployment: Deployment, name: str, folder: Path) -> Mapping[str, bytes]:
    """Pull an image into `folder` with skopeo, and return its files by name.

    Both skopeo and this function check the digests.
    """
    source = f"docker://{deployment.outputs()['login_server']}/{name}:1"
    skopeo("copy", "--preserve-digests", "--src-tls-verify=false", source, f"dir:{folder}")
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    for digest in _blobs(files["manifest.json"]):
        assert hashlib.sha256(files[digest]).hexdigest() == digest
    return files


def _blobs(manifest: bytes) -> list[str]:
    """Return the digests of the configuration and the layers, without `sha256:`."""
    content = json.loads(manifest)
    return [blob["digest"].split(":")[1] for blob in (content["config"], *content["layers"])]


def registry_variables(deployment: Deployment) -> Mapping[str, str]:
    """Return the environment variables of the registry's container."""
    return dict(env.split("=", 1) for env in deployment.inspect("registry", ".Config.Env"))


def redis_cli(deployment: Deployment, *words: str, password: str = "") -> str:
    """Run redis-cli in the container of the stack's redis, and return its output."""
    auth = ["--env", f"REDISCLI_AUTH={password}"] if password else []
    return deployment.docker("exec", *auth, f"{deployment.prefix}-redis", "redis-cli", *words)
