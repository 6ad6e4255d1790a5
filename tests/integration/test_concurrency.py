"""Many concurrent clients, as in a team's CI, get no errors."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.secured import SecuredDeployment

pytestmark = pytest.mark.secure
SECONDS = 20
PULLING_CLIENTS, PUSHING_CLIENTS = 64, 8


@pytest.fixture
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredDeployment]:
    deployment = SecuredDeployment(tmp_path_factory.mktemp("project"))
    with deployment.deployed():
        yield deployment


def test_64_pulling_and_8_pushing_clients_get_no_error(secured: SecuredDeployment) -> None:
    ci, alice = secured.api("ci"), secured.api("alice")
    images = [f"team/app{number}" for number in range(4)]
    for name in images:
        ci.push(name, secrets.token_bytes(200_000))
    end = time.monotonic() + SECONDS
    counts: Counter[str] = Counter()
    lock = threading.Lock()

    def work(kind: str, step: Callable[[int], None]) -> None:
        number = 0
        while number == 0 or time.monotonic() < end:
            step(number)  # raises RequestError, which ends the test
            number += 1
            with lock:
                counts[kind] += 1

    def pull(client: int) -> Callable[[int], None]:
        return lambda number: ci.pull(images[(client + number) % len(images)])

    def push(client: int) -> Callable[[int], None]:
        def step(number: int) -> None:
            name = f"team/of{client}-{number}"
            alice.push(name, secrets.token_bytes(200_000), chunks=2)
            alice.pull(name)

        return step

    with ThreadPoolExecutor(PULLING_CLIENTS + PUSHING_CLIENTS) as pool:
        tasks = [pool.submit(work, "pulled", pull(client)) for client in range(PULLING_CLIENTS)]
        tasks += [pool.submit(work, "pushed", push(client)) for client in range(PUSHING_CLIENTS)]
        for task in tasks:
            task.result()
    assert counts["pulled"] >= PULLING_CLIENTS
    assert counts["pushed"] >= PUSHING_CLIENTS
    assert secured.is_healthy("registry")
    assert secured.inspect("registry", ".State.OOMKilled") is False
    assert secured.inspect("registry", ".RestartCount") == 0
    assert "panic" not in secured.log("registry")
