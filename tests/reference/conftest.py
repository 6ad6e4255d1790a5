"""Fixtures: the reference readers, and the settings of Hypothesis.

The variable REFERENCE_EXAMPLES sets the number of examples per release and property. To repeat a
run, set REFERENCE_SEED to the seed that it printed.
"""

import os
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, seed, settings

from config.releases import RELEASES, Release
from tests.reference.reader import ReferenceReader

SEED = int(os.environ.get("REFERENCE_SEED") or secrets.randbits(32))
EXAMPLES = int(os.environ.get("REFERENCE_EXAMPLES") or (1000 if os.environ.get("CI") else 300))

settings.register_profile(
    "reference",
    max_examples=EXAMPLES,
    deadline=None,  # the time of an example depends on the load of the machine
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("reference")
seeded = seed(SEED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(
        f"reference reader: {EXAMPLES} examples per release and property; "
        f"to repeat them, set REFERENCE_SEED={SEED}"
    )


@pytest.fixture(scope="session")
def readers() -> Iterator[dict[str, ReferenceReader]]:
    """The running reference readers, by release."""
    started: dict[str, ReferenceReader] = {}
    try:
        for version in RELEASES:
            started[version] = ReferenceReader(version)
        yield started
    finally:
        for reader in started.values():
            reader.close()


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> Release:
    """Each release of the registry in turn."""
    return RELEASES[request.param]


@pytest.fixture(scope="session")
def reader(readers: dict[str, ReferenceReader], release: Release) -> ReferenceReader:
    """The reference reader of `release`."""
    return readers[release.version]
