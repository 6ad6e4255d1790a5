"""`make bench`: run the benchmarks, and update docs/benchmarks.md.

With FULL=1 in the environment, it also runs the benchmarks that take hours.
"""

import os
import platform
import time
from pathlib import Path

from bench import (
    clients,
    control_plane,
    driver_settings,
    latency,
    oss_calls,
    page,
    rendering,
    soak,
    swarm,
    transfers,
)
from config import docker_engine
from tests.integration.deployment import run_checked

PARTS = (rendering.main, control_plane.main, oss_calls.main, transfers.main)
LONG_PARTS = (transfers.measure_more, latency.main, driver_settings.main, swarm.main, soak.main)


def write_machine() -> None:
    """Write the table of the machine and the software on which the benchmarks run."""

    def first_line(*words: str) -> str:
        return run_checked(*words).splitlines()[0]

    def with_origin(image: str) -> str:
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
        ("Pulumi", first_line("pulumi", "version")),
        ("Python", platform.python_version()),
        ("images", ", ".join(map(with_origin, images))),
        ("clients", f"crane {clients.CRANE.version}, {first_line('skopeo', '--version')}"),
    ]
    page.write_table("machine", ("", ""), rows)


def main() -> None:
    docker_engine.set_variables({}, os.environ)
    start = time.monotonic()
    write_machine()
    long_parts = LONG_PARTS if os.environ.get("FULL") else ()
    for part in (*PARTS, *long_parts):
        part_start = time.monotonic()
        part()
        name = part.__module__.rpartition(".")[2]
        seconds = time.monotonic() - part_start
        minutes = (time.monotonic() - start) / 60
        print(f"{name}: {seconds:.0f} s; in all {minutes:.1f} min", flush=True)


if __name__ == "__main__":
    main()
