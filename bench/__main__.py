"""`make bench`: measure, and write the tables of docs/benchmarks.md anew; FULL=1 for all."""

import os
import platform
import time
from pathlib import Path

from bench import (
    clients,
    control_plane,
    environment,
    knobs,
    latency,
    oss_calls,
    page,
    soak,
    swarm,
    transfers,
)
from config import docker_engine
from tests.integration.deployment import run_checked

PARTS = (environment.main, control_plane.main, oss_calls.main, transfers.main)
LONGER = (transfers.more, latency.main, knobs.main, swarm.main, soak.main)


def machine() -> None:
    """What it is measured on."""

    def first(*words: str) -> str:
        return run_checked(*words).splitlines()[0]

    def origin(image: str) -> str:
        form = '{{index .Config.Labels "built-from"}}'
        built = run_checked("docker", "image", "inspect", "--format", form, image).strip()
        return f"{image} ({'built from ' + built if built else 'official'})"

    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    kernel = platform.release().partition("-")[0]
    images = ("registry:3.1.2", "registry:2.8.3", "redis:7.0.15")
    rows = [
        ("date", time.strftime("%Y-%m-%d")),
        ("machine", f"{os.cpu_count()} × {models[0] if models else '?'}, {memory:.0f} GiB"),
        ("system", f"{system}, Linux {kernel}"),
        ("Docker", run_checked("docker", "version", "--format", "{{.Server.Version}}").strip()),
        ("Pulumi", first("pulumi", "version")),
        ("Python", platform.python_version()),
        ("images", ", ".join(map(origin, images))),
        ("clients", f"crane {clients.CRANE.version}, {first('skopeo', '--version')}"),
    ]
    page.table("machine", ("", ""), rows)


def main() -> None:
    docker_engine.set_variables({}, os.environ)
    begun = time.monotonic()
    machine()
    for part in (*PARTS, *(LONGER if os.environ.get("FULL") else ())):
        since = time.monotonic()
        part()
        name = part.__module__.rpartition(".")[2]
        now = time.monotonic()
        print(f"{name}: {now - since:.0f} s; in all {(now - begun) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
