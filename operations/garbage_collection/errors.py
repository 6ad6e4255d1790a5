"""Why `registry garbage-collect` ended, in terms of what is in the storage. Pure.

The error texts are those of distribution 2.8.3, 3.0.0 and 3.1.2 (in registry/storage:
garbagecollect.go, linkedblobstore.go, manifeststore.go, driver/storagedriver.go) and of go-digest.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

ENDED = re.compile(r"failed to garbage collect: (.*)", re.DOTALL)
ROOT = "docker/registry/v2/"
REPOSITORIES, BLOBS = f"{ROOT}repositories/", f"{ROOT}blobs"
_NO_DIGEST = "invalid checksum digest|unsupported digest algorithm"
# A link holds one digest: a name, a colon and as many hexadecimal digits as its hash has.
_LINK_SIZES = {len(name) + 1 + digits for name, digits in (("sha256", 64), ("sha512", 128))}
_SHOWN = 3  # paths

# The paths and sizes of the files called `name` below `folder`, both as the registry names them.
Files = Callable[[str, str], Iterable[tuple[str, int]]]


@dataclass(frozen=True)
class Storage:
    """Where the registry's files are: `place` is a bucket or volume, `root` is its folder there."""

    place: str
    root: str
    files: Files


@dataclass
class Progress:
    """What the command printed about the repository and the manifest that it was at."""

    repository: str = ""
    manifest: str = ""

    def see(self, line: str) -> None:
        """Take in one line of the command's output."""
        if found := re.match(r"(\S+): marking manifest (\S+)", line):
            self.repository, self.manifest = found[1], found[2]
        elif re.fullmatch(r"[a-z0-9][^\s:]*\s*", line):
            self.repository, self.manifest = line.strip(), ""


def explanation(error: str, at: Progress, release: str, storage: Storage) -> str | None:
    """Return the cause of the command's `error` and the next step; None if it is another failure.

    Raises what `storage.files` raises.
    """
    if panicked := re.search(r"^panic: (.*)", error, re.MULTILINE):
        found = panicked[1]
    elif ended := ENDED.search(error):
        found = ended[1].strip()
    else:
        return None
    text = "; ".join(_causes(found, at, release, storage))
    # It marks what is needed first, and deletes only then.
    untouched = found.startswith("failed to mark") or panicked
    return f"{text}.{' Nothing was deleted.' if untouched else ''}"


def _causes(found: str, at: Progress, release: str, storage: Storage) -> Iterator[str]:
    broken = re.search(r"failed to retrieve manifest for digest (\S+): (.*)", found, re.DOTALL)
    if path := re.search(r"invalid path: (/.*)", found):
        yield (
            f"{_where(path[1].lstrip('/'), storage)} is not a path that a registry writes. Remove "
            "it, with what is below it"
        )
    elif path := re.search(r"Path not found: (/.*)", found):
        yield (
            f"{_where(path[1].lstrip('/'), storage)} does not exist, which the registry looks "
            f"through. Push an image to the repository {at.repository}, or remove its folder"
        )
    elif name := re.search(r"failed to parse repo name (\S+): ", found):
        yield (
            f"{_where(f'{REPOSITORIES}{name[1]}', storage)} is not a repository: no name of one is "
            "like that. Remove it or rename it"
        )
    elif broken and (
        version := re.search(r"unrecognized manifest schema version (\d+)", broken[2])
    ):
        yield (
            f"the manifest {at.repository}@{broken[1]} has schemaVersion {version[1]}, which "
            f"release {release} cannot read. {_without(at.repository, broken[1])}"
        )
    elif broken:
        yield (
            f"the manifest {at.repository}@{broken[1]} cannot be read: {broken[2]}. "
            f"{_without(at.repository, broken[1])}"
        )
    elif re.search(_NO_DIGEST, found):
        yield from _no_digest(found, at, storage)
    else:
        manifest = f"@{at.manifest}" if at.manifest else ""
        where = f"in the repository {at.repository}{manifest}: " if at.repository else ""
        yield f"the command failed {where}{found}"


def _no_digest(found: str, at: Progress, storage: Storage) -> Iterator[str]:
    """The files that hold, or are named by, something else than a digest."""
    if found.startswith("error enumerating blobs"):
        named = [path for path, _ in storage.files(BLOBS, "data") if not _is_blob(path)]
        what, fix = "no blob's path", "Remove it"
    else:
        folder = f"{REPOSITORIES}{at.repository}"
        links = storage.files(folder, "link")
        named = [path for path, size in links if size not in _LINK_SIZES]
        what = "no link: it holds no digest"
        fix = "Remove it and push the image again, or write the digest that its path names into it"
        if not named:
            yield f"a file called link below {_where(folder, storage)} holds no digest. Remove it"
    for path in named[:_SHOWN]:
        yield f"{_where(path, storage)} is {what}. {fix}"
    if len(named) > _SHOWN:
        yield f"{len(named) - _SHOWN} more files are like that"


def _is_blob(path: str) -> bool:
    return bool(re.search(r"/(\w+)/([0-9a-f]{2})/\2[0-9a-f]{62,126}/data$", path))


def _without(repository: str, digest: str) -> str:
    return (
        "Delete it: a DELETE request to "
        f"/v2/{repository}/manifests/{digest} (crane delete does that). To keep the image, push "
        "it again with a current client"
    )


def _where(path: str, storage: Storage) -> str:
    return f"{storage.root}{path} in the {storage.place}"
