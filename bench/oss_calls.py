"""What a push and a pull ask of OSS: calls by kind, counted by the double of Alibaba Cloud.

An image of ten layers, with skopeo; a cold pull is one after the registry and redis restarted.
"""

import itertools
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.aliyun.aliyun import Aliyun, Call
from tests.integration.clients import random_image
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import eventually

RELEASES = ("2.8.3", "3.1.2")
CACHES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    # The section cache, and what is said of it in the registry's own configuration.
    "redis": ({"enabled": True}, {}),
    "in memory": ({"enabled": False}, {}),
    "none": ({"enabled": False}, {"cache": None}),
}
KINDS = {
    "list": ("ListObjects", "ListObjectsV2", "ListMultipartUploads", "ListParts"),
    "head": ("HeadObject",),
    "get": ("GetObject",),
    "delete": ("DeleteMultipleObjects", "DeleteObject"),
    # The rest writes: put, copy, parts and what is around them.
}
LAYERS = 10


def _copy(aliyun: Aliyun, *words: str | Path) -> None:
    command = ["skopeo", "--insecure-policy", "copy", *words]
    subprocess.run(
        command, env={**os.environ, **aliyun.environment}, check=True, capture_output=True
    )


def _restart(stack: CloudDeployment) -> None:
    parts = [part for part in ("redis", "registry") if stack.prefix + "-" + part in _names(stack)]
    stack.docker("restart", *(f"{stack.prefix}-{part}" for part in parts))
    eventually(lambda: all(map(stack.healthy, parts)))


def _names(stack: CloudDeployment) -> list[str]:
    return stack.docker("container", "ls", "--format", "{{.Names}}").split()


def _descriptors(calls: Sequence[Call]) -> int:
    """How often it was asked what size a blob has."""
    asked = [call for call in calls if call.api == "HeadObject" or call.api.startswith("ListObj")]
    return sum("/blobs/sha256/" in (call.key or call.prefix) for call in asked)


def measured(stack: CloudDeployment, folder: Path) -> Iterator[tuple[str, list[Call]]]:
    """The calls of a push, a cold and a warm pull of an image that nobody had before."""
    archive = random_image(folder, [300_000] * LAYERS)
    aliyun, name = stack.aliyun, f"docker://{stack.outputs()['login_server']}/{folder.name}:1"

    def during(step: str, *words: str | Path) -> tuple[str, list[Call]]:
        begun = len(aliyun.calls)
        _copy(aliyun, *words)
        return step, [c for c in list(aliyun.calls)[begun:] if c.door in ("oss", "s3")]

    yield during("push", "--dest-tls-verify=false", f"docker-archive:{archive}", name)
    _restart(stack)
    pull = ("--src-tls-verify=false", name)
    yield during("cold pull", *pull, f"dir:{folder}-cold")
    yield during("warm pull", *pull, f"dir:{folder}-warm")


def _row(calls: Sequence[Call]) -> list[int]:
    client = [call for call in calls if not call.agent or "skopeo" in call.agent]
    own = [call for call in calls if call not in client]
    counted = Counter(next((k for k, apis in KINDS.items() if c.api in apis), "write") for c in own)
    return [
        len(own),
        *(counted[kind] for kind in (*KINDS, "write")),
        _descriptors(own),
        len(client),
    ]


def main() -> None:
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        aliyun = Aliyun(folder / "aliyun")
        exits.callback(aliyun.close)
        (folder / "project").mkdir()
        stack = CloudDeployment(folder / "project", aliyun, like="staging")
        exits.callback(stack.remove)
        heads = ("calls", *KINDS, "write", "of them: size of a blob", "by the client")
        print(f"| release | cache | redirect | what | {' | '.join(heads)} |")
        print("| --- " * (4 + len(heads)) + "|")
        for release, cache, redirect in itertools.product(RELEASES, CACHES, (False, True)):
            section, storage = CACHES[cache]
            directly = {"redirect": {"disable": False}} if redirect else {}
            stack.as_release(release)
            stack.configure(
                registry={"config": {"storage": {**storage, **directly}}, "log_level": "warn"},
                storage={"internal": not redirect, "signature_v1": release == "2.8.3"},
                cache=section,
            )
            stack.up()
            place = folder / f"{release}-{cache}-{redirect}".replace(" ", "-").lower()
            for what, calls in measured(stack, place):
                cells = [release, cache, "on" if redirect else "off", what, *_row(calls)]
                print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
