"""Images of random content as OCI layouts, whose layers no client has to compress."""

import gzip
import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Sequence
from pathlib import Path

_KIND = "application/vnd.oci.image"


def image(folder: Path, sizes: Sequence[int]) -> Path:
    """An image in `folder` with a layer of each of `sizes`, in bytes."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def keep(content: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"{_KIND}.{kind}", "size": len(content), "digest": f"sha256:{digest}"}

    def as_json(content: object, kind: str) -> dict[str, object]:
        return keep(json.dumps(content).encode(), kind)

    layers = [_layer(size) for size in sizes]
    unpacked = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": unpacked},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_KIND}.manifest.v1+json",
        "config": as_json(config, "config.v1+json"),
        # Stored: random content gets no smaller.
        "layers": [keep(gzip.compress(layer, 0, mtime=0), "layer.v1.tar+gzip") for layer in layers],
    }
    index = {"schemaVersion": 2, "manifests": [as_json(manifest, "manifest.v1+json")]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def _layer(size: int) -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        file = tarfile.TarInfo("file")
        file.size = size
        archive.addfile(file, io.BytesIO(secrets.token_bytes(size)))
    return layer.getvalue()
