"""What each release of the registry (distribution) understands, and the configuration tree for it.

Pure: what differs between releases stands in one table, RELEASES, with the keys in `schema/`
(`by_hand.json` aside, dumped from each release's own types by tests/oracle).
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from components.environment import ANY, Hole, Kinds, Schema, Section, Tree

PORT = 5000  # inside the container: the official images' own
# Labels are the names under which a user may bring the secret.
HTTP_SECRET = Hole("http-secret")
REDIS_PASSWORD = Hole("redis-password")
TLS_KEY = Hole("tls-key", quoted=False)
SELF_SIGNED = Hole("self-signed certificate", secret=False, quoted=False)
DATA_PATH = "/var/lib/registry"  # the official images' volume
OURS = "/etc/oss-registry/"  # what else is in the container by this program
USERS_PATH = f"{OURS}htpasswd"
TLS_PATHS = {"certificate": f"{OURS}tls.crt", "key": f"{OURS}tls.key"}
LETSENCRYPT_PATH = "/var/lib/letsencrypt"
SMALLEST_CHUNK_SIZE = 5 * 2**20
DRIVERS_CHUNK_SIZE = 2 * SMALLEST_CHUNK_SIZE  # where `chunksize` is not set
CHUNKS_OF_UPLOAD = 2  # in memory: 2.8 holds two parts, and the buffer of 3.x doubles as it grows
UPLOADS_OF_CLIENT = 5  # Docker's max-concurrent-uploads
READ_ONLY = "storage.maintenance.readonly.enabled"


def password_of(user: str) -> str:
    """The name of the secret that a user's password is."""
    return f"password-{user}"


def hash_of(user: str) -> Hole:
    """The bcrypt hash of a user's password, in htpasswd's line."""
    return Hole(f"hash of {user}", quoted=False)


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
    def access_key(self) -> tuple[Hole, Hole]:
        """Its id and its secret."""
        return Hole(f"access key id {self.key}", secret=False), Hole(f"access key {self.key}")


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


def merge(below: Section, above: Section) -> Section:
    """`above` laid over `below`: sections deep, everything else whole; None takes a key away."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.pop(key, None) if value is None else merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(under if isinstance(under, Mapping) else {}, value)
        elif value is not None:
            merged[key] = value
    return merged


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


def plan(
    release: Release,
    storage: VolumeFacts | OssFacts,
    cache: CacheFacts | None,
    http: HttpFacts,
    user: Section,
) -> Section:
    """The registry's whole configuration, with holes where secrets go and `user` laid over it."""
    level = at(user, "log.level") or http.log_level
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
    return laid_over(planned, user)


def laid_over(planned: Section, user: Section) -> Section:
    """`user` laid over `planned`, with the names of HTTP headers compared in any case.

    The registry would send `X-A` and `x-a` both.
    """
    given = {name.lower() for name in at(user, "http.headers") or {}}
    ours = at(planned, "http.headers") or {}
    replaced: Section = {name: None for name in ours if name.lower() in given}
    return merge(merge(planned, {"http": {"headers": replaced}}), user)


def drain_seconds(tree: Section) -> int:
    """What requests under way get when the registry stops."""
    return math.ceil(seconds(at(tree, "http.draintimeout") or "0s"))


def chunk_size(tree: Section) -> tuple[str, int] | None:
    """Return the path of `chunksize` and its value in bytes; None if images are not in OSS."""
    for driver in ("oss", "s3"):
        if at(tree, f"storage.{driver}") is not None:
            path = f"storage.{driver}.chunksize"
            return path, int(at(tree, path) or DRIVERS_CHUNK_SIZE)
    return None


def over_image(image: Section, tree: Section) -> Section:
    """`tree` with None for each key that only `image`, the image's own file, sets."""
    switched = dict(tree)
    for key, value in image.items():
        under = tree.get(key, {})
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            switched[key] = over_image(value, under)
        else:
            switched.setdefault(key, None)
    return switched


DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)


def seconds(duration: str) -> float:
    """A duration as Go writes it, in seconds."""
    units = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
    parts = re.findall(r"([\d.]+)([a-zµμ]+)", duration)
    total = sum(float(number) * units[unit] for number, unit in parts)
    return -total if duration.startswith("-") else total


def kinds_at(keys: Kinds | None, path: str) -> Kinds | None:
    """The kinds at `path`, such as `a.b[0].c`, of a schema whose keys are `keys`, or None."""
    for key in re.split(r"[.\[]", path):
        if isinstance(keys, Mapping):
            keys = keys.get(key, keys.get(ANY))
        elif isinstance(keys, list) and key.endswith("]"):
            keys = keys[0]
        else:
            keys = None
    return keys


def at(tree: Section, path: str) -> Any:  # noqa: ANN401
    """What stands at `path`, or None."""
    return next((value for _, value in values(path, tree)), None)


def values(pattern: str, tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """What stands at `pattern` (`*` is any key or item), with the path of each."""
    part, _, rest = pattern.partition(".")
    if not part:
        yield path, tree
    elif isinstance(tree, Mapping):
        for key in tree if part == ANY else {part} & tree.keys():
            yield from values(rest, tree[key], f"{path}.{key}" if path else key)
    elif part == ANY and isinstance(tree, list):
        for number, item in enumerate(tree):
            yield from values(rest, item, f"{path}[{number}]")
