"""The program in the cloud: which resources a stack with a bucket has, and in which order."""

import asyncio
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from components import error_hints, storage
from components.error_hints import explanation
from config.releases import OssFacts
from tests.unit.mock_engine import Engine, Provider, is_secret, plain, run, stack_file

BUCKET = "alicloud:oss/bucket:Bucket"
KEY = "alicloud:ram/accessKey:AccessKey"
CONTAINER = "docker:index/container:Container"
SECRET = "MOCKED-SECRET-OF-THE-KEY"


class Cloud(Provider):
    COMPUTED: Mapping[str, Mapping[str, str]] = {**Provider.COMPUTED, KEY: {"secret": SECRET}}


def _run(name: str, **storage_settings: object) -> Engine:
    file = dict(stack_file(name))
    file["oss-registry:storage"] = {**file["oss-registry:storage"], **storage_settings}
    return run(file, stack=name, engine=Engine(Cloud()))


@pytest.fixture(scope="module")
def prod() -> Engine:
    return _run("prod")


def _urns(engine: Engine) -> list[str]:
    return sorted(
        urn.rpartition("::")[0].rpartition("$")[2] + "::" + urn.rpartition("::")[2]
        for urn in engine.requests
        if "alicloud:" in urn
    )


def test_urns_stay_the_same_because_a_new_one_makes_another_bucket(prod: Engine) -> None:
    assert _urns(prod) == [
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


def test_the_registry_waits_for_key_policy_and_bucket(prod: Engine) -> None:
    def before(kind: str, name: str) -> set[str]:
        request = prod.request(kind, name)
        return {urn.rpartition("::")[2] for urn in request.dependencies}

    assert "access-key-2026-11" in before(CONTAINER, "registry")
    needed = {"bucket", "ram-policy-attachment", "ram-user"}
    assert needed <= before(KEY, "access-key-2026-11")
    attachment = "alicloud:ram/userPolicyAttachment:UserPolicyAttachment"
    assert {"ram-policy", "ram-user"} <= before(attachment, "ram-policy-attachment")


def test_only_the_bucket_is_protected_and_what_has_its_own_resource_is_left_to_it(
    prod: Engine,
) -> None:
    assert [r.name for r in prod.requests.values() if r.protect] == ["bucket"]
    assert not _run("prod", protect=False).request(BUCKET, "bucket").protect
    assert set(prod.request(BUCKET, "bucket").ignoreChanges) == {
        "acl",
        "policy",
        "serverSideEncryptionRule",
        "versioning",
    }
    assert not prod.inputs(BUCKET, "bucket")["forceDestroy"]


def test_the_keys_secret_is_in_secret_boxes_wherever_it_is(prod: Engine) -> None:
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
        return "boxed"
    if isinstance(value, dict):
        return {key: _without_secrets(item) for key, item in value.items()}
    return [_without_secrets(item) for item in value] if isinstance(value, list) else str(value)


def test_the_registrys_policy_is_its_bucket_and_prefix_and_nothing_else(prod: Engine) -> None:
    text = prod.inputs("alicloud:ram/policy:Policy", "ram-policy")["policyDocument"]
    policy = json.loads(text)
    assert text == json.dumps(policy, sort_keys=True, separators=(",", ":"))  # no new version
    allowed = {
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    bucket = "acs:oss:*:*:example-registry-prod"
    assert {resource for _, resource in allowed} == {bucket, f"{bucket}/registry/*"}
    assert len(allowed) == 7
    kms = _run("prod", encryption={"kms_key_id": "k1"}).inputs(
        "alicloud:ram/policy:Policy", "ram-policy"
    )["policyDocument"]
    assert '"kms:Decrypt","kms:GenerateDataKey"' in kms
    assert "acs:kms:*:*:key/k1" in kms


def test_a_bucket_whose_objects_have_no_prefix_is_reached_as_a_whole() -> None:
    engine = _run("prod", adopt=True, prefix="", versioning=None, encryption=None)
    policy = json.loads(engine.inputs("alicloud:ram/policy:Policy", "ram-policy")["policyDocument"])
    assert {r for statement in policy["Statement"] for r in statement["Resource"]} == {
        "acs:oss:*:*:example-registry-prod",
        "acs:oss:*:*:example-registry-prod/*",
    }
    assert not [statement for statement in policy["Statement"] if "Condition" in statement]


def test_two_labels_are_two_keys_and_the_last_one_is_in_use() -> None:
    engine = _run("prod", access_keys=["old", "new"])
    assert {r.name for r in engine.requests.values() if r.type == KEY} == {
        "access-key-old",
        "access-key-new",
    }
    before = engine.request(CONTAINER, "registry").dependencies
    keys = {urn.rpartition("::")[2] for urn in before if "AccessKey" in urn}
    assert keys == {"access-key-new"}
    assert engine.exports["access_key"] == "new"


def test_a_key_without_a_secret_starts_no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cloud, "COMPUTED", {**Cloud.COMPUTED, KEY: {"secret": ""}})
    with pytest.raises(pulumi.RunError, match="add a new label for another one"):
        _run("prod")


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_each_stack_file_of_ours_is_a_registry_in_a_bucket(name: str) -> None:
    engine = _run(name)
    assert engine.inputs(BUCKET, "bucket")["bucket"] == f"example-registry-{name}"
    assert engine.exports["ram_user"] == f"oss-registry-{name}"


def test_a_stack_without_a_cloud_has_nothing_of_it() -> None:
    engine = run(stack_file("local"), stack="local")
    assert not [urn for urn in engine.requests if "alicloud" in urn]


@pytest.mark.parametrize(
    ("error", "inputs", "said"),
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
def test_what_only_the_cloud_can_know_is_one_sentence(
    error: str, inputs: dict[str, str], said: str
) -> None:
    assert said in (explanation(f"ErrorCode: {error}", inputs, storage.ERROR_HINTS) or "")


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[bool], list[str]]]:
    """Fails with these errors in turn; gives whether each is retried, and what is logged."""
    logged: list[str] = []

    async def sleep(_: float) -> None:
        pass

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(pulumi.log, "error", logged.append)
    monkeypatch.setattr(error_hints, "ErrorHook", lambda _, hook: hook)
    monkeypatch.setattr(error_hints, "ResourceHookBinding", lambda on_error: on_error[0])

    def run(*errors: str, operation: str = "create") -> tuple[list[bool], list[str]]:
        hook: Any = error_hints.explained("x", storage.ERROR_HINTS, transient=storage.NOT_YET)
        facts: dict[str, Any] = {"new_inputs": {}, "old_inputs": {}, "failed_operation": operation}
        seen: list[str] = []
        retried = []
        for error in errors:
            seen.insert(0, f"ErrorCode: {error}")
            retried.append(asyncio.run(hook(SimpleNamespace(errors=[*seen], **facts))))
        return retried, logged

    return run


