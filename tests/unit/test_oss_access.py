"""Tests of the check that OSS accepts the registry's access key, and of its error messages."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from components.storage.backend import AccessKey, NotChecked, Unreachable
from components.storage.oss import OssBackend, access, objects
from components.storage.oss.errors import OssError, Times
from tests.unit.stack_files import load_stack

PUBLIC, INTERNAL = "oss-cn-hangzhou.aliyuncs.com", "oss-cn-hangzhou-internal.aliyuncs.com"
Answers = Mapping[str, OssError | None]
Check = Callable[..., str | None]


def _storage() -> OssBackend:
    storage = {"kind": "oss", "bucket": "images", "access_keys": ["2026-11"]}
    return OssBackend(load_stack(region="cn-hangzhou", storage=storage).registry)


def _answer(code: str, message: str = "", times: Times | None = None) -> OssError:
    return OssError(code, message, answered=True, times=times)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Check:
    """Return a function that runs the check with given answers of OSS and a clock of the engine.

    `listing` maps each host to its answer if objects are listed, and `reading` is the answer if an
    object is read. None means success.
    """

    def run_check(
        listing: Answers, reading: OssError | None = None, clock: datetime | None = None
    ) -> str | None:
        def first_object(region: str, host: str, *_: object) -> None:
            if failure := listing[host]:
                raise failure

        def read(*_: object) -> None:
            if reading:
                raise reading

        time = (clock or datetime.now(UTC)).isoformat()
        monkeypatch.setattr(objects, "first_object", first_object)
        monkeypatch.setattr(access, "require_readable", read)
        return _storage().access_problem(
            lambda _: AccessKey("id", "hunter2"), lambda *_: f"{time}\n"
        )

    return run_check


def _at_each_endpoint(failure: OssError | None) -> Answers:
    return {PUBLIC: failure, INTERNAL: failure}


def test_a_key_that_can_list_and_read_passes_the_check(check: Check) -> None:
    assert check(_at_each_endpoint(None)) is None


@pytest.mark.parametrize(
    ("code", "message", "cause"),
    [
        ("UserDisable", "UserDisable", "disabled or has an overdue payment"),
        ("AccessDenied", "Access denied by bucket policy.", "the bucket policy of images denies"),
        ("AccessDenied", "You have no right", "the RAM policy of the user oss-registry-dev"),
        ("AccessDenied", "The bucket must be addressed at its endpoint.", "in another region"),
        ("AccessDenied", "The bucket you access does not belong to you.", "is another account's"),
        ("InvalidAccessKeyId", "", "the access key 2026-11 is deleted or disabled"),
        ("SignatureDoesNotMatch", "", "`make rotate STACK=dev`"),
        ("NoSuchBucket", "", "the bucket images does not exist"),
        ("InternalError", "", "Try again later"),
    ],
)
def test_each_error_code_of_oss_is_reported_with_its_cause(
    code: str, message: str, cause: str, check: Check
) -> None:
    problem = check(_at_each_endpoint(_answer(code, message)))
    assert problem is not None
    assert problem.startswith(f"OSS answers {code}: ")
    assert cause in problem
    assert "hunter2" not in problem


def test_an_unknown_error_code_is_reported_with_the_message_of_oss(check: Check) -> None:
    problem = check(_at_each_endpoint(_answer("NewError", "Something new.")))
    assert problem == "OSS answers NewError: Something new."


def test_a_wrong_clock_is_reported_with_both_times(check: Check) -> None:
    now = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
    times = Times(now - timedelta(hours=1), now)
    problem = check(_at_each_endpoint(_answer("RequestTimeTooSkewed", "", times)))
    assert problem is not None
    assert "it has 2026-11-01 11:00:00 UTC, OSS has 2026-11-01 12:00:00 UTC" in problem


@pytest.mark.parametrize("minutes", [-20, 20])
def test_a_wrong_clock_of_the_engine_is_reported(minutes: int, check: Check) -> None:
    problem = check(_at_each_endpoint(None), clock=datetime.now(UTC) + timedelta(minutes=minutes))
    assert problem is not None
    assert problem.startswith("OSS answers RequestTimeTooSkewed: ")


def test_a_key_that_can_list_but_not_read_is_reported(check: Check) -> None:
    problem = check(_at_each_endpoint(None), reading=_answer("AccessDenied"))
    assert problem is not None
    assert problem.startswith("OSS answers AccessDenied: ")


def test_a_refusal_at_the_public_endpoint_does_not_matter_if_the_registrys_endpoint_answers(
    check: Check,
) -> None:
    assert check({PUBLIC: _answer("PublicEndpointForbidden"), INTERNAL: None}) is None


@pytest.mark.parametrize(
    ("public", "unreachable"),
    [(OssError("RequestError"), True), (_answer("PublicEndpointForbidden"), False)],
)
def test_an_endpoint_that_cannot_be_reached_from_this_machine_is_reported_as_not_checked(
    public: OssError, unreachable: bool, check: Check
) -> None:
    with pytest.raises(NotChecked) as failure:
        check({PUBLIC: public, INTERNAL: OssError("RequestError")})
    assert f"does not answer at {INTERNAL} from here: RequestError" in str(failure.value)
    assert isinstance(failure.value, Unreachable) == unreachable


def test_an_error_of_the_account_at_the_public_endpoint_is_reported(check: Check) -> None:
    problem = check({PUBLIC: _answer("UserDisable"), INTERNAL: OssError("RequestError")})
    assert problem is not None
    assert problem.startswith("OSS answers UserDisable: ")
