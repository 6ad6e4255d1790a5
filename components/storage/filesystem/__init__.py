"""Images in a Docker volume."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from config.plan import DATA_PATH
from config.releases import Release
from config.stack import RegistryConfig
from config.tree import Section

if TYPE_CHECKING:
    from components.runtime.workload import Bindings


class FilesystemBackend:
    """The backend for `storage.kind: filesystem`."""

    def __init__(self, registry: RegistryConfig) -> None:
        self._stack = registry.stack

    @property
    def volume(self) -> str:
        return self._stack.settings.storage.volume or f"{self._stack.prefix}-data"

    @property
    def volumes(self) -> Sequence[str]:
        return [self.volume]

    @property
    def location(self) -> Mapping[str, str]:
        return {"volume": self.volume}

    def section(self, _: Release) -> Section:
        return {"filesystem": {"rootdirectory": DATA_PATH}}

    def purges_uploads(self, _: Release) -> bool:
        return True

    def create(self, name: str) -> "Bindings":
        # Imported here, so that commands can read a stack without importing Pulumi.
        from components.storage.filesystem.resources import FilesystemStorage

        return FilesystemStorage(name, self.volume, self._stack.name).bindings
