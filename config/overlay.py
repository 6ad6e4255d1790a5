"""Read and check `registry.config`, the user's own configuration of the registry.

`config.plan` applies it to the planned configuration.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

from config.addresses import has_wrong_port
from config.plan import apply_overlay
from config.problems import (
    INVALID_PORT,
    WRITE_SECRET,
    WRONG_KIND,
    Problem,
    missing_secret,
    unknown_key,
)
from config.releases import RELEASES, Release
from config.render import BESIDE_DRIVER
from config.rule_evaluation import Context, Details, Rule, check, is_set
from config.schema import Kinds, kinds_at
from config.secrecy import plain_secret
from config.stack import RegistryConfig
from config.tree import ANY, Place, Placeholder, Section, Tree, lookup, merge, walk
from config.values import value_problem

_MAX_LEVELS = 60  # of nested sections and lists; the registry's own configuration has up to 6
# Keys that release 2.8 and release 3 call differently, in both directions.
_RENAMED = {
    "redis.addr": "redis.addrs",
    "redis.addrs": "redis.addr",
    "redis.pool": "redis.poolsize, redis.maxidleconns and redis.connmaxidletime",
    "redis.poolsize": "redis.pool.maxactive",
    "redis.maxidleconns": "redis.pool.maxidle",
    "redis.connmaxidletime": "redis.pool.idletimeout",
    "redis.tls.clientcas": "redis.tls.rootcas",
    "redis.tls.rootcas": "redis.tls.clientcas",
}
# The registry sends these texts to every client, so a message may show them.
_PUBLIC_TEXT = ("http.host", "http.prefix")


def is_public(path: str) -> bool:
    """Return whether a message may show a value that was refused at `path`.

    That is safe if the schema allows no free text there, but only a number, a switch, a duration,
    or one of several words.
    """
    kinds = [kinds_at(release.schema.keys, path) for release in RELEASES.values()]
    known = [kind for kind in kinds if kind is not None]
    closed = [isinstance(kind, str) and kind not in ("string", "any") for kind in known]
    return path in _PUBLIC_TEXT or (bool(closed) and all(closed))


class _Reader(NamedTuple):
    """Converts the user's configuration to a tree, and collects its problems."""

    release: Release
    secrets: Set[str]
    problems: list[Problem]

    def refuse(self, path: str, rule: str, fix: str, shown: object = None) -> None:
        self.problems.append(Problem(path, rule, fix, shown))

    def section(
        self, path: str, place: Place, config: Mapping[str, Any], keys: Mapping[str, Kinds]
    ) -> Section:
        section: dict[str, Tree] = {}
        for key in sorted(config):
            below = f"{path}.{key}" if path else key
            kinds = keys.get(key, keys.get(ANY))
            if kinds is None:
                self.refuse_unknown(below, key, keys)
            elif config[key] is None:
                section[key] = None
            elif (value := self.value(below, (*place, key), config[key], kinds)) is not None:
                section[key] = value
        return section

    def refuse_unknown(self, path: str, key: str, keys: Mapping[str, Kinds]) -> None:
        version = self.release.version
        rule = f"is not a key of release {version}"
        others = [r.version for r in RELEASES.values() if kinds_at(r.schema.keys, path) is not None]
        if path.rpartition(".")[0] == "storage":
            fix = "storage.kind decides where images are kept: remove it"
        elif path in _RENAMED and others:
            fix = f"release {version} calls it {_RENAMED[path]}"
        elif others:
            fix = f"it belongs to release {' and '.join(others)}: remove it"
        elif not keys:
            fix = "remove it"
        else:
            self.problems.append(unknown_key(path, key, rule, keys))
            return
        self.refuse(path, rule, fix)

    def value(self, path: str, place: Place, value: Any, kinds: Kinds) -> Tree:  # noqa: ANN401
        """Return `value` as a part of the tree, or None if it is refused."""
        if path.count(".") + path.count("[") > _MAX_LEVELS:
            self.refuse(path, "is nested too deep", "write less")
            return None
        if isinstance(value, Mapping) and set(value) == {"from_secret"}:
            return self.placeholder(path, value["from_secret"], kinds)
        if kinds == "any" and isinstance(value, Mapping | list):
            kinds = {ANY: "any"} if isinstance(value, Mapping) else ["any"]
        match kinds:
            case Mapping() if isinstance(value, Mapping):
                return self.section(path, place, value, kinds)
            case Mapping():
                self.refuse(path, *WRONG_KIND["section"])
            case str() if rule := plain_secret(place, value):
                self.refuse(path, rule, WRITE_SECRET)
            case str() if isinstance(value, float) and path.startswith("log.fields."):
                self.refuse(path, *WRONG_KIND["string"], value)  # 1.10 arrives as 1.1
            case str() if rule_and_fix := value_problem(place[-1], value, kinds):
                rule, fix = rule_and_fix
                self.refuse(path, rule, _FIXES.get(path, fix), value)
            case str():
                single: Tree = value
                return single
            case [kind] if isinstance(value, list):
                items = (
                    self.value(f"{path}[{number}]", (*place, ANY), item, kind)
                    for number, item in enumerate(value)
                )
                return [item for item in items if item is not None]
            case _:
                self.refuse(path, *WRONG_KIND["list"])
        return None

    def placeholder(self, path: str, name: object, kinds: Kinds) -> Tree:
        if kinds not in ("string", "any"):
            self.refuse(path, "can't come from a secret", "write it plainly")
        elif name not in self.secrets:
            self.refuse(path, *missing_secret(name))
        else:
            return Placeholder(str(name))
        return None


