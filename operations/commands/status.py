"""`make status`: print whether each part of a registry works, and fail if one does not."""

import json
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from config import certificates, docker_engine
from config.rules import EXPIRES_SOON_DAYS
from operations import orphaned_keys
from operations.clients import registry as registry_client
from operations.clients.pulumi import access_keys
from operations.clients.redis import describe_answer
from operations.commands import drift
from operations.context import StackContext
from operations.errors import CommandError, NotChecked
from operations.garbage_collection.collector import create_collector
from operations.review import NO_CHANGE

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"
KEY_DAYS = 90  # the age at which an access key should be replaced


@dataclass(frozen=True)
class Row:
    """The result of the check of `part`. See `Result`."""

    part: str
    state: str
    text: str


class Result(NamedTuple):
    """The result of a check: OK, WARN, FAIL or SKIP, and a sentence."""

    state: str
    text: str


def add_arguments(_: ArgumentParser) -> None:
    pass


def run(context: StackContext, _: Namespace) -> int:
    has_failed = False
    for row in check_parts(context):
        has_failed |= row.state == FAIL
        print(f"{row.state:5} {row.part:12} {row.text}", flush=True)
    return has_failed


def check_parts(context: StackContext, parts: Collection[str] = ()) -> Iterator[Row]:
    """Yield the result of each check, or of those in `parts`.

    Raises CommandError if the stack is not deployed, and SettingsError.
    """
    # Most checks need decrypted secrets. The others also work with a wrong passphrase.
    with suppress(CommandError, subprocess.CalledProcessError):
        context.pulumi.state(decrypted=True)
    context.require_deployed()
    for part, check in CHECKS.items():
        if not parts or part in parts:
            yield Row(part, *_result(check, context))


def _result(check: Callable[[StackContext], Result], context: StackContext) -> Result:
    try:
        return check(context)
    except NotChecked as reason:
        return Result(SKIP, f"not checked: {reason}")
    except CommandError as error:
        return Result(FAIL, str(error))
    except subprocess.CalledProcessError as error:
        return Result(FAIL, error.stderr.strip())


def _health(context: StackContext) -> Result:
    """Check the health that the engine reports."""
    registry = context.stack.registry
    if registry.settings.runtime == "swarm":
        return _replicas(context, registry.container)
    words = ("container", "inspect", "--format", "{{json .State}}", registry.container)
    state = json.loads(context.docker.run(*words))
    health = state["Health"]["Status"] if state["Running"] else "not running"
    return Result(OK if health == "healthy" else FAIL, f"the registry is {health}")


def _replicas(context: StackContext, service: str) -> Result:
    """Check how many replicas of a service run."""
    listed = context.docker.run("service", "ls", "--format", "{{.Name}} {{.Replicas}}")
    counts = dict(line.split()[:2] for line in listed.splitlines())
    running, _, wanted = counts.get(service, "0/1").partition("/")
    text = f"{running} of {wanted} replicas of {service} run"
    if running == "0":
        return Result(FAIL, text)
    return Result(OK if running == wanted else WARN, text)


def _endpoint(context: StackContext) -> Result:
    """Check that the registry answers clients, with or without a login."""
    registry, address = context.stack.registry, _address(context)
    if registry.is_local_to_remote_engine:
        raise NotChecked(f"{address} is an address of the engine's machine")
    try:
        code = registry_client.http_status(registry, address)
    except OSError as error:
        return Result(FAIL, f"{address} does not answer: {error}")
    if code == HTTPStatus.OK:
        return Result(OK, f"{address} answers")
    state = OK if code == HTTPStatus.UNAUTHORIZED else FAIL
    return Result(state, f"{address} answers {code}")


def _address(context: StackContext) -> str:
    """Return the URL for clients. Raises NotChecked if only the engine's machine reaches it."""
    address = str(context.pulumi.outputs["endpoint"])
    exposure = context.stack.registry.settings.exposure
    if docker_engine.HOST in context.configuration.texts and exposure == "loopback":
        raise NotChecked(f"{address} is on the engine's machine only")
    return address


