"""After an `up`, the registry serves, or the command fails and shows how to find the cause."""

from collections.abc import Iterator

import pytest

from components.stack import Stack
from operations import Blocked, NotChecked, oss, registry_api, up
from tests.unit.stack_files import loaded

ADDRESS = "http://127.0.0.1:5000"
ON_VOLUME = loaded()
IN_OSS = loaded(region="cn-hangzhou", storage={"kind": "oss", "bucket": "images"})


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
    return clock


def _answers(codes: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_api, "http_status", lambda *_: next(codes))


def _oss_says(answers: Iterator[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oss, "check", lambda *_: next(answers))


def _wait(stack: Stack = ON_VOLUME) -> None:
    up._wait_until_served(stack, {})


@pytest.mark.parametrize("code", [200, 401, 404])
def test_a_registry_that_answers_is_not_waited_for(
    code: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(iter([code]), monkeypatch)
    _wait()
    assert clock.now == 0


def test_up_ends_when_the_registry_has_noticed_that_its_storage_is_back(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _answers(iter([503] * 12 + [401]), monkeypatch)
    _wait()
    assert clock.now == 12
    assert capsys.readouterr().err.splitlines() == [
        f"up: waiting until the registry at {ADDRESS} serves again: {seconds} s"
        for seconds in (0, 10)
    ]


def test_a_registry_that_goes_on_refusing_fails_the_command_with_the_next_step(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_api, "http_status", lambda *_: 503)
    with pytest.raises(Blocked) as blocked:
        _wait()
    assert f"after 61 s the registry at {ADDRESS} still answers 503" in str(blocked.value)
    assert "Run `make status STACK=dev` for the cause." in str(blocked.value)


@pytest.mark.parametrize("reason", [OSError("no route to host"), NotChecked("a certificate")])
def test_an_endpoint_that_this_machine_does_not_reach_is_not_waited_for(
    reason: Exception, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> int:
        raise reason

    monkeypatch.setattr(registry_api, "http_status", unreachable)
    _wait()
    assert clock.now == 0


def test_an_oss_that_refuses_the_registry_fails_the_command_while_the_registry_still_answers(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oss, "check", lambda *_: "OSS answers UserDisable: an overdue payment")
    _answers(iter([200]), monkeypatch)
    with pytest.raises(up.StorageRefused, match="OSS answers UserDisable: an overdue payment"):
        _wait(IN_OSS)
    assert clock.now == 61


def test_an_oss_that_takes_the_key_after_some_seconds_is_waited_for(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _oss_says(iter(["OSS answers AccessDenied"] * 3 + [None]), monkeypatch)
    _answers(iter([200]), monkeypatch)
    _wait(IN_OSS)
    assert clock.now == 3


def test_an_oss_that_this_machine_does_not_reach_is_reported_as_not_checked(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*_: object) -> None:
        raise NotChecked("OSS does not answer at HOST from here")

    monkeypatch.setattr(oss, "check", unreachable)
    _answers(iter([200]), monkeypatch)
    _wait(IN_OSS)
    assert clock.now == 0
    assert "was not checked: OSS does not answer at HOST from here" in capsys.readouterr().err


@pytest.mark.parametrize("codes", [[200] * 50, [200] * 30 + [503] * 20])
def test_where_no_host_of_oss_answers_the_registrys_storage_checks_are_watched(
    codes: list[int], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise oss.Unreachable("OSS does not answer at HOST from here")

    monkeypatch.setattr(oss, "check", unreachable)
    _answers(iter(codes), monkeypatch)
    if 503 in codes:
        with pytest.raises(up.StorageRefused, match="HOST from here: check the network"):
            _wait(IN_OSS)
        assert clock.now == 30
    else:
        _wait(IN_OSS)
        assert clock.now == up.CHECKS_SECONDS
