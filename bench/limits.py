"""The limits of the emulator itself, which must be well above the other results."""

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


class Proxy(NamedTuple):
    """The emulator's HOST:PORT, and its CA certificate in PEM."""

    address: str
    authority: str


def _seconds(proxy: Proxy, method: str, url: str, size: int, times: int) -> float:
    """The duration of `times` calls on one connection, each with a body of `size` bytes."""
    parts = urlsplit(url)
    tls = ssl.create_default_context(cadata=proxy.authority)
    host, _, port = proxy.address.partition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=tls)
    connection.set_tunnel(str(parts.hostname), 443)
    connection.connect()
    body = bytes(size) if size else None
    start = time.monotonic()
    for _ in range(times):
        connection.request(method, f"{parts.path}?{parts.query}", body)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {parts.path}: {response.status}")
    duration = time.monotonic() - start
    connection.close()
    return duration


def measure(emulator: Emulator, latency: float, rate: float) -> None:
    """Measure the emulator alone, and with the `latency` and `rate` of the other benchmarks.

    `latency` is in seconds, and `rate` in bytes per second.
    """
    name = "limits-of-the-emulator"
    emulator.add_bucket(name, REGION)
    client = s3(emulator, AccessKey(emulator.key_id, emulator.key_secret, "root", 0, 0), REGION)
    urls = {
        verb: client.generate_presigned_url(call, Params={"Bucket": name, "Key": "object"})
        for verb, call in (("PUT", "put_object"), ("GET", "get_object"), ("HEAD", "head_object"))
    }
    proxy = Proxy(emulator.addresses[0], emulator.certificates.pem)
    # Clients run in other processes. In this one, they would share the GIL with the emulator.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(CALLERS, mp_context=context) as callers:

        def run(verb: str, size: int = 0, times: int = 1, count: int = 1) -> float:
            """The seconds until `count` callers have made `times` calls each."""
            futures = [
                callers.submit(_seconds, proxy, verb, urls[verb], size, times) for _ in range(count)
            ]
            return max(future.result() for future in futures)

        def rates() -> Sequence[float]:
            return (
                SIZE / run("PUT", SIZE) / 1e6,
                SIZE / run("GET") / 1e6,
                CALLS / run("HEAD", times=CALLS),
                CALLS / run("HEAD", times=CALLS // CALLERS, count=CALLERS),
            )

        run("PUT", count=CALLERS)  # starts the processes
        rows = [["alone", *(f"{rate:.0f}" for rate in rates())]]
        with emulator.simulated_network(latency, rate):
            distant = rates()
    rows.append(
        [f"{latency * 1000:.0f} ms, {rate / 1e6:.0f} MB/s", *(f"{rate:.0f}" for rate in distant)]
    )
    head = ("the emulator", "in, MB/s", "out, MB/s", "calls/s, one caller", f"calls/s, {CALLERS}")
    page.write_table("limits", head, rows)
    del emulator.oss.buckets[name]
