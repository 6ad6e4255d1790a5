"""Tests of the resources of a stack with OSS storage, of their order, and of their error hints."""

import asyncio
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from components import error_hints
from components.error_hints import error_hint
from components.storage.oss import resources
from components.storage.oss.driver import Bucket
from components.storage.oss.error_hints import ERROR_HINTS, NOT_YET
from tests.unit.mock_engine import Engine, Provider, is_secret, plain, run, stack_file

BUCKET = "alicloud:oss/bucket:Bucket"
KEY = "alicloud:ram/accessKey:AccessKey"
CONTAINER = "docker:index/container:Container"
SECRET = "MOCKED-SECRET-OF-THE-KEY"


class CloudProvider(Provider):
    COMPUTED: Mapping[str, Mapping[str, str]] = {**Provider.COMPUTED, KEY: {"secret": SECRET}}


def _run_with_storage(name: str, **storage_settings: object) -> Engine:
    file = dict(stack_file(name))
    file["oss-registry:storage"] = {**file["oss-registry:storage"], **storage_settings}
    return run(file, stack=name, engine=Engine(CloudProvider()))


@pytest.fixture(scope="module")
def prod() -> Engine:
    return _run_with_storage("prod")


def _cloud_resources(engine: Engine) -> list[str]:
    return sorted(
        urn.rpartition("::")[0].rpartition("$")[2] + "::" + urn.rpartition("::")[2]
        for urn in engine.requests
        if "alicloud:" in urn
    )


def test_urns_of_cloud_resources_stay_the_same_so_that_no_bucket_is_replaced(prod: Engine) -> None:
    assert _cloud_resources(prod) == [
        "alicloud:oss/bucket:Bucket::bucket",
        "alicloud:oss/bucketAcl:BucketAcl::acl",
        "alicloud:oss/bucketHttpsConfig:BucketHttpsConfig::https-config",
        "alicloud:oss/bucketPolicy:BucketPolicy::bucket-policy",
        "alicloud:oss/bucketPublicAccessBlock:BucketPublicAccessBlock::public-access-block",
        "alicloud:oss/bucketServerSideEncryption:BucketServerSideEncryption::encryption",
        "alicloud:oss/bucketVersioning:BucketVersioning::versioning",
        "alicloud:ram/accessKey:AccessKey::access-key-2026-11",
        "alicloud:ram/policy:Policy::ram-policy",
        "alicloud:ram/user:User::ram-user",
        "alicloud:ram/userPolicyAttachment:UserPolicyAttachment::ram-policy-attachment",
    ]
    parents = {r.parent.rpartition("::")[2] for u, r in prod.requests.items() if "alicloud:" in u}
    assert parents == {"storage"}


def test_bucket_and_policy_are_created_before_the_key_and_the_key_before_the_registry(
    prod: Engine,
) -> None:
    def dependencies(kind: str, name: str) -> set[str]:
        request = prod.request(kind, name)
        return {urn.rpartition("::")[2] for urn in request.dependencies}

    assert "access-key-2026-11" in dependencies(CONTAINER, "registry")
    expected = {"bucket", "ram-policy-attachment", "ram-user"}
    assert expected <= dependencies(KEY, "access-key-2026-11")
    attachment = "alicloud:ram/userPolicyAttachment:UserPolicyAttachment"
    assert {"ram-policy", "ram-user"} <= dependencies(attachment, "ram-policy-attachment")


def test_only_the_bucket_is_protected_and_ignores_properties_that_other_resources_set(
    prod: Engine,
) -> None:
    assert [r.name for r in prod.requests.values() if r.protect] == ["bucket"]
    assert not _run_with_storage("prod", protect=False).request(BUCKET, "bucket").protect
    assert set(prod.request(BUCKET, "bucket").ignoreChanges) == {
        "acl",
        "policy",
        "serverSideEncryptionRule",
        "versioning",
    }
    assert not prod.inputs(BUCKET, "bucket")["forceDestroy"]


def test_the_secret_of_the_access_key_is_a_pulumi_secret_in_each_input_and_output(
    prod: Engine,
) -> None:
    for name, value in {
        "secret": prod.inputs(KEY, "access-key-2026-11"),
        "registry": prod.inputs(CONTAINER, "registry"),
        "exports": prod.exports,
    }.items():
        assert SECRET not in json.dumps(_without_secrets(value)), name
    assert SECRET in str(plain(prod.inputs(CONTAINER, "registry")["envs"]))
    assert not {"pgpKey", "secretFile"} & prod.inputs(KEY, "access-key-2026-11").keys()


