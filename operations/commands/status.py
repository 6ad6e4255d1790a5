"""`make status STACK=…`: what works and what does not; fails where something does not."""

import json
import os
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from components.storage import BACKENDS
from config import certificates
from config.load import load
from config.rules import EXPIRES_SOON_DAYS
from config.stack import Stack
from operations import orphaned_keys as orphans
from operations import oss
from operations.clients import docker as engine
from operations.clients import redis
from operations.clients import registry as registry_api
from operations.clients.pulumi import access_keys, deployment, outputs_of
from operations.commands import drift
from operations.errors import CommandError, NotChecked
from operations.garbage_collection.collector import collector
from operations.review import NO_CHANGE
from operations.stack_file import configuration

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"
KEY_DAYS = 90  # after which a key should be another one


@dataclass(frozen=True)
class Row:
    part: str
    state: str
    text: str


@dataclass(frozen=True)
class Running:
    """A stack as it is: what its file says, what its state has, how docker reaches its engine."""

    stack: Stack
    config: Mapping[str, str]
    resources: Collection[Mapping[str, Any]]
    variables: Mapping[str, str]

    @property
    def outputs(self) -> Mapping[str, Any]:
        return outputs_of(self.resources)

    @property
    def endpoint(self) -> str:
        """The registry's address for clients. Raises NotChecked if only its engine reaches it."""
        address = str(self.outputs["endpoint"])
        exposure = self.stack.settings.registry.exposure
        if "docker:host" in self.config and exposure == "loopback":
            raise NotChecked(f"{address} is on the engine's machine only")
        return address

    def docker(self, *words: str) -> str:
        return engine.docker(self.variables, *words).strip()


Answer = tuple[str, str]


def _health(running: Running) -> Answer:
    """What the engine says of the registry."""
    name = f"{running.stack.prefix}-registry"
    if running.stack.settings.registry.runtime == "swarm":
        return _replicas(running, name)
    state = json.loads(running.docker("container", "inspect", "--format", "{{json .State}}", name))
    health = state["Health"]["Status"] if state["Running"] else "not running"
    return OK if health == "healthy" else FAIL, f"the registry is {health}"


def _replicas(running: Running, name: str) -> Answer:
    """How many of a service's replicas run."""
    listed = running.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}").splitlines()
    counts = dict(line.split()[:2] for line in listed)
    there, _, wanted = counts.get(name, "0/1").partition("/")
    state = FAIL if there == "0" else OK if there == wanted else WARN
    return state, f"{there} of {wanted} replicas of {name} run"


def _pushes(running: Running) -> Answer:
    """Whether they are taken, or refused for a collection of garbage."""
    stack = running.stack
    if not collector(stack, running.variables).read_only():
        return OK, "are taken"
    if stack.registry.refuses_pushes:
        return OK, "are refused, as registry.config says"
    return (
        FAIL,
        f"are refused while `make gc` is at work; if none is, it was ended: make up "
        f"STACK={stack.name}",
    )


def _endpoint(running: Running) -> Answer:
    """Whether clients are answered, with or without a login."""
    address = running.endpoint
    if running.stack.registry.is_local_to_remote_engine:
        raise NotChecked(f"{address} is an address of the engine's machine")
    try:
        code = registry_api.http_status(running.stack, address)
    except OSError as error:
        return FAIL, f"{address} does not answer: {error}"
    if code == HTTPStatus.OK:
        return OK, f"{address} answers"
    return OK if code == HTTPStatus.UNAUTHORIZED else FAIL, f"{address} answers {code}"


def _release(running: Running) -> Answer:
    runs, wanted = running.outputs["release"], running.stack.registry.release.version
    if runs == wanted:
        return OK, str(runs)
    return (
        WARN,
        f"{runs} runs, and the stack file says {wanted}: make up STACK={running.stack.name}",
    )


