"""After an `up`, the registry serves, or the command fails and shows how to find the cause."""

from collections.abc import Iterator
from contextlib import nullcontext
from io import StringIO
from subprocess import CalledProcessError

import pytest

from config.stack import Stack
from operations import Blocked, NotChecked, engine, orphans, oss, recover, registry_api, up
from operations.review import Change, Review
from operations.state import ACCESS_KEY
from tests.unit.stack_files import load_stack

ADDRESS = "http://127.0.0.1:5000"
ON_VOLUME = load_stack()
IN_OSS = load_stack(region="cn-hangzhou", storage={"kind": "oss", "bucket": "images"})


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


# From the plan to the end.


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An `up` that makes an access key, and whose update fails; gives what is done about it."""
    done: list[str] = []
    made = {"inputs": {"userName": "oss-registry-dev"}}
    change = Change(action="create", kind=ACCESS_KEY, name="key", what=(), old={}, new=made)

    def fail(*words: str) -> None:
        done.append(words[0])
        raise CalledProcessError(255, "pulumi")

    monkeypatch.setattr(
        recover, "recover", lambda name: recover.Recovered((), ["removed a container"])
    )
    monkeypatch.setattr(recover, "see_fit", lambda *_: None)
    monkeypatch.setattr(up, "planned", lambda *_: (Review(stack="dev", changes=[change]), ()))
    monkeypatch.setattr(up, "configuration", lambda name: ({}, set()))
    monkeypatch.setattr(up, "stack", lambda name: IN_OSS)
    monkeypatch.setattr(up, "pulumi_seen", fail)
    monkeypatch.setattr(orphans, "before", lambda *_: ["a"])
    monkeypatch.setattr(orphans, "drop", lambda *words: done.append(f"drop {words}"))
    monkeypatch.setattr(engine, "reached", lambda config: nullcontext({}))
    return done


def test_an_update_that_fails_names_osss_refusal_and_drops_lost_keys(
    updates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _oss_says(iter(["OSS answers UserDisable"]), monkeypatch)
    with pytest.raises(up.StorageRefused, match="the update failed, see above; OSS answers User"):
        up.up("dev", consent=True, meant=())
    assert updates == ["up", "drop ('dev', 'oss-registry-dev', ['a'])"]


def test_an_update_that_fails_for_something_else_is_pulumis_matter(
    updates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _oss_says(iter([None]), monkeypatch)
    with pytest.raises(CalledProcessError):
        up.up("dev", consent=True, meant=())
    assert updates[-1].startswith("drop")


@pytest.mark.parametrize("consent", [True, False])
def test_a_plan_that_is_refused_after_recovery_lists_what_that_did(
    consent: bool, updates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Review(stack="dev", errors=["no"] if consent else (), lines=["+A=b"])
    monkeypatch.setattr(up, "planned", lambda *_: (failed, ()))
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(Blocked, match=r"recovery of the run before \(removed a container\): "):
        up.up("dev", consent=consent, meant=())
    assert not updates
