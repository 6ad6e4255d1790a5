"""Hints for errors of `registry garbage-collect`: the broken file in the storage, and the fix.

The patterns are those of distribution 2.8.3, 3.0.0 and 3.1.2 (in registry/storage:
garbagecollect.go, linkedblobstore.go, manifeststore.go, driver/storagedriver.go) and of go-digest.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from components.storage.backend import ListFiles

_FAILURE = re.compile(r"failed to garbage collect: (.*)", re.DOTALL)
ROOT = "docker/registry/v2/"
REPOSITORIES, BLOBS = f"{ROOT}repositories/", f"{ROOT}blobs"
_INVALID_DIGEST = "invalid checksum digest|unsupported digest algorithm"
# The size of a link in bytes: it contains one digest, with the hexadecimal digits of its hash.
_LINK_SIZES = {len("sha256:") + 64, len("sha512:") + 128}
_MAX_PATHS = 3  # paths in a hint, at most


@dataclass(frozen=True)
class Storage:
    """A registry's storage. `files` lists its files, and `locate` returns where one is stored."""

    files: ListFiles
    locate: Callable[[str], str]


@dataclass
class Progress:
    """The repository and the manifest that `registry garbage-collect` printed last."""

    repository: str = ""
    manifest: str = ""

    def read(self, line: str) -> None:
        """Read one line of the command's output."""
        if found := re.match(r"(\S+): marking manifest (\S+)", line):
            self.repository, self.manifest = found[1], found[2]
        elif re.fullmatch(r"[a-z0-9][^\s:]*\s*", line):
            self.repository, self.manifest = line.strip(), ""


def error_hint(error: str, progress: Progress, release: str, storage: Storage) -> str | None:
    """Return the cause of the command's `error` and the fix, or None for errors of other programs.

    Raises what `storage.files` raises.
    """
    panic = re.search(r"^panic: (.*)", error, re.MULTILINE)
    failure = _FAILURE.search(error)
    if panic:
        cause = panic[1]
    elif failure:
        cause = failure[1].strip()
    else:
        return None
    text = "; ".join(_hints(cause, progress, release, storage))
    # The command marks first, and deletes only after that.
    if panic or cause.startswith("failed to mark"):
        return f"{text}. Nothing was deleted."
    return f"{text}."


def _hints(cause: str, progress: Progress, release: str, storage: Storage) -> Iterator[str]:
    """Yield each broken file or manifest with its fix. `cause` is the registry's error text."""
    repository, locate = progress.repository, storage.locate
    broken = re.search(r"failed to retrieve manifest for digest (\S+): (.*)", cause, re.DOTALL)
    if found := re.search(r"invalid path: /+(.*)", cause):
        yield (
            f"{locate(found[1])} is not a path that a registry writes. Remove it, with what is "
            "below it"
        )
    elif found := re.search(r"Path not found: /+(.*)", cause):
        yield (
            f"{locate(found[1])} does not exist, which the registry looks through. Push an image "
            f"to the repository {repository}, or remove its folder"
        )
    elif found := re.search(r"failed to parse repo name (\S+): ", cause):
        yield (
            f"{locate(f'{REPOSITORIES}{found[1]}')} is not a repository: no name of one is like "
            "that. Remove it or rename it"
        )
    elif broken:
        digest, reason = broken[1], broken[2]
        manifest = f"the manifest {repository}@{digest}"
        if version := re.search(r"unrecognized manifest schema version (\d+)", reason):
            problem = f"has schemaVersion {version[1]}, which release {release} cannot read"
        else:
            problem = f"cannot be read: {reason}"
        yield f"{manifest} {problem}. {_how_to_delete(repository, digest)}"
    elif re.search(_INVALID_DIGEST, cause):
        yield from _files_without_digest(cause, repository, storage)
    else:
        manifest = f"@{progress.manifest}" if progress.manifest else ""
        place = f"in the repository {repository}{manifest}: " if repository else ""
        yield f"the command failed {place}{cause}"


def _files_without_digest(cause: str, repository: str, storage: Storage) -> Iterator[str]:
    """Yield hints about files whose content or path should be a digest, but is not."""
    if cause.startswith("error enumerating blobs"):
        paths = [path for path, _ in storage.files(BLOBS, "data") if not _is_blob_path(path)]
        problem, fix = "no blob's path", "Remove it"
    else:
        folder = f"{REPOSITORIES}{repository}"
        links = storage.files(folder, "link")
        paths = [path for path, size in links if size not in _LINK_SIZES]
        problem = "no link: it holds no digest"
        fix = "Remove it and push the image again, or write the digest that its path names into it"
        if not paths:
            yield f"a file called link below {storage.locate(folder)} holds no digest. Remove it"
    for path in paths[:_MAX_PATHS]:
        yield f"{storage.locate(path)} is {problem}. {fix}"
    if len(paths) > _MAX_PATHS:
        yield f"{len(paths) - _MAX_PATHS} more files are like that"


def _is_blob_path(path: str) -> bool:
    return bool(re.search(r"/(\w+)/([0-9a-f]{2})/\2[0-9a-f]{62,126}/data$", path))


def _how_to_delete(repository: str, digest: str) -> str:
    return (
        "Delete it: a DELETE request to "
        f"/v2/{repository}/manifests/{digest} (crane delete does that). To keep the image, push "
        "it again with a current client"
    )
