"""The resources of `storage.kind: filesystem`."""

from pulumi import ComponentResource, ResourceOptions

from components.runtime.shared import create_volume
from components.runtime.workload import Bindings, Mount
from config.plan import DATA_PATH
from config.resource_names import COMPONENTS, DATA_VOLUME


class FilesystemStorage(ComponentResource):
    """A Docker volume that remains when the stack is destroyed."""

    bindings: Bindings

    def __init__(
        self, name: str, volume: str, stack: str, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__(f"{COMPONENTS}FilesystemStorage", name, None, opts)
        created = create_volume(DATA_VOLUME, volume, stack, parent=self)
        mount = Mount(volume=created, path=DATA_PATH)
        self.bindings = Bindings(mounts=[mount], outputs={"volume": created})
        self.register_outputs({"volume": created})
