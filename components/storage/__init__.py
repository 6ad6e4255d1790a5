"""Storage backends: one package or module for each `storage.kind`.

To add a backend, write a class like `OssBackend` and add it to BACKENDS. Add its settings to
`config.settings` and its rules to `config.rules`. If it needs a Pulumi plugin, add the plugin to
`toolchain.__main__`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from components.storage.filesystem import FilesystemBackend
from components.storage.oss import OssBackend
from config.stack import RegistryConfig
from config.storage import StorageDriver

if TYPE_CHECKING:
    from components.runtime.workload import Bindings


class StorageBackend(StorageDriver, Protocol):
    """A storage backend, with the creation of its resources."""

    def create(self, name: str) -> "Bindings":
        """Create the resources of the storage, as children of a component called `name`."""


BACKENDS: Mapping[str, Callable[[RegistryConfig], StorageBackend]] = {
    "filesystem": FilesystemBackend,
    "oss": OssBackend,
}


def storage_backend(registry: RegistryConfig) -> StorageBackend:
    """Return the backend of `registry`."""
    return BACKENDS[registry.stack.settings.storage.kind](registry)
