"""One `Workload` as a Docker container or a Swarm service, with what it hangs on.

Neither has capabilities; a container gains no privileges, and a service writes to no root file
system.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

import pulumi_docker as docker
from pulumi import Input, Output, Resource, ResourceOptions

from components.error_hints import explained
from components.persisted import kept
from config.stack import FILE_LABEL, STACK_LABEL, Stack

HEALTHY_SECONDS = 60
CPU_PERIOD = 100_000  # µs, the kernel's own
TMP_MIB = 64
LOG_DRIVER = "json-file"
LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
# How often it is asked for its health, and how long it may take to begin with.
INTERVAL, START_PERIOD = "3s", "30s"
# What the plugin says when the engine can't.
ERROR_HINTS = (
    (
        "port is already allocated|address already in use",
        "{published} is taken: stop what listens there, or set registry.port to another",
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
        "client version .* is too (new|old)",
        "the docker plugin and the Docker engine have no API version in common: update the engine, "
        "or name another one (docker:host in the stack file, or DOCKER_HOST)",
    ),
    (
        "Error loading Docker context",
        "the docker plugin has no such context below ~/.docker/contexts: create it with `docker "
        "context create`, or set docker:host in place of docker:context",
    ),
    (
        "pinging Docker|connect to the Docker|during connect|create Docker client",
        "the Docker engine does not answer: start it, or say where it is (docker:host in the stack "
        "file, or DOCKER_HOST)",
    ),
    (
        "already in use by service .* port",
        "the port of {name} is another service's: set registry.port to another",
    ),
    (
        "already in use by (container|service)|network with name .* already exists|name conflicts",
        "{name} is in the engine already, from another checkout or a state that was lost: "
        "`make down` there, or remove it (docker rm, docker service rm, docker network rm)",
    ),
    (
        "docker swarm init",
        "the engine is in no swarm: `docker swarm init` there makes it one of a single machine",
    ),
    (
        "not a swarm manager|from a worker node",
        "the engine is a worker of its swarm, and only managers take orders: `docker node promote` "
        "it on a manager, or set docker:host to a manager",
    ),
    (
        "rollback (completed|paused)|update paused",
        "{name} did not get healthy with the change, and runs as before: `docker service ps "
        "--no-trunc {name}` says why; mend it, and `up` again",
    ),
    (
        "did not converge",
        "{name} did not get healthy on each machine that it was given to: `docker service ps "
        "--no-trunc {name}` says why, and `docker node ls` which machines there are",
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
    secret: bool


@dataclass(frozen=True, kw_only=True)
class Mount:
    volume: Input[str]
    path: str


@dataclass(frozen=True, kw_only=True)
class Port:
    """`container` inside, published on `address`:`host`; of a service, on every address."""

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
    may use; `replicas` is how many run, where the runtime can have more than one; `labels` stand
    beside the stack's own.
    """

    name: str
    image: str
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
    replicas: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)


class Runtime(Protocol):
    """What runs workloads, on a network of the stack's own."""

    def run(self, name: str, workload: Workload, parent: Resource) -> None:
        """Run `workload` as the resource `name`, until it is healthy."""


def runtime(stack: Stack) -> Runtime:
    """The one that the stack file asks for."""
    return _RUNTIMES[stack.settings.registry.runtime](stack)


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
            hooks=explained(resource, ERROR_HINTS),
        ),
    )
    return made.name


