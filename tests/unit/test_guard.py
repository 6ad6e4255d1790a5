"""What a plan would take away is said before it does, unless that is meant."""

from collections.abc import Mapping
from typing import Any

import pytest

from config.stack import Stack
from operations import Blocked, down, guard, oss
from operations.guard import Loss, losses
from operations.oss import Key, bucket_of
from operations.recover import Recovered
from operations.review import Change
from operations.state import ACCESS_KEY, BUCKET, RAM_USER, VOLUME
from tests.unit.stack_files import load_stack

STATE: Mapping[str, Any] = {
    "inputs": {"bucket": "images", "lifecycleRules": [{"prefix": "team/registry/"}]},
    "outputs": {"extranetEndpoint": "oss-cn-hangzhou.aliyuncs.com"},
}


def _change(action: str, kind: str, name: str, old: Mapping[str, Any] = STATE) -> Change:
    return Change(action=action, kind=kind, name=name, what=(), old=old, new={})


IN_USE = {"access_key": "2026-11"}


def _lost(*changes: Change) -> list[str]:
    return [loss.name for loss in losses(load_stack(), changes, IN_USE)]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oss, "key_in_use", lambda stack, label: Key("id", "secret"))


def _bucket_has(found: str | None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    asked: list[tuple[Any, ...]] = []

    def first_object(*given: Any) -> str | None:  # noqa: ANN401
        asked.append(given)
        return found

    monkeypatch.setattr(oss, "first_object", first_object)
    return asked


@pytest.mark.parametrize("action", ["replace", "delete"])
def test_a_bucket_with_images_is_a_loss_and_an_empty_one_none(
    action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _bucket_has("x/docker/registry/v2/repositories/team/app/_layers/x", monkeypatch)
    (loss,) = losses(load_stack(), [_change(action, BUCKET, "bucket")], IN_USE)
    assert loss.name == "images"
    assert "would be deleted, and the images in it, such as team/app." in loss.alarm
    *where, _ = asked[0]
    folder = "team/registry/docker/registry/v2/repositories/"
    assert where == ["cn-hangzhou", "oss-cn-hangzhou.aliyuncs.com", "images", folder]
    _bucket_has(None, monkeypatch)
    assert not _lost(_change(action, BUCKET, "bucket"))


@pytest.mark.parametrize(("code", "lost"), [("NoSuchBucket", []), ("AccessDenied", ["images"])])
def test_a_bucket_that_can_t_be_looked_into_counts_as_full_unless_it_is_gone(
    code: str, lost: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_object(*_: object) -> None:
        raise oss.OssError(code)

    monkeypatch.setattr(oss, "first_object", first_object)
    assert _lost(_change("delete", BUCKET, "bucket")) == lost


def test_what_changes_in_place_is_made_or_was_adopted_is_no_loss() -> None:
    assert not _lost(
        _change("change", BUCKET, "bucket"),
        _change("create", BUCKET, "bucket"),
        _change("let go", BUCKET, "bucket"),
        _change("replace", BUCKET, "bucket", {**STATE, "external": True}),
    )


def test_the_user_and_the_key_in_use_are_a_loss_and_another_key_is_none() -> None:
    user = _change("delete", RAM_USER, "ram-user", {"inputs": {"name": "oss-registry-prod"}})
    keys = [_change("delete", ACCESS_KEY, f"access-key-{label}") for label in ("old", "2026-11")]
    assert _lost(user, *keys) == ["oss-registry-prod", "2026-11"]


@pytest.mark.parametrize("action", ["replace", "let go"])
def test_a_volume_with_images_that_the_registry_leaves_is_a_loss_and_another_one_none(
    action: str,
) -> None:
    volumes = [
        _change(action, VOLUME, name, {"inputs": {"name": f"oss-registry-prod-{name}"}})
        for name in ("data", "letsencrypt")
    ]
    assert _lost(*volumes) == ["oss-registry-prod-data"]
    assert not _lost(_change("create", VOLUME, "data", {}))


def test_only_all_of_the_names_let_it_go() -> None:
    lost = [Loss("images", "Why", "Do"), Loss("2026-11", "Because", "Try")]
    for meant in ([], ["images"], ["image", "2026-11"]):
        with pytest.raises(Blocked, match=r"make up STACK=prod LOSE=images,2026-11$"):
            guard.stop("prod", "up", lost, meant)
    guard.stop("prod", "up", lost, ["2026-11", "images"])
    guard.stop("prod", "up", (), ())


def test_what_recovery_did_is_not_called_nothing() -> None:
    lost = [Loss("images", "Why", "Do")]
    with pytest.raises(Blocked, match=r"^stopped, and nothing was changed:"):
        guard.stop("prod", "up", lost, (), Recovered(()).stopped)
    done = ("removed the container a, which was being made", "deleted the access key b")
    with pytest.raises(Blocked) as blocked:
        guard.stop("prod", "up", lost, (), Recovered((), done).stopped)
    assert str(blocked.value).startswith(
        "stopped, and nothing was changed but by the recovery of the run before (removed the "
        "container a, which was being made; deleted the access key b):"
    )


# Where the registry would look for its images.


def _in_oss(region: str = "cn-hangzhou", **storage: Any) -> Stack:  # noqa: ANN401
    return load_stack(region=region, storage={"kind": "oss", "bucket": "images", **storage})


def _before(stack: Stack) -> Mapping[str, Any]:
    """The outputs of its last `up`."""
    host = f"https://{bucket_of(stack).host}"
    return {**IN_USE, "images": stack.registry.storage.location, "storage_endpoint": host}


ADOPTED: Mapping[str, Any] = {"adopt": True, "prefix": "team/registry"}


@pytest.mark.parametrize(
    ("was", "now", "what"),
    [
        pytest.param(
            _in_oss(), _in_oss(prefix="elsewhere"), "Set storage.prefix back", id="another prefix"
        ),
        pytest.param(
            _in_oss(adopt=True),
            _in_oss(adopt=True, prefix=""),
            "Set storage.prefix back",
            id="the bucket's top",
        ),
        pytest.param(
            _in_oss(**ADOPTED),
            _in_oss(**ADOPTED, bucket="others"),
            "Set storage.bucket back",
            id="another adopted bucket",
        ),
        pytest.param(
            _in_oss(**ADOPTED),
            _in_oss(**ADOPTED, region="cn-beijing"),
            "Set alicloud:region and storage.endpoint back",
            id="another region",
        ),
        pytest.param(
            _in_oss(),
            _in_oss(endpoint="oss-cn-beijing.aliyuncs.com"),
            "Set alicloud:region and storage.endpoint back",
            id="another region's endpoint",
        ),
        pytest.param(
            _in_oss(**ADOPTED),
            load_stack(),
            "Set storage.kind back",
            id="an adopted bucket is left",
        ),
    ],
)
def test_a_registry_that_would_look_elsewhere_loses_its_images(
    was: Stack, now: Stack, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _bucket_has("registry/docker/registry/v2/repositories/team/app/_layers/x", monkeypatch)
    (loss,) = losses(now, (), _before(was))
    assert loss.name == "images"
    assert "no longer in the bucket images" in loss.why
    assert loss.why.endswith("where its images are, such as team/app")
    assert loss.instead == f"{what}, or copy the objects to the new place"
    region, host, bucket, folder, _ = asked[0]
    assert (region, host, bucket) == ("cn-hangzhou", "oss-cn-hangzhou.aliyuncs.com", "images")
    assert folder == f"{bucket_of(was).object_prefix}docker/registry/v2/repositories/"
    # Nothing is lost by leaving what is empty.
    _bucket_has(None, monkeypatch)
    assert not losses(now, (), _before(was))


@pytest.mark.parametrize(
    "now",
    [
        _in_oss(),
        _in_oss(internal=False),
        _in_oss(endpoint="oss-accelerate.aliyuncs.com"),
        _in_oss(endpoint="oss-cn-hangzhou.aliyuncs.com"),
        _in_oss(access_keys=["1", "2"]),
    ],
)
def test_another_way_to_the_same_images_loses_none(
    now: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _bucket_has("x", monkeypatch)
    assert not losses(now, (), _before(_in_oss()))
    assert not asked


def test_a_place_that_can_t_be_looked_into_counts_as_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_object(*_: object) -> None:
        raise oss.OssError("PublicEndpointForbidden", answered=True)

    monkeypatch.setattr(oss, "first_object", first_object)
    (loss,) = losses(_in_oss(prefix="b"), (), _before(_in_oss()))
    assert "images can't be seen from here (PublicEndpointForbidden)" in loss.why


def test_the_registrys_own_endpoint_is_looked_at_where_the_public_one_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first_object(region: str, host: str, *_: object) -> str | None:
        if "-internal" not in host:
            raise oss.OssError("PublicEndpointForbidden", answered=True)
        return None

    monkeypatch.setattr(oss, "first_object", first_object)
    assert not losses(_in_oss(prefix="b"), (), _before(_in_oss()))


def test_a_bucket_that_is_deleted_and_left_is_one_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    _bucket_has("x/repositories/team/app/_layers/x", monkeypatch)
    now = _in_oss(bucket="others")
    (loss,) = losses(now, [_change("replace", BUCKET, "bucket")], _before(_in_oss()))
    assert "would be deleted, and the images in it, such as team/app" in loss.why


def test_down_names_what_keeps_the_bucket_and_the_command_that_lets_it_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _bucket_has("registry/docker/registry/v2/repositories/team/app/_layers/x", monkeypatch)
    inputs = {**STATE["inputs"], "bucket": "trial-images", "forceDestroy": True}
    bucket = {**STATE, "type": BUCKET, "inputs": inputs}
    stack = {"type": "pulumi:pulumi:Stack", "outputs": IN_USE}
    monkeypatch.setattr(down, "deployment", lambda name: {"resources": [stack, bucket]})
    with pytest.raises(Blocked) as blocked:
        guard.stop("trial", "down", down._lost("trial"), ())
    said = str(blocked.value)
    assert "To keep the bucket, set storage.force_destroy: false" in said
    assert "storage.bucket and alicloud:region back" not in said
    assert said.endswith("make down STACK=trial LOSE=trial-images")
    guard.stop("trial", "down", down._lost("trial"), ["trial-images"])
