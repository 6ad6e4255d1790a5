"""The calls to OSS of a push and of pulls, by kind, as the emulator recorded them.

A cold pull is the first pull after a restart of the registry and redis.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import clients, page
from bench.images import create_image
from bench.registries import Registry, Testbed
from tests.emulator.emulator import Call

RELEASES = ("2.8.3", "3.1.2")
CACHES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    # The section `cache`, and the section `storage` of the registry's own configuration.
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
    # The other calls write: PutObject, copies, and multipart uploads.
}
# All other calls, including lists and deletions, are billed as PUT requests, which cost more. See
# "API operation calling fees" (https://www.alibabacloud.com/help/en/oss/api-operation-calling-fees).
# The page does not mention ListParts and ListMultipartUploads, which we count as PUT requests.
BILLED_AS_GET = {"GetObject", "HeadObject"}
STEPS = ("push", "cold pull", "warm pull")
MIB = 2**20
# Layer sizes of four images, in bytes. The differences between the images give the calls per layer
# and per 100 MiB.
ONE_LAYER = [300_000]
TEN_LAYERS = [300_000] * 10
LAYER_200_MIB = [200 * MIB]
LAYER_400_MIB = [400 * MIB]


def _count_size_queries(calls: Sequence[Call]) -> int:
    """The number of calls that query the size of a blob."""
    stats = [call for call in calls if call.api == "HeadObject" or call.api.startswith("ListObj")]
    return sum("/blobs/sha256/" in (call.key or call.prefix) for call in stats)


def _record_calls(registry: Registry, layout: Path, scratch: Path) -> Mapping[str, Sequence[Call]]:
    """The calls of a push, a cold pull and a warm pull of a new image, by step."""
    emulator, name = registry.emulator, f"{registry.server}/bench/{layout.name}:1"

    def during(step: str) -> Sequence[Call]:
        emulator.clear_calls()
        if step == "push":
            clients.push(layout, name, emulator.environment)
        else:
            clients.pull(name, scratch / step, emulator.environment)
        return [call for call in emulator.calls if call.to_oss and not _is_health_check(call)]

    recorded = {"push": during("push")}
    registry.restart()
    for step in STEPS[1:]:
        recorded[step] = during(step)
    return recorded


def _is_health_check(call: Call) -> bool:
    """Whether `call` is of the registry's health check, which reads its root every ten seconds."""
    return (call.key or call.prefix).strip("/") == "registry"


def _registry_calls(calls: Sequence[Call]) -> Sequence[Call]:
    """The calls of the registry, without those of a client that was redirected to OSS."""
    return [call for call in calls if call.agent and "skopeo" not in call.agent]


def _count_kinds(calls: Sequence[Call]) -> list[int]:
    """The number of calls of each of KINDS, and then of all other calls."""
    numbers = [sum(call.api in apis for call in calls) for apis in KINDS.values()]
    return [*numbers, len(calls) - sum(numbers)]


def _billed_requests(calls: Sequence[Call]) -> tuple[int, int]:
    """The numbers of PUT and GET requests. Failed requests are not billed."""
    are_gets = [call.api in BILLED_AS_GET for call in calls if call.status < 400]
    return are_gets.count(False), are_gets.count(True)


def _price_rows(
    recorded: Sequence[Mapping[str, Sequence[Call]]], release: str
) -> Iterator[Sequence[object]]:
    """Yield billed requests per image, layer and 100 MiB.

    `recorded` has the calls of ONE_LAYER, TEN_LAYERS, LAYER_200_MIB and LAYER_400_MIB.
    """
    for step in STEPS:
        one, ten, long, longer = (_billed_requests(calls[step]) for calls in recorded)
        for kind, name in enumerate(("PUT", "GET")):
            layer = (ten[kind] - one[kind]) / (len(TEN_LAYERS) - len(ONE_LAYER))
            hundred = (longer[kind] - long[kind]) / 2
            yield release, step, name, f"{one[kind] - layer:.0f}", f"{layer:.1f}", f"{hundred:.1f}"


def main() -> None:
    full = bool(os.environ.get("FULL"))
    totals: list[Sequence[object]] = []
    kinds: list[Sequence[object]] = []
    prices: list[Sequence[object]] = []
    with Testbed() as testbed:
        layouts = [
            create_image(testbed.folder / name, layers)
            for name, layers in (
                ("one", ONE_LAYER),
                ("ten", TEN_LAYERS),
                ("long", LAYER_200_MIB),
                ("longer", LAYER_400_MIB),
            )
        ]
        for release, cache, redirect in itertools.product(RELEASES, CACHES, (False, True)):
            if not full and (redirect or cache == "in memory"):
                continue
            print(f"{release}, cache {cache}, redirect {redirect} …", flush=True)
            section, storage = CACHES[cache]
            redirection = {"redirect": {"disable": False}} if redirect else {}
            registry = testbed.start_ours(
                {"storage": {**storage, **redirection}},
                release=release,
                storage={"internal": not redirect},
                cache=section,
            )
            scratch = testbed.folder / f"{release}-{cache}-{redirect}"
            main_case = cache == "redis" and not redirect
            used = layouts if main_case else layouts[1:2]
            recorded = [_record_calls(registry, each, scratch / each.name) for each in used]
            ten = recorded[1] if main_case else recorded[0]
            own = {step: _registry_calls(calls) for step, calls in ten.items()}
            sizes = [_count_size_queries(own[step]) for step in STEPS[1:]]
            client = len(ten["warm pull"]) - len(own["warm pull"])
            counts = [len(calls) for calls in own.values()]
            totals.append([release, cache, "on" if redirect else "off", *counts, *sizes, client])
            if main_case:
                kinds += [[release, step, *_count_kinds(calls)] for step, calls in own.items()]
                prices += _price_rows(recorded, release)
    mark = ", FULL=1" if full else ""
    asked = (f"sizes asked, {step}" for step in STEPS[1:])
    head = ("release", "cache", "redirect", *STEPS, *asked, "client, warm pull")
    page.write_table(f"calls{mark}", head, totals)
    page.write_table("kinds", ("release", "with redis", *KINDS, "write"), kinds)
    head = ("release", "", "requests", "an image", "+ a layer", "+ 100 MiB of one")
    page.write_table("prices", head, prices)


if __name__ == "__main__":
    main()