def _without_secrets(value: Any) -> Any:  # noqa: ANN401
    if is_secret(value):
        return "secret"
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else str(value)


def test_the_registrys_policy_allows_only_its_bucket_and_prefix(prod: Engine) -> None:
    text = prod.inputs("alicloud:ram/policy:Policy", "ram-policy")["policyDocument"]
    policy = json.loads(text)
    # A stable text does not create a new policy version.
    assert text == json.dumps(policy, sort_keys=True, separators=(",", ":"))
    allowed = {
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    bucket = "acs:oss:*:*:example-registry-prod"
    assert {resource for _, resource in allowed} == {bucket, f"{bucket}/registry/*"}
    assert len(allowed) == 7
    kms = _run_with_storage("prod", encryption={"kms_key_id": "k1"}).inputs(
        "alicloud:ram/policy:Policy", "ram-policy"
    )["policyDocument"]
    assert '"kms:Decrypt","kms:GenerateDataKey"' in kms
    assert "acs:kms:*:*:key/k1" in kms


def test_without_a_prefix_the_policy_allows_the_whole_bucket() -> None:
    engine = _run_with_storage("prod", adopt=True, prefix="", versioning=None, encryption=None)
    policy = json.loads(engine.inputs("alicloud:ram/policy:Policy", "ram-policy")["policyDocument"])
    assert {r for statement in policy["Statement"] for r in statement["Resource"]} == {
        "acs:oss:*:*:example-registry-prod",
        "acs:oss:*:*:example-registry-prod/*",
    }
    assert not [statement for statement in policy["Statement"] if "Condition" in statement]


def test_two_labels_are_two_access_keys_and_the_registry_uses_the_last_one() -> None:
    engine = _run_with_storage("prod", access_keys=["old", "new"])
    assert {r.name for r in engine.requests.values() if r.type == KEY} == {
        "access-key-old",
        "access-key-new",
    }
    dependencies = engine.request(CONTAINER, "registry").dependencies
    keys = {urn.rpartition("::")[2] for urn in dependencies if "AccessKey" in urn}
    assert keys == {"access-key-new"}
    assert engine.exports["access_key"] == "new"


def test_an_access_key_without_a_secret_is_an_error_before_the_registry_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CloudProvider, "COMPUTED", {**CloudProvider.COMPUTED, KEY: {"secret": ""}})
    with pytest.raises(pulumi.RunError, match="add a new label for another one"):
        _run_with_storage("prod")


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_our_stack_files_dev_staging_and_prod_use_a_bucket(name: str) -> None:
    engine = _run_with_storage(name)
    assert engine.inputs(BUCKET, "bucket")["bucket"] == f"example-registry-{name}"
    assert engine.exports["ram_user"] == f"oss-registry-{name}"


def test_the_local_stack_has_no_cloud_resources() -> None:
    engine = run(stack_file("local"), stack="local")
    assert not [urn for urn in engine.requests if "alicloud" in urn]


@pytest.mark.parametrize(
    ("error", "inputs", "hint"),
    [
        ("BucketAlreadyExists", {"bucket": "b"}, "the bucket b is another account's"),
        ("The bucket namespace is shared by all", {"bucket": "b"}, "the bucket b is there already"),
        ("LimitExceeded.User.AccessKey", {"userName": "u"}, "the RAM user u has two access keys"),
        ("EntityAlreadyExists.User", {"name": "u"}, "u is in RAM already"),
        ("EntityAlreadyExists.Policy", {"policyName": "p"}, "p is in RAM already"),
        (
            "EntityAlreadyExists.User.Policy",
            {"policyName": "p", "userName": "u"},
            "DetachPolicyFromUser --PolicyType Custom --PolicyName p --UserName u`, and",
        ),
        ("EntityNotExist.User", {"userName": "u"}, "run `make up` again in a minute"),
        ("EntityNotExist.Policy", {"userName": "u"}, "run `make up` again in a minute"),
        ("RequestTimeTooSkewed", {"bucket": "b"}, "the clock of this machine is wrong"),
        ("UserDisable", {"bucket": "b"}, "disabled or has an overdue payment"),
        ("NoSuchBucket", {"bucket": "b"}, "there is no such bucket in this region"),
        ("AccessDenied", {}, "is not allowed to do this"),
        ("SignatureDoesNotMatch", {}, "is not right"),
    ],
)
def test_an_error_of_oss_or_ram_has_a_hint(error: str, inputs: dict[str, str], hint: str) -> None:
    assert hint in (error_hint(f"ErrorCode: {error}", inputs, ERROR_HINTS) or "")


