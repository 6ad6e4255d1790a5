"""Times of commands on a real engine, compared with simpler programs and with larger stacks.

A flat program (`bench/flat.py`) imports the same SDKs and declares the same resources by hand. A
compose file runs the same images with the same settings.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from bench import page
from tests.emulator.emulator import Emulator
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, free_port, run_checked, wait_until

OURS, FLAT, COMPOSE = "__main__.py", "bench/flat.py", "compose"
FULL = bool(os.environ.get("FULL"))
ROUNDS = 5 if FULL else 3
PREVIEWS = 3  # in each round
UPS = ROUNDS if FULL else 1  # first `up`s of each extended stack
# The highest acceptable ratio of our time to that of another program.
TARGETS = {FLAT: 1.25, COMPOSE: 1.5}
# Settings that are added to the local stack.
EXTENSIONS: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "100 users": {"auth": {"users": {f"user{number}": {} for number in range(100)}}},
    "1,000 keys of `config`": {
        "registry": {"config": {"log": {"fields": {f"k{n}": "a: b" for n in range(1_000)}}}}
    },
}
STACKS = ("dev", "staging", "prod")
FIRST_UP = "first `up`"


class ComposeProject:
    """The two containers of the local stack in a compose file, with the same health checks."""

    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    program = ("docker-compose",) if plugin.returncode else ("docker", "compose")

    def __init__(self, folder: Path) -> None:
        def health_check(*words: str) -> Mapping[str, Any]:
            times = {"interval": "3s", "timeout": "3s", "retries": 3, "start_period": "30s"}
            return {"test": ["CMD", *words], **times}

        redis = ["redis-server", "--requirepass", "pa55-word", "--save", "", "--maxmemory", "256mb"]
        variables = {
            "OTEL_TRACES_EXPORTER": "none",
            "REGISTRY_LOG_LEVEL": "warn",
            "REGISTRY_REDIS_ADDRS": '["redis:6379"]',
            "REGISTRY_REDIS_PASSWORD": "pa55-word",
            "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
        }
        answers = ("wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5000/")
        services = {
            "redis": {
                "image": "redis:7.0.15",
                "command": redis,
                "healthcheck": health_check("redis-cli", "ping"),
            },
            "registry": {
                "image": "registry:3.1.2",
                "environment": variables,
                "ports": [f"127.0.0.1:{free_port()}:5000"],
                "volumes": ["data:/var/lib/registry"],
                "healthcheck": health_check(*answers),
                "depends_on": {"redis": {"condition": "service_healthy"}},
            },
        }
        self._file = folder / "docker-compose.yml"
        self._file.write_text(yaml.safe_dump({"services": services, "volumes": {"data": {}}}))

    def up(self) -> None:
        """Start the containers, and wait until they are healthy.

        The older program docker-compose has no option `--wait`.
        """
        self._compose("up", "--detach")
        wait_until(self._is_healthy)

    def down(self) -> None:
        """Remove the containers and the volume."""
        self._compose("down", "--volumes")

    def _is_healthy(self) -> bool:
        form = "{{.State.Health.Status}}"
        parts = self._compose("ps", "--quiet").split()
        found = run_checked("docker", "container", "inspect", "--format", form, *parts)
        return set(found.split()) == {"healthy"}

    def _compose(self, *words: str) -> str:
        return run_checked(*self.program, "--file", self._file, *words)


def _change_log_level(deployment: Deployment, level: str) -> None:
    deployment.configure(registry={"log_level": level})
    deployment.up()


def _preview(deployment: Deployment) -> None:
    deployment.pulumi("preview", "--expect-no-changes")


# The commands of a round, in this order, with how often each is run. Then the stack is destroyed.
COMMANDS: Mapping[str, tuple[Callable[[Deployment], object], int]] = {
    FIRST_UP: (Deployment.up, 1),
    "unchanged `preview`": (_preview, PREVIEWS),
    "no-change `up`": (lambda deployment: deployment.pulumi("up", "--yes", "--skip-preview"), 2),
    "change of one variable": (lambda deployment: _change_log_level(deployment, "info"), 1),
}


def time_call(function: Callable[..., object], *arguments: object) -> float:
    """The duration of a call, in seconds."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def measure_commands(exits: ExitStack) -> None:
    """Compare each command with the flat program, and the first `up` with compose."""
    deployments = {}
    for program in (OURS, FLAT):
        folder = exits.enter_context(tempfile.TemporaryDirectory())
        deployment = deployments[program] = Deployment(Path(folder), program=program)
        exits.callback(deployment.remove)
    compose = ComposeProject(Path(exits.enter_context(tempfile.TemporaryDirectory())))
    exits.callback(compose.down)
    seconds = {name: {program: list[float]() for program in deployments} for name in COMMANDS}
    seconds[FIRST_UP][COMPOSE] = []
    order = [*deployments]
    for number in range(ROUNDS):
        print(f"commands, round {number + 1} of {ROUNDS} …", flush=True)
        seconds[FIRST_UP][COMPOSE].append(time_call(compose.up))
        compose.down()
        for deployment in deployments.values():
            deployment.configure(registry={"log_level": "warn"})
        for name, (run, times) in COMMANDS.items():
            for _ in range(times):
                for program in order:
                    seconds[name][program].append(time_call(run, deployments[program]))
                order.reverse()
        for deployment in deployments.values():
            deployment.pulumi("destroy", "--yes", "--skip-preview")
    rows = []
    for name, runs in seconds.items():
        for program, target in TARGETS.items():
            if program in runs:
                ours, other = statistics.median(runs[OURS]), statistics.median(runs[program])
                ratio = f"{ours / other:.2f} (at most {target})"
                spreads = (page.format_spread(runs[each], ".2f") for each in (OURS, program))
                rows.append((name, Path(program).stem, ratio, *spreads))
    page.write_table("commands", ("command", "against", "ratio", "ours, s", "the other, s"), rows)


