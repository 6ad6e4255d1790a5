"""`make gc`: delete the stored blobs that no image needs.

A push during garbage collection could lose an image. So the registry is made read-only first, by
`pulumi up` with a changed copy of the stack file. Then the registry's entries in redis are deleted,
and `registry garbage-collect` runs. Finally, `pulumi up` with the original stack file allows pushes
again. This step also runs after an error or an interrupt. If this process is killed, the next
`make up` allows pushes again.
"""

import re
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import CalledProcessError

from pydantic import ByteSize

from components.storage.backend import StorageError
from config.problems import SettingsError
from operations import stack_file, swarm
from operations.commands.preview import require_no_changes
from operations.commands.up import up
from operations.context import StackContext
from operations.errors import CommandError, error_text
from operations.garbage_collection.collector import Collector, create_collector
from operations.garbage_collection.error_hints import BLOBS, Progress, Storage, error_hint
from operations.garbage_collection.interrupts import Interrupts
from operations.recovery import recover

TAG = "oss-registry:gc"  # set on a stack while garbage collection runs, and after it was killed
PROGRESS_INTERVAL = 10  # seconds between two lines of progress

Sizes = Mapping[str, int]
"""Sizes in bytes, by digest."""
ListBlobs = Callable[[], Iterator[tuple[str, int]]]
"""Lists the digest and size of each blob. Raises StorageError."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only print what would be deleted")


def run(context: StackContext, arguments: Namespace) -> int:
    interrupts = Interrupts()
    recover(context)
    context.require_deployed()
    if arguments.dry_run:
        _dry_run(context)
    else:
        collect(context, interrupts)
    return 0


def _dry_run(context: StackContext) -> None:
    collector = create_collector(context.stack, context.docker)
    storage = _storage(context, collector)
    list_blobs = _create_blob_list(storage)
    if not _is_empty(list_blobs):
        sizes = _sizes(list_blobs)
        unneeded = _garbage_collect(context, collector, storage, "--dry-run")
        amount = _amount(unneeded, sizes)
        _print(f"would free {amount}; what is being pushed now counts among it")


def collect(context: StackContext, interrupts: Interrupts) -> None:
    """Make the registry read-only, and collect garbage."""
    name = context.name
    if context.pulumi.tag(TAG):
        _print("an earlier one was killed: `up` first, as it may have left anything")
        up(context, consent=True)
    original, read_only = stack_file.read_as_json(name), stack_file.read_only_copy(name)
    require_no_changes(context, "more would change than who may push")
    collector = create_collector(context.stack, context.docker)
    storage = _storage(context, collector)
    list_blobs = _create_blob_list(storage)
    if _is_empty(list_blobs):
        return
    begun = time.monotonic()
    with _read_only_registry(context, original, read_only, interrupts):
        with _step("waiting until no push is under way and redis has forgotten its entries"):
            collector.wait_for_writers()
            context.redis.flush_cache()
        before = _sizes(list_blobs)
        deleted = _garbage_collect(context, collector, storage)
        after = _sizes(list_blobs)
    if before is not None and after is not None:
        deleted = before.keys() - after.keys()
    seconds = time.monotonic() - begun
    _print(f"freed {_amount(deleted, before)}; pushes were refused for {seconds:.0f} s at most")
    versioning = context.stack.settings.storage.versioning
    if deleted and versioning:
        days = versioning.noncurrent_days
        _print(f"OSS keeps them for {days} days more, as storage.versioning says")


@contextmanager
def _read_only_registry(
    context: StackContext, original: str, read_only: str, interrupts: Interrupts
) -> Iterator[None]:
    """Apply the stack file `read_only` before the block, and `original` after it.

    Raises CommandError if the registry cannot accept pushes again.
    """
    interrupts.defer()
    context.pulumi.run("stack tag set", TAG, "yes")
    try:
        with _step("making the registry read-only"), tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"Pulumi.{context.name}.yaml")
            file.write_text(read_only)
            _pulumi_up(context, "--config-file", str(file))
        try:
            interrupts.allow()
            yield
        finally:
            interrupts.defer()
    finally:
        with _step("letting pushes in again"):
            allow_pushes(context, original)
            swarm.remove_unused_files(context.name, context.docker)
            context.pulumi.run("stack tag rm", TAG)
        interrupts.allow()


def allow_pushes(context: StackContext, original: str) -> None:
    """Apply the stack file. `original` was its content when garbage collection began.

    A failure is tried again once, because an interrupt also stops Pulumi. Raises CommandError.
    """
    for is_last in (False, True):
        try:
            if stack_file.read_as_json(context.name) == original:
                recover(context)
                _pulumi_up(context)
            else:
                # The stack file has changed meanwhile. `up` checks what else it changes.
                context.reload()
                up(context, consent=True)
        except (CommandError, SettingsError, CalledProcessError) as error:
            if is_last:
                raise CommandError(
                    f"{error_text(error)}\nthe registry refuses pushes until this is mended, and "
                    f"then `make up STACK={context.name}`"
                ) from None
        else:
            return


def _pulumi_up(context: StackContext, *options: str) -> None:
    context.pulumi.run("up", "--yes", "--skip-preview", "--non-interactive", *options)


def _garbage_collect(
    context: StackContext, collector: Collector, storage: Storage, *options: str
) -> Collection[str]:
    """Run `registry garbage-collect`, and return the digests of the blobs that no image needs.

    Raises CommandError with the cause if the storage has a file that the registry cannot read.
    """
    stack = context.stack
    if stack.settings.maintenance.delete_untagged:
        options += ("--delete-untagged",)
    needed, unneeded, progress = set[str](), set[str](), Progress()
    command = ("registry", "garbage-collect", *options, stack.registry.release.config_path)
    with _step("sweeping", lambda: f"{len(needed):,} blobs are needed, {len(unneeded):,} are not"):
        try:
            for line in collector.run(*command):
                progress.read(line)
                if found := re.match(r"blob eligible for deletion: (\S+)", line):
                    unneeded.add(found[1])
                elif found := re.search(r": marking (?:blob|manifest) (\S+)", line):
                    needed.add(found[1])
        except (CommandError, CalledProcessError) as failure:
            release = stack.registry.release.version
            hint = None
            # If the storage cannot be listed now, print the registry's own error instead.
            with suppress(StorageError, CommandError, CalledProcessError):
                hint = error_hint(error_text(failure), progress, release, storage)
            if hint:
                raise CommandError(hint) from None
            raise
    return unneeded


def _storage(context: StackContext, collector: Collector) -> Storage:
    files = context.storage.file_list(context.access_key, collector.run)
    return Storage(files, context.storage.locate)


def _create_blob_list(storage: Storage) -> ListBlobs:
    """Return a function that lists the blobs as they are when it is called."""

    def list_blobs() -> Iterator[tuple[str, int]]:
        for path, size in storage.files(BLOBS, "data"):
            # The digest is in the names of the folders.
            if digest := re.search(r"([^/]+)/[^/]+/([^/]+)/data$", path):
                yield f"{digest[1]}:{digest[2]}", size

    return list_blobs


def _is_empty(list_blobs: ListBlobs) -> bool:
    """Return whether there is no blob. The registry's own command fails in that case."""
    try:
        if next(list_blobs(), None):
            return False
    except StorageError:
        return False
    _print("there is nothing to sweep")
    return True


