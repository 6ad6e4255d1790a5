"""The registry's own reader, a process for each release: what does it make of a configuration?"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolchain.golang import GoProgram

GO_PROGRAMS = Path(__file__).parent / "go"
PROGRAMS = {
    version: GoProgram(
        binary="reference-reader",
        sources=GO_PROGRAMS,
        module=f"release-{version.rpartition('.')[0]}",
        version=version,
        minutes=1,
    )
    for version in ("2.8.3", "3.0.0", "3.1.2")
}


class Refused(Exception):
    """The registry's own message."""


class ReferenceReader:
    """One release's reader; it lives until `close`."""

    def __init__(self, version: str) -> None:
        self._process = subprocess.Popen(
            [PROGRAMS[version].build()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def close(self) -> None:
        self._process.communicate()

    def read(self, file: str, environment: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
        """The effective configuration by the keys of a file; durations are nanoseconds.

        Raises Refused.
        """
        return self._ask("read", file, environment)

    def start(self, file: str, environment: Mapping[str, str] | None = None) -> None:
        """Make an app of it, on storage in memory. Raises Refused where the registry panics."""
        self._ask("start", file, environment)

    def schema(self) -> Any:  # noqa: ANN401
        """What the release understands, as `config/schema` keeps it."""
        return self._ask("schema", "", None)

    def _ask(self, verb: str, file: str, environment: Mapping[str, str] | None) -> Any:  # noqa: ANN401
        request = {"verb": verb, "file": file, "environment": environment or {}}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Refused("the process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]
