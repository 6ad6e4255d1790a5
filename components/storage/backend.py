"""The interface between a storage backend, the Pulumi program and the commands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from config.stack import RegistryConfig
from config.storage_driver import StorageDriver

if TYPE_CHECKING:
    from components.runtime.workload import Bindings


class NotChecked(Exception):
    """A check is impossible from this machine. The text contains the reason."""


class Unreachable(NotChecked):
    """The storage does not answer this machine. The registry may not reach it either."""


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
    """Images that a change of a stack would delete or make unreachable.

    `name` is the name of the lost resource. `reason` is a sentence with the consequence, and `fix`
    is a sentence with the way to prevent the loss. Both have no full stop.
    """

    name: str
    reason: str
    fix: str

    @property
    def alarm(self) -> str:
        return f"{self.reason}. {self.fix}."


class ResourceChange(Protocol):
    """A planned change of one resource. `old` is its state before the change."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def old(self) -> Mapping[str, Any]: ...
    @property
    def deletes(self) -> bool:
        """Whether the resource is deleted. It may be replaced by a new one."""

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
    """A storage backend: its configuration, its resources, and its checks for commands."""

    import_ids: Mapping[str, str]
    """The IDs for `pulumi import`, by type, of resources whose names are unique in the cloud.

    A killed `make up` may have created such a resource without recording it in the state. The next
    run imports it. `{name}` and others are inputs of the resource. Resources are listed before
    those that depend on them.
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

        Raises NotChecked, and the errors of `access_key`.
        """

    def status(
        self, outputs: Mapping[str, Any], access_key: ReadAccessKey, docker: RunDocker
    ) -> tuple[bool, str]:
        """Return whether the registry has access to its images, and a sentence about it.

        `outputs` are the outputs of the last `make up`. Raises NotChecked, and the errors of
        `access_key` and `docker`.
        """

    def file_list(self, access_key: ReadAccessKey, run: RunInRegistry) -> ListFiles:
        """Return a function that lists the registry's files.

        That function raises StorageError, and the errors of `run`. This method raises the errors of
        `access_key`.
        """

    def locate(self, path: str) -> str:
        """Return where a file of the registry is stored, for messages."""

    def losses(
        self,
        changes: Sequence[ResourceChange],
        outputs: Mapping[str, Any],
        access_key: FindAccessKey,
    ) -> Iterator[Loss]:
        """Yield what `changes` and the current stack file would lose in this storage.

        `outputs` are the outputs of the last `make up`, which may have used another storage.
        """

    def losses_of_destroy(
        self,
        resources: Sequence[Mapping[str, Any]],
        outputs: Mapping[str, Any],
        access_key: FindAccessKey,
    ) -> Iterator[Loss]:
        """Yield what `pulumi destroy` would lose in this storage.

        `resources` are the resources in the stack's state.
        """

    def remaining_images(self, docker: RunDocker) -> Iterator[str]:
        """Yield lines about images that remain after `make down`. Raises the errors of `docker`."""
