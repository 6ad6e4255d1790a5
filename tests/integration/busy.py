"""A client that pushes, pulls, deletes and re-tags all the time, and knows what must be there."""

import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.integration.api import Api, Refusal, digest_of

REPOSITORIES = ("team/app", "team/base", "tools")
TAGS = ("1", "2", "latest")


class Busy(Api):
    """It asks for a blob before it sends it, as clients do, so it meets what is wrongly known.

    Of what broke off nobody knows whether it was done, until it is asked for. It has `repositories`
    to itself, and layers of `size` bytes; an answer whose status is in `excused` is no failure.
    It rests for `pause` seconds between two things that it does.
    """

    def __init__(
        self,
        endpoint: str,
        moments: random.Random,
        login: tuple[str, str] | None = None,
        authority: str = "",
        repositories: Sequence[str] = REPOSITORIES,
        size: int = 20_000,
        excused: Collection[int] = (),
        pause: float = 0.2,
    ) -> None:
        super().__init__(endpoint, login, authority)
        self._random, self._repositories = moments, repositories
        self._excused, self._pause = excused, pause
        # Few, so that one is pushed again after it was deleted with all that had it.
        self._contents = [secrets.token_bytes(size) for _ in range(12)]
        self._bodies: dict[str, bytes] = {}
        self._tags: dict[tuple[str, str], str | None] = {}  # None: nobody knows
        self._pushed: dict[tuple[str, str], bool] = {}  # whether it was deleted, by repository
        self.pushes: list[float] = []  # when one succeeded
        self.pulls: list[float] = []
        self.refused: list[float] = []  # when there was no connection
        self.read_only: list[float] = []  # when a push or a deletion was answered by 405
        self.excuses: list[float] = []  # when an answer was excused
        self.failures: list[str] = []

    def put(self, repository: str, tag: str, body: bytes, kind: str) -> str:
        try:
            digest = super().put(repository, tag, body, kind)
        except Refusal as refusal:
            if _may_be_done(refusal):
                self._bodies[digest_of(body)] = body
            raise
        self._bodies[digest] = body
        self._pushed[repository, digest] = False
        if tag:
            self._tags[repository, tag] = digest
        return digest

    def push_blob(self, repository: str, chunks: Sequence[bytes]) -> str:
        digest = digest_of(b"".join(chunks))
        there = self.call("HEAD", f"/v2/{repository}/blobs/{digest}", [200, 404]).status == 200
        return digest if there else super().push_blob(repository, chunks)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """It does one thing after the other within, and each thing that went wrong is an error."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(self._pause):
                self._do(self._random.choice((self._push, self._push, self._retag, self._delete)))
                self._do(self._pull)

        working = threading.Thread(target=work)
        working.start()
        try:
            yield
        finally:
            over.set()
            working.join()
        assert not self.failures, "\n".join(self.failures[:9])

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Refusal as refusal:
            if refusal.status == 0:
                self.refused.append(time.monotonic())
            elif refusal.status == 405:
                self.read_only.append(time.monotonic())
            elif refusal.status in self._excused:
                self.excuses.append(time.monotonic())
            else:
                self.failures.append(str(refusal))
        except ValueError as wrong:
            self.failures.append(str(wrong))

    def _push(self) -> None:
        repository, tag = self._random.choice(self._repositories), self._random.choice(TAGS)
        one, other = self._random.sample(self._contents, 2)
        with self._unknown(repository, tag):
            if self._random.random() < 0.3:
                self.push_index(repository, {"amd64": one, "arm64": other}, tag)
            else:
                self.push(repository, one, tag=tag)
        self.pushes.append(time.monotonic())

    def _retag(self) -> None:
        """Another tag for what has one."""
        if there := self._tagged():
            (repository, _), digest = self._random.choice(there)
            tag, body = self._random.choice(TAGS), self._bodies[digest]
            with self._unknown(repository, tag):
                self.put(repository, tag, body, str(json.loads(body)["mediaType"]))

    def _delete(self) -> None:
        there = self._tagged()
        if len(there) < 3:
            return
        (repository, _), digest = self._random.choice(there)
        bearing = [
            tag for tag, found in self._tags.items() if (tag[0], found) == (repository, digest)
        ]
        try:
            self.delete(repository, digest)
        except Refusal as refusal:
            if refusal.status == 404 and self._excused:
                # Of what redis forgot since the registry looked it up, 3.1.2 says so by mistake.
                self.manifest(repository, digest)
                self.excuses.append(time.monotonic())
                return
            if _may_be_done(refusal):  # by half, too
                del self._pushed[repository, digest]
                for tag in bearing:
                    del self._tags[tag]
            raise
        self._pushed[repository, digest] = True
        for tag in bearing:
            del self._tags[tag]

    @contextmanager
    def _unknown(self, repository: str, tag: str) -> Iterator[None]:
        """Where this breaks off, nobody knows what the tag is."""
        try:
            yield
        except Refusal as refusal:
            if _may_be_done(refusal):
                self._tags[repository, tag] = None
            raise

    def _ask(self, repository: str, tag: str) -> None:
        """What the tag is, that nobody knows: from now on it stays."""
        try:
            digest = digest_of(self.manifest(repository, tag))
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            del self._tags[repository, tag]
        else:
            self._tags[repository, tag] = digest
            self._pushed[repository, digest] = False

    def _pull(self) -> None:
        for (repository, tag), digest in [*self._tags.items()]:
            if digest is None:
                self._ask(repository, tag)
        if there := self._tagged():
            (repository, tag), digest = self._random.choice(there)
            self.pull(repository, tag)
            self.pull(repository, digest)
            self.pulls.append(time.monotonic())

    def _tagged(self) -> list[tuple[tuple[str, str], str]]:
        return [(at, digest) for at, digest in self._tags.items() if digest]

    def check(self) -> None:
        """All that was pushed and not deleted is there, and what was deleted is not."""
        for (repository, tag), digest in self._tagged():
            assert self.manifest(repository, tag) == self._bodies[digest]
        for (repository, digest), deleted in self._pushed.items():
            if deleted:
                self.call("GET", f"/v2/{repository}/manifests/{digest}", [404])
            else:
                self.pull(repository, digest)

    def needed(self) -> set[str]:
        """The blobs of all that may be there."""
        gone = {digest for (_, digest), deleted in self._pushed.items() if deleted}
        kept = {digest for (_, digest), deleted in self._pushed.items() if not deleted}
        return self._blobs(self._bodies.keys() - (gone - kept))

    def deleted(self) -> set[str]:
        """The blobs of what was deleted, and of nothing that may be there."""
        return self._blobs(self._bodies) - self.needed()

    def _blobs(self, manifests: Collection[str]) -> set[str]:
        blobs = set(manifests)
        for digest in manifests:
            content: Mapping[str, Any] = json.loads(self._bodies[digest])
            named = (*content.get("layers", ()), *content.get("manifests", ()))
            blobs |= {entry["digest"] for entry in named}
            blobs |= {content["config"]["digest"]} if "config" in content else set()
        return blobs


def _may_be_done(refusal: Refusal) -> bool:
    """Whether it broke off after it was sent, or the registry says that it did not get on."""
    broken = refusal.status == 0 and not isinstance(refusal.__cause__, ConnectionRefusedError)
    return broken or refusal.status >= 500
