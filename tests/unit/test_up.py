"""Tests of `make up`: it waits until the registry serves, or fails and reports the cause."""

from collections.abc import Callable, Iterator
from io import StringIO
from subprocess import CalledProcessError

import pytest

from components.storage.backend import Unreachable
from components.storage.oss import OssBackend
from config.resource_names import ACCESS_KEY
from config.stack import Stack
from operations import orphaned_keys, preflight
from operations.clients import registry as registry_client
from operations.commands import up
from operations.context import StackContext
from operations.errors import CommandError, NotChecked
from operations.recovery import Recovery
from operations.review import Change, Review
from tests.unit.contexts import FakePulumi, fake_context
from tests.unit.stack_files import load_stack

ADDRESS = "http://127.0.0.1:5000"
ON_VOLUME = load_stack()
IN_OSS = load_stack(region="cn-hangzhou", storage={"kind": "oss", "bucket": "images"})


class Clock:
    """A fake clock that moves on only in `sleep`."""

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


def _set_status_codes(codes: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "http_status", lambda *_: next(codes))


def _set_oss_check(check: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OssBackend, "access_problem", lambda *_: check())


def _set_oss_answers(answers: Iterator[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    _set_oss_check(lambda: next(answers), monkeypatch)


def _wait_until_serving(stack: Stack = ON_VOLUME) -> None:
    up._wait_until_serving(fake_context(stack))


@pytest.mark.parametrize("code", [200, 401, 404])
def test_up_does_not_wait_for_a_registry_that_answers(
    code: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_status_codes(iter([code]), monkeypatch)
    _wait_until_serving()
    assert clock.now == 0


def test_up_waits_until_the_registry_no_longer_answers_503(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _set_status_codes(iter([503] * 12 + [401]), monkeypatch)
    _wait_until_serving()
    assert clock.now == 12
    assert capsys.readouterr().err.splitlines() == [
        f"up: waiting until the registry at {ADDRESS} serves again: {seconds} s"
        for seconds in (0, 10)
    ]


def test_up_fails_with_the_next_step_if_the_registry_keeps_answering_503(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_client, "http_status", lambda *_: 503)
    with pytest.raises(CommandError) as failure:
        _wait_until_serving()
    assert f"after 61 s the registry at {ADDRESS} still answers 503" in str(failure.value)
    assert "Run `make status STACK=dev` for the cause." in str(failure.value)


@pytest.mark.parametrize("reason", [OSError("no route to host"), NotChecked("a certificate")])
def test_up_does_not_wait_for_an_endpoint_that_this_machine_cannot_reach(
    reason: Exception, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> int:
        raise reason

    monkeypatch.setattr(registry_client, "http_status", unreachable)
    _wait_until_serving()
    assert clock.now == 0


def test_up_fails_if_oss_refuses_the_access_key_even_if_the_registry_answers(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_oss_check(lambda: "OSS answers UserDisable: an overdue payment", monkeypatch)
    _set_status_codes(iter([200]), monkeypatch)
    with pytest.raises(up.StorageRefused, match="OSS answers UserDisable: an overdue payment"):
        _wait_until_serving(IN_OSS)
    assert clock.now == 61


def test_up_waits_until_oss_accepts_the_access_key(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_oss_answers(iter(["OSS answers AccessDenied"] * 3 + [None]), monkeypatch)
    _set_status_codes(iter([200]), monkeypatch)
    _wait_until_serving(IN_OSS)
    assert clock.now == 3


def test_an_oss_endpoint_that_this_machine_cannot_reach_is_reported_as_not_checked(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable() -> None:
        raise NotChecked("OSS does not answer at HOST from here")

    _set_oss_check(unreachable, monkeypatch)
    _set_status_codes(iter([200]), monkeypatch)
    _wait_until_serving(IN_OSS)
    assert clock.now == 0
    assert "was not checked: OSS does not answer at HOST from here" in capsys.readouterr().err


@pytest.mark.parametrize("codes", [[200] * 50, [200] * 30 + [503] * 20])
def test_if_no_endpoint_of_oss_answers_up_watches_the_registrys_storage_checks(
    codes: list[int], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> None:
        raise Unreachable("OSS does not answer at HOST from here")

    _set_oss_check(unreachable, monkeypatch)
    _set_status_codes(iter(codes), monkeypatch)
    if 503 in codes:
        with pytest.raises(up.StorageRefused, match="HOST from here: check the network"):
            _wait_until_serving(IN_OSS)
        assert clock.now == 30
    else:
        _wait_until_serving(IN_OSS)
        assert clock.now == up.STORAGE_CHECK_SECONDS


# From the plan to the end of the update.


class _FailingPulumi(FakePulumi):
    """Fails at each update."""

    def run_visibly(self, command: str, *options: str) -> None:
        super().run_visibly(command, *options)
        raise CalledProcessError(255, "pulumi")


@pytest.fixture
def failing_update(monkeypatch: pytest.MonkeyPatch) -> StackContext:
    """Return the context of an `up` that creates an access key and then fails."""
    new = {"inputs": {"userName": "oss-registry-dev"}}
    change = Change(action="create", kind=ACCESS_KEY, name="key", details=(), old={}, new=new)
    context = fake_context(IN_OSS)
    context.pulumi = _FailingPulumi("dev", {})
    monkeypatch.setattr(up, "recover", lambda _: Recovery(["removed a container"]))
    monkeypatch.setattr(preflight, "check", lambda _: None)
    monkeypatch.setattr(up, "plan", lambda *_: (Review(stack="dev", changes=[change]), ()))
    monkeypatch.setattr(orphaned_keys, "list_before_update", lambda _: ["a"])
    monkeypatch.setattr(
        orphaned_keys,
        "delete_after_update",
        lambda context, earlier: context.pulumi.commands.append(("delete keys", *earlier)),
    )
    return context


def _commands(context: StackContext) -> list[tuple[str, ...]]:
    assert isinstance(context.pulumi, FakePulumi)
    return [(words[0], *words[1:][:1]) for words in context.pulumi.commands]


def test_a_failed_update_reports_the_refusal_of_oss_and_deletes_orphaned_keys(
    failing_update: StackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_oss_answers(iter(["OSS answers UserDisable"]), monkeypatch)
    with pytest.raises(up.StorageRefused, match="the update failed, see above; OSS answers User"):
        up.up(failing_update, consent=True)
    assert _commands(failing_update) == [("up", "--refresh"), ("delete keys", "a")]


def test_a_failed_update_with_another_cause_raises_pulumis_error(
    failing_update: StackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_oss_answers(iter([None]), monkeypatch)
    with pytest.raises(CalledProcessError):
        up.up(failing_update, consent=True)
    assert _commands(failing_update)[-1] == ("delete keys", "a")


@pytest.mark.parametrize("consent", [True, False])
def test_a_refused_plan_after_a_recovery_lists_the_steps_of_the_recovery(
    consent: bool, failing_update: StackContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Review(stack="dev", errors=["no"] if consent else (), diff=["+A=b"])
    monkeypatch.setattr(up, "plan", lambda *_: (refused, ()))
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(CommandError, match=r"recovery of the run before \(removed a container\): "):
        up.up(failing_update, consent=consent)
    assert not _commands(failing_update)
