"""One `Workload` as a Docker container, with what it hangs on: image, network, volume.

A container has no capabilities, and gains no privileges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi_docker as docker
from pulumi import Input, Output, Resource, ResourceOptions

from components.explained import explained
from components.settings import STACK_LABEL

HEALTHY_SECONDS = 60
CPU_PERIOD = 100_000  # µs, the kernel's own
# What the plugin says when the engine can't.
SENTENCES = (
    (
        "port is already allocated|address already in use",
        "{address}:{port} is taken: stop what listens there, or set registry.port to another",
    ),
    (
        "cannot assign requested address",
        "{address} is not an address of the engine's machine: set registry.bind to one that is",
    ),
    (
        "unable to (find|pull)",
        "the image {name} is not in the engine, and its registry does not give it: see that it is "
        "written right and can be reached, or load it (docker load)",
    ),
    (
        "pinging Docker|connect to the Docker|during connect|create Docker client",
        "the Docker engine does not answer: start it, or say where it is (docker:host in the stack "
        "file, or DOCKER_HOST)",
    ),
    (
        "already in use by container|network with name .* already exists",
        "{name} is in the engine already, from another checkout or a state that was lost: "
        "`make down` there, or remove it (docker rm, docker network rm)",
    ),
    (
        "healthy state",
        f"{{name}} was not healthy within {HEALTHY_SECONDS} s: `docker logs {{name}}` says why",
    ),
)


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
class Provision:
    """What its parts give to the registry: values for its holes, by label, and mounts.

    `outputs` are what the stack says of them.
    """

    holes: Mapping[str, Input[str]] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    outputs: Mapping[str, Input[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What runs. `image` is a reference, `health` a command without a shell.

    `stop_seconds` is the time it gets to end by itself; `memory`, in bytes, and `cpus` are what it
    may use.
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
    memory: int | None = None
    cpus: float | None = None


def network(name: str, stack: str) -> Output[str]:
    """A bridge network of the stack's own; gives its name once it is there."""
    made = docker.Network(
        "network",
        name=name,
        driver="bridge",
        labels=[docker.NetworkLabelArgs(label=STACK_LABEL, value=stack)],
        opts=ResourceOptions(hooks=explained("network", SENTENCES)),
    )
    return made.name


def volume(resource: str, name: str, stack: str, parent: Resource) -> Output[str]:
    """A volume that outlives `pulumi destroy`; gives its name once it is there."""
    made = docker.Volume(
        resource,
        name=name,
        labels=[docker.VolumeLabelArgs(label=STACK_LABEL, value=stack)],
        # Nothing but a user's own `docker volume rm` may remove what is in it, and one that was
        # there before, whatever its labels and driver are, is taken as it is.
        opts=ResourceOptions(
            parent=parent,
            retain_on_delete=True,
            ignore_changes=["labels", "driver", "driverOpts"],
            hooks=explained(resource, SENTENCES),
        ),
    )
    return made.name


def run(name: str, workload: Workload, parent: Resource) -> None:
    """Run `workload` as the resource `name`, until it is healthy."""
    image = docker.RemoteImage(
        f"{name}-image",
        name=workload.image,
        keep_locally=True,  # other containers on this engine may use it
        opts=ResourceOptions(parent=parent, hooks=explained(f"{name}-image", SENTENCES)),
    )
    memory = workload.memory and workload.memory // 2**20  # the plugin counts in MiB
    docker.Container(
        name,
        name=workload.name,
        # The id: a name or digest reads back as the id and replaces the container at each `up`.
        image=image.image_id,
        entrypoints=list(workload.entrypoint) or None,
        command=list(workload.command) or None,
        user=workload.user,
        envs=[
            # Most are plain, and an Output each would be most of what a run of the program does.
            f"{key}={value}" if isinstance(value, str) else Output.concat(key, "=", value)
            for key, value in sorted(workload.environment.items())
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
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        security_opts=["no-new-privileges"],
        tmpfs={"/tmp": "size=64m"},
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
        wait_timeout=HEALTHY_SECONDS,
        restart="unless-stopped",
        # Explicit, so that an engine with other defaults does not read back as a change.
        log_driver="json-file",
        log_opts={"max-size": "10m", "max-file": "3"},
        memory=memory,
        memory_swap=memory,  # the same: no swap; unset, the engine's choice reads back as a change
        # Not `cpus`: the plugin reads 1 back as "1.0" and 10 as "10.", a change at each `up`.
        cpu_period=None if workload.cpus is None else CPU_PERIOD,
        cpu_quota=None if workload.cpus is None else round(workload.cpus * CPU_PERIOD),
        # The first is what an engine that stops gives it, the second what Pulumi does.
        stop_timeout=workload.stop_seconds,
        destroy_grace_seconds=workload.stop_seconds,
        labels=[docker.ContainerLabelArgs(label=STACK_LABEL, value=workload.stack)],
        opts=ResourceOptions(
            parent=parent,
            delete_before_replace=True,  # the name and the port must be free first
            # The plugin takes a change to these for one in place, and then makes none, or not
            # each: it never lifts a limit.
            replace_on_changes=["healthcheck", "memory", "memorySwap", "cpuPeriod", "cpuQuota"],
            hooks=explained(name, SENTENCES),
        ),
    )