class _Containers:
    """Each workload is one container, on a bridge network."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack.name
        self._network = _network(stack, "bridge")

    def run(self, name: str, workload: Workload, parent: Resource) -> None:
        image = _image(name, workload, parent)
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
                # Most are plain, and an Output each would be most of what a run does.
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
            tmpfs={"/tmp": f"size={TMP_MIB}m"},
            # Unset, it reads back as another value, and is replaced (pulumi-docker #1272).
            network_mode="bridge",
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=self._network.name)],
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD", *workload.health],
                interval=INTERVAL,
                timeout="3s",
                retries=3,
                start_period=START_PERIOD,
            ),
            wait=True,
            wait_timeout=HEALTHY_SECONDS,
            restart="unless-stopped",
            # Explicit, so that an engine with other defaults does not read back as a change.
            log_driver=LOG_DRIVER,
            log_opts=LOG_OPTIONS,
            memory=memory,
            memory_swap=memory,  # no swap; unset, the engine's choice reads back as a change
            # Not `cpus`: the plugin reads 1 back as "1.0" and 10 as "10.", a change at each `up`.
            cpu_period=None if workload.cpus is None else CPU_PERIOD,
            cpu_quota=None if workload.cpus is None else round(workload.cpus * CPU_PERIOD),
            # The first is what an engine that stops gives it, the second what Pulumi does.
            stop_timeout=workload.stop_seconds,
            destroy_grace_seconds=workload.stop_seconds,
            labels=[
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in _labels(self._stack, workload)
            ],
            opts=ResourceOptions(
                parent=parent,
                delete_before_replace=True,  # the name and the port must be free first
                # The plugin takes a change to these for one in place, and then makes none, or not
                # each: it never lifts a limit.
                replace_on_changes=["healthcheck", "memory", "memorySwap", "cpuPeriod", "cpuQuota"],
                hooks=explained(name, ERROR_HINTS),
            ),
        )


class _Change(TypedDict):
    """How replicas are replaced: by a new version, or by the one of before."""

    parallelism: int
    delay: str
    monitor: str
    max_failure_ratio: str


class _Placed(TypedDict):
    """Whose a file is in the container."""

    file_uid: str
    file_gid: str
    file_mode: int


class _Services:
    """Each workload is a Swarm service, on an overlay network."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack.name
        self._settings = stack.swarm
        self._network = _network(stack, "overlay")

    def run(self, name: str, workload: Workload, parent: Resource) -> None:
        image = _image(name, workload, parent)
        publish, order = self._settings.publish_mode, self._settings.order
        own_port = bool(workload.ports) and publish == "host"
        if order is None or not workload.ports:
            # A port of a machine is free only once the old replica is gone.
            order = "stop-first" if own_port else "start-first"
        change: _Change = {
            "parallelism": 1,
            "delay": "0s",
            "monitor": "10s",
            "max_failure_ratio": "0.0",
        }
        labels = [
            docker.ServiceLabelArgs(label=label, value=value)
            for label, value in _labels(self._stack, workload)
        ]
        docker.Service(
            name,
            name=workload.name,
            labels=labels,
            task_spec=docker.ServiceTaskSpecArgs(
                container_spec=self._container(name, workload, image, parent),
                # By id: by name it is replaced at each `up`.
                networks_advanceds=[
                    docker.ServiceTaskSpecNetworksAdvancedArgs(id=self._network.id)
                ],
                placement=docker.ServiceTaskSpecPlacementArgs(
                    constraints=sorted(self._settings.constraints)
                ),
                resources=_limits(workload),
                restart_policy=docker.ServiceTaskSpecRestartPolicyArgs(
                    condition="any", delay="2s", max_attempts=0, window="0s"
                ),
                log_driver=docker.ServiceTaskSpecLogDriverArgs(
                    name=LOG_DRIVER, options=LOG_OPTIONS
                ),
            ),
            mode=docker.ServiceModeArgs(
                replicated=docker.ServiceModeReplicatedArgs(replicas=workload.replicas)
            ),
            update_config=docker.ServiceUpdateConfigArgs(
                **change, order=order, failure_action="rollback"
            ),
            rollback_config=docker.ServiceRollbackConfigArgs(
                **change,
                # What failed comes again as the version of before, on the machine to spare and
                # beside the replica that it was to follow: one that waits for that machine would
                # wait for ever (seen with Docker 20.10, in one of six).
                order="stop-first" if own_port else order,
                failure_action="pause",
            ),
            endpoint_spec=docker.ServiceEndpointSpecArgs(
                # What has no port is found by its own address, which goes when it goes.
                mode=self._settings.endpoint_mode if workload.ports else "dnsrr",
                ports=[
                    docker.ServiceEndpointSpecPortArgs(
                        target_port=port.container,
                        published_port=port.host,
                        publish_mode=publish,
                        protocol="tcp",
                    )
                    for port in sorted(workload.ports, key=lambda port: port.container)
                ],
            ),
            converge_config=docker.ServiceConvergeConfigArgs(
                delay="0s", timeout=duration(HEALTHY_SECONDS * (workload.replicas + 1))
            ),
            opts=ResourceOptions(
                parent=parent,
                delete_before_replace=True,
                # The engine asks the image's registry for them.
                ignore_changes=["taskSpec.placement.platforms"],
                hooks=explained(name, ERROR_HINTS),
            ),
        )

    def _container(
        self, name: str, workload: Workload, image: docker.RemoteImage, parent: Resource
    ) -> docker.ServiceTaskSpecContainerSpecArgs:
        secret, public = self._files(name, workload, parent)
        volumes = [
            docker.ServiceTaskSpecContainerSpecMountArgs(
                type="volume", source=mount.volume, target=mount.path
            )
            for mount in sorted(workload.mounts, key=lambda mount: mount.path)
        ]
        tmpfs = docker.ServiceTaskSpecContainerSpecMountArgs(
            type="tmpfs",
            target="/tmp",
            tmpfs_options=docker.ServiceTaskSpecContainerSpecMountTmpfsOptionsArgs(
                size_bytes=TMP_MIB * 2**20
            ),
        )
        return docker.ServiceTaskSpecContainerSpecArgs(
            image=image.repo_digest.apply(lambda digest: pullable(workload.image, digest)),
            commands=list(workload.entrypoint) or None,
            args=list(workload.command) or None,
            user=workload.user,
            env=dict(sorted(workload.environment.items())),
            secrets=secret,
            configs=public,
            mounts=[tmpfs, *volumes],
            read_only=True,
            cap_drops=["ALL"],
            healthcheck=docker.ServiceTaskSpecContainerSpecHealthcheckArgs(
                tests=["CMD", *workload.health],
                interval=INTERVAL,
                # A swarm ends a replica that does not answer: not where its machine is but busy.
                timeout="10s",
                retries=5,
                start_period=START_PERIOD,
            ),
            stop_grace_period=duration(workload.stop_seconds),
            labels=[
                docker.ServiceTaskSpecContainerSpecLabelArgs(label=STACK_LABEL, value=self._stack)
            ],
        )

    def _files(
        self, name: str, workload: Workload, parent: Resource
    ) -> tuple[
        Sequence[docker.ServiceTaskSpecContainerSpecSecretArgs],
        Sequence[docker.ServiceTaskSpecContainerSpecConfigArgs],
    ]:
        """The workload's files as secrets, and those without a secret as configs.

        Neither can be changed: another content takes another name. Those of before stay until
        `make up` has seen that neither the service nor its rollback names them.
        """
        files = sorted(workload.files, key=lambda file: file.path)
        generation = _generation(name, [file.content for file in files], parent)
        owner, _, group = (workload.user or "0:0").partition(":")
        placed: _Placed = {"file_uid": owner, "file_gid": group, "file_mode": 0o400}
        secret, public = [], []
        for number, file in enumerate(files):
            resource = f"{name}-file-{number}"
            kind = docker.Secret if file.secret else docker.ServiceConfig
            labels: list[Any] = [  # of a class of its own for each kind
                {"label": STACK_LABEL, "value": self._stack},
                {"label": FILE_LABEL, "value": file.path},
            ]
            made = kind(
                resource,
                name=Output.concat(workload.name, "-", generation, f"-{number}"),
                data=Output.from_input(file.content).apply(
                    lambda text: base64.b64encode(text.encode()).decode()
                ),
                labels=labels,
                opts=ResourceOptions(
                    parent=parent, retain_on_delete=True, hooks=explained(resource, ERROR_HINTS)
                ),
            )
            if file.secret:
                secret.append(
                    docker.ServiceTaskSpecContainerSpecSecretArgs(
                        secret_id=made.id, secret_name=made.name, file_name=file.path, **placed
                    )
                )
            else:
                public.append(
                    docker.ServiceTaskSpecContainerSpecConfigArgs(
                        config_id=made.id, config_name=made.name, file_name=file.path, **placed
                    )
                )
        return secret, public


