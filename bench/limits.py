"""What the emulator itself can do: the ground on which the other figures stand."""

import http.client
import multiprocessing
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

from bench import page
from tests.emulator.clients import s3
from tests.emulator.emulator import Emulator
from tests.emulator.ram import AccessKey
from tests.integration.cloud import REGION

SIZE = 256 * 2**20
CALLS = 500
CALLERS = 4


class Line(NamedTuple):
    """How a client finds the emulator."""

    proxy: str
    authority: str


def _seconds(line: Line, method: str, address: str, size: int, times: int) -> float:
    """What `times` calls with a body of `size` take on one connection."""
    place = urlsplit(address)
    tls = ssl.create_default_context(cadata=line.authority)
    host, _, port = line.proxy.partition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=tls)
    connection.set_tunnel(str(place.hostname), 443)
    connection.connect()
    body = bytes(size) if size else None
    begun = time.monotonic()
    for _ in range(times):
        connection.request(method, f"{place.path}?{place.query}", body)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {place.path}: {response.status}")
    lasted = time.monotonic() - begun
    connection.close()
    return lasted


def measure(emulator: Emulator, latency: float, rate: float) -> None:
    """Print and write down what the emulator does, alone and as far away as OSS is to be."""
    name = "limits-of-the-emulator"
    emulator.add_bucket(name, REGION)
    client = s3(emulator, AccessKey(emulator.key_id, emulator.key_secret, "root", 0, 0), REGION)
    addresses = {
        verb: client.generate_presigned_url(call, Params={"Bucket": name, "Key": "object"})
        for verb, call in (("PUT", "put_object"), ("GET", "get_object"), ("HEAD", "head_object"))
    }
    line = Line(emulator.addresses[0], emulator.certificates.pem)
    # Of their own: here they would share Python's one lock with the emulator.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CALLERS, mp_context=context) as callers:

        def lasts(verb: str, size: int = 0, times: int = 1, count: int = 1) -> float:
            begun = [
                callers.submit(_seconds, line, verb, addresses[verb], size, times)
                for _ in range(count)
            ]
            return max(each.result() for each in begun)

        def rates() -> Sequence[float]:
            moved = [SIZE / lasts(verb, size) / 1e6 for verb, size in (("PUT", SIZE), ("GET", 0))]
            one, several = (
                CALLS / lasts("HEAD", times=CALLS // count, count=count) for count in (1, CALLERS)
            )
            return (*moved, one, several)

        lasts("PUT", count=CALLERS)  # the processes begin
        rows = [["alone", *(f"{rate:.0f}" for rate in rates())]]
        with emulator.at_distance(latency, rate):
            far = rates()
    rows.append(
        [f"{latency * 1000:.0f} ms, {rate / 1e6:.0f} MB/s", *(f"{rate:.0f}" for rate in far)]
    )
    head = ("the emulator", "in, MB/s", "out, MB/s", "calls/s, one caller", f"calls/s, {CALLERS}")
    page.table("limits", head, rows)
    del emulator.oss.buckets[name]
