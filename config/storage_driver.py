"""The interface between the configuration of a registry and its storage backend."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from config.releases import Release
from config.tree import Section


class StorageDriver(Protocol):
    """The part of a storage backend that creates no resources.

    `components.storage` implements the backends, and adds the creation of their resources.
    """

    @property
    def location(self) -> Mapping[str, str]:
        """The place of the images: if it changes, the registry no longer finds the old images."""

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
