"""`make verify-oss`: check that the real OSS provides what the releases need.

It uses the registry's own access key, below the registry's prefix, through both APIs of OSS, and
prints a row of the table in docs/production.md. Its clients come with the development packages.
"""

import sys
from argparse import ArgumentParser, Namespace

from components.storage.oss import OssBackend
from operations.context import StackContext
from operations.errors import CommandError


def add_arguments(_: ArgumentParser) -> None:
    pass


def run(context: StackContext, _: Namespace) -> int:
    storage = context.storage
    if not isinstance(storage, OssBackend):
        raise CommandError(
            f"the stack {context.name} has no bucket: its storage.kind is filesystem"
        )
    # Imported here: it needs development packages.
    from components.storage.oss.compatibility import NEEDED, YES, verify

    bucket, release = storage.bucket, context.stack.registry.release
    results = verify(bucket, context.access_key(bucket.access_key))
    cells = {"region": context.stack.region, "host": bucket.host, **results}
    print(f"| {' | '.join(cells)} |\n|{' --- |' * len(cells)}\n| {' | '.join(cells.values())} |")
    missing = [need for need in NEEDED[release.oss_driver] if results[need] != YES]
    if missing:
        text = f"verify-oss: release {release.version} needs {', '.join(missing)}"
        print(text, file=sys.stderr)
    return bool(missing)
