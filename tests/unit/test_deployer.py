"""The access key of the deployer, as the provider and our own clients read it."""

import json
from pathlib import Path

import pytest

from components.error_hints import explanation
from components.storage import ERROR_HINTS
from config import credentials
from operations import Blocked, preview, stack_file

PAIR = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "id", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "hunter2"}


@pytest.mark.parametrize(
    "environment",
    [
        PAIR,
        {"ALICLOUD_ACCESS_KEY": "id", "ALICLOUD_SECRET_KEY": "hunter2"},
        {"ALICLOUD_ACCESS_KEY": "id", "ALIBABACLOUD_ACCESS_KEY_SECRET": "hunter2"},
        {**PAIR, "ALICLOUD_ACCESS_KEY": "id"},
        {"ALIBABA_CLOUD_PROFILE": "mine"},
        {"ALICLOUD_ECS_ROLE_NAME": "deployer"},
        {"ALIBABA_CLOUD_CREDENTIALS_URI": "http://127.0.0.1"},
    ],
)
def test_a_key_that_the_provider_finds_is_no_problem(environment: dict[str, str]) -> None:
    assert credentials.problem({}, environment) is None


def test_a_key_in_the_stack_file_is_no_problem() -> None:
    assert (
        credentials.problem({"alicloud:accessKey": "id", "alicloud:secretKey": "{…}"}, {}) is None
    )
    assert credentials.problem({"alicloud:assumeRoleWithOidc": "{…}"}, {}) is None


READ_FOR_SECRET = (
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
                READ_FOR_SECRET,
            ),
        ),
        (
            {"ALIBABA_CLOUD_ACCESS_KEY_ID": "id"},
            ("ALIBABA_CLOUD_ACCESS_KEY_ID is", READ_FOR_SECRET),
        ),
        (
            {"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "hunter2"},
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET is", "Set ALIBABA_CLOUD_ACCESS_KEY_ID (read is"),
        ),
        (
            {**PAIR, "ALIBABA_CLOUD_ACCESS_KEY_ID": ""},
            ("Set ALIBABA_CLOUD_ACCESS_KEY_ID (read is",),
        ),
        (
            {},
            (
                "No access key of the deployer is set.",
                "Set ALIBABA_CLOUD_ACCESS_KEY_ID, and ALIBABA_CLOUD_ACCESS_KEY_SECRET",
            ),
        ),
        (
            {**PAIR, "ALICLOUD_ACCESS_KEY": "other"},
            (
                "ALICLOUD_ACCESS_KEY is read in place of ALIBABA_CLOUD_ACCESS_KEY_ID",
                "Unset ALICLOUD_ACCESS_KEY.",
            ),
        ),
        (
            {**PAIR, "ALICLOUD_SECRET_KEY": "other"},
            ("ALICLOUD_SECRET_KEY is read in place of ALIBABA_CLOUD_ACCESS_KEY_SECRET", "Unset"),
        ),
        ({"ALIYUN_ACCESS_KEY_ID": "id"}, ("Not read: ALIYUN_ACCESS_KEY_ID.",)),
        (
            {**PAIR, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "hunter2\n"},
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET begins or ends with a line feed.",),
        ),
        ({**PAIR, "ALIBABA_CLOUD_ACCESS_KEY_ID": " id"}, ("ALIBABA_CLOUD_ACCESS_KEY_ID", "blank")),
        (
            {**PAIR, "ALICLOUD_SECURITY_TOKEN": "hunter2\n"},
            ("ALICLOUD_SECURITY_TOKEN", "line feed"),
        ),
    ],
)
def test_a_key_that_is_not_whole_is_one_sentence_without_its_value(
    environment: dict[str, str], words: tuple[str, ...]
) -> None:
    said = credentials.problem({}, environment)
    assert said
    for word in words:
        assert word in said
    assert "hunter2" not in said
    assert "\n" not in said


def test_our_clients_read_the_key_that_the_provider_reads() -> None:
    environment = {**PAIR, "ALICLOUD_ACCESS_KEY": "other", "ALICLOUD_SECRET_KEY": "others"}
    credentials.set_client_variables(environment)
    assert environment["ALIBABA_CLOUD_ACCESS_KEY_ID"] == "other"
    assert environment["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] == "others"
    mixed = {**PAIR, "ALICLOUD_ACCESS_KEY": "other"}
    credentials.set_client_variables(mixed)
    assert credentials.problem({}, mixed)


def test_a_preview_reports_it_before_pulumi_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    for half in (credentials.ID, credentials.SECRET):
        for name in half.variables:
            monkeypatch.delenv(name, raising=False)
    for name in credentials.OTHER_SOURCES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALICLOUD_ACCESS_KEY", "id")
    config = {"alicloud:region": "cn-hangzhou", "storage": {"kind": "oss", "bucket": "images"}}
    (tmp_path / "Pulumi.mine.yaml").write_text(json.dumps({"config": config}))
    found, _ = preview.planned("mine")
    assert "ALICLOUD_ACCESS_KEY is set without the other half" in "\n".join(found.errors)

    monkeypatch.setattr(preview, "_plan", lambda *_: pytest.fail("Pulumi was asked"))
    with pytest.raises(Blocked):
        preview.require_deployer(stack_file.stack("mine"))


def test_the_provider_s_own_error_names_the_variables() -> None:
    error = "Invalid type option, support: access_key, sts, ecs_ram_role"
    assert "ALIBABA_CLOUD_ACCESS_KEY_SECRET" in (explanation(error, {}, ERROR_HINTS) or "")
