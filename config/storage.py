"""What the configuration of a registry needs from its storage backend."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from config.releases import Release
from config.tree import Section


class StorageDriver(Protocol):
    """The part of a storage backend that is known without any resource.

    `components.storage` has the backends, and what they add to this.
    """

    @property
    def location(self) -> Mapping[str, str]:
        """Where the images are stored. A registry with another location has other images."""

    @property
    def description(self) -> str:
        """Where the images are stored, for messages: the volume or bucket."""

    @property
    def volumes(self) -> Sequence[str]:
        """The Docker volumes that hold images."""

    def section(self, release: Release) -> Section:
        """Return the keys of the registry's section `storage` that select the driver."""

    def purges_uploads(self, release: Release) -> bool:
        """Return whether the registry can remove unfinished uploads."""
