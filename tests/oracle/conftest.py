import os
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, seed, settings

from config.releases import RELEASES, Release
from tests.oracle.oracle import Oracle

SEED = int(os.environ.get("ORACLE_SEED") or secrets.randbits(32))
EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES") or (1000 if os.environ.get("CI") else 300))

settings.register_profile(
    "oracle",
    max_examples=EXAMPLES,
    deadline=None,  # no test depends on timing
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("oracle")
seeded = seed(SEED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(
        f"oracle: {EXAMPLES} examples per release and property; again: ORACLE_SEED={SEED}"
    )


@pytest.fixture(scope="session")
def oracles() -> Iterator[dict[str, Oracle]]:
    started: dict[str, Oracle] = {}
    try:
        for version in RELEASES:
            started[version] = Oracle(version)
        yield started
    finally:
        for oracle in started.values():
            oracle.close()


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> Release:
    return RELEASES[request.param]


@pytest.fixture(scope="session")
def oracle(oracles: dict[str, Oracle], release: Release) -> Oracle:
    return oracles[release.version]
