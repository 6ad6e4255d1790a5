"""Images of random content as OCI layouts. Their layers are already in gzip format."""

import gzip
import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Sequence
from pathlib import Path


def create_image(folder: Path, sizes: Sequence[int]) -> Path:
    """Create an image in `folder` with a layer of each of `sizes`, in bytes."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def add_blob(content: bytes, kind: str) -> dict[str, object]:
        """Write a blob, and return its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "size": len(content), "digest": f"sha256:{digest}"}

    def add_json(content: object, kind: str) -> dict[str, object]:
        return add_blob(json.dumps(content).encode(), kind)

    layers = [_layer(size) for size in sizes]
    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": add_json(config, "config.v1+json"),
        # Compression level 0, because random content cannot be compressed.
        "layers": [
            add_blob(gzip.compress(layer, 0, mtime=0), "layer.v1.tar+gzip") for layer in layers
        ],
    }
    index = {"schemaVersion": 2, "manifests": [add_json(manifest, "manifest.v1+json")]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def _layer(size: int) -> bytes:
    """A tar archive with one file of `size` random bytes."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        file = tarfile.TarInfo("file")
        file.size = size
        archive.addfile(file, io.BytesIO(secrets.token_bytes(size)))
    return layer.getvalue()
