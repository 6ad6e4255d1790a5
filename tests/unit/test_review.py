"""What a reviewer is shown of a plan: pure, from what `pulumi preview --json` prints."""

from collections.abc import Mapping
from typing import Any

import pytest

from operations.review import LIMIT, Review, failed, markdown, review, text
from operations.state import SERVICE
from tests.unit.stack_files import load_stack

CONTAINER = "docker:index/container:Container"
KEY = "alicloud:ram/accessKey:AccessKey"
CLOUD: Mapping[str, Any] = {
    "region": "cn-hangzhou",
    "storage": {"kind": "oss", "bucket": "images", "access_keys": ["a", "b"]},
}


def _step(op: str, kind: str, name: str, **more: Any) -> Mapping[str, Any]:  # noqa: ANN401
    urn = f"urn:pulumi:dev::oss-registry::oss-registry:index:X${kind}::{name}"
    return {"op": op, "urn": urn, **more}


def _stack(**outputs: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """The step of the stack itself, which a plan always has."""
    urn = "urn:pulumi:dev::oss-registry::pulumi:pulumi:Stack::oss-registry-dev"
    return {"op": "same", "urn": urn, "oldState": {"outputs": outputs}}


def _reviewed(*steps: Mapping[str, Any], **sections: Any) -> Review:  # noqa: ANN401
    return review(load_stack(**sections), {"steps": steps})


def _unchanged(**sections: Any) -> Mapping[str, Any]:  # noqa: ANN401
    return _stack(environment=load_stack(**sections).registry.redacted)


def _replaced(name: str = "registry", kind: str = CONTAINER) -> list[Mapping[str, Any]]:
    """The three steps that Pulumi makes of it."""
    inputs = [{"inputs": {"ports": [{"external": port}]}} for port in (5000, 5001)]
    diff = {"ports[0].external": {"kind": "update-replace"}}
    both = {"oldState": inputs[0], "newState": inputs[1], "detailedDiff": diff}
    return [
        _step("delete-replaced", kind, name, oldState=inputs[0]),
        _step("replace", kind, name, **both),
        _step("create-replacement", kind, name, **both),
    ]


def test_a_plan_without_a_change_is_empty() -> None:
    found = _reviewed(_unchanged())
    assert found.empty
    assert text(found) == "dev: no change\n"
    assert markdown(found).splitlines()[1:] == ["### `dev`: no change"]


def test_a_replacement_is_one_change_with_its_cause_before_all_others() -> None:
    created = _step("create", "docker:index/network:Network", "network")
    found = _reviewed(_unchanged(), created, *_replaced())
    assert [(change.action, change.name) for change in found.changes] == [
        ("replace", "registry"),
        ("create", "network"),
    ]
    assert found.changes[0].what == ["because of ports[0].external: 5000 → 5001"]
    assert found.summary == "1 to replace, 1 to create"


def test_groups_and_what_stays_the_same_are_no_changes() -> None:
    group = {"op": "create", "urn": "urn:pulumi:dev::oss-registry::oss-registry:index:X::registry"}
    steps = (group, _step("same", CONTAINER, "redis"), _step("refresh", CONTAINER, "redis"))
    assert _reviewed(_unchanged(), *steps).empty


def test_a_variable_is_a_line_before_and_a_line_after() -> None:
    before = load_stack().registry.redacted
    found = _reviewed(_stack(environment=before), registry={"log_level": "error"})
    assert found.lines == ["-REGISTRY_LOG_LEVEL=warn", "+REGISTRY_LOG_LEVEL=error"]
    assert "```diff\n-REGISTRY_LOG_LEVEL=warn\n+REGISTRY_LOG_LEVEL=error\n```" in markdown(found)


def test_of_a_file_the_lines_that_differ_are_shown_below_its_path() -> None:
    before = load_stack(registry={"delivery": "file"}).registry.redacted
    sections = {"registry": {"delivery": "file", "log_level": "error"}}
    found = _reviewed(_stack(environment=before), **sections)
    head, *lines = found.lines
    assert head == "@@ /etc/distribution/config.yml @@"
    assert [line for line in lines if line[0] in "+-"] == [
        '-    "level": "warn",',
        '+    "level": "error",',
    ]


def test_secrets_are_their_names() -> None:
    before = load_stack(cache={"enabled": False}).registry.redacted
    found = _reviewed(_stack(environment=before), secrets={"redis-password": "hunter2"})
    assert "+REGISTRY_REDIS_PASSWORD=[secret: redis-password]" in found.lines
    assert "hunter2" not in markdown(found) + text(found)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (_replaced(), "some seconds, while the registry is replaced"),
        (_replaced("redis"), "none: pushes and pulls go on, more slowly"),
        (_replaced("network", "docker:index/network:Network"), "some seconds, while its network"),
        ([_step("update", "alicloud:oss/bucket:Bucket", "bucket")], "none"),
        ([_step("delete", CONTAINER, "registry", oldState={})], "for good"),
        (_replaced("registry", SERVICE), "some seconds, while the registry is replaced"),
    ],
)
def test_downtime_is_said(steps: list[Mapping[str, Any]], said: str) -> None:
    assert _reviewed(_unchanged(), *steps).downtime.startswith(said)


