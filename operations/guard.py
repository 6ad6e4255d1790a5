"""What a plan must not take away unless it is meant: the images, and the way to them."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operations import Blocked, oss
from operations.review import GRAVE, Change
from operations.state import ACCESS_KEY, BUCKET, RAM_USER, VOLUME


@dataclass(frozen=True)
class Loss:
    """`name` is what would be gone, `why` it matters, as a sentence, `instead` what to do."""

    name: str
    why: str
    instead: str

    @property
    def alarm(self) -> str:
        return f"{self.why}. {self.instead}."


def losses(stack: str, changes: Sequence[Change], key: str | None) -> Iterator[Loss]:
    """What `changes` of `stack` would take away; `key` is the label of the access key in use."""
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
                yield from bucket_loss(stack, change.old, key)
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


def bucket_loss(stack: str, bucket: Mapping[str, Any], key: str | None) -> Iterator[Loss]:
    """What goes with `bucket`, as it is in the state: none, if nothing is in it."""
    name = bucket["inputs"]["bucket"]
    instead = "Set storage.bucket and alicloud:region back, or copy its objects to the new one"
    try:
        found = _first_object(stack, bucket, key)
    except (oss.OssError, Blocked, LookupError) as failure:
        known = isinstance(failure, oss.OssError)
        said = str(failure) if known else "the state does not say how"
        if said == "NoSuchBucket":
            return
        why = f"The bucket {name} would be deleted, and whether it holds images can't be seen"
        yield Loss(name, f"{why} from here ({said})", instead)
    else:
        if found:
            # As the registry names what it keeps: a repository's files lie below its name.
            image = re.sub(r".*/repositories/(.*?)/_.*", r"\1", found)
            why = f"The bucket {name} would be deleted, and the images in it, such as {image}"
            yield Loss(name, why, instead)


def _first_object(stack: str, bucket: Mapping[str, Any], key: str | None) -> str | None:
    """The name of something that the registry keeps in `bucket`: of a repository's, if it can."""
    inputs, outputs = bucket["inputs"], bucket["outputs"]
    host = str(outputs["extranetEndpoint"])
    region = host.removeprefix("oss-").partition(".")[0]
    prefix = inputs["lifecycleRules"][0]["prefix"]  # all that its key may list
    key_in_use = oss.key_in_use(stack, str(key))
    for folder in (f"{prefix}docker/registry/v2/repositories/", prefix):
        if found := oss.first_object(region, host, inputs["bucket"], folder, key_in_use):
            return found
    return None


def stop(stack: str, verb: str, lost: Sequence[Loss], meant: Collection[str]) -> None:
    """Raises Blocked where something is lost that is not `meant` to be, by its name."""
    if unmeant := [loss for loss in lost if loss.name not in meant]:
        said = "".join(f"\n  - {loss.alarm}" for loss in unmeant)
        names = ",".join(loss.name for loss in lost)
        raise Blocked(
            f"stopped, and nothing was changed:{said}\n"
            f"If that is what you want: make {verb} STACK={stack} LOSE={names}"
        )
