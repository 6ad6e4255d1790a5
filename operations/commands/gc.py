"""`make gc STACK=… [DRY_RUN=1]`: what no image needs any more goes from the storage.

A push beside it could lose an image, so it takes three steps: the registry is made read-only, by an
`up` with a stack file of its own; redis is made to forget and `registry garbage-collect` sweeps;
an `up` with the stack's own file lets pushes in again. That last step comes after whatever ended
the others, and where even that can't be (kill -9) it is the next `make up`'s.
"""

import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import CalledProcessError

from pydantic import ByteSize

from config.plan import DATA_PATH
from config.problems import SettingsError
from config.stack import Stack
from operations import oss, stack_file, swarm
from operations.clients import docker as engine
from operations.clients import redis
from operations.clients.pulumi import outputs_of, pulumi, tag
from operations.commands.preview import planned, show
from operations.commands.up import up
from operations.errors import CommandError, error_text
from operations.garbage_collection import errors as gc_errors
from operations.garbage_collection.collector import Collector, collector
from operations.garbage_collection.errors import Progress, Storage
from operations.recovery import recover

TAG = "oss-registry:gc"  # on a stack whose collection goes on, or was killed
SECONDS = 10  # between two words on how far it is
LIST = 'cd "$1" 2>/dev/null || exit 0; find . -name "$2" -exec stat -c "%n %s" {} +'

Sizes = Mapping[str, int]  # in bytes, by digest
# What is there now; raises oss.OssError where OSS does not say.
Listing = Callable[[], Iterator[tuple[str, int]]]


def main(name: str, *words: str) -> int:
    interrupts = _Interrupts()
    resources = recover(name).resources
    stack = stack_file.stack(name)
    config, _ = stack_file.configuration(name)
    with engine.reached(config) as variables:
        if not outputs_of(resources):
            raise CommandError(f"the stack {name} is not up: make up STACK={name}")
        if "--dry-run" in words:
            _try(stack, variables)
        else:
            _collect(stack, variables, interrupts)
    return 0


class _Interrupts:
    """Ctrl-C and the like: the first one ends what is done, and no other what comes of that."""

    def __init__(self) -> None:
        self._deferred = self._came = False
        for ends in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(ends) is not signal.SIG_IGN:
                signal.signal(ends, self._take)

    def _take(self, *_: object) -> None:
        again, self._came = self._came, True
        if not (again or self._deferred):
            raise KeyboardInterrupt

    def defer(self) -> None:
        """Hear of it by `heed` only."""
        self._deferred = True

    def heed(self) -> None:
        """Raises KeyboardInterrupt, now or later."""
        self._deferred = False
        if self._came:
            raise KeyboardInterrupt


def _try(stack: Stack, variables: Mapping[str, str]) -> None:
    runs = collector(stack, variables)
    storage = _storage(stack, runs)
    blobs = _listing(storage)
    if not _empty(blobs):
        sizes = _sizes(blobs)
        swept = _swept(stack, runs, storage, "--dry-run")
        _say(f"would free {_amount(swept, sizes)}; what is being pushed now counts among it")


def _collect(stack: Stack, variables: Mapping[str, str], interrupts: _Interrupts) -> None:
    name = stack.name
    if tag(name, TAG):
        _say("an earlier one was killed: `up` first, as it may have left anything")
        up(name, consent=True, meant=())
    own, closed = stack_file.text(name), stack_file.read_only(name)
    found, _ = planned(name, "--refresh")
    if found.errors:
        show(found, "text")
        raise CommandError("stopped, and nothing was changed: the plan fails, see above")
    if not found.empty:
        show(found, "text")
        raise CommandError(f"more would change than who may push: `make up STACK={name}` first")
    runs = collector(stack, variables)
    storage = _storage(stack, runs)
    blobs = _listing(storage)
    if _empty(blobs):
        return
    begun = time.monotonic()
    with _read_only(name, own, closed, variables, interrupts):
        with _step("waiting until no push is under way and redis has forgotten its entries"):
            runs.alone()
            redis.forget(stack, variables)
        before = _sizes(blobs)
        swept = _swept(stack, runs, storage)
        after = _sizes(blobs)
    if before is not None and after is not None:
        swept = before.keys() - after.keys()
    took = time.monotonic() - begun
    _say(f"freed {_amount(swept, before)}; pushes were refused for {took:.0f} s at most")
    if swept and (kept := stack.settings.storage.versioning):
        _say(f"OSS keeps them for {kept.noncurrent_days} days more, as storage.versioning says")


@contextmanager
def _read_only(
    name: str, own: str, closed: str, variables: Mapping[str, str], interrupts: _Interrupts
) -> Iterator[None]:
    """The registry takes no pushes within: it has the stack file `closed`, `own` before and after.

    Raises CommandError where it then can't take them again.
    """
    interrupts.defer()
    pulumi("stack", "tag", "set", "--stack", name, TAG, "yes")
    try:
        with _step("making the registry read-only"), tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"Pulumi.{name}.yaml")
            file.write_text(closed)
            _up(name, "--config-file", str(file))
        try:
            interrupts.heed()
            yield
        finally:
            interrupts.defer()
    finally:
        with _step("letting pushes in again"):
            _open(name, own)
            swarm.remove_unused(name, variables)
            pulumi("stack", "tag", "rm", "--stack", name, TAG)
        interrupts.heed()


