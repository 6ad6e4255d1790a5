"""`make move STACK=… RUNTIME=…`: the registry goes from a container to a swarm, or back.

Its storage stays, and what was drawn for it: a plan that changes more than the runtime is refused.
What the runtimes have alike (names, the port) must be free first, so the one is taken down before
the other is made: killed in between, the same command goes on from there.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.storage import BACKENDS
from config.load import load
from config.settings import PROJECT
from config.stack import Stack
from operations import stack_file, swarm
from operations.clients import docker as engine
from operations.clients.pulumi import NETWORK, STASH, outputs_of, pulumi_seen
from operations.commands.preview import planned, require_deployer, show
from operations.commands.up import ask, consent_and_meant
from operations.errors import CommandError
from operations.recovery import Recovered, recover
from operations.review import Change, Review

KEY = f"{PROJECT}:registry"
# What a move makes or removes; STASH holds the words in the names of a service's files.
MOVED = {NETWORK, STASH}.union(*swarm.OWN_KINDS.values())


def move(name: str, runtime: str, recovered: Recovered, *, consent: bool) -> None:
    """Move the stack `name`. Raises CommandError, SettingsError, CalledProcessError."""
    there = recovered.resources
    text = stack_file.with_runtime(name, runtime)
    stack = load(name, *stack_file.handed_over(json.loads(text)["config"]), os.environ, BACKENDS)
    require_deployer(stack)
    old = [resource["urn"] for _, resource in swarm.made_for_another(runtime, there)]
    if not old and any(_is_registry(resource, runtime) for resource in there):
        _set_runtime(name, runtime)
        print(f"The registry runs by runtime: {runtime} already. `make up` applies other changes.")
        return
    if old:
        # Both runtimes have one, with a driver of its own.
        old += [resource["urn"] for resource in there if resource["type"] == NETWORK]
    config, _ = stack_file.configuration(name)
    options = ("--stack", name, "--yes", "--skip-preview")
    with engine.reached(config) as variables:
        if hindered := swarm.obstacle(stack, (), variables):
            raise CommandError(hindered)
        found = _planned(stack, text)
        show(found, "text")
        _see_nothing_else(stack, outputs_of(there), found, recovered.stopped)
        if not consent:
            ask("Do it?", recovered.stopped)
        begun = time.monotonic()
        if old:
            pulumi_seen("destroy", *options, *(f"--target={urn}" for urn in old))
        swarm.remove_unused(name, variables)
    _set_runtime(name, runtime)
    try:
        pulumi_seen("up", *options)
    except subprocess.CalledProcessError:
        print(f"move: the images are intact: mend it and `make up STACK={name}`, or move it back")
        raise
    away = time.monotonic() - begun
    print(f"The registry runs by runtime: {runtime}; it was away for {away:.0f} s at most.")


def _is_registry(resource: Mapping[str, Any], runtime: str) -> bool:
    kinds = swarm.OWN_KINDS[runtime]
    return resource["type"] in kinds and str(resource["urn"]).endswith("::registry")


def _set_runtime(name: str, runtime: str) -> None:
    pulumi_seen("config", "set", "--stack", name, "--path", f"{KEY}.runtime", runtime)


def _planned(stack: Stack, text: str) -> Review:
    """What `up` would change, were `text` the stack file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"Pulumi.{stack.name}.yaml")
        file.write_text(text)
        flags = ("--refresh", "--config-file", str(file))
        found, _ = planned(stack.name, *flags, stack=stack)
    return found


def _see_nothing_else(stack: Stack, before: Mapping[str, Any], found: Review, stopped: str) -> None:
    """Raises CommandError if the plan fails, or changes more than the runtime.

    `before` are the stack's outputs; it may be partly down already, or was never up.
    """
    if found.errors:
        raise CommandError(f"{stopped}: the plan fails, see above")
    others = [*_others(found.changes), *_other_outputs(stack, before)]
    if before and others:
        raise CommandError(
            f"{stopped}: more would change than the runtime ({', '.join(others)}). Run "
            f"`make up STACK={stack.name}` with the present runtime first."
        )


def _others(changes: Sequence[Change]) -> Iterator[str]:
    """The changes that no move makes."""
    for change in changes:
        if change.kind not in MOVED:
            yield f"{change.title} {change.name}"


def _other_outputs(stack: Stack, before: Mapping[str, Any]) -> Iterator[str]:
    """The outputs that are not as they were, whichever runtime the stack had then."""
    registry = stack.settings.registry
    variants = []
    for runtime in swarm.OWN_KINDS:
        section = registry.model_copy(update={"runtime": runtime})
        settings = stack.settings.model_copy(update={"registry": section})
        variants.append(replace(stack, settings=settings))
    same: Mapping[str, Sequence[object]] = {
        "endpoint": [each.registry.endpoint for each in variants],
        "release": [each.registry.release.version for each in variants],
        "images": [each.registry.storage.location for each in variants],
        "environment": [each.registry.redacted for each in variants],
    }
    for output, values in same.items():
        if output in before and before[output] not in values:
            yield output


def main(name: str, runtime: str, *words: str) -> int:
    consent, _ = consent_and_meant(words)
    move(name, runtime, recover(name), consent=consent)
    return 0