def read(
    release: Release, config: Mapping[str, Any], secrets: Set[str]
) -> tuple[Section, list[Problem]]:
    """Return the valid part of `registry.config` as a tree with sorted keys, and all problems.

    `{from_secret: NAME}` becomes a placeholder. NAME must be one of `secrets`.
    """
    reader = _Reader(release, secrets, [])
    # Users may copy a complete config.yml. `to_file` writes its version itself.
    keys = {key: value for key, value in config.items() if (key, str(value)) != ("version", "0.1")}
    return reader.section("", ("config",), keys, release.schema.keys), reader.problems


# The fixes for single keys. They are more specific than the fix for a kind of value.
_FIXES = {
    "storage.s3.multipartcopythresholdsize": "write 1073741824 or less, or remove it: OSS copies "
    "at most 1 GiB in one call",
    "storage.s3.objectacl": "write private, or remove it",
    "storage.s3.storageclass": "write STANDARD_IA for what OSS calls IA, or remove it and set the "
    "storage class on the bucket",
}
# A part of a path that is empty, `.` or `..`. Clients and servers interpret such paths differently.
_ODD_SEGMENT = r"/(?:\.\.?(?:/|$)|/)"


def _logs_requests(context: Context) -> bool:
    return context.lookup("log.level") in ("info", "debug")


def _sends_secret(endpoint: Section) -> bool:
    """Return whether the address or a header of a hook is a secret. The registry logs both."""
    sent = (*walk("url", endpoint), *walk("headers.*.*", endpoint))
    return any(isinstance(value, Placeholder) for _, value in sent)


# The registry's own defaults, for keys that the configuration does not contain.
_DEFAULTS: Section = {
    "log": {"level": "info"},
    "storage": {
        "redirect": {"disable": False},
        "maintenance": {"uploadpurging": {"enabled": True}},
    },
}
# The ACLs that make an object public even in a private bucket. OSS supports the first two, and S3
# supports all of them.
_PUBLIC_ACLS = ("public-read", "public-read-write", "authenticated-read", "aws-exec-read")
# The keys without which the registry does not start, by section.
_REQUIRED = {
    "auth.htpasswd": ("realm", "path"),
    "auth.silly": ("realm", "service"),
    "auth.token": ("realm", "service", "issuer"),
    "storage.redirect": ("disable",),
    "storage.maintenance.uploadpurging": ("enabled", "age", "interval", "dryrun"),
}
# The keys whose values are paths of files in the container.
_FILES = (
    "auth.token.rootcertbundle",
    "auth.token.jwks",
    "http.tls.clientcas.*",
    "redis.tls.certificate",
    "redis.tls.key",
    "redis.tls.clientcas.*",
    "redis.tls.rootcas.*",
)


