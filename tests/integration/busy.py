"""A client that pushes, pulls, deletes and tags images all the time, and checks the results."""

import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.integration.api import Api, RequestError, digest_of

REPOSITORIES = ("team/app", "team/base", "tools")
TAGS = ("1", "2", "latest")


class BusyClient(Api):
    """A client of `repositories`, which no other client uses, with layers of `size` bytes.

    Before it uploads a blob, it asks whether the blob exists, as other clients do. So it notices if
    a cache reports a blob that does not exist. If a request breaks off, the client does not know
    whether the registry has done it, and asks later.

    A response with a status in `tolerated` is not a failure. The client waits for `pause` seconds
    between two operations.
    """

    def __init__(
        self,
        endpoint: str,
        seeded_random: random.Random,
        login: tuple[str, str] | None = None,
        authority: str = "",
        repositories: Sequence[str] = REPOSITORIES,
        size: int = 20_000,
        tolerated: Collection[int] = (),
        pause: float = 0.2,
    ) -> None:
        super().__init__(endpoint, login, authority)
        self._random, self._repositories = seeded_random, repositories
        self._tolerated, self._pause = tolerated, pause
        # Only a few, so that some are pushed again after all images with them were deleted.
        self._contents = [secrets.token_bytes(size) for _ in range(12)]
        self._bodies: dict[str, bytes] = {}
        self._tags: dict[tuple[str, str], str | None] = {}  # None if the digest is not known
        # Whether an image was deleted, by repository and digest.
        self._pushed: dict[tuple[str, str], bool] = {}
        # The times of successful operations.
        self.pushes: list[float] = []
        self.pulls: list[float] = []
        # The times of failed connections, of responses with status 405, and of tolerated errors.
        self.connection_errors: list[float] = []
        self.read_only: list[float] = []
        self.tolerated_errors: list[float] = []
        self.failures: list[str] = []

    def put_manifest(self, repository: str, tag: str, body: bytes, kind: str) -> str:
        try:
            digest = super().put_manifest(repository, tag, body, kind)
        except RequestError as error:
            if _may_have_succeeded(error):
                self._bodies[digest_of(body)] = body
            raise
        self._bodies[digest] = body
        self._pushed[repository, digest] = False
        if tag:
            self._tags[repository, tag] = digest
        return digest

    def push_blob(self, repository: str, chunks: Sequence[bytes]) -> str:
        digest = digest_of(b"".join(chunks))
        response = self.call("HEAD", f"/v2/{repository}/blobs/{digest}", [200, 404])
        return digest if response.status == 200 else super().push_blob(repository, chunks)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run operations one after the other during the block.

        Raises AssertionError at the end of the block if an operation failed.
        """
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(self._pause):
                self._do(self._random.choice((self._push, self._push, self._retag, self._delete)))
                self._do(self._pull)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            stop.set()
            worker.join()
        assert not self.failures, "\n".join(self.failures[:9])

    def _do(self, operation: Callable[[], None]) -> None:
        try:
            operation()
        except RequestError as error:
            if error.status == 0:
                self.connection_errors.append(time.monotonic())
            elif error.status == 405:
                self.read_only.append(time.monotonic())
            elif error.status in self._tolerated:
                self.tolerated_errors.append(time.monotonic())
            else:
                self.failures.append(str(error))
        except ValueError as error:
            self.failures.append(str(error))

    def _push(self) -> None:
        repository, tag = self._random.choice(self._repositories), self._random.choice(TAGS)
        one, other = self._random.sample(self._contents, 2)
        with self._tag_unknown_after_failure(repository, tag):
            if self._random.random() < 0.3:
                self.push_index(repository, {"amd64": one, "arm64": other}, tag)
            else:
                self.push(repository, one, tag=tag)
        self.pushes.append(time.monotonic())

    def _retag(self) -> None:
        """Give another tag to a tagged image."""
        if tagged := self._tagged():
            (repository, _), digest = self._random.choice(tagged)
            tag, body = self._random.choice(TAGS), self._bodies[digest]
            with self._tag_unknown_after_failure(repository, tag):
                self.put_manifest(repository, tag, body, str(json.loads(body)["mediaType"]))

    def _delete(self) -> None:
        """Delete an image, if at least three are tagged."""
        tagged = self._tagged()
        if len(tagged) < 3:
            return
        (repository, _), digest = self._random.choice(tagged)
        tags = [tag for tag, found in self._tags.items() if (tag[0], found) == (repository, digest)]
        try:
            self.delete(repository, digest)
        except RequestError as error:
            if error.status == 404 and self._tolerated:
                # Release 3.1.2 wrongly returns 404 if redis drops an entry while the registry uses
                # it. The image must still exist.
                self.manifest(repository, digest)
                self.tolerated_errors.append(time.monotonic())
                return
            if _may_have_succeeded(error):  # also in part
                del self._pushed[repository, digest]
                for tag in tags:
                    del self._tags[tag]
            raise
        self._pushed[repository, digest] = True
        for tag in tags:
            del self._tags[tag]

    @contextmanager
    def _tag_unknown_after_failure(self, repository: str, tag: str) -> Iterator[None]:
        """Mark the digest of a tag as unknown if a request in the block breaks off."""
        try:
            yield
        except RequestError as error:
            if _may_have_succeeded(error):
                self._tags[repository, tag] = None
            raise

    def _look_up(self, repository: str, tag: str) -> None:
        """Ask the registry for the digest of a tag that is not known."""
        try:
            digest = digest_of(self.manifest(repository, tag))
        except RequestError as error:
            if error.status != 404:
                raise
            del self._tags[repository, tag]
        else:
            self._tags[repository, tag] = digest
            self._pushed[repository, digest] = False

    def _pull(self) -> None:
        for (repository, tag), digest in [*self._tags.items()]:
            if digest is None:
                self._look_up(repository, tag)
        if tagged := self._tagged():
            (repository, tag), digest = self._random.choice(tagged)
            self.pull(repository, tag)
            self.pull(repository, digest)
            self.pulls.append(time.monotonic())

    def _tagged(self) -> list[tuple[tuple[str, str], str]]:
        return [(at, digest) for at, digest in self._tags.items() if digest]

    def check_images(self) -> None:
        """Assert that all images exist except the deleted ones, and that those do not exist."""
        for (repository, tag), digest in self._tagged():
            assert self.manifest(repository, tag) == self._bodies[digest]
        for (repository, digest), deleted in self._pushed.items():
            if deleted:
                self.call("GET", f"/v2/{repository}/manifests/{digest}", [404])
            else:
                self.pull(repository, digest)

    def needed_blobs(self) -> set[str]:
        """Return the blobs of all images that may exist."""
        deleted = {digest for (_, digest), is_deleted in self._pushed.items() if is_deleted}
        kept = {digest for (_, digest), is_deleted in self._pushed.items() if not is_deleted}
        return self._blobs(self._bodies.keys() - (deleted - kept))

    def unneeded_blobs(self) -> set[str]:
        """Return the blobs of deleted images that no other image uses."""
        return self._blobs(self._bodies) - self.needed_blobs()

    def _blobs(self, manifests: Collection[str]) -> set[str]:
        blobs = set(manifests)
        for digest in manifests:
            content: Mapping[str, Any] = json.loads(self._bodies[digest])
            named = (*content.get("layers", ()), *content.get("manifests", ()))
            blobs |= {entry["digest"] for entry in named}
            if "config" in content:
                blobs.add(content["config"]["digest"])
        return blobs


def _may_have_succeeded(error: RequestError) -> bool:
    """Return whether the registry may have done what a failed request asked for.

    That is so if the connection broke after the request was sent, or after a server error.
    """
    broken = error.status == 0 and not isinstance(error.__cause__, ConnectionRefusedError)
    return broken or error.status >= 500
