"""Tests of the errors of garbage collection: each names the broken file and the fix."""

from collections.abc import Iterator, Mapping

import pytest

from operations.commands import gc
from operations.errors import CommandError
from operations.garbage_collection.errors import Progress, Storage, explanation
from tests.unit.stack_files import load_stack

DIGEST = f"sha256:{'ab' * 32}"
REVISIONS = "docker/registry/v2/repositories/team/app/_manifests/revisions/sha256"
GOOD_LINK = (f"{REVISIONS}/{'cd' * 32}/link", 71)
PRINTED = ["other", f"other: marking manifest {DIGEST} ", "team/app"]


def _explanation_of(
    error: str,
    *,
    printed: list[str] | None = None,
    files: Mapping[str, int] | None = None,
    root: str = "",
) -> str:
    """Return the explanation of this error, after the registry printed these lines.

    `files` are those of the storage with their sizes in bytes, beside a valid link. `root` is the
    prefix of its paths.
    """
    progress = Progress()
    for line in printed or PRINTED:
        progress.see(f"{line}\n")

    def find(folder: str, name: str) -> Iterator[tuple[str, int]]:
        for path, size in [GOOD_LINK, *(files or {}).items()]:
            if path.startswith(folder) and path.endswith(f"/{name}"):
                yield path, size

    storage = Storage("volume images", root, find)
    text = f"time=x level=warning\nfailed to garbage collect: {error}"
    return explanation(text, progress, "3.1.2", storage) or ""


def test_a_schema_1_manifest_is_reported_with_its_repository() -> None:
    explained = _explanation_of(
        f"failed to mark: failed to retrieve manifest for digest {DIGEST}: unrecognized manifest "
        "schema version 1",
        printed=[*PRINTED, f"team/app: marking manifest {DIGEST} "],
    )
    assert explained.startswith(
        f"the manifest team/app@{DIGEST} has schemaVersion 1, which release 3.1.2 cannot read. "
    )
    assert f"a DELETE request to /v2/team/app/manifests/{DIGEST}" in explained
    assert explained.endswith("Nothing was deleted.")


@pytest.mark.parametrize("cause", ["unexpected end of JSON input", "unrecognized manifest content"])
def test_a_broken_manifest_is_reported_with_its_repository(cause: str) -> None:
    explained = _explanation_of(
        f"failed to mark: failed to retrieve manifest for digest {DIGEST}: {cause}"
    )
    assert f"the manifest team/app@{DIGEST} cannot be read: {cause}. Delete it" in explained


@pytest.mark.parametrize("size", [0, 10, 72])
@pytest.mark.parametrize(
    "cause", ["invalid checksum digest format", "invalid checksum digest length"]
)
def test_a_link_without_a_digest_is_reported_with_its_path(cause: str, size: int) -> None:
    path = f"{REVISIONS}/{'ab' * 32}/link"
    explained = _explanation_of(f"failed to mark: {cause}", files={path: size}, root="registry/")
    assert explained.startswith(f"registry/{path} in the volume images is no link")
    assert GOOD_LINK[0] not in explained
    assert explained.endswith("Nothing was deleted.")


def test_at_most_three_links_without_a_digest_are_listed() -> None:
    files = {f"{REVISIONS}/{number}/link": 0 for number in range(5)}
    explained = _explanation_of("failed to mark: invalid checksum digest format", files=files)
    assert explained.count("is no link") == 3
    assert "2 more files are like that" in explained


def test_a_broken_link_of_the_right_size_is_reported_with_its_repository() -> None:
    explained = _explanation_of("failed to mark: unsupported digest algorithm")
    assert (
        "below docker/registry/v2/repositories/team/app in the volume images holds no" in explained
    )


@pytest.mark.parametrize("driver", ["filesystem", "s3aws", "oss"])
@pytest.mark.parametrize("name", ["lost+found", "copy of sha256", "@eaDir"])
def test_a_stray_folder_is_reported_with_its_path(driver: str, name: str) -> None:
    explained = _explanation_of(f"failed to mark: {driver}: invalid path: /{REVISIONS}/{name}")
    assert explained.startswith(
        f"{REVISIONS}/{name} in the volume images is not a path that a registry"
    )
    assert explained.endswith("Nothing was deleted.")


def test_a_folder_that_is_no_repository_is_reported_with_its_path() -> None:
    explained = _explanation_of(
        "failed to mark: failed to parse repo name Team/App: repository name must be lowercase"
    )
    assert (
        "docker/registry/v2/repositories/Team/App in the volume images is not a repo" in explained
    )


def test_a_stray_blob_is_reported_without_claiming_that_nothing_was_deleted() -> None:
    valid = f"docker/registry/v2/blobs/sha256/ab/{'ab' * 32}/data"
    stray = "docker/registry/v2/blobs/sha256/ab/old/data"
    error = "error enumerating blobs: invalid checksum digest length"
    explained = _explanation_of(error, files={valid: 1, stray: 1})
    assert explained.startswith(f"{stray} in the volume images is no blob's path. Remove it")
    assert valid not in explained
    assert "Nothing was deleted" not in explained


def test_a_missing_folder_of_a_repository_is_reported_with_its_path() -> None:
    layers = "docker/registry/v2/repositories/team/app/_layers"
    explained = _explanation_of(f"failed to mark: filesystem: Path not found: /{layers}")
    assert f"{layers} in the volume images does not exist" in explained


def test_any_other_error_is_shown_as_the_registry_prints_it_with_the_repository() -> None:
    explained = _explanation_of("failed to mark: s3aws: AccessDenied: no")
    assert explained == (
        "the command failed in the repository team/app: failed to mark: s3aws: AccessDenied: "
        "no. Nothing was deleted."
    )
    panicked = explanation(
        "panic: nil\ngoroutine 1", Progress(), "3.1.2", Storage("", "", _find_nothing)
    )
    assert panicked == "the command failed nil. Nothing was deleted."
    assert (
        explanation("docker: no such container", Progress(), "3", Storage("", "", _find_nothing))
        is None
    )


def _find_nothing(folder: str, name: str) -> Iterator[tuple[str, int]]:
    yield from ()


class _FailingCollector:
    """A collector whose registry fails, with a storage that contains an empty link."""

    def read_only(self) -> bool:
        return True

    def alone(self) -> None:
        pass

    def run(self, *command: str) -> Iterator[str]:
        if command[0] == "registry":
            yield "team/app\n"
            raise CommandError(
                "on one: failed to garbage collect: failed to mark: invalid checksum digest format"
            )
        assert command[-2:] == (
            "/var/lib/registry/docker/registry/v2/repositories/team/app",
            "link",
        )
        yield "./_manifests/tags/a b/current/link 0\n"
        yield "./_manifests/tags/1/current/link 71\n"


def test_make_gc_reports_the_path_of_an_empty_link() -> None:
    stack = load_stack()
    with pytest.raises(CommandError) as blocked:
        gc._swept(stack, _FailingCollector(), gc._storage(stack, _FailingCollector()))
    path = "docker/registry/v2/repositories/team/app/_manifests/tags/a b/current/link"
    assert str(blocked.value).startswith(f"{path} in the volume oss-registry-dev-data is no link")
