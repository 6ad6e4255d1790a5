"""After an `up`, the registry serves, or the command fails and shows how to find the cause."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from operations import Blocked, status, up

ADDRESS = "http://127.0.0.1:5000"


class Clock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(up, "time", clock)
    monkeypatch.setattr(up, "stack", lambda name: SimpleNamespace(endpoint=ADDRESS))
    return clock


def _answers(codes: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "http_status", lambda _: next(codes))


@pytest.mark.parametrize("code", [200, 401, 404])
def test_a_registry_that_answers_is_not_waited_for(
    code: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(iter([code]), monkeypatch)
    up._wait_until_served("prod")
    assert clock.now == 0


def test_up_ends_when_the_registry_has_noticed_that_its_storage_is_back(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _answers(iter([503] * 12 + [401]), monkeypatch)
    up._wait_until_served("prod")
    assert clock.now == 12
    assert capsys.readouterr().err.splitlines() == [
        f"up: waiting until the registry at {ADDRESS} serves again: {seconds} s"
        for seconds in (0, 10)
    ]


def test_a_registry_that_goes_on_refusing_fails_the_command_with_the_next_step(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "http_status", lambda _: 503)
    with pytest.raises(Blocked) as blocked:
        up._wait_until_served("prod")
    assert f"the registry at {ADDRESS} still answers 503 after 61 s" in str(blocked.value)
    assert "Run `make status STACK=prod` for the cause." in str(blocked.value)


def test_an_endpoint_that_this_machine_does_not_reach_is_not_waited_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_: str) -> int:
        raise OSError("no route to host")

    monkeypatch.setattr(status, "http_status", unreachable)
    up._wait_until_served("prod")
    assert clock.now == 0
