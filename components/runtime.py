"""One `Workload` as a Docker container, with what it hangs on: image, network, volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi_docker as docker
from pulumi import Input, Output, Resource, ResourceOptions

LABEL = "oss-registry.stack"


@dataclass(frozen=True, kw_only=True)
class File:
    path: str
    content: Input[str]


@dataclass(frozen=True, kw_only=True)
class Mount:
    volume: Input[str]
    path: str


@dataclass(frozen=True, kw_only=True)
class Port:
    """`container` inside, published on `address`:`host`."""

    address: str
    host: int
    container: int


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What runs. `image` is a reference, `health` a command without a shell.

    `stop_seconds` is the time it gets to end by itself.
    """

    stack: str
    name: str
    image: str
    network: Input[str]
    health: Sequence[str]
    stop_seconds: int
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str | None = None
    environment: Mapping[str, Input[str]] = field(default_factory=dict)
    files: Sequence[File] = ()
    mounts: Sequence[Mount] = ()
    ports: Sequence[Port] = ()


def network(name: str, stack: str) -> Output[str]:
    """A bridge network of the stack's own; gives its name once it is there."""
    made = docker.Network(
        "network",
        name=name,
        driver="bridge",
        labels=[docker.NetworkLabelArgs(label=LABEL, value=stack)],
    )
    return made.name


def data_volume(name: str, stack: str, parent: Resource) -> Output[str]:
    """A volume that outlives `pulumi destroy`; gives its name once it is there."""
    made = docker.Volume(
        "data",
        name=name,
        labels=[docker.VolumeLabelArgs(label=LABEL, value=stack)],
        # It holds the images: nothing but a user's own `docker volume rm` may remove it.
        opts=ResourceOptions(parent=parent, retain_on_delete=True),
    )
    return made.name


def run(name: str, workload: Workload, parent: Resource) -> None:
    """Run `workload` as the resource `name`, until it is healthy."""
    image = docker.RemoteImage(
        f"{name}-image",
        name=workload.image,
        keep_locally=True,  # other containers on this engine may use it
        opts=ResourceOptions(parent=parent),
    )
    docker.Container(
        name,
        name=workload.name,
        # The id: a name or digest reads back as the id and replaces the container at each `up`.
        image=image.image_id,
        entrypoints=list(workload.entrypoint) or None,
        command=list(workload.command) or None,
        user=workload.user,
        envs=[
            Output.concat(key, "=", value) for key, value in sorted(workload.environment.items())
        ],
        uploads=[
            docker.ContainerUploadArgs(file=file.path, content=file.content)
            for file in sorted(workload.files, key=lambda file: file.path)
        ],
        volumes=[
            docker.ContainerVolumeArgs(volume_name=mount.volume, container_path=mount.path)
            for mount in sorted(workload.mounts, key=lambda mount: mount.path)
        ],
        ports=[
            docker.ContainerPortArgs(
                ip=port.address, external=port.host, internal=port.container, protocol="tcp"
            )
            for port in sorted(workload.ports, key=lambda port: port.container)
        ],
        # Unset, it reads back as another value: a replacement at each `up` (pulumi-docker #1272).
        network_mode="bridge",
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=workload.network)],
        healthcheck=docker.ContainerHealthcheckArgs(
            tests=["CMD", *workload.health],
            interval="3s",
            timeout="3s",
            retries=3,
            start_period="30s",
        ),
        wait=True,
        wait_timeout=120,
        restart="unless-stopped",
        # Explicit, so that an engine with other defaults does not read back as a change.
        log_driver="json-file",
        log_opts={"max-size": "10m", "max-file": "3"},
        destroy_grace_seconds=workload.stop_seconds,
        labels=[docker.ContainerLabelArgs(label=LABEL, value=workload.stack)],
        opts=ResourceOptions(
            parent=parent,
            delete_before_replace=True,  # the name and the port must be free first
        ),
    )
