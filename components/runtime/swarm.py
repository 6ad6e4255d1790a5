"""Workloads as Docker Swarm services.

A service has no capabilities and cannot write to its root file system.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from typing import Any, TypedDict

import pulumi_docker as docker
from pulumi import Input, Output, Resource, ResourceOptions

from components.error_hints import with_hints
from components.generated_secrets import persist
from components.runtime.error_hints import ERROR_HINTS
from components.runtime.shared import (
    HEALTH_INTERVAL,
    HEALTH_START_PERIOD,
    LOG_DRIVER,
    LOG_OPTIONS,
    TMP_MIB,
    create_network,
    labels,
    pull_image,
)
from components.runtime.workload import HEALTHY_SECONDS, Workload
from config.stack import FILE_LABEL, STACK_LABEL, Stack


class _Rollout(TypedDict):
    """How replicas are replaced, in an update and in a rollback."""

    parallelism: int
    delay: str
    monitor: str
    max_failure_ratio: str


class _Ownership(TypedDict):
    """The owner and the mode of a file in the container."""

    file_uid: str
    file_gid: str
    file_mode: int


class SwarmRuntime:
    """Runs each workload as a Swarm service, on an overlay network."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack.name
        self._settings = stack.swarm_settings
        self._network = create_network(stack, "overlay")

    def run(self, name: str, workload: Workload, parent: Resource) -> None:
        image = pull_image(name, workload, parent)
        publish, order = self._settings.publish_mode, self._settings.order
        own_port = bool(workload.ports) and publish == "host"
        if order is None or not workload.ports:
            # A port of a machine is free only after the old replica has stopped.
            order = "stop-first" if own_port else "start-first"
        rollout: _Rollout = {
            "parallelism": 1,
            "delay": "0s",
            "monitor": "10s",
            "max_failure_ratio": "0.0",
        }
        service_labels = [
            docker.ServiceLabelArgs(label=label, value=value)
            for label, value in labels(self._stack, workload).items()
        ]
        docker.Service(
            name,
            name=workload.name,
            labels=service_labels,
            task_spec=docker.ServiceTaskSpecArgs(
                container_spec=self._container(name, workload, image, parent),
                # With the name instead, the provider would replace the service at each `up`.
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
                **rollout, order=order, failure_action="rollback"
            ),
            rollback_config=docker.ServiceRollbackConfigArgs(
                **rollout,
                # In host mode, stop the failed replica first. Otherwise its successor can get the
                # machine whose port the old replica still uses, and wait forever (seen with Docker
                # 20.10 in one of six rollbacks).
                order="stop-first" if own_port else order,
                failure_action="pause",
            ),
            endpoint_spec=docker.ServiceEndpointSpecArgs(
                # The name of a service without a port resolves to its replica's own address.
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
                delay="0s", timeout=format_duration(HEALTHY_SECONDS * (workload.replicas + 1))
            ),
            opts=ResourceOptions(
                parent=parent,
                delete_before_replace=True,
                # The engine sets these from the image's registry.
                ignore_changes=["taskSpec.placement.platforms"],
                hooks=with_hints(name, ERROR_HINTS),
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
            image=image.repo_digest.apply(lambda digest: pin_digest(workload.image, digest)),
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
                interval=HEALTH_INTERVAL,
                # A swarm replaces an unhealthy replica. These limits tolerate a busy machine.
                timeout="10s",
                retries=5,
                start_period=HEALTH_START_PERIOD,
            ),
            stop_grace_period=format_duration(workload.stop_seconds),
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
        """Create a Docker secret for each file with a secret, and a config for each other file.

        Both are immutable, so changed content gets a new name. `make up` removes the old ones when
        neither the service nor its rollback refers to them.
        """
        files = sorted(workload.files, key=lambda file: file.path)
        generation = _generation(name, [file.content for file in files], parent)
        owner, _, group = (workload.user or "0:0").partition(":")
        ownership: _Ownership = {"file_uid": owner, "file_gid": group, "file_mode": 0o400}
        secret, public = [], []
        for number, file in enumerate(files):
            resource = f"{name}-file-{number}"
            kind = docker.Secret if file.secret else docker.ServiceConfig
            labels: list[Any] = [  # the two kinds have different classes for labels
                {"label": STACK_LABEL, "value": self._stack},
                {"label": FILE_LABEL, "value": file.path},
            ]
            created = kind(
                resource,
                name=Output.concat(workload.name, "-", generation, f"-{number}"),
                data=Output.from_input(file.content).apply(
                    lambda text: base64.b64encode(text.encode()).decode()
                ),
                labels=labels,
                opts=ResourceOptions(
                    parent=parent, retain_on_delete=True, hooks=with_hints(resource, ERROR_HINTS)
                ),
            )
            if file.secret:
                secret.append(
                    docker.ServiceTaskSpecContainerSpecSecretArgs(
                        secret_id=created.id,
                        secret_name=created.name,
                        file_name=file.path,
                        **ownership,
                    )
                )
            else:
                public.append(
                    docker.ServiceTaskSpecContainerSpecConfigArgs(
                        config_id=created.id,
                        config_name=created.name,
                        file_name=file.path,
                        **ownership,
                    )
                )
        return secret, public


def pin_digest(image: str, repo_digest: str | None) -> str:
    """Return `image` with its digest in its registry, so that all machines run the same image.

    An image that was built on this machine has no such digest, and is returned unchanged.
    """
    repository, _, digest = (repo_digest or "").partition("@")
    familiar = re.sub(r"^(docker\.io/)?(library/)?", "", image)
    return f"{image}@{digest}" if re.sub(r":[\w.-]+$", "", familiar) == repository else image


def format_duration(seconds: int) -> str:
    """Return a duration as Docker prints it: 35s, 1m35s, 2m, 1h0m5s."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    if minutes or (hours and rest):
        text += f"{minutes}m"
    if rest or not text:
        text += f"{rest}s"
    return text


def _generation(name: str, contents: Sequence[Input[str]], parent: Resource) -> Output[str]:
    """Return a random name that changes when a file's content changes, without revealing it.

    The name is not the HMAC of the contents. Otherwise, an `up` that restores earlier contents
    would use names that still exist.
    """
    key = persist(f"{name}-files-key", secrets.token_hex(), parent)

    def digest(key_and_texts: Sequence[str]) -> str:
        key_text, *texts = key_and_texts
        joined = "\0".join(texts).encode()
        return hmac.new(key_text.encode(), joined, hashlib.sha256).hexdigest()

    trigger = Output.unsecret(Output.all(key, *contents).apply(digest))
    return Output.unsecret(persist(f"{name}-files", secrets.token_hex(4), parent, trigger=trigger))


def _limits(workload: Workload) -> docker.ServiceTaskSpecResourcesArgs | None:
    if workload.memory is None and workload.cpus is None:
        return None
    return docker.ServiceTaskSpecResourcesArgs(
        limits=docker.ServiceTaskSpecResourcesLimitsArgs(
            memory_bytes=workload.memory,
            nano_cpus=None if workload.cpus is None else round(workload.cpus * 10**9),
        )
    )
