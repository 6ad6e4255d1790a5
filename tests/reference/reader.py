"""The reference reader: a test oracle that reads a configuration with a release's own Go code.

Tests compare what this project writes with what the registry reads. `go/` has one program for each
release, which is built from the release's Go modules and imports its configuration package.
"""

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
    """The registry refused a configuration or panicked. The text is the registry's message."""


class ReferenceReader:
    """The reference reader of one release: a process that runs until `close`."""

    def __init__(self, version: str) -> None:
        self._process = subprocess.Popen(
            [PROGRAMS[version].build()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def read(self, file: str, environment: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
        """The configuration that the registry reads from a config file and environment variables.

        `file` is the file's content, and variables override it. The result has the keys of a config
        file, and durations are in nanoseconds. Raises Refused.
        """
        return self._request("read", file, environment)

    def start(self, file: str, environment: Mapping[str, str] | None = None) -> None:
        """Start the registry's app with storage in memory. Raises Refused if it panics."""
        self._request("start", file, environment)

    def schema(self) -> Any:  # noqa: ANN401
        """The keys that the release understands, in the form of the files in `config/schema`."""
        return self._request("schema", "", None)

    def _request(self, verb: str, file: str, environment: Mapping[str, str] | None) -> Any:  # noqa: ANN401
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