def _differs_from(pattern: str) -> Callable[[Any, Context], bool]:
    return lambda value, _: not re.fullmatch(pattern, value, re.ASCII)


def _missing(*keys: str) -> Callable[[Any, Context], Sequence[Details]]:
    def missing(section: Mapping[str, Any], _: Context) -> Sequence[Details]:
        if section.get("enabled") is False:
            return []
        return [{"key": key} for key in keys if key not in section]

    return missing


_RULES = (
    Rule("proxy", is_set, "makes the registry refuse every push", "run a mirror on its own"),
    Rule("loglevel", is_set, "is not heeded beside log.level", "set registry.log_level"),
    Rule(
        "http.tls",
        lambda tls, _: not (tls.keys() & {"certificate", "key", "letsencrypt"}),
        "is not heeded without a certificate",
        "set oss-registry:tls, or remove it",
    ),
    Rule(
        "http.tls.minimumtls",
        lambda version, _: version in ("tls1.0", "tls1.1"),
        "must be tls1.2 or tls1.3: the older ones are broken",
        "remove it",
    ),
    Rule(
        "storage.s3.loglevel",
        lambda level, _: level != "off",
        "writes requests with their signatures into the log",
        "remove it",
    ),
    Rule(
        "storage.s3.objectacl",
        lambda acl, _: str(acl).strip().lower() in _PUBLIC_ACLS,
        "lets others than the bucket's owner read every layer",
        "remove it: objects are private then",
    ),
    Rule(
        "http.host",
        _differs_from(rf"https?://[\w.:\[\]-]+(?!\S*{_ODD_SEGMENT})(/\S*)?"),
        "must be an address with its scheme, and without empty, . and .. parts in its path",
        "write such as https://registry.example.com",
    ),
    Rule(
        "http.prefix",
        _differs_from(rf"(?!\S*{_ODD_SEGMENT})/([\w.~-]+/)*"),
        "must begin and end with /, with letters and digits between, and no part . or ..",
        "write such as /registry/",
    ),
    *(
        Rule(
            path,
            lambda headers, _: len({name.lower() for name in headers}) < len(headers),
            "names a header twice, as upper and lower case are the same",
            "keep one of them",
        )
        for path in ("http.headers", "notifications.endpoints.*.headers", "health.http.*.headers")
    ),
    *(
        Rule(path, lambda address, _: has_wrong_port(address), *INVALID_PORT)
        for path in (
            "health.tcp.*.addr",
            "http.debug.addr",
            "log.hooks.*.options.smtp.addr",
            "redis.addr",
            "redis.addrs.*",
        )
    ),
    Rule("auth", lambda auth, _: len(auth) > 1, "can have but one type", "keep one of them"),
    Rule(
        "auth.token",
        lambda token, _: not (token.get("rootcertbundle") or token.get("jwks")),
        "needs rootcertbundle or, from release 3 on, jwks",
        "add the path of one",
    ),
    *(
        Rule(
            path,
            lambda file, _: "\n" in file or "-----" in file,
            "must be the path of a file in the container",
            "put the file into registry.files, and write its path here",
        )
        for path in _FILES
    ),
    Rule(
        "middleware.*.*.name",
        lambda name, context: (
            context.release.middleware is not None and name not in context.release.middleware
        ),
        "is not a middleware of the official image",
        "remove it, or set registry.image to an image that has it",
    ),
    Rule(
        "storage.cache.blobdescriptor",
        lambda kind, context: (
            kind == "redis" and not (context.lookup("redis.addr") or context.lookup("redis.addrs"))
        ),
        "redis needs the cache, which is off",
        "set cache.enabled: true, or write inmemory",
    ),
    Rule(
        "storage.cache.layerinfo",
        is_set,
        "is the old name of blobdescriptor, and not heeded beside it",
        "write blobdescriptor",
    ),
    Rule(
        "storage.redirect.disable",
        lambda off, context: (
            not off
            and not context.lookup("storage.s3.redirectendpoint")
            and (
                context.lookup("storage.oss.internal")
                or "-internal." in str(context.lookup("storage.s3.regionendpoint"))
            )
        ),
        "can't be false with storage.internal: clients can't reach an address inside the region",
        "remove it, or set storage.internal: false, or storage.cname",
    ),
    Rule(
        "log.level",
        lambda _, context: (
            _logs_requests(context)
            and context.lookup("storage.oss") is not None
            and context.lookup("storage.redirect.disable") is False
        ),
        "writes each signed address into the log, as storage.redirect.disable is false",
        "write warn or error",
    ),
    Rule(
        "storage.s3.forcepathstyle",
        lambda forced, _: forced,
        "puts the bucket into the path, which OSS refuses (SecondLevelDomainForbidden)",
        "remove it",
    ),
    Rule(
        "storage.s3.redirectendpoint",
        _differs_from(r"https?://[\w.:\[\]-]+/?"),
        "must be an address with its scheme, and without path and query",
        "set storage.cname in place of it",
    ),
    Rule(
        "storage.maintenance.uploadpurging.enabled",
        lambda on, context: (
            on
            and not context.release.purges_object_storage
            and context.lookup("storage.s3") is not None
        ),
        "ends the registry within an hour on an object store, up to release 3.1.0",
        "remove it: a rule of the bucket clears unfinished uploads",
    ),
    Rule(
        "redis.addrs",
        # go-redis treats several addresses without a master name as a cluster (universal.go).
        lambda addrs, context: len(addrs) > 1 and not context.lookup("redis.mastername"),
        "makes the registry use its servers as one Redis Cluster, from which `make gc` can remove "
        "no entries",
        "keep one address, or name Sentinels and set redis.mastername",
    ),
    Rule(
        "redis.tls",
        lambda tls, context: tls and not context.release.redis_supports_tls,
        "does not verify redis's certificate before release 3.1",
        'set registry.release: "3.1.2"',
    ),
    Rule(
        "redis.tls",
        lambda tls, _: bool(tls.get("certificate")) != bool(tls.get("key")),
        "needs certificate and key together: the registry ignores one alone",
        "add the other one",
    ),
)
# Storage middleware that only changes the address to which clients are redirected.
_REDIRECTING = ("alicdn", "cloudfront", "redirect", "rewrite")
# Valid settings with effects that a user may not expect.
_WARNINGS = (
    Rule(
        "notifications.endpoints.*",
        lambda endpoint, context: _logs_requests(context) and _sends_secret(endpoint),
        "sends a secret, which config.log.level info and debug write into the log",
        "set registry.log_level: warn",
    ),
    Rule(
        "middleware.storage.*",
        lambda middleware, context: (
            middleware.get("name") in _REDIRECTING
            and not middleware.get("disabled")
            and context.lookup("storage.redirect.disable") is True
        ),
        "is never used, as it redirects clients and storage.redirect.disable is true",
        "set storage.redirect.disable: false, or remove it",
    ),
    Rule(
        "health.tcp.*.addr",
        lambda addr, context: (
            addr in (context.lookup("redis.addr"), *(context.lookup("redis.addrs") or ()))
        ),
        "answers every request with 503 while redis is away, which the registry can do without",
        "remove it",
    ),
    Rule(
        "auth.htpasswd.path",
        lambda path, context: path not in context.registry.files,
        "is a file that only you can put there: where there is none, the registry makes up a user "
        "and logs the password",
        "name users in oss-registry:auth instead",
    ),
    Rule(
        "http.prefix",
        lambda prefix, _: prefix.strip("/") != "",
        "moves the API below a path, where Docker clients do not look for it",
        "remove it, unless a proxy adds the path for them",
    ),
    Rule(
        "http.debug.addr",
        is_set,
        "opens metrics and profiles, without a login, to all that is on the stack's network",
        "remove it",
    ),
)
# Other parts of the stack depend on these keys, so only the named setting may set them.
MANAGED_KEYS = {
    "auth.htpasswd.path": "oss-registry:auth",
    "http.addr": "registry.port",
    "http.host": "registry.external_url",
    "http.tls.certificate": "oss-registry:tls",
    "http.tls.key": "oss-registry:tls",
    "http.tls.letsencrypt": "oss-registry:tls",
    "redis.addr": "cache.address",
    "redis.addrs": "cache.address",
    "redis.db": "cache.db",
    "redis.password": "the secret oss-registry:redis-password",
    "storage.filesystem.rootdirectory": "storage.kind",
    "storage.oss.accesskeyid": "storage.access_keys",
    "storage.oss.accesskeysecret": "storage.access_keys",
    "storage.oss.bucket": "storage.bucket",
    "storage.oss.endpoint": "storage.endpoint",
    "storage.oss.internal": "storage.internal",
    "storage.oss.region": "alicloud:region",
    "storage.oss.rootdirectory": "storage.prefix",
    "storage.s3.accesskey": "storage.access_keys",
    "storage.s3.secretkey": "storage.access_keys",
    "storage.s3.bucket": "storage.bucket",
    "storage.s3.redirectendpoint": "storage.cname",
    "storage.s3.region": "alicloud:region",
    "storage.s3.regionendpoint": "storage.endpoint",
    "storage.s3.rootdirectory": "storage.prefix",
}


