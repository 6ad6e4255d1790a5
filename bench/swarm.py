"""The rate of pulls from several replicas, and the duration of `up` on a swarm. It needs root.

Three machines are network namespaces of this one, and they use one emulator of OSS. They share this
machine's cores and the emulator, so the ratios are lower bounds.
"""

import itertools
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import page
from bench.control_plane import time_call
from bench.registries import cpu_seconds
from tests.emulator.emulator import Emulator
from tests.integration.api import Api
from tests.integration.swarm import SWARM_UNAVAILABLE, Swarm, SwarmDeployment

LAYER = 8 * 2**20  # bytes
LAYERS = 4
CLIENTS = 6
SECONDS = 4.0  # of a measurement
ROUNDS = 5


def _pull_rate(replicas: Sequence[Api], digests: Sequence[str]) -> float:
    """The bytes per second that all clients pull, each blob from the next replica."""
    end = time.monotonic() + SECONDS
    requests = itertools.cycle(itertools.product(digests, replicas))
    sizes: list[int] = []

    def client() -> None:
        while time.monotonic() < end:
            digest, replica = next(requests)
            sizes.append(len(replica.call("GET", f"/v2/bench/blobs/{digest}", [200]).body))

    start = time.monotonic()
    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(sizes) / (time.monotonic() - start)


def _replica_cpu_seconds(swarm: Swarm, stack: SwarmDeployment) -> float:
    """The CPU time of all replicas, in seconds."""
    total = 0.0
    for node in swarm.nodes:
        for container in node.containers(stack.stack, "registry"):
            process = node.docker("inspect", "--format", "{{.State.Pid}}", container).strip()
            total += cpu_seconds(Path("/proc", process))
    return total


def main() -> None:
    if SWARM_UNAVAILABLE:
        print(SWARM_UNAVAILABLE)
        return
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
        print("a swarm of three machines …", flush=True)
        swarm = Swarm(folder)
        exits.callback(swarm.remove)
        emulator = Emulator(folder / "emulator", host=swarm.address)
        exits.callback(emulator.close)
        (folder / "project").mkdir()
        stack = SwarmDeployment(folder / "project", emulator, swarm)
        exits.callback(stack.allow_destroy)
        first = time_call(stack.up)
        stack.configure(registry={"log_level": "error"})
        change = time_call(stack.up)
        unchanged = time_call(stack.up)
        port = stack.settings["registry"]["port"]
        apis = [Api(f"http://{node.address}:{port}") for node in swarm.nodes]
        blobs = (secrets.token_bytes(LAYER) for _ in range(LAYERS))
        digests = [apis[0].push_blob("bench", [blob]) for blob in blobs]
        rates: dict[int, list[float]] = {count: [] for count in range(1, len(apis) + 1)}
        costs: dict[int, list[float]] = {count: [] for count in rates}
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS} …", flush=True)
            for count in rates:
                before = _replica_cpu_seconds(swarm, stack)
                rate = _pull_rate(apis[:count], digests)
                rates[count].append(rate)
                costs[count].append(
                    (_replica_cpu_seconds(swarm, stack) - before) / (rate * SECONDS / 2**30)
                )
        one = statistics.median(rates[1])
        rows = [
            (
                count,
                f"{statistics.median(rates[count]) / one:.2f}",
                page.format_spread([rate / 1e6 for rate in rates[count]], ".0f"),
                page.format_spread(costs[count]),
            )
            for count in rates
        ]
        head = ("replicas that are asked", "pulls", "MB/s", "CPU s of the replicas for a GiB")
        page.write_table("replicas, FULL=1", head, rows)
        ups = (
            ("the first one, three replicas and redis, images there", first),
            ("a change of one setting, three replicas one by one", change),
        )
        page.write_table(
            "replicas' up, FULL=1",
            ("`up` to the last healthy replica", "s", "of an `up` that changes nothing"),
            [(what, f"{took:.0f}", f"{took / unchanged:.0f} ×") for what, took in ups],
        )


if __name__ == "__main__":
    main()
