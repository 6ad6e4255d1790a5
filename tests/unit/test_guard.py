"""What a plan would take away is said before it does, unless that is meant."""

from collections.abc import Mapping
from typing import Any

import pytest

from operations import Blocked, guard, oss
from operations.guard import Loss, losses
from operations.oss import Key
from operations.review import Change
from operations.state import ACCESS_KEY, BUCKET, RAM_USER, VOLUME

STATE: Mapping[str, Any] = {
    "inputs": {"bucket": "images", "lifecycleRules": [{"prefix": "team/registry/"}]},
    "outputs": {"extranetEndpoint": "oss-cn-hangzhou.aliyuncs.com"},
}


def _change(action: str, kind: str, name: str, old: Mapping[str, Any] = STATE) -> Change:
    return Change(action=action, kind=kind, name=name, what=(), old=old, new={})


def _lost(*changes: Change) -> list[str]:
    return [loss.name for loss in losses("prod", changes, "2026-11")]


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
    (loss,) = losses("prod", [_change(action, BUCKET, "bucket")], "2026-11")
    assert loss.name == "images"
    assert "would be deleted, and the images in it, such as team/app." in loss.alarm
    *where, _ = asked[0]
    folder = "team/registry/docker/registry/v2/repositories/"
    assert where == ["cn-hangzhou", "oss-cn-hangzhou.aliyuncs.com", "images", folder]
    _bucket_has(None, monkeypatch)
    assert not _lost(_change(action, BUCKET, "bucket"))


@pytest.mark.parametrize(
    ("code", "lost"), [("NoSuchBucket", []), ("PublicEndpointForbidden", ["images"])]
)
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
