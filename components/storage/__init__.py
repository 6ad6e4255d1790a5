"""Storage backends: one package for each `storage.kind`.

To add a backend, write a class like `OssBackend` and add it to BACKENDS. Add its settings to
`config.settings` and its rules to `config.rules`. If it needs a Pulumi provider, add its plugin to
`toolchain.__main__`. All modules but `resources` can be imported without Pulumi, because commands
use them as well.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from components.storage.backend import StorageBackend
from components.storage.filesystem import FilesystemBackend
from components.storage.oss import OssBackend
from config.stack import RegistryConfig

BACKENDS: Mapping[str, type[StorageBackend]] = {"oss": OssBackend, "filesystem": FilesystemBackend}


def storage_backend(registry: RegistryConfig) -> StorageBackend:
    """Return the backend of `registry`, whose stack was loaded with BACKENDS."""
    return cast(StorageBackend, registry.storage)


def all_backends(registry: RegistryConfig) -> Sequence[StorageBackend]:
    """Return a backend of each kind for `registry`, whose storage.kind may have changed."""
    return [backend(registry) for backend in BACKENDS.values()]
