"""Tests of the guard, which stops a plan that would lose images or access to them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from components.storage.backend import AccessKey, Loss
from components.storage.oss import OssBackend, objects
from components.storage.oss.errors import OssError
from config.resource_names import ACCESS_KEY, BUCKET, RAM_USER, VOLUME
from config.stack import Stack
from operations import guard
from operations.commands import down
from operations.context import StackContext
from operations.errors import CommandError
from operations.recovery import Recovery
from operations.review import Change
from tests.unit.contexts import fake_context
from tests.unit.stack_files import load_stack

BUCKET_STATE: Mapping[str, Any] = {
    "inputs": {"bucket": "images", "lifecycleRules": [{"prefix": "team/registry/"}]},
    "outputs": {"extranetEndpoint": "oss-cn-hangzhou.aliyuncs.com"},
}


def _change(action: str, kind: str, name: str, old: Mapping[str, Any] = BUCKET_STATE) -> Change:
    return Change(action=action, kind=kind, name=name, details=(), old=old, new={})


LAST_OUTPUTS = {"access_key": "2026-11"}


def _names_of_losses(*changes: Change) -> list[str]:
    return [loss.name for loss in _losses(load_stack(), changes, LAST_OUTPUTS)]


def _losses(stack: Stack, changes: Sequence[Change], outputs: Mapping[str, Any]) -> Sequence[Loss]:
    return guard.find_losses(stack, changes, outputs, lambda _: AccessKey("id", "secret"))


def _set_image_in_bucket(
    found: str | None, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Any, ...]]:
    """Let each look-up in a bucket find the object `found`. Return the look-ups' arguments."""
    lookups: list[tuple[Any, ...]] = []

    def first_object(*given: Any) -> str | None:  # noqa: ANN401
        lookups.append(given)
        return found

    monkeypatch.setattr(objects, "first_object", first_object)
    return lookups


