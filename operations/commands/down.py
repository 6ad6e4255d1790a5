"""`make down`: remove a registry, but not its images, and print where they are."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from components.storage import BACKENDS, all_backends
from components.storage.backend import Loss
from config.problems import SettingsError
from config.settings import StackSettings
from config.stack import Stack
from operations import guard, swarm
from operations.clients.docker import Docker
from operations.commands.preview import require_deployer_key
from operations.commands.up import add_allowed_losses, add_consent
from operations.context import StackContext
from operations.recovery import recover


def add_arguments(parser: ArgumentParser) -> None:
    add_consent(parser)
    add_allowed_losses(parser)


def run(context: StackContext, arguments: Namespace) -> int:
    recovery = recover(context)
    stack = _stack_or_defaults(context)
    losses = find_losses(context, stack)
    guard.require_allowed(
        context.name, "down", losses, arguments.allowed_losses, recovery.stop_message
    )
    require_deployer_key(context, stack)
    docker = context.docker
    try:
        options = ("--yes", "--skip-preview") if arguments.yes else ()
        # If the bucket is protected, this removes everything else and then fails.
        context.pulumi.run_visibly("destroy", *options)
    finally:
        swarm.remove_unused_files(context.name, docker)
    _print_remaining_data(stack, docker)
    return 0


def _stack_or_defaults(context: StackContext) -> Stack:
    """Return the stack, or one with default settings if its file is invalid.

    This lets `down` work with an invalid file.
    """
    try:
        return context.stack
    except SettingsError:
        return Stack(context.name, StackSettings(), BACKENDS)


def find_losses(context: StackContext, stack: Stack) -> Sequence[Loss]:
    """Return the images that `pulumi destroy` would delete or make unreachable."""
    pulumi = context.pulumi
    return [
        loss
        for backend in all_backends(stack.registry)
        for loss in backend.losses_of_destroy(
            pulumi.resources, pulumi.outputs, context.find_access_key
        )
    ]


def _print_remaining_data(stack: Stack, docker: Docker) -> None:
    """Print where the images are, and how to remove them."""
    for backend in all_backends(stack.registry):
        for line in backend.remaining_images(docker.run):
            print(line)
    volume = stack.registry.letsencrypt_volume
    if docker.run("volume", "ls", "--quiet", "--filter", f"name=^{volume}$"):
        print(f"What Let's Encrypt gave is in the volume {volume}: docker volume rm {volume}")
