"""A flat Pulumi program for comparison. It declares the resources of a local stack directly.

`bench.control_plane` runs it. It has no settings model, no configuration tree and no components.
"""

import secrets
from typing import Any

import pulumi
import pulumi_docker as docker

stack = pulumi.get_stack()
registry = pulumi.Config("oss-registry").require_object("registry")
name = f"oss-registry-{stack}"


def persisted(label: str) -> pulumi.Output[str]:
    """A generated secret that stays the same in later updates."""
    stash = pulumi.Stash(
        label,
        input=pulumi.Output.secret(secrets.token_urlsafe(32)),
        opts=pulumi.ResourceOptions(ignore_changes=["input"], additional_secret_outputs=["output"]),
    )
    return pulumi.Output.secret(stash.output)


def container(part: str, reference: str, health: list[str], **more: Any) -> None:  # noqa: ANN401
    """Declare a container and its image. `health` is the command of its health check."""
    image = docker.RemoteImage(f"{part}-image", name=reference, keep_locally=True)
    docker.Container(
        part,
        name=f"{name}-{part}",
        image=image.image_id,
        network_mode="bridge",
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network.name)],
        healthcheck=docker.ContainerHealthcheckArgs(
            tests=["CMD", *health], interval="3s", timeout="3s", retries=3, start_period="30s"
        ),
        wait=True,
        wait_timeout=60,
        restart="unless-stopped",
        log_driver="json-file",
        log_opts={"max-size": "10m", "max-file": "3"},
        labels=[docker.ContainerLabelArgs(label="oss-registry.stack", value=stack)],
        opts=pulumi.ResourceOptions(delete_before_replace=True),
        **more,
    )


network = docker.Network(
    "network",
    name=name,
    driver="bridge",
    labels=[docker.NetworkLabelArgs(label="oss-registry.stack", value=stack)],
)
data = docker.Volume(
    "data",
    name=f"{name}-data",
    labels=[docker.VolumeLabelArgs(label="oss-registry.stack", value=stack)],
    opts=pulumi.ResourceOptions(retain_on_delete=True),
)
http_secret, password = persisted("http-secret"), persisted("redis-password")
container(
    "redis",
    "redis:7.0.15",
    ["/usr/local/bin/redis-cli", "ping"],
    entrypoints=["/usr/local/bin/redis-server"],
    command=["/etc/redis.conf"],
    user="999:999",
    stop_timeout=10,
    destroy_grace_seconds=10,
    uploads=[
        docker.ContainerUploadArgs(
            file="/etc/redis.conf",
            content=password.apply(
                lambda text: (
                    f'requirepass "{text}"\nmaxmemory 268435456\n'
                    'maxmemory-policy allkeys-lru\nsave ""\nappendonly no\n'
                )
            ),
        )
    ],
)
variables = {
    "OTEL_TRACES_EXPORTER": "none",
    "REGISTRY_HEALTH_STORAGEDRIVER_ENABLED": "true",
    "REGISTRY_HEALTH_STORAGEDRIVER_INTERVAL": "10s",
    "REGISTRY_HEALTH_STORAGEDRIVER_THRESHOLD": "3",
    "REGISTRY_HTTP_ADDR": ":5000",
    "REGISTRY_HTTP_DEBUG_ADDR": "",
    "REGISTRY_HTTP_DRAINTIMEOUT": "30s",
    "REGISTRY_LOG_ACCESSLOG_DISABLED": "true",
    "REGISTRY_LOG_LEVEL": registry["log_level"],
    "REGISTRY_REDIS_ADDRS": f'["{name}-redis:6379"]',
    "REGISTRY_REDIS_DB": "0",
    "REGISTRY_REDIS_MAXIDLECONNS": "16",
    "REGISTRY_REDIS_POOLSIZE": "64",
    "REGISTRY_STORAGE": "filesystem",
    "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
    "REGISTRY_STORAGE_DELETE_ENABLED": "true",
    "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "/var/lib/registry",
}
container(
    "registry",
    "registry:3.1.2",
    ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5000/"],
    envs=[
        *(f"{key}={value}" for key, value in variables.items()),
        pulumi.Output.concat("REGISTRY_HTTP_SECRET=", http_secret),
        pulumi.Output.concat("REGISTRY_REDIS_PASSWORD=", password),
    ],
    volumes=[docker.ContainerVolumeArgs(volume_name=data.name, container_path="/var/lib/registry")],
    ports=[
        docker.ContainerPortArgs(
            ip="127.0.0.1", external=int(registry["port"]), internal=5000, protocol="tcp"
        )
    ],
    stop_timeout=35,
    destroy_grace_seconds=35,
)
pulumi.export("endpoint", f"http://127.0.0.1:{int(registry['port'])}")
pulumi.export("environment", variables)
