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
    """A client with exclusive use of `repositories`. It pushes layers of `size` bytes.

    Before it uploads a blob, it asks whether the blob exists, as other clients do. This reveals a
    cache that reports a blob that does not exist. If a connection drops during a request, the
    client cannot know whether the registry completed it, and checks later.

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
        # Only 12 layers, so that some are pushed again after all images with them were deleted.
        self._contents = [secrets.token_bytes(size) for _ in range(12)]
        # The manifests by digest.
        self._bodies: dict[str, bytes] = {}
        # The digests by repository and tag. None is an unknown digest.
        self._tags: dict[tuple[str, str], str | None] = {}
        # Whether an image was deleted, by repository and digest.
        self._is_deleted: dict[tuple[str, str], bool] = {}
        # The times (time.monotonic) of successful operations.
        self.pushes: list[float] = []
        self.pulls: list[float] = []
        # The times of failed connections, of responses with status 405, and of tolerated errors.
        self.connection_errors: list[float] = []
        self.read_only_responses: list[float] = []
        self.tolerated_errors: list[float] = []
        self.failures: list[str] = []

    def put_manifest(self, repository: str, tag: str, body: bytes, media_type: str) -> str:
        try:
            digest = super().put_manifest(repository, tag, body, media_type)
        except RequestError as error:
            if _may_have_succeeded(error):
                self._bodies[digest_of(body)] = body
            raise
        self._bodies[digest] = body
        self._is_deleted[repository, digest] = False
        if tag:
            self._tags[repository, tag] = digest
        return digest

    def push_blob(self, repository: str, chunks: Sequence[bytes]) -> str:
        digest = digest_of(b"".join(chunks))
        response = self.call("HEAD", f"/v2/{repository}/blobs/{digest}", [200, 404])
        return digest if response.status == 200 else super().push_blob(repository, chunks)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run random operations in a thread during the block.

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
        """Run an operation, and record its failure."""
        try:
            operation()
        except RequestError as error:
            if error.status == 0:
                self.connection_errors.append(time.monotonic())
            elif error.status == 405:
                self.read_only_responses.append(time.monotonic())
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
        """Give a random tag to a tagged image."""
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
            if _may_have_succeeded(error):  # completely or in part
                del self._is_deleted[repository, digest]
                for tag in tags:
                    del self._tags[tag]
            raise
        self._is_deleted[repository, digest] = True
        for tag in tags:
            del self._tags[tag]

    @contextmanager
    def _tag_unknown_after_failure(self, repository: str, tag: str) -> Iterator[None]:
        """Mark the digest of a tag as unknown if the block fails with an uncertain outcome."""
        try:
            yield
        except RequestError as error:
            if _may_have_succeeded(error):
                self._tags[repository, tag] = None
            raise

    def _look_up(self, repository: str, tag: str) -> None:
        """Get the unknown digest of a tag from the registry, and record it."""
        try:
            digest = digest_of(self.manifest(repository, tag))
        except RequestError as error:
            if error.status != 404:
                raise
            del self._tags[repository, tag]
        else:
            self._tags[repository, tag] = digest
            self._is_deleted[repository, digest] = False

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
        """Return ((repository, tag), digest) of each tag whose digest is known."""
        return [(at, digest) for at, digest in self._tags.items() if digest]

    def check_images(self) -> None:
        """Assert that deleted images do not exist, and that all other images can be pulled."""
        for (repository, tag), digest in self._tagged():
            assert self.manifest(repository, tag) == self._bodies[digest]
        for (repository, digest), deleted in self._is_deleted.items():
            if deleted:
                self.call("GET", f"/v2/{repository}/manifests/{digest}", [404])
            else:
                self.pull(repository, digest)

    def needed_blobs(self) -> set[str]:
        """Return the digests of the blobs of all images that may exist."""
        deleted = {digest for (_, digest), is_deleted in self._is_deleted.items() if is_deleted}
        kept = {digest for (_, digest), is_deleted in self._is_deleted.items() if not is_deleted}
        return self._blobs(self._bodies.keys() - (deleted - kept))

    def unneeded_blobs(self) -> set[str]:
        """Return the digests of the blobs of deleted images that no other image uses."""
        return self._blobs(self._bodies) - self.needed_blobs()

    def _blobs(self, manifests: Collection[str]) -> set[str]:
        """Return the digests `manifests`, and those of all blobs that these manifests refer to."""
        blobs = set(manifests)
        for digest in manifests:
            content: Mapping[str, Any] = json.loads(self._bodies[digest])
            named = (*content.get("layers", ()), *content.get("manifests", ()))
            blobs |= {entry["digest"] for entry in named}
            if "config" in content:
                blobs.add(content["config"]["digest"])
        return blobs


def _may_have_succeeded(error: RequestError) -> bool:
    """Return whether the registry may have completed a failed request.

    This is possible after a server error, and if the connection broke after the request was sent.
    """
    broken = error.status == 0 and not isinstance(error.__cause__, ConnectionRefusedError)
    return broken or error.status >= 500