_RUNTIMES: Mapping[str, Callable[[Stack], Runtime]] = {"container": _Containers, "swarm": _Services}


def _network(stack: Stack, driver: str) -> docker.Network:
    return docker.Network(
        "network",
        name=stack.prefix,
        driver=driver,
        labels=[docker.NetworkLabelArgs(label=STACK_LABEL, value=stack.name)],
        opts=ResourceOptions(hooks=explained("network", ERROR_HINTS)),
    )


def _labels(stack: str, workload: Workload) -> Sequence[tuple[str, str]]:
    return sorted({STACK_LABEL: stack, **workload.labels}.items())


def _image(name: str, workload: Workload, parent: Resource) -> docker.RemoteImage:
    return docker.RemoteImage(
        f"{name}-image",
        name=workload.image,
        keep_locally=True,  # other containers on this engine may use it
        opts=ResourceOptions(parent=parent, hooks=explained(f"{name}-image", ERROR_HINTS)),
    )


def pullable(image: str, repo_digest: str | None) -> str:
    """`image` with the digest that it has where it is from, so that each machine has the same.

    One that was built here has none, and stays as it is.
    """
    repository, _, digest = (repo_digest or "").partition("@")
    familiar = re.sub(r"^(docker\.io/)?(library/)?", "", image)
    return f"{image}@{digest}" if re.sub(r":[\w.-]+$", "", familiar) == repository else image


def duration(seconds: int) -> str:
    """As Docker reads it back: 35s, 1m35s, 2m, 1h0m5s."""
    minutes, rest = divmod(seconds, 60)
    text = f"{minutes // 60}h{minutes % 60}m{rest}s"
    return re.sub(r"(?<=h)0m0s$|(?<=m)0s$|^0h(0m)?", "", text)


def _generation(name: str, contents: Sequence[Input[str]], parent: Resource) -> Output[str]:
    """Another word whenever a file has another content, which it says nothing of.

    Drawn, and not the contents' HMAC: an `up` that goes back to what was before would find those
    names taken.
    """
    key = kept(f"{name}-files-key", secrets.token_hex(), parent)

    def marked(both: Sequence[str]) -> str:
        first, *texts = both
        joined = "\0".join(texts).encode()
        return hmac.new(first.encode(), joined, hashlib.sha256).hexdigest()

    mark = Output.unsecret(Output.all(key, *contents).apply(marked))
    return Output.unsecret(kept(f"{name}-files", secrets.token_hex(4), parent, trigger=mark))


def _limits(workload: Workload) -> docker.ServiceTaskSpecResourcesArgs | None:
    if workload.memory is None and workload.cpus is None:
        return None
    return docker.ServiceTaskSpecResourcesArgs(
        limits=docker.ServiceTaskSpecResourcesLimitsArgs(
            memory_bytes=workload.memory,
            nano_cpus=None if workload.cpus is None else round(workload.cpus * 10**9),
        )
    )
