"""Tests of the errors of garbage collection: each names the broken file and the fix."""

from collections.abc import Iterator, Mapping

import pytest

from operations.commands import gc
from operations.errors import CommandError
from operations.garbage_collection.error_hints import Progress, Storage, error_hint
from tests.unit.contexts import fake_context
from tests.unit.stack_files import load_stack

DIGEST = f"sha256:{'ab' * 32}"
REVISIONS = "docker/registry/v2/repositories/team/app/_manifests/revisions/sha256"
GOOD_LINK = (f"{REVISIONS}/{'cd' * 32}/link", 71)
PRINTED = ["other", f"other: marking manifest {DIGEST} ", "team/app"]


def _hint_for(
    error: str,
    *,
    printed: list[str] | None = None,
    files: Mapping[str, int] | None = None,
    root: str = "",
) -> str:
    """Return the hint for `error` after the registry printed the lines `printed`.

    `files` maps paths to sizes in bytes. The storage has these files and a valid link. Its messages
    show paths with the prefix `root`.
    """
    progress = Progress()
    for line in printed or PRINTED:
        progress.read(f"{line}\n")

    def find(folder: str, name: str) -> Iterator[tuple[str, int]]:
        for path, size in [GOOD_LINK, *(files or {}).items()]:
            if path.startswith(folder) and path.endswith(f"/{name}"):
                yield path, size

    storage = Storage(find, lambda path: f"{root}{path} in the volume images")
    text = f"time=x level=warning\nfailed to garbage collect: {error}"
    return error_hint(text, progress, "3.1.2", storage) or ""


def test_a_schema_1_manifest_is_reported_with_its_repository() -> None:
    hint = _hint_for(
        f"failed to mark: failed to retrieve manifest for digest {DIGEST}: unrecognized manifest "
        "schema version 1",
        printed=[*PRINTED, f"team/app: marking manifest {DIGEST} "],
    )
    assert hint.startswith(
        f"the manifest team/app@{DIGEST} has schemaVersion 1, which release 3.1.2 cannot read. "
    )
    assert f"a DELETE request to /v2/team/app/manifests/{DIGEST}" in hint
    assert hint.endswith("Nothing was deleted.")


@pytest.mark.parametrize("cause", ["unexpected end of JSON input", "unrecognized manifest content"])
def test_a_broken_manifest_is_reported_with_its_repository(cause: str) -> None:
    hint = _hint_for(f"failed to mark: failed to retrieve manifest for digest {DIGEST}: {cause}")
    assert f"the manifest team/app@{DIGEST} cannot be read: {cause}. Delete it" in hint


@pytest.mark.parametrize("size", [0, 10, 72])
@pytest.mark.parametrize(
    "cause", ["invalid checksum digest format", "invalid checksum digest length"]
)
def test_a_link_without_a_digest_is_reported_with_its_path(cause: str, size: int) -> None:
    path = f"{REVISIONS}/{'ab' * 32}/link"
    hint = _hint_for(f"failed to mark: {cause}", files={path: size}, root="registry/")
    assert hint.startswith(f"registry/{path} in the volume images is no link")
    assert GOOD_LINK[0] not in hint
    assert hint.endswith("Nothing was deleted.")


def test_at_most_three_links_without_a_digest_are_listed() -> None:
    files = {f"{REVISIONS}/{number}/link": 0 for number in range(5)}
    hint = _hint_for("failed to mark: invalid checksum digest format", files=files)
    assert hint.count("is no link") == 3
    assert "2 more files are like that" in hint


def test_a_broken_link_of_the_right_size_is_reported_with_its_repository() -> None:
    hint = _hint_for("failed to mark: unsupported digest algorithm")
    assert "below docker/registry/v2/repositories/team/app in the volume images holds no" in hint


@pytest.mark.parametrize("driver", ["filesystem", "s3aws", "oss"])
@pytest.mark.parametrize("name", ["lost+found", "copy of sha256", "@eaDir"])
def test_a_stray_folder_is_reported_with_its_path(driver: str, name: str) -> None:
    hint = _hint_for(f"failed to mark: {driver}: invalid path: /{REVISIONS}/{name}")
    assert hint.startswith(f"{REVISIONS}/{name} in the volume images is not a path that a registry")
    assert hint.endswith("Nothing was deleted.")


def test_a_folder_that_is_no_repository_is_reported_with_its_path() -> None:
    hint = _hint_for(
        "failed to mark: failed to parse repo name Team/App: repository name must be lowercase"
    )
    assert "docker/registry/v2/repositories/Team/App in the volume images is not a repo" in hint


def test_a_stray_blob_is_reported_without_claiming_that_nothing_was_deleted() -> None:
    valid = f"docker/registry/v2/blobs/sha256/ab/{'ab' * 32}/data"
    stray = "docker/registry/v2/blobs/sha256/ab/old/data"
    error = "error enumerating blobs: invalid checksum digest length"
    hint = _hint_for(error, files={valid: 1, stray: 1})
    assert hint.startswith(f"{stray} in the volume images is no blob's path. Remove it")
    assert valid not in hint
    assert "Nothing was deleted" not in hint


def test_a_missing_folder_of_a_repository_is_reported_with_its_path() -> None:
    layers = "docker/registry/v2/repositories/team/app/_layers"
    hint = _hint_for(f"failed to mark: filesystem: Path not found: /{layers}")
    assert f"{layers} in the volume images does not exist" in hint


def test_any_other_error_is_shown_as_the_registry_prints_it_with_the_repository() -> None:
    hint = _hint_for("failed to mark: s3aws: AccessDenied: no")
    assert hint == (
        "the command failed in the repository team/app: failed to mark: s3aws: AccessDenied: "
        "no. Nothing was deleted."
    )
    panicked = error_hint(
        "panic: nil\ngoroutine 1", Progress(), "3.1.2", Storage(_find_nothing, str)
    )
    assert panicked == "the command failed nil. Nothing was deleted."
    assert (
        error_hint("docker: no such container", Progress(), "3", Storage(_find_nothing, str))
        is None
    )


def _find_nothing(folder: str, name: str) -> Iterator[tuple[str, int]]:
    yield from ()


class _FailingCollector:
    """A collector whose registry fails, with a storage that contains an empty link."""

    def is_read_only(self) -> bool:
        return True

    def wait_for_writers(self) -> None:
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
    context, collector = fake_context(load_stack()), _FailingCollector()
    with pytest.raises(CommandError) as failure:
        gc._garbage_collect(context, collector, gc._storage(context, collector))
    path = "docker/registry/v2/repositories/team/app/_manifests/tags/a b/current/link"
    assert str(failure.value).startswith(f"{path} in the volume oss-registry-dev-data is no link")
