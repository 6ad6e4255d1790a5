"""`make status STACK=…`: what works and what does not; fails where something does not."""

import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from components import certificates
from components.checks import HTTPS, SOON, load
from components.stack import Stack
from operations import Blocked, drift, engine, oss, redis
from operations.collector import collector
from operations.review import NO_CHANGE
from operations.stack_file import configuration
from operations.state import access_keys, deployment, outputs_of

OK, WARN, FAIL = "ok", "warn", "fail"
KEY_DAYS = 90  # after which a key should be another one
SECONDS = 10  # for an answer


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
    if stack.read_only:
        return OK, "are refused, as registry.config says"
    return (
        FAIL,
        f"are refused while `make gc` is at work; if none is, it was ended: make up "
        f"STACK={stack.name}",
    )


def _endpoint(running: Running) -> Answer:
    """Whether clients are answered, with or without a login."""
    address = str(running.outputs["endpoint"])
    if running.stack.only_on_engine:
        return OK, f"{address} is for the engine's own machine"
    try:
        code = http_status(address)
    except OSError as error:
        return FAIL, f"{address} does not answer: {error}"
    if code == HTTPStatus.OK:
        return OK, f"{address} answers"
    return OK if code == HTTPStatus.UNAUTHORIZED else FAIL, f"{address} answers {code}"


def http_status(address: str) -> int:
    """Return the status code with which the registry at `address` answers `GET /v2/`.

    The certificate is not verified: whether clients trust it is theirs to decide. Raises OSError if
    there is no answer within `SECONDS`.
    """
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(
            f"{address}/v2/", timeout=SECONDS, context=unverified
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as answer:
        return answer.code


def _release(running: Running) -> Answer:
    runs, wanted = running.outputs["release"], running.stack.release.version
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
        running.docker("volume", "inspect", stack.volume)
        return OK, f"the volume {stack.volume} is there"
    label = running.outputs.get("access_key")
    if label is None:
        return (
            FAIL,
            f"The registry does not use the bucket {stack.settings.storage.bucket} yet. Run `make "
            f"up STACK={stack.name}` to apply the stack file.",
        )
    key = oss.key_in_use(stack.name, label)
    facts = stack.oss
    try:
        oss.reachable(facts, key)
    except oss.OssError as failure:
        said = f"{facts.host} answers {failure}"
        return FAIL, f"the bucket {facts.bucket} does not take the access key {label}: {said}"
    return OK, f"the bucket {facts.bucket} takes the access key {label}"


def _cache(running: Running) -> Answer:
    """Whether redis takes the registry's password, from the registry's own network."""
    stack = running.stack
    cache = stack.settings.cache
    if not cache.enabled:
        return OK, "none"
    if stack.settings.registry.runtime == "swarm":
        # Its network takes none but services.
        if not stack.runs_redis:
            return OK, f"{cache.address} is only in the registry's reach"
        return _replicas(running, stack.redis_host)
    said = redis.said(stack, running.variables, "PING")
    text = f"redis at {redis.address(stack)} answers {' '.join(said) or 'nothing'}"
    return OK if said == ["PONG"] else FAIL, text


def _key(running: Running) -> Answer:
    """How old the access key in use is."""
    label = running.outputs.get("access_key")
    key = access_keys(running.resources).get(str(label))
    if not key:
        return OK, "none"
    days = (certificates.now() - datetime.fromisoformat(key["created"])).days
    if days < KEY_DAYS:
        return OK, f"the access key {label} is {days} days old"
    return (
        WARN,
        f"the access key {label} is {days} days old: make rotate STACK={running.stack.name}",
    )


def _certificate(running: Running) -> Answer:
    """How long the certificate that clients see is good for."""
    server = urlsplit(str(running.outputs["endpoint"]))
    if server.scheme != "https":
        return OK, "none"
    try:
        there = (str(server.hostname), server.port or HTTPS)
        seen = ssl.get_server_certificate(there, timeout=SECONDS)
    except OSError as error:
        return FAIL, f"{server.netloc} shows none: {error}"
    day, left = certificates.left(seen, certificates.now())
    state = FAIL if left < 0 else WARN if left < SOON else OK
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
    """How each of `parts` does. Raises Blocked where the stack is not up, SettingsError."""
    config, secrets = configuration(name)
    stack = load(name, config, secrets, os.environ)
    with engine.reached(config) as variables:
        running = Running(stack, config, deployment(name).get("resources", ()), variables)
        if "endpoint" not in running.outputs:
            raise Blocked(f"the stack {name} is not up: make up STACK={name}")
        for part in parts:
            try:
                state, text = CHECKS[part](running)
            except Blocked as none:
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
