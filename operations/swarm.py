"""Services of a Docker Swarm: whether their tasks have ended, and files that they no longer use."""

import re
import time
from collections.abc import Callable, Collection

from operations.clients.docker import Docker
from operations.errors import CommandError

# How `docker service ps` begins the state of a task that has ended.
_ENDED = ("Complete", "Failed", "Rejected", "Orphaned", "Shutdown", "Remove")


def is_active(state: str) -> bool:
    """Return whether a task in this state runs, or will run."""
    return not state.startswith(_ENDED)


def wait_until_ended(
    message: str, active_nodes: Callable[[], Collection[str]], timeout: float
) -> None:
    """Wait until `active_nodes`, which returns the nodes with active tasks, returns none.

    Raises CommandError with `message` after `timeout` seconds. In it, the nodes replace `{}`.
    """
    end = time.monotonic() + timeout
    while active := active_nodes():
        if time.monotonic() > end:
            names = " and ".join(sorted(set(active)))
            raise CommandError(f"{message.format(names)}: see `docker node ls`")
        time.sleep(1)


def remove_unused_files(stack: str, docker: Docker) -> None:
    """Remove the secrets and configs of a stack that its services no longer use.

    Those that `docker service rollback` needs are kept.
    """
    is_manager = docker.run("info", "--format", "{{.Swarm.ControlAvailable}}").strip()
    if is_manager != "true":
        return
    services = docker.labelled("service", stack)
    inspected = docker.run("service", "inspect", *services) if services else ""
    used = set(re.findall(r'"(?:Secret|Config)ID": "(\w+)"', inspected))
    for kind in ("secret", "config"):
        unused = [file for file in docker.labelled(kind, stack) if file not in used]
        if unused:
            docker.run(kind, "rm", *unused)
