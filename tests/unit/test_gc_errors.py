"""What a collection of garbage cannot read is named, with what to do about it."""

from collections.abc import Iterator, Mapping

import pytest

from operations import Blocked, gc
from operations.gc_errors import Progress, Storage, explanation
from tests.unit.stack_files import load_stack

DIGEST = f"sha256:{'ab' * 32}"
REVISIONS = "docker/registry/v2/repositories/team/app/_manifests/revisions/sha256"
GOOD_LINK = (f"{REVISIONS}/{'cd' * 32}/link", 71)
PRINTED = ["other", f"other: marking manifest {DIGEST} ", "team/app"]


def _explained(
    error: str,
    *,
    printed: list[str] | None = None,
    files: Mapping[str, int] | None = None,
    root: str = "",
) -> str:
    progress = Progress()
    for line in printed or PRINTED:
        progress.see(f"{line}\n")

    def found(folder: str, name: str) -> Iterator[tuple[str, int]]:
        for path, size in [GOOD_LINK, *(files or {}).items()]:
            if path.startswith(folder) and path.endswith(f"/{name}"):
                yield path, size

    storage = Storage("volume images", root, found)
    text = f"time=x level=warning\nfailed to garbage collect: {error}"
    return explanation(text, progress, "3.1.2", storage) or ""


def test_a_manifest_of_schema_1_is_named_with_its_repository() -> None:
    said = _explained(
        f"failed to mark: failed to retrieve manifest for digest {DIGEST}: unrecognized manifest "
        "schema version 1",
        printed=[*PRINTED, f"team/app: marking manifest {DIGEST} "],
    )
    assert said.startswith(
        f"the manifest team/app@{DIGEST} has schemaVersion 1, which release 3.1.2 cannot read. "
    )
    assert f"a DELETE request to /v2/team/app/manifests/{DIGEST}" in said
    assert said.endswith("Nothing was deleted.")


@pytest.mark.parametrize("why", ["unexpected end of JSON input", "unrecognized manifest content"])
def test_another_manifest_that_is_broken_is_named_too(why: str) -> None:
    said = _explained(f"failed to mark: failed to retrieve manifest for digest {DIGEST}: {why}")
    assert f"the manifest team/app@{DIGEST} cannot be read: {why}. Delete it" in said


@pytest.mark.parametrize("size", [0, 10, 72])
@pytest.mark.parametrize(
    "why", ["invalid checksum digest format", "invalid checksum digest length"]
)
def test_a_link_without_a_digest_is_named_by_its_path(why: str, size: int) -> None:
    path = f"{REVISIONS}/{'ab' * 32}/link"
    said = _explained(f"failed to mark: {why}", files={path: size}, root="registry/")
    assert said.startswith(f"registry/{path} in the volume images is no link")
    assert GOOD_LINK[0] not in said
    assert said.endswith("Nothing was deleted.")


def test_links_without_a_digest_are_not_all_listed() -> None:
    files = {f"{REVISIONS}/{number}/link": 0 for number in range(5)}
    said = _explained("failed to mark: invalid checksum digest format", files=files)
    assert said.count("is no link") == 3
    assert "2 more files are like that" in said


def test_a_link_that_does_not_show_by_its_size_is_named_by_its_repository() -> None:
    said = _explained("failed to mark: unsupported digest algorithm")
    assert "below docker/registry/v2/repositories/team/app in the volume images holds no" in said


@pytest.mark.parametrize("driver", ["filesystem", "s3aws", "oss"])
@pytest.mark.parametrize("name", ["lost+found", "copy of sha256", "@eaDir"])
def test_a_stray_folder_is_named_by_its_path(driver: str, name: str) -> None:
    said = _explained(f"failed to mark: {driver}: invalid path: /{REVISIONS}/{name}")
    assert said.startswith(f"{REVISIONS}/{name} in the volume images is not a path that a registry")
    assert said.endswith("Nothing was deleted.")


def test_a_folder_that_is_no_repository_is_named() -> None:
    said = _explained(
        "failed to mark: failed to parse repo name Team/App: repository name must be lowercase"
    )
    assert "docker/registry/v2/repositories/Team/App in the volume images is not a repo" in said


def test_a_stray_blob_is_named_and_untagged_images_may_be_deleted_already() -> None:
    good = f"docker/registry/v2/blobs/sha256/ab/{'ab' * 32}/data"
    stray = "docker/registry/v2/blobs/sha256/ab/old/data"
    error = "error enumerating blobs: invalid checksum digest length"
    said = _explained(error, files={good: 1, stray: 1})
    assert said.startswith(f"{stray} in the volume images is no blob's path. Remove it")
    assert good not in said
    assert "Nothing was deleted" not in said


def test_what_is_missing_below_a_repository_is_named() -> None:
    layers = "docker/registry/v2/repositories/team/app/_layers"
    said = _explained(f"failed to mark: filesystem: Path not found: /{layers}")
    assert f"{layers} in the volume images does not exist" in said


def test_another_error_is_the_registrys_with_the_repository() -> None:
    said = _explained("failed to mark: s3aws: AccessDenied: no")
    assert said == (
        "the command failed in the repository team/app: failed to mark: s3aws: AccessDenied: "
        "no. Nothing was deleted."
    )
    panicked = explanation("panic: nil\ngoroutine 1", Progress(), "3.1.2", Storage("", "", _none))
    assert panicked == "the command failed nil. Nothing was deleted."
    assert explanation("docker: no such container", Progress(), "3", Storage("", "", _none)) is None


def _none(folder: str, name: str) -> Iterator[tuple[str, int]]:
    yield from ()


class _Runs:
    """A collector whose registry ends with an error, and whose storage has an empty link."""

    def read_only(self) -> bool:
        return True

    def alone(self) -> None:
        pass

    def run(self, *command: str) -> Iterator[str]:
        if command[0] == "registry":
            yield "team/app\n"
            raise Blocked(
                "on one: failed to garbage collect: failed to mark: invalid checksum digest format"
            )
        assert command[-2:] == (
            "/var/lib/registry/docker/registry/v2/repositories/team/app",
            "link",
        )
        yield "./_manifests/tags/a b/current/link 0\n"
        yield "./_manifests/tags/1/current/link 71\n"


def test_gc_ends_with_the_path_of_an_empty_link() -> None:
    stack = load_stack()
    with pytest.raises(Blocked) as blocked:
        gc._swept(stack, _Runs(), gc._storage(stack, _Runs()))
    path = "docker/registry/v2/repositories/team/app/_manifests/tags/a b/current/link"
    assert str(blocked.value).startswith(f"{path} in the volume oss-registry-dev-data is no link")
