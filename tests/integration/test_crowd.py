"""Many at once, as a team's CI is: nobody meets an error that is not meant."""

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
PULLING, PUSHING = 64, 8


@pytest.fixture
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredDeployment]:
    made = SecuredDeployment(tmp_path_factory.mktemp("project"))
    with made.deployed():
        yield made


def test_64_pull_and_8_push_at_once_without_an_error(secured: SecuredDeployment) -> None:
    api, dear = secured.api("ci"), secured.api("alice")
    images = [f"team/app{number}" for number in range(4)]
    for name in images:
        api.push(name, secrets.token_bytes(200_000))
    end = time.monotonic() + SECONDS
    done: Counter[str] = Counter()
    counting = threading.Lock()

    def work(what: str, step: Callable[[int], None]) -> None:
        number = 0
        while number == 0 or time.monotonic() < end:
            step(number)  # raises, and so ends the test, at the first error
            number += 1
            with counting:
                done[what] += 1

    def pull(client: int) -> Callable[[int], None]:
        return lambda number: api.pull(images[(client + number) % len(images)])

    def push(client: int) -> Callable[[int], None]:
        def step(number: int) -> None:
            name = f"team/of{client}-{number}"
            dear.push(name, secrets.token_bytes(200_000), chunks=2)
            dear.pull(name)

        return step

    with ThreadPoolExecutor(PULLING + PUSHING) as pool:
        working = [pool.submit(work, "pulled", pull(client)) for client in range(PULLING)]
        working += [pool.submit(work, "pushed", push(client)) for client in range(PUSHING)]
        for each in working:
            each.result()
    assert done["pulled"] >= PULLING
    assert done["pushed"] >= PUSHING
    assert secured.is_healthy("registry")
    assert secured.inspect("registry", ".State.OOMKilled") is False
    assert secured.inspect("registry", ".RestartCount") == 0
    assert "panic" not in secured.log("registry")
