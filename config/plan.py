"""From settings to the registry's configuration tree."""

import math

from config.durations import seconds
from config.releases import (
    _HEALTH,
    HTTP_SECRET,
    PORT,
    USERS_PATH,
    CacheFacts,
    HttpFacts,
    OssFacts,
    Release,
    VolumeFacts,
)
from config.tree import Section, lookup, overlaid

SMALLEST_CHUNK_SIZE = 5 * 2**20
DRIVERS_CHUNK_SIZE = 2 * SMALLEST_CHUNK_SIZE  # where `chunksize` is not set
CHUNKS_OF_UPLOAD = 2  # in memory: 2.8 holds two parts, and the buffer of 3.x doubles as it grows
UPLOADS_OF_CLIENT = 5  # Docker's max-concurrent-uploads
READ_ONLY = "storage.maintenance.readonly.enabled"


def plan(
    release: Release,
    storage: VolumeFacts | OssFacts,
    cache: CacheFacts | None,
    http: HttpFacts,
    user: Section,
) -> Section:
    """The registry's whole configuration, with holes where secrets go and `user` laid over it."""
    level = lookup(user, "log.level") or http.log_level
    if isinstance(storage, OssFacts):
        driver, purges = release.oss_door(storage), release.purges_oss
        redirect: Section = {"redirect": {"disable": not storage.cname}}
    else:
        driver, purges = {"filesystem": {"rootdirectory": storage.path}}, True
        redirect = {}
    htpasswd: Section = {"htpasswd": {"realm": http.realm, "path": USERS_PATH}}
    planned: Section = {
        "log": {
            "level": level,
            "fields": {"service": "registry"},
            # It would be written at every level, with each health check.
            "accesslog": {"disabled": level in ("error", "warn")},
        },
        "storage": {
            **driver,
            **redirect,
            "delete": {"enabled": True},
            "cache": {"blobdescriptor": "redis" if cache else "inmemory"},
            "maintenance": {
                # Whole, as the registry panics when one of the four is missing.
                "uploadpurging": {
                    "enabled": purges,
                    "age": "168h",
                    "interval": "24h",
                    "dryrun": False,
                }
            },
        },
        "http": {
            "addr": f":{PORT}",
            "secret": HTTP_SECRET,
            "draintimeout": f"{http.drain_seconds}s",
            "headers": {"X-Content-Type-Options": ["nosniff"]},
            **({"host": http.external_url} if http.external_url else {}),
            # The releases' own default, said for who reviews it.
            **({"tls": {**http.tls, "minimumtls": "tls1.2"}} if http.tls else {}),
        },
        "health": _HEALTH,
        **({"redis": release.redis(cache)} if cache else {}),
        **({"auth": htpasswd} if http.realm else {}),
    }
    return overlaid(planned, user)


def drain_seconds(tree: Section) -> int:
    """What requests under way get when the registry stops."""
    return math.ceil(seconds(lookup(tree, "http.draintimeout") or "0s"))


def chunk_size(tree: Section) -> tuple[str, int] | None:
    """Return the path of `chunksize` and its value in bytes; None if images are not in OSS."""
    for driver in ("oss", "s3"):
        if lookup(tree, f"storage.{driver}") is not None:
            path = f"storage.{driver}.chunksize"
            return path, int(lookup(tree, path) or DRIVERS_CHUNK_SIZE)
    return None
