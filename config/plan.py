"""Plan the configuration of a registry from the settings of its stack."""

import math

from config.durations import seconds
from config.releases import HEALTH, Release
from config.settings import CacheSettings, StackSettings, TlsSettings
from config.storage_driver import StorageDriver
from config.tree import Placeholder, Section, Tree, lookup, merge

PORT = 5000  # in the container, as in the official images
DATA_PATH = "/var/lib/registry"  # as in the official images
LETSENCRYPT_PATH = "/var/lib/letsencrypt"
OWN_FILES = "/etc/oss-registry/"  # the folder of the files that this program generates
USERS_PATH = f"{OWN_FILES}htpasswd"
TLS_PATHS = {"certificate": f"{OWN_FILES}tls.crt", "key": f"{OWN_FILES}tls.key"}
# The first three are secrets, which users may provide under the same names.
HTTP_SECRET = Placeholder("http-secret")
REDIS_PASSWORD = Placeholder("redis-password")
TLS_KEY = Placeholder("tls-key", quoted=False)
SELF_SIGNED = Placeholder("self-signed certificate", secret=False, quoted=False)
DRAIN_SECONDS = 30
READ_ONLY = "storage.maintenance.readonly.enabled"
SMALLEST_CHUNK_SIZE = 5 * 2**20
DEFAULT_CHUNK_SIZE = 2 * SMALLEST_CHUNK_SIZE  # of the drivers, if `chunksize` is not set
# Release 2.8 keeps two parts of an upload in memory. The buffer of release 3 doubles as it grows.
CHUNKS_PER_UPLOAD = 2
UPLOADS_PER_CLIENT = 5  # Docker's max-concurrent-uploads


def password_secret(user: str) -> str:
    """Return the name of the secret that holds the user's password."""
    return f"password-{user}"


def password_hash(user: str) -> Placeholder:
    """Return the placeholder of the bcrypt hash in the user's line for htpasswd."""
    return Placeholder(f"hash of {user}", quoted=False)


def plan_configuration(
    settings: StackSettings,
    storage: StorageDriver,
    release: Release,
    overlay: Section,
    *,
    external_url: str | None,
    redis_address: str,
    redis_has_password: bool,
) -> Section:
    """Return the configuration for `release`, with the user's `overlay` applied to it.

    `external_url` is the URL for clients, if the stack file names one.
    """
    level = lookup(overlay, "log.level") or settings.registry.log_level
    http: dict[str, Tree] = {
        "addr": f":{PORT}",
        "secret": HTTP_SECRET,
        "draintimeout": f"{DRAIN_SECONDS}s",
        "headers": {"X-Content-Type-Options": ["nosniff"]},
    }
    if external_url:
        http["host"] = external_url
    if settings.tls:
        # This is also the default of the releases. It is explicit for reviewers.
        http["tls"] = {**_tls(settings.tls), "minimumtls": "tls1.2"}
    planned: dict[str, Tree] = {
        "log": {
            "level": level,
            "fields": {"service": "registry"},
            # By default, the registry logs each request at every level, also its health checks.
            "accesslog": {"disabled": level in ("error", "warn")},
        },
        "storage": {
            **storage.section(release),
            "delete": {"enabled": True},
            "cache": {"blobdescriptor": "redis" if settings.cache.enabled else "inmemory"},
            "maintenance": {
                # The registry panics if one of the four keys is missing.
                "uploadpurging": {
                    "enabled": storage.purges_uploads(release),
                    "age": "168h",
                    "interval": "24h",
                    "dryrun": False,
                }
            },
        },
        "http": http,
        "health": HEALTH,
    }
    if settings.cache.enabled:
        create_section = _REDIS[release.redis_client]
        planned["redis"] = create_section(settings.cache, redis_address, redis_has_password)
    if settings.auth:
        planned["auth"] = {"htpasswd": {"realm": settings.auth.realm, "path": USERS_PATH}}
    return apply_overlay(planned, overlay)


def _tls(settings: TlsSettings) -> Section:
    if settings.letsencrypt is None:
        return TLS_PATHS
    given = settings.letsencrypt.model_dump(exclude_none=True)
    by_key = {name.replace("_", ""): value for name, value in given.items()}
    return {"letsencrypt": {"cachefile": LETSENCRYPT_PATH, **by_key}}


def _redis_options(cache: CacheSettings, has_password: bool) -> Section:
    """Return the options whose names are the same in both redis clients.

    The timeouts are short, so that a redis that hangs does not block the registry. By default,
    release 2.8 has no timeouts, and release 3 waits for 3 s in each attempt.
    """
    password: Section = {"password": REDIS_PASSWORD} if has_password else {}
    timeout = "500ms"
    return {
        **password,
        "db": cache.db,
        "dialtimeout": timeout,
        "readtimeout": timeout,
        "writetimeout": timeout,
    }


def _redigo(cache: CacheSettings, address: str, has_password: bool) -> Section:
    return {
        "addr": address,
        **_redis_options(cache, has_password),
        "pool": {
            "maxidle": cache.pool.max_idle,
            "maxactive": cache.pool.max_active,
            "idletimeout": cache.pool.idle_timeout,
        },
    }


def _go_redis(cache: CacheSettings, address: str, has_password: bool) -> Section:
    return {
        "addrs": [address],
        **_redis_options(cache, has_password),
        "maxidleconns": cache.pool.max_idle,
        "poolsize": cache.pool.max_active,
        "connmaxidletime": cache.pool.idle_timeout,
    }


_REDIS = {"redigo": _redigo, "go-redis": _go_redis}


def apply_overlay(planned: Section, overlay: Section) -> Section:
    """Return `planned` with the values of `overlay`.

    Names of HTTP headers are compared in lower case. Otherwise the registry would send both `X-A`
    and `x-a`.
    """
    given = {name.lower() for name in lookup(overlay, "http.headers") or {}}
    headers = lookup(planned, "http.headers") or {}
    replaced: Section = {name: None for name in headers if name.lower() in given}
    return merge(merge(planned, {"http": {"headers": replaced}}), overlay)


def drain_seconds(tree: Section) -> int:
    """Return the seconds for which a stopping registry waits for requests in progress."""
    return math.ceil(seconds(lookup(tree, "http.draintimeout") or "0s"))


def chunk_size(tree: Section) -> tuple[str, int] | None:
    """Return the path of `chunksize` and its value in bytes, or None for a volume."""
    for driver in ("oss", "s3"):
        if lookup(tree, f"storage.{driver}") is not None:
            path = f"storage.{driver}.chunksize"
            return path, int(lookup(tree, path) or DEFAULT_CHUNK_SIZE)
    return None
