"""Tests of the review, which summarizes a plan of Pulumi for a person."""

from collections.abc import Mapping
from typing import Any

import pytest

from config.resource_names import SERVICE
from operations.review import COMMENT_LIMIT, Review, failed, markdown, plain_text, summarize
from tests.unit.stack_files import load_stack

CONTAINER = "docker:index/container:Container"
KEY = "alicloud:ram/accessKey:AccessKey"
CLOUD: Mapping[str, Any] = {
    "region": "cn-hangzhou",
    "storage": {"kind": "oss", "bucket": "images", "access_keys": ["a", "b"]},
}


def _step(op: str, kind: str, name: str, **more: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Return a step of a plan, as `pulumi preview --json` prints it."""
    urn = f"urn:pulumi:dev::oss-registry::oss-registry:index:X${kind}::{name}"
    return {"op": op, "urn": urn, **more}


def _stack_step(**outputs: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Return the step of the stack itself, which each plan has."""
    urn = "urn:pulumi:dev::oss-registry::pulumi:pulumi:Stack::oss-registry-dev"
    return {"op": "same", "urn": urn, "oldState": {"outputs": outputs}}


def _review(*steps: Mapping[str, Any], **sections: Any) -> Review:  # noqa: ANN401
    return summarize(load_stack(**sections), {"steps": steps})


def _unchanged_stack(**sections: Any) -> Mapping[str, Any]:  # noqa: ANN401
    return _stack_step(environment=load_stack(**sections).registry.redacted)


def _replacement(name: str = "registry", kind: str = CONTAINER) -> list[Mapping[str, Any]]:
    """Return the three steps in which Pulumi replaces a resource."""
    states = [{"inputs": {"ports": [{"external": port}]}} for port in (5000, 5001)]
    diff = {"ports[0].external": {"kind": "update-replace"}}
    both = {"oldState": states[0], "newState": states[1], "detailedDiff": diff}
    return [
        _step("delete-replaced", kind, name, oldState=states[0]),
        _step("replace", kind, name, **both),
        _step("create-replacement", kind, name, **both),
    ]


def test_a_plan_without_changes_is_shown_as_no_change() -> None:
    found = _review(_unchanged_stack())
    assert found.is_empty
    assert plain_text(found) == "dev: no change\n"
    assert markdown(found).splitlines()[1:] == ["### `dev`: no change"]


def test_a_replacement_is_listed_once_with_its_cause_and_before_other_changes() -> None:
    created = _step("create", "docker:index/network:Network", "network")
    found = _review(_unchanged_stack(), created, *_replacement())
    assert [(change.action, change.name) for change in found.changes] == [
        ("replace", "registry"),
        ("create", "network"),
    ]
    assert found.changes[0].details == ["because of ports[0].external: 5000 → 5001"]
    assert found.summary == "1 to replace, 1 to create"


def test_components_and_unchanged_resources_are_not_listed() -> None:
    group = {"op": "create", "urn": "urn:pulumi:dev::oss-registry::oss-registry:index:X::registry"}
    steps = (group, _step("same", CONTAINER, "redis"), _step("refresh", CONTAINER, "redis"))
    assert _review(_unchanged_stack(), *steps).is_empty


def test_a_changed_variable_is_shown_as_a_diff() -> None:
    before = load_stack().registry.redacted
    found = _review(_stack_step(environment=before), registry={"log_level": "error"})
    assert found.diff == ["-REGISTRY_LOG_LEVEL=warn", "+REGISTRY_LOG_LEVEL=error"]
    assert "```diff\n-REGISTRY_LOG_LEVEL=warn\n+REGISTRY_LOG_LEVEL=error\n```" in markdown(found)


def test_a_changed_file_is_shown_as_a_diff_below_its_path() -> None:
    before = load_stack(registry={"delivery": "file"}).registry.redacted
    sections = {"registry": {"delivery": "file", "log_level": "error"}}
    found = _review(_stack_step(environment=before), **sections)
    head, *lines = found.diff
    assert head == "@@ /etc/distribution/config.yml @@"
    assert [line for line in lines if line[0] in "+-"] == [
        '-    "level": "warn",',
        '+    "level": "error",',
    ]


def test_a_secret_is_shown_as_its_placeholder() -> None:
    before = load_stack(cache={"enabled": False}).registry.redacted
    found = _review(_stack_step(environment=before), secrets={"redis-password": "hunter2"})
    assert "+REGISTRY_REDIS_PASSWORD=[secret: redis-password]" in found.diff
    assert "hunter2" not in markdown(found) + plain_text(found)


@pytest.mark.parametrize(
    ("steps", "downtime"),
    [
        (_replacement(), "some seconds, while the registry is replaced"),
        (_replacement("redis"), "none: pushes and pulls go on, more slowly"),
        (
            _replacement("network", "docker:index/network:Network"),
            "some seconds, while its network",
        ),
        ([_step("update", "alicloud:oss/bucket:Bucket", "bucket")], "none"),
        ([_step("delete", CONTAINER, "registry", oldState={})], "for good"),
        (_replacement("registry", SERVICE), "some seconds, while the registry is replaced"),
    ],
)
def test_the_expected_downtime_is_shown(steps: list[Mapping[str, Any]], downtime: str) -> None:
    assert _review(_unchanged_stack(), *steps).downtime.startswith(downtime)


@pytest.mark.parametrize(
    ("replicas", "order", "downtime"),
    [
        (1, "stop-first", "some seconds, while its one replica"),
        (1, "start-first", "none: replicas"),
        (3, "stop-first", "none: replicas"),
    ],
)
def test_a_service_has_downtime_only_if_its_single_replica_stops_first(
    replicas: int, order: str, downtime: str
) -> None:
    inputs = {"mode": {"replicated": {"replicas": replicas}}, "updateConfig": {"order": order}}
    step = _step("update", SERVICE, "registry", newState={"inputs": inputs})
    assert _review(_unchanged_stack(), step).downtime.startswith(downtime)


def test_a_first_deployment_has_no_downtime() -> None:
    found = _review(_step("create", CONTAINER, "registry"))
    assert found.downtime == "none: nothing runs yet"
    assert all(line.startswith("+") for line in found.diff)


def test_access_key_labels_are_shown_before_and_after_with_the_one_in_use() -> None:
    environment = load_stack(**CLOUD).registry.redacted
    unchanged = _stack_step(environment=environment, access_key="b")
    assert _review(unchanged, **CLOUD).access_keys == "a, b (in use)"
    created = _step("create", KEY, "access-key-b")
    before = _stack_step(environment=environment, access_key="a")
    assert _review(before, created, **CLOUD).access_keys == "a (in use) → a, b (in use)"
    deleted = _step("delete", KEY, "access-key-0", oldState={})
    assert _review(unchanged, deleted, **CLOUD).access_keys == "0, a, b (in use) → a, b (in use)"
    assert _review().access_keys == ""


def test_a_retained_resource_is_not_shown_as_deleted() -> None:
    volume = _step("delete", "docker:index/volume:Volume", "data", oldState={"retainOnDelete": 1})
    (change,) = _review(_unchanged_stack(), volume).changes
    assert change.action == "let go"


def test_a_value_that_is_long_or_secret_is_not_shown() -> None:
    old = {"inputs": {"a": "x" * 100, "b": "[secret]", "c": 1}}
    new = {"inputs": {"a": "y", "b": "[secret]", "c": None}}
    diff = {path: {"kind": "update"} for path in ("a", "b", "c", "d[0].e", "d[1].e")}
    step = _step("update", CONTAINER, "x", oldState=old, newState=new, detailedDiff=diff)
    (change,) = _review(_unchanged_stack(), step).changes
    assert change.details == ["a", "b", "c: 1 → none", "d"]


def test_errors_and_warnings_are_shown_once_and_a_failed_plan_is_not_empty() -> None:
    diagnostics = [
        {"severity": "error", "message": "error: no\n"},
        {"severity": "error", "message": "error: no\n"},
        {"severity": "warning", "message": "warning: <b>"},
        {"severity": "info", "message": "hello"},
    ]
    found = summarize(load_stack(), {"steps": [_unchanged_stack()], "diagnostics": diagnostics})
    assert not found.is_empty
    assert found.summary == "**it would fail**"
    assert (found.errors, found.warnings) == (["no"], ["<b>"])
    assert "&lt;b>" in markdown(found)
    assert "error: no" in plain_text(found)


def test_all_problems_of_a_stack_file_are_shown() -> None:
    shown = markdown(failed("dev", "dev:\n  - one\n  - two"))
    assert "```\ndev:\n  - one\n  - two\n```" in shown
    assert not failed("dev", "x").is_empty


TOKEN = {"realm": "https://t.example.com/token", "service": "s", "issuer": "i"}


@pytest.mark.parametrize(
    ("before", "release", "keys", "expected"),
    [
        ("2.8.3", "3.1.2", {"rootcertbundle": "/issuer.pem"}, True),
        ("2.8.3", "3.0.0", {"rootcertbundle": "/issuer.pem"}, True),
        ("2.8.3", "3.1.2", {"jwks": "/keys.json"}, False),
        ("2.8.3", "2.8.3", {"rootcertbundle": "/issuer.pem"}, False),
        ("3.0.0", "3.1.2", {"rootcertbundle": "/issuer.pem"}, False),
        (None, "3.1.2", {"rootcertbundle": "/issuer.pem"}, False),
    ],
)
def test_an_upgrade_to_a_release_that_refuses_the_tokens_is_a_warning(
    before: str | None, release: str, keys: dict[str, str], expected: bool
) -> None:
    registry = {"release": release, "config": {"auth": {"token": {**TOKEN, **keys}}}}
    found = _review(_stack_step(release=before), registry=registry)
    lines = [line for line in found.warnings if "registry.config.auth.token: " in line]
    assert bool(lines) is expected
    assert all("RFC 7638" in line and "x5c" in line for line in lines)


def test_an_upgrade_without_token_authentication_has_no_warning() -> None:
    assert not _review(_stack_step(release="2.8.3")).warnings


@pytest.mark.parametrize("markup", ["```", "`", "|", "<script>", "@someone", "<!-- x -->"])
def test_text_of_a_stack_file_cannot_break_out_of_the_comments_code_block(markup: str) -> None:
    sections = {"registry": {"environment": {"TZ": f"a{markup}\n{markup}b"}}}
    found = _review(_unchanged_stack(), **sections)
    fence = "`" * (4 if markup == "```" else 3)
    line = f"+TZ=a{markup}\\n{markup}b"
    assert f"{fence}diff\n{line}\n{fence}\n" in markdown(found)


def test_a_table_cell_can_show_any_value() -> None:
    old, new = {"inputs": {"a": "x|`y"}}, {"inputs": {"a": "``"}}
    step = _step(
        "update", CONTAINER, "x", oldState=old, newState=new, detailedDiff={"a": {"kind": "update"}}
    )
    shown = markdown(_review(_unchanged_stack(), step))
    assert "| ``` a: x\\|`y → `` ``` |" in shown


def test_a_comment_is_shortened_to_githubs_limit_and_reports_the_omitted_lines() -> None:
    files = {f"/etc/token/{number}.pem": "x" * 200 for number in range(1000)}
    found = _review(_unchanged_stack(), registry={"files": files})
    shown = markdown(found)
    assert len(shown) <= COMMENT_LIMIT
    assert shown.count("```") == 2
    omitted = int(shown.rpartition("✂️ ")[2].split()[0])
    assert omitted > 500
    assert plain_text(found).count("\n") > 1000


def test_the_first_line_of_a_comment_identifies_the_stack() -> None:
    assert markdown(_review()).startswith("<!-- oss-registry: dev -->\n")
