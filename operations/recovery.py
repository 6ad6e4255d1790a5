"""Repairs a stack after an earlier command was killed.

Each command that changes a stack calls `recover` first. The lock of a process that has ended is
removed. A resource that the state records as being created may or may not exist. Containers,
networks and services with the label of the stack are removed, because they store no data. A bucket,
RAM user, policy or attachment is imported, because the next `up` could not create it again. An
access key is deleted, because its secret is lost. Then the state is refreshed.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.storage import BACKENDS
from config.resource_names import (
    ACCESS_KEY,
    CONTAINER,
    NETWORK,
    SERVICE,
    SWARM_CONFIG,
    SWARM_SECRET,
)
from config.settings import PROJECT
from operations.clients.pulumi import access_keys, run_pulumi
from operations.context import StackContext
from operations.errors import CommandError
from operations.garbage_collection.collector import end_collection

# For each type of resource, Docker's word for such an object and the options of its `rm` command.
# Networks follow containers, because a network can be removed only when no container uses it.
_DOCKER_KINDS: Mapping[str, tuple[str, Sequence[str]]] = {
    SERVICE: ("service", ()),
    CONTAINER: ("container", ("--force", "--volumes")),
    NETWORK: ("network", ()),
    SWARM_SECRET: ("secret", ()),
    SWARM_CONFIG: ("config", ()),
}
_WITHOUT_QUESTIONS = ("--yes", "--skip-preview", "--non-interactive")


@dataclass(frozen=True)
class Recovery:
    """The steps of a recovery, each as text for messages."""

    steps: list[str] = field(default_factory=list)

    def record(self, step: str) -> None:
        """Add `step`, and print it."""
        self.steps.append(step)
        _print(step)

    @property
    def stop_message(self) -> str:
        """The beginning of the error text if the command stops now, with the steps so far."""
        if not self.steps:
            return "stopped, and nothing was changed"
        return (
            "stopped, and nothing was changed but by the recovery of the run before "
            f"({'; '.join(self.steps)})"
        )


def recover(context: StackContext) -> Recovery:
    """Repair the stack, if that is necessary.

    Raises CommandError, SettingsError, CalledProcessError.
    """
    recovery = Recovery()
    _remove_stale_locks(context, recovery)
    context.pulumi.drop_state()
    state = context.pulumi.state()
    if any(resource["type"] == SERVICE for resource in context.pulumi.resources):
        # On a Swarm, garbage collection continues if its command was killed.
        end_collection(context.name, context.docker)
    pending: Sequence[Mapping[str, Any]] = state.get("pending_operations") or ()
    if not pending:
        return recovery
    described = (f"{each['type']} {_resource_name(each['resource'])}" for each in pending)
    _print(f"the last run ended in the middle of {', '.join(described)}: cleaning up …")
    begun = [operation["resource"] for operation in pending if operation["type"] == "creating"]
    _remove_docker_objects(begun, context, recovery)
    # This must precede `refresh`, which removes the pending operations from the state.
    users = {each["inputs"]["userName"] for each in begun if each["type"] == ACCESS_KEY}
    for user in sorted(users):
        _delete_lost_keys(user, context, recovery)
    context.pulumi.run("refresh", *_WITHOUT_QUESTIONS, "--clear-pending-creates")
    for backend in BACKENDS.values():
        for kind, template in backend.import_ids.items():
            for resource in begun:
                if resource["type"] == kind:
                    import_id = template.format_map(resource["inputs"])
                    _import(resource, import_id, context, recovery)
    _print("cleaned up")
    return recovery


def _remove_stale_locks(context: StackContext, recovery: Recovery) -> None:
    """Remove the locks of processes that have ended. Raises CommandError if one still runs."""
    folder = _backend_folder()
    if not folder:
        return
    locks = folder / f"locks/organization/{PROJECT}/{context.name}"
    owners = [json.loads(lock.read_text()) for lock in locks.glob("*.json")]
    for owner in owners:
        _check_ended(owner, context.name)
    _remove_incomplete_attributes(folder, context.name)
    if owners:
        context.pulumi.run("cancel", "--yes")
        recovery.record(f"dropped the lock of process {owners[0]['pid']}, which is gone")


def _remove_docker_objects(
    begun: Sequence[Mapping[str, Any]], context: StackContext, recovery: Recovery
) -> None:
    """Remove the stack's Docker objects whose creation had begun and may be incomplete."""
    docker = context.docker
    for kind, (noun, options) in _DOCKER_KINDS.items():
        names = {resource["inputs"]["name"] for resource in begun if resource["type"] == kind}
        if not names:
            continue
        for object_id, name in docker.labelled(noun, context.name).items():
            if name in names:
                docker.run(noun, "rm", *options, object_id)
                recovery.record(f"removed the {noun} {name}, which was being made")


