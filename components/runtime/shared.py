"""Docker resources and constants that both runtimes use."""

from collections.abc import Mapping

import pulumi_docker as docker
from pulumi import Output, Resource, ResourceOptions

from components.error_hints import with_hints
from components.runtime.error_hints import ERROR_HINTS
from components.runtime.workload import Workload
from config.stack import STACK_LABEL, Stack

TMP_MIB = 64
LOG_DRIVER = "json-file"
LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
HEALTH_INTERVAL, HEALTH_START_PERIOD = "3s", "30s"


def create_volume(resource: str, name: str, stack: str, parent: Resource) -> Output[str]:
    """Create a volume that remains after `pulumi destroy`, and return its name.

    An existing volume is used as it is. Only `docker volume rm` removes its data.
    """
    volume = docker.Volume(
        resource,
        name=name,
        labels=[docker.VolumeLabelArgs(label=STACK_LABEL, value=stack)],
        opts=ResourceOptions(
            parent=parent,
            retain_on_delete=True,
            ignore_changes=["labels", "driver", "driverOpts"],
            hooks=with_hints(resource, ERROR_HINTS),
        ),
    )
    return volume.name


def create_network(stack: Stack, driver: str) -> docker.Network:
    """Create the network of a stack, with the `driver` bridge or overlay."""
    return docker.Network(
        "network",
        name=stack.prefix,
        driver=driver,
        labels=[docker.NetworkLabelArgs(label=STACK_LABEL, value=stack.name)],
        opts=ResourceOptions(hooks=with_hints("network", ERROR_HINTS)),
    )


def pull_image(name: str, workload: Workload, parent: Resource) -> docker.RemoteImage:
    """Pull the image of `workload`, and keep it when the stack is destroyed."""
    resource = f"{name}-image"
    return docker.RemoteImage(
        resource,
        name=workload.image,
        keep_locally=True,  # other containers of this engine may use it
        opts=ResourceOptions(parent=parent, hooks=with_hints(resource, ERROR_HINTS)),
    )


def labels(stack: str, workload: Workload) -> Mapping[str, str]:
    """Return the labels of a container or service, sorted by name."""
    return dict(sorted({STACK_LABEL: stack, **workload.labels}.items()))