def _open(name: str, own: str) -> None:
    """Twice, as Ctrl-C goes to Pulumi too. Raises CommandError."""
    for last in (False, True):
        try:
            if stack_file.text(name) == own:
                recover(name)
                _up(name)
            else:
                # It was written meanwhile: what else it changes goes through the guard.
                up(name, consent=True, meant=())
        except (CommandError, SettingsError, CalledProcessError) as why:
            if last:
                raise CommandError(
                    f"{error_text(why)}\nthe registry refuses pushes until this is mended, and "
                    f"then `make up STACK={name}`"
                ) from None
        else:
            return


def _up(name: str, *flags: str) -> None:
    words = ["--stack", name, "--yes", "--skip-preview", "--non-interactive", *flags]
    pulumi("up", *words)


def _swept(stack: Stack, runs: Collector, storage: Storage, *flags: str) -> Collection[str]:
    """The digests of what no image needs, which is gone unless `flags` say else.

    Raises CommandError with the cause if the storage holds what the registry cannot read.
    """
    if stack.settings.maintenance.delete_untagged:
        flags += ("--delete-untagged",)
    needed, swept, progress = set[str](), set[str](), Progress()
    with _step("sweeping", lambda: f"{len(needed):,} blobs are needed, {len(swept):,} are not"):
        try:
            for line in runs.run(
                "registry", "garbage-collect", *flags, stack.registry.release.config_path
            ):
                progress.see(line)
                if found := re.match(r"blob eligible for deletion: (\S+)", line):
                    swept.add(found[1])
                elif found := re.search(r": marking (?:blob|manifest) (\S+)", line):
                    needed.add(found[1])
        except (CommandError, CalledProcessError) as failure:
            if why := _explained(error_text(failure), progress, stack, storage):
                raise CommandError(why) from None
            raise
    return swept


def _explained(error: str, progress: Progress, stack: Stack, storage: Storage) -> str | None:
    try:
        return gc_errors.explanation(error, progress, stack.registry.release.version, storage)
    except (oss.OssError, CommandError, CalledProcessError):
        return None  # the storage can't be looked through now: the registry's own words are left


def _sizes(blobs: Listing) -> Sizes | None:
    """Bytes by digest; None where it can't be known from here."""
    try:
        return dict(blobs())
    except oss.OssError as failure:
        _say(f"OSS does not tell how large they are: {failure}")
        return None


def _empty(blobs: Listing) -> bool:
    """Whether there is no blob at all: then the registry's own command ends with an error."""
    try:
        if next(blobs(), None):
            return False
    except oss.OssError:
        return False
    _say("there is nothing to sweep")
    return True


def _listing(storage: Storage) -> Listing:
    """Digest and bytes of each blob, whenever it is called."""

    def blobs() -> Iterator[tuple[str, int]]:
        for path, size in storage.files(gc_errors.BLOBS, "data"):
            # Digests are the names of folders.
            if digest := re.search(r"([^/]+)/[^/]+/([^/]+)/data$", path):
                yield f"{digest[1]}:{digest[2]}", size

    return blobs


def _storage(stack: Stack, runs: Collector) -> Storage:
    """The files of the stack's registry; to list them raises oss.OssError, CommandError, …"""
    if stack.settings.storage.kind == "oss":
        bucket = oss.bucket_of(stack)
        below, key = bucket.object_prefix, oss.key_in_use(stack.name, bucket.access_key)

        def objects(folder: str, name: str) -> Iterator[tuple[str, int]]:
            for path, size in oss.objects(bucket, f"{below}{folder}/", key):
                if path.endswith(f"/{name}"):
                    yield path.removeprefix(below), size

        return Storage(f"bucket {bucket.name}", below, objects)

    def files(folder: str, name: str) -> Iterator[tuple[str, int]]:
        where = f"{DATA_PATH}/{folder}"
        for line in runs.run("sh", "-c", LIST, "sh", where, name):
            path, _, size = line.strip().rpartition(" ")
            if size.isdigit():  # else it is of an error, which comes next
                yield f"{folder}{path.removeprefix('.')}", int(size)

    return Storage(f"volume {stack.registry.storage.volumes[0]}", "", files)


def _amount(digests: Collection[str], sizes: Sizes | None) -> str:
    if sizes is None:
        return f"{len(digests):,} blobs"
    size = ByteSize(sum(sizes.get(digest, 0) for digest in digests))
    every = ByteSize(sum(sizes.values()))
    return (
        f"{len(digests):,} of {len(sizes):,} blobs, "
        f"{size.human_readable()} of {every.human_readable()}"
    )


@contextmanager
def _step(what: str, so_far: Callable[[], str] | None = None) -> Iterator[None]:
    """Say what is done within, every ten seconds how far it is, and how long it took."""
    begun, over = time.monotonic(), threading.Event()

    def told(verb: str) -> None:
        more = f"; {so_far()}" if so_far else ""
        _say(f"{what}: {verb} {time.monotonic() - begun:.0f} s{more}")

    def tell() -> None:
        while not over.wait(SECONDS):
            told("still at it after")

    _say(f"{what} …")
    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    try:
        yield
    finally:
        over.set()
        telling.join()
    told("done in")


def _say(text: str) -> None:
    with suppress(OSError):  # who read it may be gone, and pushes are to be let in all the same
        print(f"gc: {text}", flush=True)
