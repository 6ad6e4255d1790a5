"""What changes a stack begins with this: what an `up` that died left is out of its way.

The lock of a process that is gone is dropped. What the state calls "being created" may be there or
not: a container or network that carries the stack's label is removed, as nothing lives in it; a
bucket, RAM user, policy or attachment is taken in, as the next `up` could not make it again; an
access key, whose secret is lost, is deleted; and the state is read anew.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.storage import BACKENDS
from config.load import load
from config.problems import SettingsError
from config.settings import PROJECT
from operations import swarm
from operations.clients import docker as engine
from operations.clients.pulumi import (
    ACCESS_KEY,
    BUCKET,
    CONTAINER,
    NETWORK,
    RAM_USER,
    SERVICE,
    access_keys,
    deployment,
    pulumi,
)
from operations.errors import CommandError
from operations.stack_file import configuration

# In this order: a network goes only when no container hangs on it.
KINDS = {
    SERVICE: ("service", []),
    CONTAINER: ("container", ["--force", "--volumes"]),
    NETWORK: ("network", []),
    "docker:index/secret:Secret": ("secret", []),
    "docker:index/serviceConfig:ServiceConfig": ("config", []),
}
CONSENT = ("--yes", "--skip-preview", "--non-interactive")
# What is taken in, in this order, and the provider's id of it, made of its inputs.
IMPORTED = {
    BUCKET: "{bucket}",
    RAM_USER: "{name}",
    "alicloud:ram/policy:Policy": "{policyName}",
    "alicloud:ram/userPolicyAttachment:UserPolicyAttachment": (
        "user:{policyName}:{policyType}:{userName}"
    ),
}


Note = Callable[[str], None]


@dataclass(frozen=True)
class Recovered:
    """The stack's `resources`, and what was `done` so that the next command can go on."""

    resources: Sequence[Mapping[str, Any]]
    done: Sequence[str] = ()

    @property
    def stopped(self) -> str:
        """What was changed, for a command that stops now."""
        if not self.done:
            return "stopped, and nothing was changed"
        return (
            "stopped, and nothing was changed but by the recovery of the run before "
            f"({'; '.join(self.done)})"
        )


def recover(stack: str) -> Recovered:
    """Repair `stack` for the next `up`. Raises CommandError, SettingsError, CalledProcessError."""
    done: list[str] = []

    def note(text: str) -> None:
        done.append(text)
        _say(text)

    folder = _folder()
    holders = [*_holders(folder, stack)] if folder else []
    for holder in holders:
        _see_gone(holder, stack)
    if folder:
        _drop_torn_attributes(folder, stack)
    if holders:
        pulumi("cancel", "--yes", "--stack", stack)
        note(f"dropped the lock of process {holders[0]['pid']}, which is gone")
    state = deployment(stack)
    resources: Sequence[Mapping[str, Any]] = state.get("resources", ())
    _end_collection(stack, resources)
    pending: Sequence[Mapping[str, Any]] = state.get("pending_operations") or ()
    if not pending:
        return Recovered(resources, done)
    _say(f"the last run ended in the middle of {', '.join(map(_named, pending))}: cleaning up …")
    config, _ = configuration(stack)
    begun = [operation["resource"] for operation in pending if operation["type"] == "creating"]
    with engine.reached(config) as variables:
        _remove(begun, stack, variables, note)
    # Before the state forgets that they were being made.
    for user in sorted({r["inputs"]["userName"] for r in begun if r["type"] == ACCESS_KEY}):
        _drop_lost_key(user, resources, state["manifest"]["time"], note)
    pulumi("refresh", "--stack", stack, *CONSENT, "--clear-pending-creates")
    for kind, template in IMPORTED.items():
        for resource in (resource for resource in begun if resource["type"] == kind):
            _take_in(resource, template.format_map(resource["inputs"]), stack, note)
    _say("cleaned up")
    return Recovered(deployment(stack).get("resources", ()), done)


def _remove(
    begun: Sequence[Mapping[str, Any]], stack: str, variables: Mapping[str, str], note: Note
) -> None:
    """Remove what was being made in the engine and is the stack's: nothing lives in it."""
    for kind, (noun, flags) in KINDS.items():
        names = {resource["inputs"]["name"] for resource in begun if resource["type"] == kind}
        for found, name in engine.labelled(noun, stack, variables).items() if names else ():
            if name in names:
                engine.docker(variables, noun, "rm", *flags, found)
                note(f"removed the {noun} {name}, which was being made")


