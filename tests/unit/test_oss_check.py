"""Why OSS refuses the registry, in a sentence with OSS's code, the cause and the next step."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.stack import Stack
from operations import NotChecked, engine, oss
from operations.oss import Key, OssError
from operations.oss_errors import Times
from tests.unit.stack_files import load_stack

PUBLIC, INTERNAL = "oss-cn-hangzhou.aliyuncs.com", "oss-cn-hangzhou-internal.aliyuncs.com"
Answers = Mapping[str, OssError | None]
Asked = Callable[..., str | None]


def _stack(**storage: Any) -> Stack:  # noqa: ANN401
    bucket = {"kind": "oss", "bucket": "images", **storage}
    return load_stack(region="cn-hangzhou", storage=bucket)


def _answer(code: str, message: str = "", times: Times | None = None) -> OssError:
    return OssError(code, message, answered=True, times=times)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Check with these answers of OSS's hosts, for an engine with that clock."""

    def check(
        listing: Answers, reading: OssError | None = None, clock: datetime | None = None
    ) -> str | None:
        def first_object(region: str, host: str, *_: object) -> None:
            if failure := listing[host]:
                raise failure

        def read(*_: object) -> None:
            if reading:
                raise reading

        time = (clock or datetime.now(UTC)).isoformat()
        monkeypatch.setattr(oss, "key_in_use", lambda *_: Key("id", "hunter2"))
        monkeypatch.setattr(oss, "first_object", first_object)
        monkeypatch.setattr(oss, "_read", read)
        monkeypatch.setattr(engine, "docker", lambda *_: f"{time}\n")
        return oss.check(_stack(), "2026-11", {})

    return check


def _everywhere(failure: OssError | None) -> Answers:
    return {PUBLIC: failure, INTERNAL: failure}


def test_a_key_that_lists_and_reads_is_no_problem(ask: Asked) -> None:
    assert ask(_everywhere(None)) is None


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
def test_each_answer_is_its_code_with_the_cause(
    code: str, message: str, cause: str, ask: Asked
) -> None:
    said = ask(_everywhere(_answer(code, message)))
    assert said is not None
    assert said.startswith(f"OSS answers {code}: ")
    assert cause in said
    assert "hunter2" not in said


def test_an_unknown_answer_is_its_code_and_osss_message(ask: Asked) -> None:
    said = ask(_everywhere(_answer("NewError", "Something new.")))
    assert said == "OSS answers NewError: Something new."


def test_a_wrong_clock_is_shown_with_both_times(ask: Asked) -> None:
    now = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
    times = Times(now - timedelta(hours=1), now)
    said = ask(_everywhere(_answer("RequestTimeTooSkewed", "", times)))
    assert said is not None
    assert "it has 2026-11-01 11:00:00 UTC, OSS has 2026-11-01 12:00:00 UTC" in said


@pytest.mark.parametrize("minutes", [-20, 20])
def test_the_clock_of_the_engine_counts(minutes: int, ask: Asked) -> None:
    said = ask(_everywhere(None), clock=datetime.now(UTC) + timedelta(minutes=minutes))
    assert said is not None
    assert said.startswith("OSS answers RequestTimeTooSkewed: ")


def test_a_key_that_lists_and_cannot_read_is_refused(ask: Asked) -> None:
    said = ask(_everywhere(None), reading=_answer("AccessDenied"))
    assert said is not None
    assert said.startswith("OSS answers AccessDenied: ")


def test_the_registrys_own_endpoint_is_enough(ask: Asked) -> None:
    assert ask({PUBLIC: _answer("PublicEndpointForbidden"), INTERNAL: None}) is None


@pytest.mark.parametrize(
    ("public", "unreachable"),
    [(OssError("RequestError"), True), (_answer("PublicEndpointForbidden"), False)],
)
def test_an_oss_that_does_not_answer_here_is_not_checked(
    public: OssError, unreachable: bool, ask: Asked
) -> None:
    with pytest.raises(NotChecked) as reason:
        ask({PUBLIC: public, INTERNAL: OssError("RequestError")})
    assert f"does not answer at {INTERNAL} from here: RequestError" in str(reason.value)
    assert isinstance(reason.value, oss.Unreachable) == unreachable


def test_the_public_endpoints_answer_counts_if_each_endpoint_would_give_it(ask: Asked) -> None:
    said = ask({PUBLIC: _answer("UserDisable"), INTERNAL: OssError("RequestError")})
    assert said is not None
    assert said.startswith("OSS answers UserDisable: ")