def _sizes(list_blobs: ListBlobs) -> Sizes | None:
    """Return the sizes of all blobs, or None if this machine cannot list them."""
    try:
        return dict(list_blobs())
    except StorageError as error:
        _print(f"{error.service} does not tell how large they are: {error}")
        return None


def _amount(digests: Collection[str], sizes: Sizes | None) -> str:
    """Return the number of `digests` as text, with their total size if `sizes` are known."""
    if sizes is None:
        return f"{len(digests):,} blobs"
    size = ByteSize(sum(sizes.get(digest, 0) for digest in digests))
    total = ByteSize(sum(sizes.values()))
    return (
        f"{len(digests):,} of {len(sizes):,} blobs, "
        f"{size.human_readable()} of {total.human_readable()}"
    )


@contextmanager
def _step(name: str, progress: Callable[[], str] | None = None) -> Iterator[None]:
    """Print when the block begins and ends, and its progress every PROGRESS_INTERVAL seconds."""
    begun, ended = time.monotonic(), threading.Event()

    def report(verb: str) -> None:
        details = f"; {progress()}" if progress else ""
        _print(f"{name}: {verb} {time.monotonic() - begun:.0f} s{details}")

    def report_progress() -> None:
        while not ended.wait(PROGRESS_INTERVAL):
            report("still at it after")

    _print(f"{name} …")
    thread = threading.Thread(target=report_progress, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    report("done in")


def _print(text: str) -> None:
    with suppress(OSError):  # the reader of a pipe may have ended, but pushes must be allowed again
        print(f"gc: {text}", flush=True)
