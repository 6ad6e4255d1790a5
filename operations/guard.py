"""What a change must not take away unless it is meant: the images, and the way to them.

It answers one question: will the registry still see the images that it sees now? Each command that
changes a stack asks it.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from config.stack import Stack
from operations import oss
from operations.clients.pulumi import ACCESS_KEY, BUCKET, RAM_USER, VOLUME
from operations.errors import CommandError
from operations.review import GRAVE, Change

# The settings that say where in OSS the images are, by the keys of `Stack.images`.
SETTINGS = {
    "bucket": "storage.bucket",
    "region": "alicloud:region and storage.endpoint",
    "prefix": "storage.prefix",
}


@dataclass(frozen=True)
class Loss:
    """`name` is what would be gone, `why` it matters, as a sentence, `instead` what to do."""

    name: str
    why: str
    instead: str

    @property
    def alarm(self) -> str:
        return f"{self.why}. {self.instead}."


@dataclass(frozen=True)
class _Place:
    """Where images are in OSS: below `below`, reached at one of `hosts`."""

    region: str
    hosts: Sequence[str]
    bucket: str
    below: str


def losses(stack: Stack, changes: Sequence[Change], before: Mapping[str, Any]) -> Sequence[Loss]:
    """What `changes` to `stack` would take away, whose outputs are `before` now; a name each."""
    lost = {loss.name: loss for loss in _left_behind(stack, before)}
    lost |= {loss.name: loss for loss in _deleted(stack.name, changes, before.get("access_key"))}
    return [*lost.values()]


def _deleted(stack: str, changes: Sequence[Change], key: str | None) -> Iterator[Loss]:
    """What is deleted or given up by `changes`; `key` is the label of the access key in use."""
    for change in changes:
        if change.kind == VOLUME and change.name == "data" and change.action in (*GRAVE, "let go"):
            volume = change.old["inputs"]["name"]
            yield Loss(
                volume,
                f"The images in the volume {volume} would stay there, where the registry no longer "
                "looks",
                "Set storage.kind and storage.volume back, or copy them to the new place",
            )
        # One that was adopted is but read, and let go.
        if change.action in GRAVE and not change.old.get("external"):
            if change.kind == BUCKET:
                instead = (
                    "Set storage.bucket and alicloud:region back, or copy its objects to the new "
                    "one"
                )
                yield from bucket_loss(stack, change.old, key, instead)
            elif change.kind == RAM_USER:
                user = change.old["inputs"]["name"]
                yield Loss(
                    user,
                    f"The RAM user {user}, as whom the registry reaches its images, would be gone",
                    "Leave storage.kind at oss",
                )
            elif change.kind == ACCESS_KEY and change.name == f"access-key-{key}":
                yield Loss(
                    str(key),
                    f"The access key {key} would be gone, which the registry uses until it has "
                    "another one",
                    f"`make rotate STACK={stack}` makes the new one first",
                )


def bucket_loss(
    stack: str, bucket: Mapping[str, Any], key: str | None, instead: str
) -> Iterator[Loss]:
    """What goes with `bucket`, as it is in the state: none, if nothing is in it."""
    name, outputs = bucket["inputs"]["bucket"], bucket["outputs"]
    hosts = [outputs[host] for host in ("extranetEndpoint", "intranetEndpoint") if host in outputs]
    region = str(hosts[0]).removeprefix("oss-").partition(".")[0]
    below = bucket["inputs"]["lifecycleRules"][0]["prefix"]  # all that its key may list
    place = _Place(region, hosts, name, below)
    why = f"The bucket {name} would be deleted, and"
    yield from _loss(
        stack, place, key, f"{why} the images in it, such as", f"{why} whether it holds", instead
    )


def _left_behind(stack: Stack, before: Mapping[str, Any]) -> Iterator[Loss]:
    """The images in OSS that the registry sees now, if the stack file has it look elsewhere.

    Those in a volume show in the plan, as a volume is a resource of the stack in any case.
    """
    was, now = before.get("images") or {}, stack.registry.storage.location
    if "bucket" not in was or was == now:
        return
    changed = [setting for part, setting in SETTINGS.items() if now.get(part) != was[part]]
    settings = "storage.kind" if "volume" in now else " and ".join(changed)
    hosts = (f"oss-{was['region']}.aliyuncs.com", urlsplit(before["storage_endpoint"]).netloc)
    below = f"{was['prefix']}/" if was["prefix"] else ""
    place = _Place(was["region"], hosts, was["bucket"], below)
    why = f"The registry would look in {_shown(now)}, and no longer in {_shown(was)}"
    yield from _loss(
        stack.name,
        place,
        before.get("access_key"),
        f"{why}, where its images are, such as",
        f"{why}; whether that holds",
        f"Set {settings} back, or copy the objects to the new place",
    )


def _shown(images: Mapping[str, str]) -> str:
    if "volume" in images:
        return f"the volume {images['volume']}"
    below = f" below {images['prefix']}/" if images["prefix"] else ""
    return f"the bucket {images['bucket']}{below} in {images['region']}"


def _loss(
    stack: str, place: _Place, key: str | None, found: str, unseen: str, instead: str
) -> Iterator[Loss]:
    """The loss of the images in `place`, if there are some: `found` comes before one's name.

    `unseen` comes before "images can't be seen from here".
    """
    try:
        image = _image(stack, place, key)
    except (oss.OssError, CommandError, LookupError) as failure:
        known = isinstance(failure, oss.OssError)
        said = str(failure) if known else "the state does not say how"
        if said != "NoSuchBucket":
            yield Loss(place.bucket, f"{unseen} images can't be seen from here ({said})", instead)
    else:
        if image:
            yield Loss(place.bucket, f"{found} {image}", instead)


def _image(stack: str, place: _Place, key: str | None) -> str | None:
    """The name of something that the registry keeps in `place`: of a repository's, if it can."""
    key_in_use = oss.key_in_use(stack, str(key))
    # At the top of an adopted bucket there may be more than the registry's.
    for folder in (f"{place.below}docker/registry/v2/repositories/", place.below or "docker/"):
        if found := _first_object(place, folder, key_in_use):
            # As the registry names what it keeps: a repository's files lie below its name.
            return re.sub(r".*/repositories/(.*?)/_.*", r"\1", found)
    return None


def _first_object(place: _Place, folder: str, key: oss.Key) -> str | None:
    """The name of an object below `folder`. Raises OssError if no host of the place says it."""
    *public, last = place.hosts
    for host in public:
        try:
            return oss.first_object(place.region, host, place.bucket, folder, key)
        except oss.OssError as failure:
            if failure.code == "NoSuchBucket":
                raise
    return oss.first_object(place.region, last, place.bucket, folder, key)


def stop(
    stack: str,
    verb: str,
    lost: Sequence[Loss],
    meant: Collection[str],
    stopped: str = "stopped, and nothing was changed",
) -> None:
    """Raises CommandError where something is lost that is not `meant` to be, by its name."""
    if unmeant := [loss for loss in lost if loss.name not in meant]:
        said = "".join(f"\n  - {loss.alarm}" for loss in unmeant)
        names = ",".join(loss.name for loss in lost)
        raise CommandError(
            f"{stopped}:{said}\nIf that is what you want: make {verb} STACK={stack} LOSE={names}"
        )
