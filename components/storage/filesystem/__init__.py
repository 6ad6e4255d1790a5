"""Images in a Docker volume."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.storage.backend import (
    FindAccessKey,
    ListFiles,
    Loss,
    ReadAccessKey,
    ResourceChange,
    RunDocker,
    RunInRegistry,
)
from config.plan import DATA_PATH
from config.releases import Release
from config.resource_names import DATA_VOLUME, VOLUME
from config.stack import RegistryConfig
from config.tree import Section

if TYPE_CHECKING:
    from components.runtime.workload import Bindings

# Prints the path and size of each file called $2 below the folder $1, which may not exist.
_LIST_SCRIPT = 'cd "$1" 2>/dev/null || exit 0; find . -name "$2" -exec stat -c "%n %s" {} +'


class FilesystemBackend:
    """The backend for `storage.kind: filesystem`."""

    import_ids: Mapping[str, str] = {}
    access_keys: Sequence[str] = ()

    def __init__(self, registry: RegistryConfig) -> None:
        self._stack = registry.stack

    @property
    def volume(self) -> str:
        return self._stack.settings.storage.volume or f"{self._stack.prefix}-{DATA_VOLUME}"

    @property
    def volumes(self) -> Sequence[str]:
        return [self.volume]

    @property
    def location(self) -> Mapping[str, str]:
        return {"volume": self.volume}

    @property
    def description(self) -> str:
        return f"the volume {self.volume}"

    def section(self, _: Release) -> Section:
        return {"filesystem": {"rootdirectory": DATA_PATH}}

    def purges_uploads(self, _: Release) -> bool:
        return True

    def create(self, name: str) -> "Bindings":
        # Imported here, so that commands can read a stack without importing Pulumi.
        from components.storage.filesystem.resources import FilesystemStorage

        return FilesystemStorage(name, self.volume, self._stack.name).bindings

    def deployer_problem(self, _: Mapping[str, str], __: Mapping[str, str]) -> str | None:
        return None

    def access_problem(self, _: ReadAccessKey, __: RunDocker) -> str | None:
        return None

    def status(
        self, _: Mapping[str, Any], __: ReadAccessKey, docker: RunDocker
    ) -> tuple[bool, str]:
        docker("volume", "inspect", self.volume)
        return True, f"the volume {self.volume} is there"

    def file_list(self, _: ReadAccessKey, run: RunInRegistry) -> ListFiles:
        def files(folder: str, name: str) -> Iterator[tuple[str, int]]:
            for line in run("sh", "-c", _LIST_SCRIPT, "sh", f"{DATA_PATH}/{folder}", name):
                path, _, size = line.strip().rpartition(" ")
                # Other lines are error output. `run` raises the error after them.
                if size.isdigit():
                    yield f"{folder}{path.removeprefix('.')}", int(size)

        return files

    def locate(self, path: str) -> str:
        return f"{path} in the volume {self.volume}"

    def losses(
        self, changes: Sequence[ResourceChange], _: Mapping[str, Any], __: FindAccessKey
    ) -> Iterator[Loss]:
        for change in changes:
            is_data = (change.kind, change.name) == (VOLUME, DATA_VOLUME)
            if is_data and (change.deletes or change.retains):
                volume = change.old["inputs"]["name"]
                yield Loss(
                    volume,
                    f"The images in the volume {volume} would stay there, where the registry no "
                    "longer looks",
                    "Set storage.kind and storage.volume back, or copy them to the new place",
                )

    def losses_of_destroy(
        self, _: Sequence[Mapping[str, Any]], __: Mapping[str, Any], ___: FindAccessKey
    ) -> Iterator[Loss]:
        yield from ()  # Pulumi retains the volume

    def remaining_images(self, docker: RunDocker) -> Iterator[str]:
        # The volume may be older than the stack and have no label, so the name identifies it.
        if docker("volume", "ls", "--quiet", "--filter", f"name=^{self.volume}$"):
            yield f"The images are kept in the volume {self.volume}: `make up` finds them there."
            yield f"To remove them for good: docker volume rm {self.volume}"
