"""What the Pulumi program and the commands need from a storage backend."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from config.stack import RegistryConfig
from config.storage import StorageDriver

if TYPE_CHECKING:
    from components.runtime.workload import Bindings


class NotChecked(Exception):
    """This machine cannot check something, which may work. The text contains the reason."""


class Unreachable(NotChecked):
    """The storage does not answer this machine at all. The registry may not reach it either."""


class StorageError(Exception):
    """The storage refused a call, or did not answer. The text is the code of the error.

    `service` is the name of the storage.
    """

    service: str


@dataclass(frozen=True)
class AccessKey:
    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Loss:
    """Images, or access to them, that a change of a stack would take away.

    `name` is the name of the resource that would be lost, `reason` a sentence on what that means,
    and `fix` a sentence on how to prevent it. Both are without a full stop.
    """

    name: str
    reason: str
    fix: str

    @property
    def alarm(self) -> str:
        return f"{self.reason}. {self.fix}."


class ResourceChange(Protocol):
    """A planned change of one resource. `old` is its state before."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def old(self) -> Mapping[str, Any]: ...
    @property
    def deletes(self) -> bool:
        """Whether the resource is deleted, maybe to be replaced by a new one."""

    @property
    def retains(self) -> bool:
        """Whether the resource is only removed from the state."""


ReadAccessKey: TypeAlias = Callable[[str], AccessKey]
"""Returns the access key with a label from the state of the stack."""
FindAccessKey: TypeAlias = Callable[[str | None], AccessKey | None]
"""As ReadAccessKey, but returns None if the state does not have such a key."""
RunDocker: TypeAlias = Callable[..., str]
"""Runs a docker command, given as words, and returns its output."""
RunInRegistry: TypeAlias = Callable[..., Iterator[str]]
"""Runs a command, given as words, where the registry runs, and yields the lines of its output."""
ListFiles: TypeAlias = Callable[[str, str], Iterator[tuple[str, int]]]
"""Yields the path and size in bytes of each file of a registry, by the folder that contains it at
any depth, and its name. Paths are those that the registry uses."""


class StorageBackend(StorageDriver, Protocol):
    """Where the images of a registry are stored."""

    import_ids: Mapping[str, str]
    """The resources that `make up` cannot create again if it was killed before they were recorded.

    These are ids for `pulumi import`, by type. `{name}` … are inputs of the resource. They are in
    the order in which the resources depend on each other.
    """

    def __init__(self, registry: RegistryConfig) -> None: ...

    @property
    def access_keys(self) -> Sequence[str]:
        """The labels of the registry's access keys, the one in use last."""

    def create(self, name: str) -> "Bindings":
        """Create the resources of the storage, as children of a component called `name`."""

    def deployer_problem(
        self, config: Mapping[str, str], environment: Mapping[str, str]
    ) -> str | None:
        """Return why the provider would not find the deployer's access key, or None."""

    def access_problem(self, access_key: ReadAccessKey, docker: RunDocker) -> str | None:
        """Return why the storage refuses the registry, or None.

        Raises NotChecked, and what `access_key` raises.
        """

    def status(
        self, outputs: Mapping[str, Any], access_key: ReadAccessKey, docker: RunDocker
    ) -> tuple[bool, str]:
        """Return whether the registry has access to its images, and a sentence about it.

        `outputs` are those of the last `make up`. Raises NotChecked, and what `access_key` and
        `docker` raise.
        """

    def file_list(self, access_key: ReadAccessKey, run: RunInRegistry) -> ListFiles:
        """Return a function that lists the registry's files.

        It raises StorageError, or what `run` raises. This method raises what `access_key` raises.
        """

    def locate(self, path: str) -> str:
        """Return where a file of the registry is stored, for messages."""

    def losses(
        self,
        changes: Sequence[ResourceChange],
        outputs: Mapping[str, Any],
        access_key: FindAccessKey,
    ) -> Iterator[Loss]:
        """Yield what `changes` and the present stack file would take away of this storage.

        `outputs` are those of the last `make up`, which may have used another storage.
        """

    def losses_of_destroy(
        self,
        resources: Sequence[Mapping[str, Any]],
        outputs: Mapping[str, Any],
        access_key: FindAccessKey,
    ) -> Iterator[Loss]:
        """Yield what `pulumi destroy` would take away of this storage.

        `resources` are those of the state.
        """

    def remaining_images(self, docker: RunDocker) -> Iterator[str]:
        """Yield lines about images that remain after `make down`. Raises what `docker` raises."""
