"""Tests of how the provider and our own clients find the deployer's access key."""

import json
from pathlib import Path

import pytest

from components.error_hints import error_hint
from components.storage.oss.error_hints import ERROR_HINTS
from config import credentials
from operations import stack_file
from operations.commands import preview
from operations.context import StackContext
from operations.errors import CommandError

KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "id", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "hunter2"}


@pytest.mark.parametrize(
    "environment",
    [
        KEY,
        {"ALICLOUD_ACCESS_KEY": "id", "ALICLOUD_SECRET_KEY": "hunter2"},
        {"ALICLOUD_ACCESS_KEY": "id", "ALIBABACLOUD_ACCESS_KEY_SECRET": "hunter2"},
        {**KEY, "ALICLOUD_ACCESS_KEY": "id"},
        {"ALIBABA_CLOUD_PROFILE": "mine"},
        {"ALICLOUD_ECS_ROLE_NAME": "deployer"},
        {"ALIBABA_CLOUD_CREDENTIALS_URI": "http://127.0.0.1"},
    ],
)
def test_a_complete_access_key_in_variables_is_no_problem(environment: dict[str, str]) -> None:
    assert credentials.problem({}, environment) is None


def test_a_complete_access_key_in_the_stack_file_is_no_problem() -> None:
    assert (
        credentials.problem({"alicloud:accessKey": "id", "alicloud:secretKey": "{…}"}, {}) is None
    )
    assert credentials.problem({"alicloud:assumeRoleWithOidc": "{…}"}, {}) is None


FIX_FOR_SECRET = (
    "Set ALIBABA_CLOUD_ACCESS_KEY_SECRET (read is the first of ALICLOUD_SECRET_KEY, "
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET or ALIBABACLOUD_ACCESS_KEY_SECRET)."
)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"ALICLOUD_ACCESS_KEY": "id", "ALICLOUD_ACCESS_SECRET": "hunter2"},
            (
                "ALICLOUD_ACCESS_KEY is set without the other half",
                "Not read: ALICLOUD_ACCESS_SECRET.",
                FIX_FOR_SECRET,
            ),
        ),
        ({"ALIBABA_CLOUD_ACCESS_KEY_ID": "id"}, ("ALIBABA_CLOUD_ACCESS_KEY_ID is", FIX_FOR_SECRET)),
        (
            {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "hunter2"},
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET is", "Set ALIBABA_CLOUD_ACCESS_KEY_ID (read is"),
        ),
        ({**KEY, "ALIBABA_CLOUD_ACCESS_KEY_ID": ""}, ("Set ALIBABA_CLOUD_ACCESS_KEY_ID (read is",)),
        (
            {},
            (
                "No access key of the deployer is set.",
                "Set ALIBABA_CLOUD_ACCESS_KEY_ID, and ALIBABA_CLOUD_ACCESS_KEY_SECRET",
            ),
        ),
        (
            {**KEY, "ALICLOUD_ACCESS_KEY": "other"},
            (
                "ALICLOUD_ACCESS_KEY is read in place of ALIBABA_CLOUD_ACCESS_KEY_ID",
                "Unset ALICLOUD_ACCESS_KEY.",
            ),
        ),
        (
            {**KEY, "ALICLOUD_SECRET_KEY": "other"},
            ("ALICLOUD_SECRET_KEY is read in place of ALIBABA_CLOUD_ACCESS_KEY_SECRET", "Unset"),
        ),
        ({"ALIYUN_ACCESS_KEY_ID": "id"}, ("Not read: ALIYUN_ACCESS_KEY_ID.",)),
        (
            {**KEY, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "hunter2\n"},
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET begins or ends with a line feed.",),
        ),
        ({**KEY, "ALIBABA_CLOUD_ACCESS_KEY_ID": " id"}, ("ALIBABA_CLOUD_ACCESS_KEY_ID", "blank")),
        ({**KEY, "ALICLOUD_SECURITY_TOKEN": "hunter2\n"}, ("ALICLOUD_SECURITY_TOKEN", "line feed")),
    ],
)
def test_an_incomplete_access_key_is_reported_without_its_value(
    environment: dict[str, str], words: tuple[str, ...]
) -> None:
    message = credentials.problem({}, environment)
    assert message
    for word in words:
        assert word in message
    assert "hunter2" not in message
    assert "\n" not in message


def test_our_clients_read_the_key_that_the_provider_reads() -> None:
    environment = {**KEY, "ALICLOUD_ACCESS_KEY": "other", "ALICLOUD_SECRET_KEY": "others"}
    credentials.set_client_variables(environment)
    assert environment["ALIBABA_CLOUD_ACCESS_KEY_ID"] == "other"
    assert environment["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] == "others"
    mixed = {**KEY, "ALICLOUD_ACCESS_KEY": "other"}
    credentials.set_client_variables(mixed)
    assert credentials.problem({}, mixed)


def test_a_preview_reports_an_incomplete_access_key_before_pulumi_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    for half in (credentials.ID, credentials.SECRET):
        for name in half.variables:
            monkeypatch.delenv(name, raising=False)
    for name in credentials.OTHER_KEY_SOURCES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALICLOUD_ACCESS_KEY", "id")
    config = {"alicloud:region": "cn-hangzhou", "storage": {"kind": "oss", "bucket": "images"}}
    (tmp_path / "Pulumi.mine.yaml").write_text(json.dumps({"config": config}))
    report, _ = preview.plan(StackContext("mine"))
    assert "ALICLOUD_ACCESS_KEY is set without the other half" in "\n".join(report.errors)

    monkeypatch.setattr(preview, "_run_preview", lambda *_: pytest.fail("Pulumi ran"))
    context = StackContext("mine")
    with pytest.raises(CommandError):
        preview.require_deployer_key(context, context.stack)


def test_the_providers_error_about_a_missing_key_has_a_hint_with_the_variables() -> None:
    error = "Invalid type option, support: access_key, sts, ecs_ram_role"
    assert "ALIBABA_CLOUD_ACCESS_KEY_SECRET" in (error_hint(error, {}, ERROR_HINTS) or "")
