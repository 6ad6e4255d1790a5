"""`make down STACK=…`: all is removed but the images; it says where they are."""

import os
from collections.abc import Mapping, Sequence

from components.storage import BACKENDS
from components.storage.filesystem import FilesystemBackend
from config.load import load
from config.problems import SettingsError
from config.settings import StackSettings
from config.stack import Stack
from operations import guard, oss, swarm
from operations.clients import docker as engine
from operations.clients.pulumi import BUCKET, deployment, outputs_of, pulumi_seen
from operations.commands.preview import require_deployer
from operations.commands.up import consent_and_meant
from operations.recovery import recover
from operations.stack_file import configuration


def main(name: str, *words: str) -> int:
    consent, meant = consent_and_meant(words)
    recovered = recover(name)
    guard.stop(name, "down", _lost(name), meant, recovered.stopped)
    config, secrets = configuration(name)
    try:
        stack = load(name, config, secrets, os.environ, BACKENDS)
    except SettingsError:
        stack = Stack(
            name, StackSettings(), BACKENDS
        )  # what is wrong with it keeps nothing from being seen
    require_deployer(stack)
    with engine.reached(config) as variables:
        try:
            flags = ("--yes", "--skip-preview") if consent else ()
            # A bucket that is protected ends it with an error, and the rest is gone all the same.
            pulumi_seen("destroy", "--stack", name, *flags)
        finally:
            swarm.remove_unused(name, variables)
        _say_where(stack, variables)
    return 0


def _lost(name: str) -> Sequence[guard.Loss]:
    """The images of a bucket that may be deleted with what is in it."""
    resources = deployment(name).get("resources", ())
    key = outputs_of(resources).get("access_key")
    instead = (
        f"To keep the bucket, set storage.force_destroy: false and `make up STACK={name}` first"
    )
    return [
        loss
        for resource in resources
        if resource["type"] == BUCKET and not resource.get("external")
        if resource["inputs"].get("forceDestroy") and not resource.get("protect")
        for loss in guard.bucket_loss(name, resource, key, instead)
    ]


def _say_where(stack: Stack, variables: Mapping[str, str]) -> None:
    """Where the images still are, and how to remove them."""
    volume = FilesystemBackend(stack.registry).volume
    storage = stack.settings.storage
    if storage.adopt:
        below = oss.bucket_of(stack).object_prefix
        where = f", below {below}" if below else ""
        print(f"The images are kept in the bucket {storage.bucket}{where}.")
    # By its name alone: it may have been there before the stack.
    named = ("volume", "ls", "--quiet", "--filter", f"name=^{volume}$")
    if engine.docker(variables, *named):
        print(f"The images are kept in the volume {volume}: `make up` finds them there.")
        print(f"To remove them for good: docker volume rm {volume}")
    fetched = stack.registry.letsencrypt_volume
    if engine.docker(variables, "volume", "ls", "--quiet", "--filter", f"name=^{fetched}$"):
        print(f"What Let's Encrypt gave is in the volume {fetched}: docker volume rm {fetched}")
