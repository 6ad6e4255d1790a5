"""Workloads as Docker containers.

A container has no capabilities and cannot gain privileges.
"""

import pulumi_docker as docker
from pulumi import Output, Resource, ResourceOptions

from components.error_hints import with_hints
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
from config.stack import Stack

CPU_PERIOD = 100_000  # µs, the kernel's default


class ContainerRuntime:
    """Runs each workload as one container, on a bridge network."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack.name
        self._network = create_network(stack, "bridge")

    def run(self, name: str, workload: Workload, parent: Resource) -> None:
        image = pull_image(name, workload, parent)
        memory = workload.memory and workload.memory // 2**20  # the provider counts in MiB
        docker.Container(
            name,
            name=workload.name,
            # The provider reads a name or digest back as the ID, and would replace the container.
            image=image.image_id,
            entrypoints=list(workload.entrypoint) or None,
            command=list(workload.command) or None,
            user=workload.user,
            envs=[
                # Most values are plain. Creating an Output for each would dominate the run time.
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
            # Otherwise the provider reads another value back and replaces the container
            # (pulumi-docker #1272).
            network_mode="bridge",
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=self._network.name)],
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD", *workload.health],
                interval=HEALTH_INTERVAL,
                timeout="3s",
                retries=3,
                start_period=HEALTH_START_PERIOD,
            ),
            wait=True,
            wait_timeout=HEALTHY_SECONDS,
            restart="unless-stopped",
            # Set explicitly: otherwise an engine with other defaults would cause a diff.
            log_driver=LOG_DRIVER,
            log_opts=LOG_OPTIONS,
            memory=memory,
            memory_swap=memory,  # no swap; otherwise the engine's default would cause a diff
            # Not `cpus`: the provider reads 1 back as "1.0" and 10 as "10.", which causes a diff.
            cpu_period=None if workload.cpus is None else CPU_PERIOD,
            cpu_quota=None if workload.cpus is None else round(workload.cpus * CPU_PERIOD),
            # The first applies when the engine stops, the second when Pulumi stops the container.
            stop_timeout=workload.stop_seconds,
            destroy_grace_seconds=workload.stop_seconds,
            labels=[
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in labels(self._stack, workload).items()
            ],
            opts=ResourceOptions(
                parent=parent,
                delete_before_replace=True,  # the name and the port must be free first
                # The provider would update these in place, but does not apply every change. For
                # example, it cannot remove a limit.
                replace_on_changes=["healthcheck", "memory", "memorySwap", "cpuPeriod", "cpuQuota"],
                hooks=with_hints(name, ERROR_HINTS),
            ),
        )