@pytest.fixture
def fail_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[bool], list[str]]]:
    """Return a function that runs the error hook with the given errors, one after the other.

    The function returns whether each error is retried, and the logged errors.
    """
    logged: list[str] = []

    async def sleep(_: float) -> None:
        pass

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(pulumi.log, "error", logged.append)
    monkeypatch.setattr(error_hints, "ErrorHook", lambda _, hook: hook)
    monkeypatch.setattr(error_hints, "ResourceHookBinding", lambda on_error: on_error[0])

    def run(*errors: str, operation: str = "create") -> tuple[list[bool], list[str]]:
        hook: Any = error_hints.with_hints("x", ERROR_HINTS, transient=NOT_YET)
        failure: dict[str, Any] = {
            "new_inputs": {},
            "old_inputs": {},
            "failed_operation": operation,
        }
        errors_so_far: list[str] = []
        retried = []
        for error in errors:
            errors_so_far.insert(0, f"ErrorCode: {error}")
            retried.append(asyncio.run(hook(SimpleNamespace(errors=[*errors_so_far], **failure))))
        return retried, logged

    return run


def test_a_new_ram_user_that_is_not_found_yet_is_retried_five_times(
    fail_with: Callable[..., tuple[list[bool], list[str]]],
) -> None:
    retried, logged = fail_with(*["EntityNotExist.User"] * 6)
    assert retried == [True] * 5 + [False]
    assert logged == [
        "RAM does not find the user or the policy that it has just made: run `make up` again in a "
        "minute"
    ]


@pytest.mark.parametrize(
    ("error", "operation"),
    [
        ("EntityNotExist.User.Policy", "create"),
        ("NoPermission", "create"),
        ("EntityNotExist.User", "delete"),
    ],
)
def test_only_a_ram_user_or_policy_that_is_not_found_yet_is_retried(
    error: str, operation: str, fail_with: Callable[..., tuple[list[bool], list[str]]]
) -> None:
    assert fail_with(error, operation=operation)[0] == [False]


# The check that OSS accepts a new access key.


OSS_BUCKET = Bucket(region="r", host="h", name="b", prefix="p", access_key="1")


@pytest.fixture
def logged_warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the logged warnings. A fake clock moves on with each sleep."""
    now: list[float] = [0.0]
    warnings: list[str] = []

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(resources, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(resources, "_presigned_url", lambda *_: "address")
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    monkeypatch.setattr(resources, "ResourceHook", lambda _, hook: hook)
    monkeypatch.setattr(resources, "ResourceHookBinding", lambda after_create: after_create[0])
    return warnings


def _wait_for_key(*answers: str) -> None:
    """Run the check with these answers: error codes, or "" for success. The last one repeats."""
    codes = iter(answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources, "_request", lambda _: next(codes, answers[-1]))
        hook: Any = resources._wait_until_accepted("1", OSS_BUCKET)
        asyncio.run(hook(SimpleNamespace(id="id", new_outputs={"secret": "secret"})))


def test_a_new_access_key_is_checked_until_oss_accepts_it(logged_warnings: list[str]) -> None:
    _wait_for_key("InvalidAccessKeyId", "InvalidAccessKeyId", "")
    assert not logged_warnings


def test_an_access_key_that_oss_does_not_accept_in_time_is_an_error(
    logged_warnings: list[str],
) -> None:
    with pytest.raises(RuntimeError, match="OSS does not take the new access key 1"):
        _wait_for_key("InvalidAccessKeyId")
    assert not logged_warnings


def test_an_oss_endpoint_that_cannot_be_reached_is_only_a_warning(
    logged_warnings: list[str],
) -> None:
    _wait_for_key("timed out")
    assert logged_warnings == ["whether OSS takes the new access key 1 is not known: timed out"]


def test_a_registry_without_a_volume_does_not_run_as_root() -> None:
    assert _run_with_storage("dev").inputs(CONTAINER, "registry")["user"] == "65532:65532"