def test_a_user_that_ram_does_not_find_yet_is_waited_for_and_then_explained(
    failed: Callable[..., tuple[list[bool], list[str]]],
) -> None:
    retried, logged = failed(*["EntityNotExist.User"] * 6)
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
def test_no_other_error_is_tried_again(
    error: str, operation: str, failed: Callable[..., tuple[list[bool], list[str]]]
) -> None:
    assert failed(error, operation=operation)[0] == [False]


# Whether OSS takes a new key.


FACTS = OssFacts(region="r", host="h", bucket="b", prefix="p", key="1")


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said, with a clock that each second of sleep moves on."""
    now: list[float] = [0.0]
    said: list[str] = []

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(storage, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(storage, "_signed", lambda *_: "address")
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    monkeypatch.setattr(storage, "ResourceHook", lambda _, hook: hook)
    monkeypatch.setattr(storage, "ResourceHookBinding", lambda after_create: after_create[0])
    return said


def _wait(*answers: str) -> None:
    given = iter(answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_asked", lambda _: next(given, answers[-1]))
        hook: Any = storage._settled("1", FACTS)
        asyncio.run(hook(SimpleNamespace(id="id", new_outputs={"secret": "secret"})))


def test_a_new_key_is_waited_for_until_oss_takes_it(waited: list[str]) -> None:
    _wait("InvalidAccessKeyId", "InvalidAccessKeyId", "")
    assert not waited


def test_a_key_that_is_never_taken_ends_the_up_before_the_registry_gets_it(
    waited: list[str],
) -> None:
    with pytest.raises(RuntimeError, match="OSS does not take the new access key 1"):
        _wait("InvalidAccessKeyId")
    assert not waited


def test_an_oss_out_of_reach_of_this_machine_is_said_and_no_obstacle(waited: list[str]) -> None:
    _wait("timed out")
    assert waited == ["whether OSS takes the new access key 1 is not known: timed out"]


def test_a_registry_without_a_volume_runs_as_a_user_that_owns_nothing() -> None:
    assert _run("dev").inputs(CONTAINER, "registry")["user"] == "65532:65532"
