"""What each release of the registry (distribution) understands, and the configuration tree for it.

Pure: the rules that decide between releases stand in one table, RELEASES.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from components.environment import ANY, DRIVER, WHOLE, Hole, Schema, Section

PORT = 5000  # inside the container: the official images' own
HTTP_SECRET = Hole("http secret")
REDIS_PASSWORD = Hole("redis password")
DATA_PATH = "/var/lib/registry"  # the official images' volume

_SCHEMA: Schema = {
    "http": {"headers": WHOLE},
    "log": {"fields": WHOLE},
    "storage": {
        ANY: DRIVER,
        "cache": {},
        "delete": {},
        # By leaf it becomes a map of another Go type than the one the registry asserts, and panics.
        "maintenance": {"uploadpurging": WHOLE},
        "redirect": {},
    },
}


class Release(NamedTuple):
    """One release's row.

    `image_defaults` switches off what the image's own configuration file sets and ours doesn't;
    `redis_address` is the redis key of an address; `environment` is for the process itself.
    """

    version: str
    schema: Schema
    image_defaults: Section
    redis_address: Literal["addr", "addrs"]
    environment: Mapping[str, str]

    @property
    def image(self) -> str:
        return f"registry:{self.version}"


RELEASES = {
    release.version: release
    for release in (
        Release("2.8.3", _SCHEMA, image_defaults={}, redis_address="addr", environment={}),
        Release(
            "3.1.2",
            _SCHEMA,
            # The image's file opens a debug server.
            image_defaults={"http": {"debug": {"addr": None}}},
            redis_address="addrs",
            # 3.x posts traces to localhost:4318 unless told not to (distribution issue 4270).
            environment={"OTEL_TRACES_EXPORTER": "none"},
        ),
    )
}
DEFAULT_RELEASE = "3.1.2"


@dataclass(frozen=True, kw_only=True)
class VolumeFacts:
    """Images on a volume that is mounted at `path`."""

    path: str


@dataclass(frozen=True, kw_only=True)
class CacheFacts:
    """A redis at `address` (host:port), whose password goes into the hole REDIS_PASSWORD."""

    address: str


@dataclass(frozen=True, kw_only=True)
class HttpFacts:
    """How the registry serves; `drain_seconds` is what requests under way get when it stops."""

    log_level: str
    drain_seconds: int


def plan(release: Release, storage: VolumeFacts, cache: CacheFacts, http: HttpFacts) -> Section:
    """The registry's whole configuration, with holes where secrets go."""
    address = [cache.address] if release.redis_address == "addrs" else cache.address
    return merge(
        release.image_defaults,
        {
            "log": {
                "level": http.log_level,
                "fields": {"service": "registry"},
                # It would be written at every level, with each health check.
                "accesslog": {"disabled": http.log_level in ("error", "warn")},
            },
            "storage": {
                "filesystem": {"rootdirectory": storage.path},
                "delete": {"enabled": True},
                "cache": {"blobdescriptor": "redis"},
                "maintenance": {
                    # Whole, as the registry panics when one of the four is missing.
                    "uploadpurging": {
                        "enabled": True,
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
            },
            "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
            "redis": {release.redis_address: address, "password": REDIS_PASSWORD, "db": 0},
        },
    )


def merge(below: Section, above: Section) -> Section:
    """`above` laid over `below`: sections deep, everything else whole."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            value = merge(under, value)
        merged[key] = value
    return merged