def _import(
    resource: Mapping[str, Any], import_id: str, context: StackContext, recovery: Recovery
) -> None:
    """Import `resource` into the state if it exists. Raises CalledProcessError if that fails."""
    parent = f"parent={resource['parent']}"
    options = ("--parent", parent, "--protect=false", "--generate-code=false", *_WITHOUT_QUESTIONS)
    name = _resource_name(resource)
    try:
        context.pulumi.run("import", resource["type"], name, import_id, *options)
    except subprocess.CalledProcessError as error:
        if "does not exist" not in error.stdout + error.stderr:
            raise
    else:
        recovery.record(f"took {name} ({import_id}) in")


def _delete_lost_keys(user: str, context: StackContext, recovery: Recovery) -> None:
    """Delete the access keys of `user` that were created but not recorded in the state.

    RAM shows a secret only once, so nobody can use them.
    """
    # Imported here, because the import takes a second and few runs need it.
    from operations.clients import ram

    known = [key["id"] for key in access_keys(context.pulumi.resources).values()]
    since = datetime.fromisoformat(context.pulumi.state()["manifest"]["time"])
    try:
        for key in ram.delete_lost_access_keys(user, known, since):
            recovery.record(f"deleted the access key {key} of {user}, whose secret was lost")
    except ram.RamError as reason:
        others = f"each but {' and '.join(known)}" if known else "each that is there"
        _print(
            f"the RAM user {user} may have an access key whose secret is lost: of `aliyun ram "
            f"ListAccessKeys --UserName {user}` delete {others}; RAM allows two ({reason})"
        )


def _resource_name(resource: Mapping[str, Any]) -> str:
    return str(resource["urn"].rpartition("::")[2])


def _backend_folder() -> Path | None:
    """Return the folder of Pulumi's states and locks, or None if the backend is not a folder.

    For another backend, Pulumi itself reports the owner of a lock.
    """
    url = urlsplit(json.loads(run_pulumi("whoami", "--json"))["url"])
    return Path(url.netloc + url.path).expanduser() / ".pulumi" if url.scheme == "file" else None


def _remove_incomplete_attributes(folder: Path, stack: str) -> None:
    """Remove attribute files (`.attrs`) that a killed process left incomplete beside the state.

    Pulumi's storage writes the state itself in one step, but not these files. It reads a state
    that has no such file, but fails if the file is empty ("failed to load checkpoint: EOF").
    """
    for attributes in (folder / "stacks" / PROJECT).glob(f"{stack}.json*.attrs"):
        try:
            json.loads(attributes.read_text())
        except ValueError:
            attributes.unlink()


def _check_ended(owner: Mapping[str, Any], stack: str) -> None:
    """Raise CommandError if a lock's owner still runs, or if this machine cannot check it."""
    process = f"process {owner['pid']} of {owner['username']} on {owner['hostname']}"
    since = f"since {owner['timestamp'][:19]} UTC"
    if owner["hostname"] != socket.gethostname():
        raise CommandError(
            f"{process} works on this stack {since}: wait, or if you know that it is gone, "
            f"pulumi cancel --stack {stack}"
        )
    if _is_pulumi(owner["pid"]):
        raise CommandError(f"{process} works on this stack {since}: wait until it has ended")


def _is_pulumi(pid: int) -> bool:
    """Return whether the process `pid` is pulumi. Another program may have got the number since."""
    try:
        os.kill(pid, 0)
        # The command line of a process that has ended, but not been waited for, is empty.
        program = Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
        return Path(program).name.startswith("pulumi")
    except ProcessLookupError:
        return False
    except OSError:
        return True  # a process of another user, or a machine without /proc


def _print(text: str) -> None:
    with suppress(OSError):  # the reader of a pipe may have ended, but the recovery must continue
        print(f"recover: {text}", file=sys.stderr, flush=True)