@pytest.mark.parametrize(
    ("replicas", "order", "said"),
    [
        (1, "stop-first", "some seconds, while its one replica"),
        (1, "start-first", "none: replicas"),
        (3, "stop-first", "none: replicas"),
    ],
)
def test_a_service_is_away_only_if_its_one_replica_stops_first(
    replicas: int, order: str, said: str
) -> None:
    inputs = {"mode": {"replicated": {"replicas": replicas}}, "updateConfig": {"order": order}}
    step = _step("update", SERVICE, "registry", newState={"inputs": inputs})
    assert _reviewed(_unchanged(), step).downtime.startswith(said)


def test_a_first_deployment_takes_nothing_from_anyone() -> None:
    found = _reviewed(_step("create", CONTAINER, "registry"))
    assert found.downtime == "none: nothing runs yet"
    assert all(line.startswith("+") for line in found.lines)


def test_key_labels_are_said_before_and_after_with_the_one_in_use() -> None:
    environment = load_stack(**CLOUD).registry.redacted
    unchanged = _stack(environment=environment, access_key="b")
    assert _reviewed(unchanged, **CLOUD).keys == "a, b (in use)"
    created = _step("create", KEY, "access-key-b")
    before = _stack(environment=environment, access_key="a")
    assert _reviewed(before, created, **CLOUD).keys == "a (in use) → a, b (in use)"
    deleted = _step("delete", KEY, "access-key-0", oldState={})
    assert _reviewed(unchanged, deleted, **CLOUD).keys == "0, a, b (in use) → a, b (in use)"
    assert _reviewed().keys == ""


def test_what_only_leaves_the_state_is_not_called_deleted() -> None:
    volume = _step("delete", "docker:index/volume:Volume", "data", oldState={"retainOnDelete": 1})
    (change,) = _reviewed(_unchanged(), volume).changes
    assert change.action == "let go"


def test_values_that_are_long_or_masked_are_not_repeated() -> None:
    old = {"inputs": {"a": "x" * 100, "b": "[secret]", "c": 1}}
    new = {"inputs": {"a": "y", "b": "[secret]", "c": None}}
    diff = {path: {"kind": "update"} for path in ("a", "b", "c", "d[0].e", "d[1].e")}
    step = _step("update", CONTAINER, "x", oldState=old, newState=new, detailedDiff=diff)
    (change,) = _reviewed(_unchanged(), step).changes
    assert change.what == ["a", "b", "c: 1 → none", "d"]


