"""What differs between the releases of the registry (distribution): one row for each."""

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from config.schema import Schema, kinds_at
from config.tree import Placeholder, Section, merge

PORT = 5000  # inside the container: the official images' own
# Labels are the names under which a user may bring the secret.
HTTP_SECRET = Placeholder("http-secret")
REDIS_PASSWORD = Placeholder("redis-password")
TLS_KEY = Placeholder("tls-key", quoted=False)
SELF_SIGNED = Placeholder("self-signed certificate", secret=False, quoted=False)
DATA_PATH = "/var/lib/registry"  # the official images' volume
OURS = "/etc/oss-registry/"  # what else is in the container by this program
USERS_PATH = f"{OURS}htpasswd"
TLS_PATHS = {"certificate": f"{OURS}tls.crt", "key": f"{OURS}tls.key"}
LETSENCRYPT_PATH = "/var/lib/letsencrypt"


def password_of(user: str) -> str:
    """The name of the secret that a user's password is."""
    return f"password-{user}"


def hash_of(user: str) -> Placeholder:
    """The bcrypt hash of a user's password, in htpasswd's line."""
    return Placeholder(f"hash of {user}", quoted=False)


@dataclass(frozen=True, kw_only=True)
class VolumeFacts:
    """Images on a volume that is mounted at `path`."""

    path: str