def _pushes(context: StackContext) -> Result:
    """Check that the registry accepts pushes, unless it is to be read-only."""
    stack = context.stack
    if not create_collector(stack, context.docker).is_read_only():
        return Result(OK, "are taken")
    if stack.registry.refuses_pushes:
        return Result(OK, "are refused, as registry.config says")
    return Result(
        FAIL,
        f"are refused while `make gc` is at work; if none is, it was ended: make up "
        f"STACK={stack.name}",
    )


def _release(context: StackContext) -> Result:
    release, wanted = context.pulumi.outputs["release"], context.stack.registry.release.version
    if release == wanted:
        return Result(OK, str(release))
    return Result(
        WARN, f"{release} runs, and the stack file says {wanted}: make up STACK={context.name}"
    )


def _storage(context: StackContext) -> Result:
    """Check that the registry has access to its images, with its own key."""
    works, text = context.storage.status(
        context.pulumi.outputs, context.access_key, context.docker.run
    )
    return Result(OK if works else FAIL, text)


def _cache(context: StackContext) -> Result:
    """Check that redis accepts the registry's password, from the registry's network."""
    stack, redis = context.stack, context.redis
    if not redis.is_used:
        return Result(OK, "none")
    if stack.registry.settings.runtime == "swarm":
        # Only services can join the network.
        if not stack.runs_redis:
            raise NotChecked(f"only the swarm's services reach redis at {redis.address}")
        return _replicas(context, stack.redis_host)
    answer = redis.ask("PING")
    state = OK if answer == ["PONG"] else FAIL
    return Result(state, f"redis at {redis.address} answers {describe_answer(answer)}")


def _key(context: StackContext) -> Result:
    """Check the age of the access key in use, and whether RAM has keys that the state lacks."""
    label = str(context.pulumi.outputs.get("access_key"))
    key = access_keys(context.pulumi.resources).get(label)
    if not key:
        return Result(OK, "none")
    days = (certificates.now() - datetime.fromisoformat(key["created"])).days
    state, text = OK, f"the access key {label} is {days} days old"
    if days >= KEY_DAYS:
        state, text = WARN, f"{text}: make rotate STACK={context.name}"
    # Imported here, because the import takes a second. Stacks without a key do not need it.
    from operations.clients import ram

    user = context.prefix
    try:
        keys = ram.list_access_keys(user)
    except ram.RamError as reason:
        return Result(state, f"{text}; not checked: other access keys of {user} ({reason})")
    orphaned = orphaned_keys.not_in_state(keys, context.pulumi.resources)
    if orphaned:
        return Result(WARN, f"{text}. {orphaned_keys.describe(user, orphaned)}")
    return Result(state, text)


def _certificate(context: StackContext) -> Result:
    """Check how long the certificate that clients get is valid."""
    server = urlsplit(_address(context))
    if server.scheme != "https":
        return Result(OK, "none")
    try:
        pem = registry_client.server_certificate(context.stack.registry, server.geturl())
    except OSError as error:
        return Result(FAIL, f"{server.netloc} shows none: {error}")
    day, days = certificates.expiry(pem, certificates.now())
    text = f"the certificate is good until {day}, for {days} days"
    if days < 0:
        return Result(FAIL, text)
    return Result(WARN if days < EXPIRES_SOON_DAYS else OK, text)


def _drift(context: StackContext) -> Result:
    last = drift.last_result(context)
    if not last:
        return Result(WARN, f"never looked for: make drift STACK={context.name}")
    time, summary = last
    return Result(OK if summary == NO_CHANGE else FAIL, f"{summary} ({time})")


CHECKS: Mapping[str, Callable[[StackContext], Result]] = {
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
# The parts that pushes and pulls need.
ESSENTIAL = ("health", "endpoint", "storage")