def _storage(running: Running) -> Answer:
    """Whether the images can be reached, by the registry's own key."""
    stack = running.stack
    if stack.settings.storage.kind == "filesystem":
        (volume,) = stack.registry.storage.volumes
        running.docker("volume", "inspect", volume)
        return OK, f"the volume {volume} is there"
    label = running.outputs.get("access_key")
    bucket = stack.settings.storage.bucket
    if label is None:
        return (
            FAIL,
            f"The registry does not use the bucket {bucket} yet. Run `make up STACK={stack.name}` "
            "to apply the stack file.",
        )
    if refused := oss.check(stack, str(label), running.variables):
        return FAIL, f"the registry has no access to the bucket {bucket}: {refused}"
    return OK, f"the bucket {bucket} takes the access key {label}"


def _cache(running: Running) -> Answer:
    """Whether redis takes the registry's password, from the registry's own network."""
    stack = running.stack
    if not redis.used(stack):
        return OK, "none"
    if stack.settings.registry.runtime == "swarm":
        # Its network takes none but services.
        if not stack.runs_redis:
            raise NotChecked(f"only the swarm's services reach redis at {redis.address(stack)}")
        return _replicas(running, stack.redis_host)
    said = redis.said(stack, running.variables, "PING")
    text = f"redis at {redis.address(stack)} answers {redis.explained(said)}"
    return OK if said == ["PONG"] else FAIL, text


def _key(running: Running) -> Answer:
    """How old the access key in use is, and whether RAM has others that the state does not have."""
    label = running.outputs.get("access_key")
    key = access_keys(running.resources).get(str(label))
    if not key:
        return OK, "none"
    days = (certificates.now() - datetime.fromisoformat(key["created"])).days
    state, text = OK, f"the access key {label} is {days} days old"
    if days >= KEY_DAYS:
        state, text = WARN, f"{text}: make rotate STACK={running.stack.name}"
    # Imported where it is needed: it takes a second.
    from operations.clients import ram

    user = running.stack.prefix
    try:
        extra = orphans.unknown(ram.keys(user), running.resources)
    except ram.Unasked as why:
        return state, f"{text}; not checked: other access keys of {user} ({why})"
    if extra:
        return WARN, f"{text}. {orphans.named(user, extra)}"
    return state, text


def _certificate(running: Running) -> Answer:
    """How long the certificate that clients see is good for."""
    server = urlsplit(running.endpoint)
    if server.scheme != "https":
        return OK, "none"
    try:
        seen = registry_api.server_certificate(running.stack, server.geturl())
    except OSError as error:
        return FAIL, f"{server.netloc} shows none: {error}"
    day, left = certificates.expiry(seen, certificates.now())
    state = FAIL if left < 0 else WARN if left < EXPIRES_SOON_DAYS else OK
    return state, f"the certificate is good until {day}, for {left} days"


def _drift(running: Running) -> Answer:
    last = drift.last(running.stack.name)
    if not last:
        return WARN, f"never looked for: make drift STACK={running.stack.name}"
    when, found = last
    return OK if found == NO_CHANGE else FAIL, f"{found} ({when})"


CHECKS: Mapping[str, Callable[[Running], Answer]] = {
    "health": _health,
    "endpoint": _endpoint,
    "pushes": _pushes,
    "release": _release,
    "storage": _storage,
    "cache": _cache,
    "key": _key,
    "certificate": _certificate,
    "drift": _drift,
}
# What a registry needs so that pushes and pulls work.
WORKS = ("health", "endpoint", "storage")


def rows(name: str, parts: Collection[str] = tuple(CHECKS)) -> Iterator[Row]:
    """How each of `parts` does. Raises CommandError where the stack is not up, SettingsError."""
    config, secrets = configuration(name)
    stack = load(name, config, secrets, os.environ, BACKENDS)
    with engine.reached(config) as variables:
        running = Running(stack, config, deployment(name).get("resources", ()), variables)
        if "endpoint" not in running.outputs:
            raise CommandError(f"the stack {name} is not up: make up STACK={name}")
        for part in parts:
            try:
                state, text = CHECKS[part](running)
            except NotChecked as reason:
                state, text = SKIP, f"not checked: {reason}"
            except CommandError as none:
                state, text = FAIL, str(none)
            except subprocess.CalledProcessError as error:
                state, text = FAIL, error.stderr.strip()
            yield Row(part, state, text)


def main(name: str) -> int:
    failed = False
    for row in rows(name):
        failed |= row.state == FAIL
        print(f"{row.state:5} {row.part:12} {row.text}", flush=True)
    return failed
