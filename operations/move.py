"""`make move STACK=… RUNTIME=…`: the registry goes from a container to a swarm, or back.

Its storage stays, and what was drawn for it. What the runtimes have alike (names, the port) must be
free first, so the one is taken down before the other is made: killed in between, the same command
goes on from there.
"""

import json
import os
import subprocess
import time
from collections.abc import Sequence

from components.checks import load
from components.settings import PROJECT
from operations import Blocked, engine, swarm
from operations.preview import require_deployer
from operations.recover import recover
from operations.stack_file import configuration
from operations.state import NETWORK, deployment, pulumi_seen
from operations.up import consent_and_meant

KEY = f"{PROJECT}:registry"


def move(name: str, runtime: str, consent: Sequence[str]) -> None:
    """Move the stack `name`. Raises Blocked, SettingsError, CalledProcessError."""
    config, secret = configuration(name)
    registry = json.loads(config.get(KEY, "{}"))
    wanted = {**config, KEY: json.dumps({**registry, "runtime": runtime})}
    stack = load(name, wanted, secret, os.environ)
    require_deployer(stack)
    stack_and_consent = ("--stack", name, *consent)
    there = deployment(name).get("resources", ())
    old = [resource["urn"] for _, resource in swarm.made_for_another(runtime, there)]
    if old:
        # Both runtimes have one, with a driver of its own.
        old += [resource["urn"] for resource in there if resource["type"] == NETWORK]
    with engine.reached(config) as variables:
        if hindered := swarm.obstacle(stack, (), variables):
            raise Blocked(hindered)
        begun = time.monotonic()
        if old:
            pulumi_seen("destroy", *stack_and_consent, *(f"--target={urn}" for urn in old))
        swarm.remove_unused(name, variables)
    pulumi_seen("config", "set", "--stack", name, "--path", f"{KEY}.runtime", runtime)
    try:
        pulumi_seen("up", *stack_and_consent)
    except subprocess.CalledProcessError:
        print(f"move: the images are intact: mend it and `make up STACK={name}`, or move it back")
        raise
    away = time.monotonic() - begun
    print(f"The registry runs by runtime: {runtime}; it was away for {away:.0f} s at most.")


def main(name: str, runtime: str, *words: str) -> int:
    consent, _ = consent_and_meant(words)
    recover(name)
    move(name, runtime, ("--yes", "--skip-preview") if consent else ())
    return 0
