"""`make move`: run a registry as a Swarm service instead of a container, or the other way round.

Its storage and its generated secrets stay. A plan that changes more than the runtime is refused.
Both runtimes use the same names and the same port, so the old one is removed before the new one is
created. After an interruption, the same command continues.
"""

import subprocess
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from config.resource_names import NETWORK, REGISTRY, RUNTIME_TYPES, STASH
from config.stack import Stack
from operations import preflight, stack_file, swarm
from operations.commands.preview import plan, require_deployer_key, show
from operations.commands.up import add_consent, ask
from operations.context import StackContext
from operations.errors import CommandError
from operations.recovery import recover
from operations.review import Review

# The types of resources that a move creates or removes. A Stash persists the random part of the
# names of a service's secrets and configs.
MOVED_TYPES = {NETWORK, STASH}.union(*RUNTIME_TYPES.values())


def add_arguments(parser: ArgumentParser) -> None:
    add_consent(parser)
    parser.add_argument("--runtime", required=True, help="container or swarm")


def run(context: StackContext, arguments: Namespace) -> int:
    recovery = recover(context)
    move(context, arguments.runtime, consent=arguments.yes, stop_message=recovery.stop_message)
    return 0


def move(context: StackContext, runtime: str, *, consent: bool, stop_message: str) -> None:
    """Move the registry to another runtime.

    `stop_message` is how the text of an error starts. Raises CommandError, SettingsError,
    CalledProcessError.
    """
    resources = context.pulumi.resources
    text, stack = stack_file.copy_with_runtime(context.name, runtime)
    require_deployer_key(context, stack)
    old = [
        resource["urn"] for _, resource in preflight.resources_of_other_runtimes(runtime, resources)
    ]
    if not old and any(_is_registry(resource, runtime) for resource in resources):
        _set_runtime(context, runtime)
        print(f"The registry runs by runtime: {runtime} already. `make up` applies other changes.")
        return
    if old:
        # Each runtime has its own kind of network.
        old += [resource["urn"] for resource in resources if resource["type"] == NETWORK]
    preflight.require_engine(stack, (), context.docker)
    review = _plan(context, stack, text)
    show(review, "text")
    _require_no_other_changes(stack, context.pulumi.outputs, review, stop_message)
    if not consent:
        ask("Do it?", stop_message)
    begun = time.monotonic()
    options = ("--yes", "--skip-preview")
    if old:
        context.pulumi.run_visibly("destroy", *options, *(f"--target={urn}" for urn in old))
    swarm.remove_unused_files(context.name, context.docker)
    _set_runtime(context, runtime)
    try:
        context.pulumi.run_visibly("up", *options)
    except subprocess.CalledProcessError:
        print(
            f"move: the images are intact: mend it and `make up STACK={context.name}`, or move it "
            "back"
        )
        raise
    seconds = time.monotonic() - begun
    print(f"The registry runs by runtime: {runtime}; it was away for {seconds:.0f} s at most.")


def _is_registry(resource: Mapping[str, Any], runtime: str) -> bool:
    is_of_runtime = resource["type"] in RUNTIME_TYPES[runtime]
    return is_of_runtime and str(resource["urn"]).endswith(f"::{REGISTRY}")


def _set_runtime(context: StackContext, runtime: str) -> None:
    path = f"{stack_file.REGISTRY_SECTION}.runtime"
    context.pulumi.run_visibly("config set", "--path", path, runtime)


def _plan(context: StackContext, stack: Stack, text: str) -> Review:
    """Return what `up` would change if the stack file were `text`, which describes `stack`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"Pulumi.{stack.name}.yaml")
        file.write_text(text)
        review, _ = plan(context, "--refresh", "--config-file", str(file), stack=stack)
    return review


def _require_no_other_changes(
    stack: Stack, outputs: Mapping[str, Any], review: Review, stop_message: str
) -> None:
    """Raise CommandError if the plan fails, or changes more than the runtime.

    `outputs` are those of the last update. There are none if the stack was not deployed, or if an
    earlier move was interrupted.
    """
    if review.errors:
        raise CommandError(f"{stop_message}: the plan fails, see above")
    others = [
        f"{change.title} {change.name}"
        for change in review.changes
        if change.kind not in MOVED_TYPES
    ]
    others += _changed_outputs(stack, outputs)
    if outputs and others:
        raise CommandError(
            f"{stop_message}: more would change than the runtime ({', '.join(others)}). Run "
            f"`make up STACK={stack.name}` with the present runtime first."
        )


def _changed_outputs(stack: Stack, outputs: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of `outputs` that differ from those of `stack` with every runtime."""
    registries = []
    for runtime in RUNTIME_TYPES:
        section = stack.settings.registry.model_copy(update={"runtime": runtime})
        settings = stack.settings.model_copy(update={"registry": section})
        registries.append(replace(stack, settings=settings).registry)
    unchanged: Mapping[str, Sequence[object]] = {
        "endpoint": [registry.endpoint for registry in registries],
        "release": [registry.release.version for registry in registries],
        "images": [registry.storage.location for registry in registries],
        "environment": [registry.redacted for registry in registries],
    }
    for name, values in unchanged.items():
        if name in outputs and outputs[name] not in values:
            yield name