def _managed_elsewhere(tree: Section, context: Context) -> Iterator[Details]:
    settings = {
        _existing(path, tree): setting
        for path, setting in MANAGED_KEYS.items()
        if _is_managed(path, context.planned)
        and lookup(tree, path) != lookup(context.planned, path)
    }
    for path, setting in settings.items():
        yield {"path": path, "setting": setting}


def _is_managed(path: str, planned: Section) -> bool:
    """Return whether another setting determines `path`, even if the plan has no such key."""
    section, _, key = path.rpartition(".")
    if section == "http.tls" or (key == "rootdirectory" and lookup(planned, section)):
        return True
    return lookup(planned, path) is not None


def _existing(path: str, tree: Section) -> str:
    """Return `path`, or the section above it if the user removed that with null."""
    section = path.rpartition(".")[0]
    if not section or lookup(tree, section) is not None:
        return path
    return _existing(section, tree)


def _second_drivers(storage: Section, context: Context) -> Sequence[Details]:
    known = BESIDE_DRIVER["storage"].union(lookup(context.planned, "storage"))
    return [{"path": f"storage.{driver}"} for driver in sorted(set(storage) - known)]


# Rules that are checked without _DEFAULTS.
_PLAN_RULES = (
    Rule("", _managed_elsewhere, "is set by {setting}", "set it there, and remove it here"),
    Rule("storage", _second_drivers, "is a second driver: storage.kind decides", "remove it"),
    *(
        Rule(path, _missing(*keys), "needs {key}: the registry does not start without", "add {key}")
        for path, keys in _REQUIRED.items()
    ),
)


def problems(release: Release, registry: RegistryConfig, overlay: Section) -> list[Problem]:
    """Return the problems with `overlay` for this release."""
    planned = registry.planned(release, {})
    context = Context(apply_overlay(planned, overlay), release, registry, planned=planned)
    return [*check(_PLAN_RULES, context), *check(_RULES, _with_defaults(context))]


def warnings(registry: RegistryConfig) -> list[Problem]:
    """Return the valid keys with effects that a user may not expect."""
    context = Context(registry.tree, registry.release, registry)
    return [*check(_WARNINGS, _with_defaults(context))]


def _with_defaults(context: Context) -> Context:
    return replace(context, tree=merge(_DEFAULTS, context.tree))


def named_files(tree: Section) -> Iterator[tuple[str, str]]:
    """Yield the path of each key that names a file in the container, and that file."""
    for pattern in _FILES:
        for path, value in walk(pattern, tree):
            if isinstance(value, str):
                yield path, value
