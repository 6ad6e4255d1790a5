"""What our structure costs: each command against a flat program, as a ratio of one run.

The flat program (`bench/flat.py`) imports the same SDKs and declares the same resources by hand.
Both run on the real engine, in turn: `make bench`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.integration.deployment import Deployment

PROGRAMS = ("__main__.py", "bench/flat.py")
ROUNDS = 5
PREVIEWS = 3  # in each round
TARGET = 1.25


def _change(deployment: Deployment, level: str) -> None:
    deployment.configure(registry={"log_level": level})
    deployment.up()


def _preview(deployment: Deployment) -> None:
    deployment.pulumi("preview", "--expect-no-changes")


# In this order in each round; a registry is gone at its end.
COMMANDS: Mapping[str, tuple[Callable[[Deployment], object], int]] = {
    "first up": (Deployment.up, 1),
    "unchanged preview": (_preview, PREVIEWS),
    "no-change up": (lambda deployment: deployment.pulumi("up", "--yes", "--skip-preview"), 2),
    "one-variable change": (lambda deployment: _change(deployment, "info"), 1),
}


def measured(deployments: Mapping[str, Deployment]) -> Mapping[str, Mapping[str, list[float]]]:
    """The seconds of each run, by command and program; the programs take turns to be first."""
    seconds = {name: {program: list[float]() for program in deployments} for name in COMMANDS}
    order = [*deployments]
    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS} …", flush=True)
        for deployment in deployments.values():
            deployment.configure(registry={"log_level": "warn"})
        for name, (run, times) in COMMANDS.items():
            for _ in range(times):
                for program in order:
                    begun = time.perf_counter()
                    run(deployments[program])
                    seconds[name][program].append(time.perf_counter() - begun)
                order.reverse()
        for deployment in deployments.values():
            deployment.pulumi("destroy", "--yes", "--skip-preview")
    return seconds


def main() -> None:
    with ExitStack() as exits:
        deployments = {}
        for program in PROGRAMS:
            folder = exits.enter_context(tempfile.TemporaryDirectory())
            deployment = Deployment(Path(folder), program=program)
            exits.callback(deployment.remove)
            deployments[program] = deployment
        for name, runs in measured(deployments).items():
            ours, flat = (statistics.median(runs[program]) for program in PROGRAMS)
            verdict = "within" if ours / flat <= TARGET else "BEYOND"
            print(
                f"{name}: {ours / flat:.2f} x flat ({ours:.2f} s and {flat:.2f} s, medians of "
                f"{len(runs[PROGRAMS[0]])}; {verdict} {TARGET})"
            )


if __name__ == "__main__":
    main()
