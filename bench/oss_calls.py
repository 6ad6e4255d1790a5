"""What a push and a pull ask of OSS: calls by kind, counted by the double of Alibaba Cloud.

An image of ten layers, with skopeo; a cold pull is one after the registry and redis restarted.
"""

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.aliyun.aliyun import Aliyun, Call
from tests.integration.clients import random_image, skopeo
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
PULLS = ("cold pull", "warm pull")


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
        skopeo("copy", *words, env=aliyun.environment)
        return step, [c for c in list(aliyun.calls)[begun:] if c.to_oss]

    yield during("push", "--dest-tls-verify=false", f"docker-archive:{archive}", name)
    _restart(stack)
    pull = ("--src-tls-verify=false", name)
    yield during("cold pull", *pull, f"dir:{folder}-cold")
    yield during("warm pull", *pull, f"dir:{folder}-warm")


def _by_client(call: Call) -> bool:
    return "skopeo" in call.agent or not call.agent


def _kinds(calls: Sequence[Call]) -> list[int]:
    counted = Counter(kind for call in calls for kind, apis in KINDS.items() if call.api in apis)
    kinds = [counted[kind] for kind in KINDS]
    return [*kinds, len(calls) - sum(kinds)]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(map(str, row))} |")


def main() -> None:
    totals: list[list[object]] = []
    kinds: list[list[object]] = []
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        aliyun = Aliyun(folder / "aliyun")
        exits.callback(aliyun.close)
        (folder / "project").mkdir()
        stack = CloudDeployment(folder / "project", aliyun, like="staging")
        exits.callback(stack.remove)
        for release, cache, redirect in itertools.product(RELEASES, CACHES, (False, True)):
            print(f"{release}, cache {cache}, redirect {redirect} …", flush=True)
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
            steps = dict(measured(stack, place))
            own = {step: [c for c in calls if not _by_client(c)] for step, calls in steps.items()}
            counts = [len(calls) for calls in own.values()]
            sizes = [_descriptors(own[step]) for step in PULLS]
            client = len(steps["warm pull"]) - len(own["warm pull"])
            totals.append([release, cache, "on" if redirect else "off", *counts, *sizes, client])
            if cache == "redis" and not redirect:
                kinds += [[release, step, *_kinds(calls)] for step, calls in own.items()]
    asked = (f"sizes asked, {step}" for step in PULLS)
    _table(("release", "cache", "redirect", "push", *PULLS, *asked, "client, warm pull"), totals)
    _table(("release", "with redis", *KINDS, "write"), kinds)


if __name__ == "__main__":
    main()