@dataclass(frozen=True, kw_only=True)
class OssFacts:
    """Images in a bucket below `prefix`, reached at `host` with the access key named `key`.

    With `cname`, an address of the bucket that begins with its name, clients are sent there.
    `memory` is what the registry may use, in bytes, where that is limited.
    """

    region: str
    host: str
    bucket: str
    prefix: str
    key: str
    cname: str | None = None
    memory: int | None = None

    @property
    def chunks(self) -> Section:
        """How much of an upload goes to OSS in one call, in bytes, where not as drivers have it.

        Each call takes its time, so 32 MiB make a push faster than the drivers' own 10 MiB; with
        more, layers that are pushed at once get slower (docs/benchmarks.md).
        """
        if self.memory is not None and self.memory < 2**30:
            return {}
        return {"chunksize": 32 * 2**20}

    @property
    def below(self) -> str:
        """What the names of all of its objects begin with."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def access_key(self) -> tuple[Placeholder, Placeholder]:
        """Its id and its secret."""
        return Placeholder(f"access key id {self.key}", secret=False), Placeholder(f"access key {self.key}")


@dataclass(frozen=True, kw_only=True)
class CacheFacts:
    """A redis at `address` (host:port); with `password`, it goes into the hole REDIS_PASSWORD."""

    address: str
    password: bool
    db: int
    max_idle: int
    max_active: int
    idle_timeout: str


@dataclass(frozen=True, kw_only=True)
class HttpFacts:
    """How the registry serves; `drain_seconds` is what requests under way get when it stops.

    `realm` is what a login is asked for, where there are users of the stack's own; `tls` is the
    registry's own section.
    """

    log_level: str
    drain_seconds: int
    external_url: str | None = None
    tls: Section | None = None
    realm: str | None = None


def _redis_options(cache: CacheFacts) -> Section:
    """What both generations call the same.

    The waits are bounded, as a redis that hangs must not hang the registry (2.8 would wait for
    ever, 3.x for 3 s a try).
    """
    password: Section = {"password": REDIS_PASSWORD} if cache.password else {}
    wait = "500ms"
    waits = {"dialtimeout": wait, "readtimeout": wait, "writetimeout": wait}
    return {**password, "db": cache.db, **waits}


def _redigo(cache: CacheFacts) -> Section:
    pool: Section = {
        "maxidle": cache.max_idle,
        "maxactive": cache.max_active,
        "idletimeout": cache.idle_timeout,
    }
    return {"addr": cache.address, **_redis_options(cache), "pool": pool}


def _go_redis(cache: CacheFacts) -> Section:
    return {
        "addrs": [cache.address],
        **_redis_options(cache),
        "maxidleconns": cache.max_idle,
        "poolsize": cache.max_active,
        "connmaxidletime": cache.idle_timeout,
    }


def _oss_driver(oss: OssFacts) -> Section:
    """Signature V1; the driver takes `endpoint` for the whole host, bucket and all."""
    key_id, secret = oss.access_key
    return {
        "oss": {
            "accesskeyid": key_id,
            "accesskeysecret": secret,
            "region": f"oss-{oss.region}",
            "bucket": oss.bucket,
            "endpoint": f"{oss.bucket}.{oss.host}",
            "internal": "-internal." in oss.host,
            **oss.chunks,
            **_root(oss),
        }
    }


def _s3_driver(oss: OssFacts) -> Section:
    """Signature V4, with the bucket as a part of the host: OSS refuses it as a part of the path."""
    key_id, secret = oss.access_key
    redirect: Section = {}
    if oss.cname:
        # The driver puts the bucket before this host, as before its own.
        redirect = {"redirectendpoint": oss.cname.replace(f"{oss.bucket}.", "", 1)}
    return {
        "s3": {
            "accesskey": key_id,
            "secretkey": secret,
            "region": oss.region,
            "regionendpoint": f"https://s3.{oss.host}",
            "bucket": oss.bucket,
            "forcepathstyle": False,
            **oss.chunks,
            **_root(oss),
            **redirect,
        }
    }


def _root(oss: OssFacts) -> Section:
    return {"rootdirectory": oss.prefix} if oss.prefix else {}


class Release(NamedTuple):
    """One release's row.

    `middleware` are those of the official image, None for an image that we don't know;
    `image_defaults` is what the image's own configuration file sets outside `storage`, which is
    replaced as a whole; `redis` and `oss_door` say a cache and a bucket in the release's own keys;
    `purges_oss` is whether its upload purging survives an object store (distribution issue 4358);
    `environment` is for the process itself.
    """

    version: str
    major: int
    config_path: str
    schema: Schema
    image_defaults: Section
    redis: Callable[[CacheFacts], Section]
    redis_tls: bool
    oss_door: Callable[[OssFacts], Section]
    purges_oss: bool
    middleware: Set[str] | None
    environment: Mapping[str, str]

    @property
    def image(self) -> str:
        return f"registry:{self.version}"

    @property
    def redirects(self) -> bool:
        """Whether it can send clients to another address of the bucket than its own."""
        return kinds_at(self.schema.keys, "storage.s3.redirectendpoint") is not None


_SCHEMAS = Path(__file__).parent / "schema"
_BY_HAND = json.loads((_SCHEMAS / "by_hand.json").read_text())


def _schema(version: str, *parts: str) -> Schema:
    dumped = json.loads((_SCHEMAS / f"{version}.json").read_text())
    keys: Any = {**dumped["keys"], "auth": {}, "storage": {}}  # there the types say: anything
    for part in parts:
        keys = merge(keys, _BY_HAND[part])
    # By key these become maps of another Go type than the one that the registry asserts: a panic.
    maintenance = {f"storage.maintenance.{key}" for key in ("uploadpurging", "readonly")}
    return Schema(keys, dumped["names"], frozenset(dumped["whole"]) | maintenance)


_HEALTH: Section = {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}}
_IMAGE_2: Section = {
    "log": {"fields": {"service": "registry"}},
    "http": {"addr": ":5000", "headers": {"X-Content-Type-Options": ["nosniff"]}},
    "health": _HEALTH,
}
_IMAGE_3: Section = {
    "log": {"level": "debug", "fields": {"service": "registry", "environment": "development"}},
    "http": {
        "addr": ":5000",
        "debug": {"addr": ":5001", "prometheus": {"enabled": True, "path": "/metrics"}},
    },
    "health": _HEALTH,
}
_RELEASE_3 = Release(
    version="3.0.0",
    major=3,
    config_path="/etc/distribution/config.yml",
    schema=_schema("3.0.0", "common", "3.0"),
    image_defaults=_IMAGE_3,
    redis=_go_redis,
    redis_tls=False,
    oss_door=_s3_driver,
    purges_oss=False,
    middleware={"cloudfront", "redirect", "rewrite"},
    # 3.x posts traces to localhost:4318 unless told not to (distribution issue 4270).
    environment={"OTEL_TRACES_EXPORTER": "none"},
)
RELEASES = {
    release.version: release
    for release in (
        Release(
            version="2.8.3",
            major=2,
            config_path="/etc/docker/registry/config.yml",
            schema=_schema("2.8.3", "common", "2.8"),
            image_defaults=_IMAGE_2,
            redis=_redigo,
            redis_tls=False,
            oss_door=_oss_driver,
            purges_oss=True,
            middleware={"cloudfront", "redirect"},
            environment={},
        ),
        _RELEASE_3,
        _RELEASE_3._replace(
            version="3.1.2",
            schema=_schema("3.1.2", "common", "3.0", "3.1"),
            redis_tls=True,
            purges_oss=True,
        ),
    )
}
DEFAULT_RELEASE = "3.1.2"
