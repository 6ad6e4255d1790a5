"""Find the changes that would delete images in OSS, or the registry's access to them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from components.storage.backend import AccessKey, FindAccessKey, Loss, ResourceChange
from components.storage.oss import objects
from components.storage.oss.driver import describe
from components.storage.oss.errors import OssError
from config.resource_names import ACCESS_KEY, ACCESS_KEY_PREFIX, BUCKET, RAM_USER
from config.stack import RegistryConfig

# The settings that determine the place of the images, by the keys of `OssBackend.location`.
_SETTINGS = {
    "bucket": "storage.bucket",
    "region": "alicloud:region and storage.endpoint",
    "prefix": "storage.prefix",
}


@dataclass(frozen=True)
class _Place:
    """A place for images in OSS: below `prefix`, which may be empty, in a bucket at `hosts`."""

    region: str
    hosts: Sequence[str]
    bucket: str
    prefix: str


def of_changes(
    registry: RegistryConfig,
    changes: Sequence[ResourceChange],
    outputs: Mapping[str, Any],
    access_key: FindAccessKey,
) -> Iterator[Loss]:
    """Yield what `changes` and the current stack file would lose. See `StorageBackend.losses`."""
    yield from _abandoned_images(registry, outputs, access_key)
    label = outputs.get("access_key")
    for change in changes:
        # Pulumi does not delete an adopted bucket.
        if not change.deletes or change.old.get("external"):
            continue
        if change.kind == BUCKET:
            fix = "Set storage.bucket and alicloud:region back, or copy its objects to the new one"
            yield from _loss_of_bucket(change.old, access_key(label), fix)
        elif change.kind == RAM_USER:
            user = change.old["inputs"]["name"]
            yield Loss(
                user,
                f"The RAM user {user}, as whom the registry reaches its images, would be gone",
                "Leave storage.kind at oss",
            )
        elif change.kind == ACCESS_KEY and change.name == f"{ACCESS_KEY_PREFIX}{label}":
            yield Loss(
                str(label),
                f"The access key {label} would be gone, which the registry uses until it has "
                "another one",
                f"`make rotate STACK={registry.stack.name}` makes the new one first",
            )


def of_destroy(
    stack: str,
    resources: Sequence[Mapping[str, Any]],
    outputs: Mapping[str, Any],
    access_key: FindAccessKey,
) -> Iterator[Loss]:
    """Yield the buckets that `pulumi destroy` deletes with their objects."""
    for resource in resources:
        if resource["type"] != BUCKET or resource.get("external"):
            continue
        if resource["inputs"].get("forceDestroy") and not resource.get("protect"):
            fix = (
                f"To keep the bucket, set storage.force_destroy: false and `make up STACK={stack}` "
                "first"
            )
            yield from _loss_of_bucket(resource, access_key(outputs.get("access_key")), fix)


def _loss_of_bucket(bucket: Mapping[str, Any], key: AccessKey | None, fix: str) -> Iterator[Loss]:
    """Yield the loss of a bucket if it contains images. `bucket` is its state."""
    name, outputs = bucket["inputs"]["bucket"], bucket["outputs"]
    hosts = [outputs[host] for host in ("extranetEndpoint", "intranetEndpoint") if host in outputs]
    region = str(hosts[0]).removeprefix("oss-").partition(".")[0]
    prefix = bucket["inputs"]["lifecycleRules"][0]["prefix"]  # the key may only list this prefix
    reason = f"The bucket {name} would be deleted, and"
    yield from _loss_of_images(
        _Place(region, hosts, name, prefix),
        key,
        f"{reason} the images in it, such as",
        f"{reason} whether it holds",
        fix,
    )


def _abandoned_images(
    registry: RegistryConfig, outputs: Mapping[str, Any], access_key: FindAccessKey
) -> Iterator[Loss]:
    """Yield the loss of the images in OSS if the stack file now names another place for images.

    Images in a volume are found in the plan, because a volume is always a resource of the stack.
    """
    previous, current = outputs.get("images") or {}, registry.storage.location
    if "bucket" not in previous or previous == current:
        return
    if previous.keys() == current.keys():
        changed = [name for part, name in _SETTINGS.items() if current[part] != previous[part]]
        settings = " and ".join(changed)
    else:
        settings = "storage.kind"
    hosts = (
        objects.public_host(previous["region"]),
        str(urlsplit(outputs["storage_endpoint"]).netloc),
    )
    prefix = f"{previous['prefix']}/" if previous["prefix"] else ""
    reason = (
        f"The registry would look in {registry.storage.description}, and no longer in "
        f"{describe(previous)}"
    )
    yield from _loss_of_images(
        _Place(previous["region"], hosts, previous["bucket"], prefix),
        access_key(outputs.get("access_key")),
        f"{reason}, where its images are, such as",
        f"{reason}; whether that holds",
        f"Set {settings} back, or copy the objects to the new place",
    )


def _loss_of_images(
    place: _Place, key: AccessKey | None, found: str, unknown: str, fix: str
) -> Iterator[Loss]:
    """Yield a loss if `place` contains images, or if it cannot be listed.

    If it contains images, the reason is `found`, followed by the name of one image. If it cannot be
    listed, the reason is `unknown`, followed by the cause.
    """
    if key is None:
        cause = "the state does not say how"
    else:
        try:
            image = _find_image(place, key)
        except OssError as error:
            if error.code == "NoSuchBucket":
                return
            cause = error.code
        else:
            if image:
                yield Loss(place.bucket, f"{found} {image}", fix)
            return
    yield Loss(place.bucket, f"{unknown} images can't be seen from here ({cause})", fix)


def _find_image(place: _Place, key: AccessKey) -> str | None:
    """Return the name of a repository in `place`, or of another object of the registry."""
    # An adopted bucket without a prefix may also contain objects of others.
    for folder in (f"{place.prefix}docker/registry/v2/repositories/", place.prefix or "docker/"):
        found = _first_object(place, folder, key)
        if found:
            # The registry stores the files of a repository below the repository's name.
            return re.sub(r".*/repositories/(.*?)/_.*", r"\1", found)
    return None


def _first_object(place: _Place, folder: str, key: AccessKey) -> str | None:
    """Return the name of an object below `folder`. Raises OssError if no host of OSS lists it."""
    *others, last = place.hosts
    for host in others:
        try:
            return objects.first_object(place.region, host, place.bucket, folder, key)
        except OssError as error:
            if error.code == "NoSuchBucket":
                raise
    return objects.first_object(place.region, last, place.bucket, folder, key)
