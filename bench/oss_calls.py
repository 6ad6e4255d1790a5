"""What a push and a pull ask of OSS: calls by kind, counted by the emulator of Alibaba Cloud.

A cold pull is one after the registry and redis restarted.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import clients, page
from bench.images import image
from bench.registries import Hall, Registry
from tests.emulator.emulator import Call

RELEASES = ("2.8.3", "3.1.2")
CACHES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    # The section cache, and what is said of it in the registry's own configuration.
    "redis": ({"enabled": True}, {}),
    "in memory": ({"enabled": False}, {}),
    "none": ({"enabled": False}, {"cache": None}),
}
LISTS = {"ListObjects", "ListObjectsV2", "ListMultipartUploads", "ListParts"}
KINDS = {
    "list": LISTS,
    "head": {"HeadObject"},
    "get": {"GetObject"},
    "delete": {"DeleteMultipleObjects", "DeleteObject"},
    # The rest writes: put, copy, parts and what is around them.
}
# All else, lists and deletions too, is billed as a PUT request, the dearer of two kinds: "API
# operation calling fees" (https://www.alibabacloud.com/help/en/oss/api-operation-calling-fees).
# Of ListParts and ListMultipartUploads we only take it that they are.
GETS = {"GetObject", "HeadObject"}
STEPS = ("push", "cold pull", "warm pull")
MIB = 2**20
TEN = [300_000] * 10
# From what differs between these images follows what a layer, and what its size, asks for.
ONE, LONG, LONGER = [300_000], [200 * MIB], [400 * MIB]


def _descriptors(calls: Sequence[Call]) -> int:
    """How often it was asked what size a blob has."""
    asked = [call for call in calls if call.api == "HeadObject" or call.api.startswith("ListObj")]
    return sum("/blobs/sha256/" in (call.key or call.prefix) for call in asked)


def _calls(registry: Registry, layout: Path, scratch: Path) -> Mapping[str, Sequence[Call]]:
    """The calls of a push, a cold and a warm pull of an image that nobody had before."""
    emulator, name = registry.emulator, f"{registry.server}/bench/{layout.name}:1"

    def during(step: str) -> Sequence[Call]:
        emulator.clear_calls()
        if step == "push":
            clients.push(layout, name, emulator.environment)
        else:
            clients.pull(name, scratch / step, emulator.environment)
        return [call for call in emulator.calls if call.to_oss and not _of_health(call)]

    found = {"push": during("push")}
    registry.restart()
    return {**found, **{step: during(step) for step in STEPS[1:]}}


def _of_health(call: Call) -> bool:
    """The registry looks at its root every ten seconds, whatever else it does."""
    return (call.key or call.prefix).strip("/") == "registry"


def _own(calls: Sequence[Call]) -> Sequence[Call]:
    """Those of the registry itself: a client has no name of OSS's clients."""
    return [call for call in calls if call.agent and "skopeo" not in call.agent]


def _kinds(calls: Sequence[Call]) -> list[int]:
    counted = Counter(kind for call in calls for kind, apis in KINDS.items() if call.api in apis)
    kinds = [counted[kind] for kind in KINDS]
    return [*kinds, len(calls) - sum(kinds)]


def _billed(calls: Sequence[Call]) -> tuple[int, int]:
    """PUT and GET requests; what failed is not billed."""
    done = [call.api in GETS for call in calls if call.status < 400]
    return done.count(False), done.count(True)


def _prices(
    counted: Sequence[Mapping[str, Sequence[Call]]], release: str
) -> Iterator[Sequence[object]]:
    """What is to be multiplied, from the calls of ONE, TEN, LONG and LONGER."""
    for step in STEPS:
        one, ten, long, longer = (_billed(calls[step]) for calls in counted)
        for kind, name in enumerate(("PUT", "GET")):
            layer = (ten[kind] - one[kind]) / (len(TEN) - len(ONE))
            hundred = (longer[kind] - long[kind]) / 2
            yield release, step, name, f"{one[kind] - layer:.0f}", f"{layer:.1f}", f"{hundred:.1f}"


def main() -> None:
    full = bool(os.environ.get("FULL"))
    totals: list[Sequence[object]] = []
    kinds: list[Sequence[object]] = []
    prices: list[Sequence[object]] = []
    with Hall() as hall:
        layouts = [
            image(hall.folder / name, layers)
            for name, layers in (("one", ONE), ("ten", TEN), ("long", LONG), ("longer", LONGER))
        ]
        for release, cache, redirect in itertools.product(RELEASES, CACHES, (False, True)):
            if not full and (redirect or cache == "in memory"):
                continue
            print(f"{release}, cache {cache}, redirect {redirect} …", flush=True)
            section, storage = CACHES[cache]
            directly = {"redirect": {"disable": False}} if redirect else {}
            registry = hall.ours(
                {"storage": {**storage, **directly}},
                release=release,
                storage={"internal": not redirect},
                cache=section,
            )
            place = hall.folder / f"{release}-{cache}-{redirect}"
            main_case = cache == "redis" and not redirect
            used = layouts if main_case else layouts[1:2]
            counted = [_calls(registry, each, place / each.name) for each in used]
            ten = counted[1] if main_case else counted[0]
            own = {step: _own(calls) for step, calls in ten.items()}
            sizes = [_descriptors(own[step]) for step in STEPS[1:]]
            client = len(ten["warm pull"]) - len(own["warm pull"])
            counts = [len(calls) for calls in own.values()]
            totals.append([release, cache, "on" if redirect else "off", *counts, *sizes, client])
            if main_case:
                kinds += [[release, step, *_kinds(calls)] for step, calls in own.items()]
                prices += _prices(counted, release)
    mark = ", FULL=1" if full else ""
    asked = (f"sizes asked, {step}" for step in STEPS[1:])
    head = ("release", "cache", "redirect", *STEPS, *asked, "client, warm pull")
    page.table(f"calls{mark}", head, totals)
    page.table("kinds", ("release", "with redis", *KINDS, "write"), kinds)
    head = ("release", "", "requests", "an image", "+ a layer", "+ 100 MiB of one")
    page.table("prices", head, prices)


if __name__ == "__main__":
    main()