@pytest.mark.parametrize("action", ["replace", "delete"])
def test_deleting_a_bucket_is_a_loss_only_if_it_has_images(
    action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = _set_image_in_bucket(
        "x/docker/registry/v2/repositories/team/app/_layers/x", monkeypatch
    )
    (loss,) = _losses(load_stack(), [_change(action, BUCKET, "bucket")], LAST_OUTPUTS)
    assert loss.name == "images"
    assert "would be deleted, and the images in it, such as team/app." in loss.alarm
    *place, _ = lookups[0]
    folder = "team/registry/docker/registry/v2/repositories/"
    assert place == ["cn-hangzhou", "oss-cn-hangzhou.aliyuncs.com", "images", folder]
    _set_image_in_bucket(None, monkeypatch)
    assert not _names_of_losses(_change(action, BUCKET, "bucket"))


@pytest.mark.parametrize(("code", "names"), [("NoSuchBucket", []), ("AccessDenied", ["images"])])
def test_an_existing_bucket_that_cannot_be_listed_counts_as_having_images(
    code: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_object(*_: object) -> None:
        raise OssError(code)

    monkeypatch.setattr(objects, "first_object", first_object)
    assert _names_of_losses(_change("delete", BUCKET, "bucket")) == names


def test_updating_creating_or_retaining_a_bucket_or_replacing_an_adopted_one_is_no_loss() -> None:
    assert not _names_of_losses(
        _change("change", BUCKET, "bucket"),
        _change("create", BUCKET, "bucket"),
        _change("let go", BUCKET, "bucket"),
        _change("replace", BUCKET, "bucket", {**BUCKET_STATE, "external": True}),
    )


def test_deleting_the_ram_user_or_the_access_key_in_use_is_a_loss() -> None:
    user = _change("delete", RAM_USER, "ram-user", {"inputs": {"name": "oss-registry-prod"}})
    keys = [_change("delete", ACCESS_KEY, f"access-key-{label}") for label in ("old", "2026-11")]
    assert _names_of_losses(user, *keys) == ["oss-registry-prod", "2026-11"]


@pytest.mark.parametrize("action", ["replace", "let go"])
def test_replacing_the_image_volume_or_removing_it_from_the_state_is_a_loss(action: str) -> None:
    volumes = [
        _change(action, VOLUME, name, {"inputs": {"name": f"oss-registry-prod-{name}"}})
        for name in ("data", "letsencrypt")
    ]
    assert _names_of_losses(*volumes) == ["oss-registry-prod-data"]
    assert not _names_of_losses(_change("create", VOLUME, "data", {}))


def test_the_guard_passes_only_if_every_loss_is_named() -> None:
    lost = [Loss("images", "Why", "Do"), Loss("2026-11", "Because", "Try")]
    for allowed in ([], ["images"], ["image", "2026-11"]):
        with pytest.raises(CommandError, match=r"make up STACK=prod ALLOW_LOSS=images,2026-11$"):
            guard.require_allowed("prod", "up", lost, allowed)
    guard.require_allowed("prod", "up", lost, ["2026-11", "images"])
    guard.require_allowed("prod", "up", (), ())


def test_the_guard_lists_the_steps_of_a_recovery() -> None:
    lost = [Loss("images", "Why", "Do")]
    with pytest.raises(CommandError, match=r"^stopped, and nothing was changed:"):
        guard.require_allowed("prod", "up", lost, (), Recovery().stop_message)
    done = ["removed the container a, which was being made", "deleted the access key b"]
    with pytest.raises(CommandError) as failure:
        guard.require_allowed("prod", "up", lost, (), Recovery(done).stop_message)
    assert str(failure.value).startswith(
        "stopped, and nothing was changed but by the recovery of the run before (removed the "
        "container a, which was being made; deleted the access key b):"
    )


# The location (bucket, region and prefix, or volume) where the registry looks for its images.


def _stack_in_oss(region: str = "cn-hangzhou", **storage: Any) -> Stack:  # noqa: ANN401
    return load_stack(region=region, storage={"kind": "oss", "bucket": "images", **storage})


def _outputs(stack: Stack) -> Mapping[str, Any]:
    """Return the outputs of the last `up` of `stack`."""
    endpoint = f"https://{OssBackend(stack.registry).bucket.host}"
    return {**LAST_OUTPUTS, "images": stack.registry.storage.location, "storage_endpoint": endpoint}


ADOPTED: Mapping[str, Any] = {"adopt": True, "prefix": "team/registry"}


@pytest.mark.parametrize(
    ("before", "now", "fix"),
    [
        pytest.param(
            _stack_in_oss(),
            _stack_in_oss(prefix="elsewhere"),
            "Set storage.prefix back",
            id="another prefix",
        ),
        pytest.param(
            _stack_in_oss(adopt=True),
            _stack_in_oss(adopt=True, prefix=""),
            "Set storage.prefix back",
            id="no prefix",
        ),
        pytest.param(
            _stack_in_oss(**ADOPTED),
            _stack_in_oss(**ADOPTED, bucket="others"),
            "Set storage.bucket back",
            id="another adopted bucket",
        ),
        pytest.param(
            _stack_in_oss(**ADOPTED),
            _stack_in_oss(**ADOPTED, region="cn-beijing"),
            "Set alicloud:region and storage.endpoint back",
            id="another region",
        ),
        pytest.param(
            _stack_in_oss(),
            _stack_in_oss(endpoint="oss-cn-beijing.aliyuncs.com"),
            "Set alicloud:region and storage.endpoint back",
            id="another region's endpoint",
        ),
        pytest.param(
            _stack_in_oss(**ADOPTED),
            load_stack(),
            "Set storage.kind back",
            id="a volume instead of an adopted bucket",
        ),
    ],
)
def test_a_plan_that_points_the_registry_to_another_image_location_is_a_loss(
    before: Stack, now: Stack, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = _set_image_in_bucket(
        "registry/docker/registry/v2/repositories/team/app/_layers/x", monkeypatch
    )
    (loss,) = _losses(now, (), _outputs(before))
    assert loss.name == "images"
    assert "no longer in the bucket images" in loss.reason
    assert loss.reason.endswith("where its images are, such as team/app")
    assert loss.fix == f"{fix}, or copy the objects to the new place"
    region, host, bucket, folder, _ = lookups[0]
    assert (region, host, bucket) == ("cn-hangzhou", "oss-cn-hangzhou.aliyuncs.com", "images")
    prefix = OssBackend(before.registry).bucket.object_prefix
    assert folder == f"{prefix}docker/registry/v2/repositories/"
    # No longer using an empty location is no loss.
    _set_image_in_bucket(None, monkeypatch)
    assert not _losses(now, (), _outputs(before))


@pytest.mark.parametrize(
    "now",
    [
        _stack_in_oss(),
        _stack_in_oss(internal=False),
        _stack_in_oss(endpoint="oss-accelerate.aliyuncs.com"),
        _stack_in_oss(endpoint="oss-cn-hangzhou.aliyuncs.com"),
        _stack_in_oss(access_keys=["1", "2"]),
    ],
)
def test_another_endpoint_or_key_for_the_same_images_is_no_loss(
    now: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = _set_image_in_bucket("x", monkeypatch)
    assert not _losses(now, (), _outputs(_stack_in_oss()))
    assert not lookups


def test_a_former_location_that_cannot_be_listed_counts_as_having_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first_object(*_: object) -> None:
        raise OssError("PublicEndpointForbidden", answered=True)

    monkeypatch.setattr(objects, "first_object", first_object)
    (loss,) = _losses(_stack_in_oss(prefix="b"), (), _outputs(_stack_in_oss()))
    assert "images can't be seen from here (PublicEndpointForbidden)" in loss.reason


def test_the_guard_uses_the_registrys_endpoint_if_the_public_one_is_forbidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first_object(region: str, host: str, *_: object) -> str | None:
        if "-internal" not in host:
            raise OssError("PublicEndpointForbidden", answered=True)
        return None

    monkeypatch.setattr(objects, "first_object", first_object)
    assert not _losses(_stack_in_oss(prefix="b"), (), _outputs(_stack_in_oss()))


def test_a_bucket_that_is_deleted_and_no_longer_used_is_one_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set_image_in_bucket("x/repositories/team/app/_layers/x", monkeypatch)
    now = _stack_in_oss(bucket="others")
    (loss,) = _losses(now, [_change("replace", BUCKET, "bucket")], _outputs(_stack_in_oss()))
    assert "would be deleted, and the images in it, such as team/app" in loss.reason


def test_down_reports_how_to_keep_the_bucket_and_the_command_that_deletes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set_image_in_bucket("registry/docker/registry/v2/repositories/team/app/_layers/x", monkeypatch)
    inputs = {**BUCKET_STATE["inputs"], "bucket": "trial-images", "forceDestroy": True}
    bucket = {**BUCKET_STATE, "type": BUCKET, "inputs": inputs}
    stack = replace(load_stack(), name="trial")
    context = fake_context(stack, [bucket], outputs=LAST_OUTPUTS)
    monkeypatch.setattr(StackContext, "access_key", lambda *_: AccessKey("id", "secret"))
    losses = down.find_losses(context, stack)
    with pytest.raises(CommandError) as failure:
        guard.require_allowed("trial", "down", losses, ())
    error = str(failure.value)
    assert "To keep the bucket, set storage.force_destroy: false" in error
    assert "storage.bucket and alicloud:region back" not in error
    assert error.endswith("make down STACK=trial ALLOW_LOSS=trial-images")
    guard.require_allowed("trial", "down", losses, ["trial-images"])