def see_fit(name: str, resources: Sequence[Mapping[str, Any]]) -> None:
    """Raises CommandError where the engine can't have what the stack file says, CalledProcessError.

    `resources` are what the stack has now.
    """
    config, secrets = configuration(name)
    try:
        stack = load(name, config, secrets, os.environ, BACKENDS)
    except SettingsError:
        return  # the program says it
    with engine.reached(config) as variables:
        if obstacle := swarm.obstacle(stack, resources, variables):
            raise CommandError(obstacle)


def _end_collection(stack: str, resources: Sequence[Mapping[str, Any]]) -> None:
    """On a swarm it goes on by itself when whoever began it was killed."""
    if any(resource["type"] == SERVICE for resource in resources):
        config, _ = configuration(stack)
        with engine.reached(config) as variables:
            swarm.end_collection(stack, variables)


def _take_in(resource: Mapping[str, Any], name: str, stack: str, note: Note) -> None:
    """Take `resource` into the state if it is there. Raises CalledProcessError if that can't be."""
    parent = f"parent={resource['parent']}"
    options = ("--parent", parent, "--protect=false", "--generate-code=false", *CONSENT)
    own = resource["urn"].rpartition("::")[2]
    try:
        pulumi("import", resource["type"], own, name, *options, "--stack", stack)
    except subprocess.CalledProcessError as error:
        if "does not exist" not in error.stdout + error.stderr:
            raise
    else:
        note(f"took {own} ({name}) in")


def _drop_lost_key(
    user: str, resources: Sequence[Mapping[str, Any]], since: str, note: Note
) -> None:
    """RAM shows a secret once: a key that was made and not written down is of no use to anyone."""
    # Here, as it takes a second that a run without such a key need not wait for.
    from operations.clients import ram

    known = [key["id"] for key in access_keys(resources).values()]
    try:
        for lost in ram.drop_lost_keys(user, known, datetime.fromisoformat(since)):
            note(f"deleted the access key {lost} of {user}, whose secret was lost")
    except ram.Unasked as why:
        others = f"each but {' and '.join(known)}" if known else "each that is there"
        _say(
            f"the RAM user {user} may have an access key whose secret is lost: of `aliyun ram "
            f"ListAccessKeys --UserName {user}` delete {others}; RAM allows two ({why})"
        )


def _named(operation: Mapping[str, Any]) -> str:
    return f"{operation['type']} {operation['resource']['urn'].rpartition('::')[2]}"


def _holders(folder: Path, stack: str) -> Iterator[Mapping[str, Any]]:
    """Who holds the stack's lock: pid, username, hostname, timestamp."""
    for lock in (folder / f"locks/organization/{PROJECT}/{stack}").glob("*.json"):
        yield json.loads(lock.read_text())


def _drop_torn_attributes(folder: Path, stack: str) -> None:
    """Remove the files of attributes beside a state that a killed process left half-written.

    Pulumi's storage writes the state itself in one step, but not these; it reads a state without
    them, and none with an empty one ("failed to load checkpoint: EOF").
    """
    for attributes in (folder / "stacks" / PROJECT).glob(f"{stack}.json*.attrs"):
        try:
            json.loads(attributes.read_text())
        except ValueError:
            attributes.unlink()


def _folder() -> Path | None:
    """Where Pulumi keeps its states and locks, if that is a folder.

    Of another backend's lock Pulumi says itself whose it is.
    """
    url = urlsplit(json.loads(pulumi("whoami", "--json"))["url"])
    return Path(url.netloc + url.path).expanduser() / ".pulumi" if url.scheme == "file" else None


def _see_gone(holder: Mapping[str, Any], stack: str) -> None:
    """Raises CommandError where the process is not gone, or nobody here can know."""
    who = f"process {holder['pid']} of {holder['username']} on {holder['hostname']}"
    since = f"since {holder['timestamp'][:19]} UTC"
    if holder["hostname"] != socket.gethostname():
        raise CommandError(
            f"{who} works on this stack {since}: wait, or if you know that it is gone, "
            f"pulumi cancel --stack {stack}"
        )
    if _is_pulumi(holder["pid"]):
        raise CommandError(f"{who} works on this stack {since}: wait until it has ended")


def _is_pulumi(pid: int) -> bool:
    """Whether `pid` is a running pulumi: the number may be another program's by now."""
    try:
        os.kill(pid, 0)
        # Empty for one that has ended, and that nobody has asked about yet.
        program = Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
        return Path(program).name.startswith("pulumi")
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's, or a machine without /proc


def _say(text: str) -> None:
    with suppress(OSError):  # who read it may be gone, and it is to be done all the same
        print(f"recover: {text}", file=sys.stderr, flush=True)