def measure_growth(exits: ExitStack) -> None:
    """Compare the first preview and `up` of the local stack with those of extended stacks."""
    deployments = {}
    for name, settings in EXTENSIONS.items():
        folder = exits.enter_context(tempfile.TemporaryDirectory())
        deployment = deployments[name] = Deployment(Path(folder), **settings)
        exits.callback(deployment.remove)
    previews, ups = ({name: list[float]() for name in deployments} for _ in range(2))
    for number in range(ROUNDS):
        print(f"growth, round {number + 1} of {ROUNDS} …", flush=True)
        for name, deployment in deployments.items():
            previews[name].append(time_call(deployment.pulumi, "preview"))
            if number < UPS:
                ups[name].append(time_call(deployment.up))
                deployment.pulumi("destroy", "--yes", "--skip-preview")
    rows = []
    for name in deployments:
        row = [name]
        for seconds in (previews, ups):
            base = statistics.median(seconds["as it is"])
            row.append(page.format_spread(seconds[name], ".2f"))
            row.append(f"{statistics.median(seconds[name]) / base:.2f}")
        rows.append(row)
    head = ("local stack", "`preview`, s", "ratio", f"{FIRST_UP}, s", "ratio")
    page.write_table("growth", head, rows)


def measure_stacks(exits: ExitStack) -> None:
    """Measure the first preview of each stack with OSS storage, in the emulator."""
    folder = Path(exits.enter_context(tempfile.TemporaryDirectory()))
    emulator = Emulator(folder / "emulator")
    exits.callback(emulator.close)
    rows = []
    for name in STACKS:
        (folder / name).mkdir()
        deployment = CloudDeployment(folder / name, emulator, like=name)
        exits.callback(deployment.remove)
        print(f"stack {name} …", flush=True)
        previews = [time_call(deployment.pulumi, "preview") for _ in range(ROUNDS)]
        planned = json.loads(deployment.pulumi("preview", "--json"))["changeSummary"]["create"]
        rows.append((name, planned, page.format_spread(previews, ".2f")))
    page.write_table("stacks", ("stack", "resources", "first `preview`, s"), rows)


def main() -> None:
    for part in (measure_commands, measure_growth, measure_stacks):
        with ExitStack() as exits:
            part(exits)


if __name__ == "__main__":
    main()