def test_errors_and_warnings_are_said_once_and_a_failing_plan_is_no_empty_one() -> None:
    said = [
        {"severity": "error", "message": "error: no\n"},
        {"severity": "error", "message": "error: no\n"},
        {"severity": "warning", "message": "warning: <b>"},
        {"severity": "info", "message": "hello"},
    ]
    found = review(load_stack(), {"steps": [_unchanged()], "diagnostics": said})
    assert not found.empty
    assert found.summary == "**it would fail**"
    assert (found.errors, found.warnings) == (["no"], ["<b>"])
    assert "&lt;b>" in markdown(found)
    assert "error: no" in text(found)


def test_a_stack_file_with_problems_is_shown_with_all_of_them() -> None:
    shown = markdown(failed("dev", "dev:\n  - one\n  - two"))
    assert "```\ndev:\n  - one\n  - two\n```" in shown
    assert not failed("dev", "x").empty


TOKEN = {"realm": "https://t.example.com/token", "service": "s", "issuer": "i"}


@pytest.mark.parametrize(
    ("before", "release", "keys", "warned"),
    [
        ("2.8.3", "3.1.2", {"rootcertbundle": "/issuer.pem"}, True),
        ("2.8.3", "3.0.0", {"rootcertbundle": "/issuer.pem"}, True),
        ("2.8.3", "3.1.2", {"jwks": "/keys.json"}, False),
        ("2.8.3", "2.8.3", {"rootcertbundle": "/issuer.pem"}, False),
        ("3.0.0", "3.1.2", {"rootcertbundle": "/issuer.pem"}, False),
        (None, "3.1.2", {"rootcertbundle": "/issuer.pem"}, False),
    ],
)
def test_an_upgrade_that_refuses_tokens_is_warned_of(
    before: str | None, release: str, keys: dict[str, str], warned: bool
) -> None:
    registry = {"release": release, "config": {"auth": {"token": {**TOKEN, **keys}}}}
    found = _reviewed(_stack(release=before), registry=registry)
    lines = [line for line in found.warnings if "registry.config.auth.token: " in line]
    assert bool(lines) is warned
    assert all("RFC 7638" in line and "x5c" in line for line in lines)


def test_an_upgrade_without_tokens_is_not_warned_of() -> None:
    assert not _reviewed(_stack(release="2.8.3")).warnings


@pytest.mark.parametrize("trick", ["```", "`", "|", "<script>", "@someone", "<!-- x -->"])
def test_what_a_stack_file_holds_cannot_break_out_of_the_comment(trick: str) -> None:
    sections = {"registry": {"environment": {"TZ": f"a{trick}\n{trick}b"}}}
    found = _reviewed(_unchanged(), **sections)
    fence = "`" * (4 if trick == "```" else 3)
    line = f"+TZ=a{trick}\\n{trick}b"
    assert f"{fence}diff\n{line}\n{fence}\n" in markdown(found)


def test_a_cell_holds_any_value() -> None:
    old, new = {"inputs": {"a": "x|`y"}}, {"inputs": {"a": "``"}}
    step = _step(
        "update", CONTAINER, "x", oldState=old, newState=new, detailedDiff={"a": {"kind": "update"}}
    )
    shown = markdown(_reviewed(_unchanged(), step))
    assert "| ``` a: x\\|`y → `` ``` |" in shown


def test_a_comment_stays_within_githubs_limit_and_says_what_it_leaves_out() -> None:
    files = {f"/etc/token/{number}.pem": "x" * 200 for number in range(1000)}
    found = _reviewed(_unchanged(), registry={"files": files})
    shown = markdown(found)
    assert len(shown) <= LIMIT
    assert shown.count("```") == 2
    left = int(shown.rpartition("✂️ ")[2].split()[0])
    assert left > 500
    assert text(found).count("\n") > 1000


def test_the_first_line_tells_the_comments_of_stacks_apart() -> None:
    assert markdown(_reviewed()).startswith("<!-- oss-registry: dev -->\n")
