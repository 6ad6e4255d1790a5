"""Where the registry keeps its images."""

from dataclasses import dataclass

from pulumi import ComponentResource, ResourceOptions

from components import distribution, runtime


@dataclass(frozen=True, kw_only=True)
class FilesystemStorageArgs:
    stack: str
    volume: str


class FilesystemStorage(ComponentResource):
    """A Docker volume that stays when the stack is destroyed."""

    provision: runtime.Provision

    def __init__(
        self, name: str, args: FilesystemStorageArgs, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("oss-registry:index:FilesystemStorage", name, None, opts)
        volume = runtime.data_volume(args.volume, args.stack, parent=self)
        data = runtime.Mount(volume=volume, path=distribution.DATA_PATH)
        self.provision = runtime.Provision(mounts=[data])
        self.register_outputs({"volume": volume})
