"""The registry's own configuration, as users may lay it over the planned one."""

from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

from config.addresses import has_wrong_port
from config.problems import (
    INVALID_PORT,
    WRITE_SECRET,
    WRONG_KIND,
    Problem,
    missing_secret,
    suggestion,
)
from config.releases import RELEASES, Release
from config.render import BESIDE_DRIVER
from config.rules import Context, Rule, _there, _unlike, broken
from config.schema import Kinds, kinds_at
from config.secrecy import Place, plain_secret
from config.tree import ANY, Placeholder, Section, Tree, lookup, merge, overlaid, walk
from config.values import value_problem


def read(
    release: Release, config: Mapping[str, Any], secrets: Set[str]
) -> tuple[Section, list[Problem]]:
    """The user's own tree in the registry's terms, without what is a problem; and the problems.

    `{from_secret: NAME}` becomes a hole; NAME must be one of `secrets`. Keys come out sorted.
    """
    reader = _Reader(release, secrets, [])
    # A whole config.yml says its version; `to_file` says the same.
    own = {key: value for key, value in config.items() if (key, str(value)) != ("version", "0.1")}
    return reader.section("", ("config",), own, release.schema.keys), reader.problems


_DEPTH = 60  # sections and lists inside each other; the registry's own go to 6
# What the other generation calls it.
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
# Text that a message may repeat even if it was refused: every client gets it.
_PUBLIC_TEXT = ("http.host", "http.prefix")


def is_public(path: str) -> bool:
    """Whether a message may repeat a value that was refused at `path`.

    Keys whose kind is a number, a switch, a duration or one of several words hold no free text.
    """
    kinds = [kinds_at(release.schema.keys, path) for release in RELEASES.values()]
    known = [kind for kind in kinds if kind is not None]
    closed = [isinstance(kind, str) and kind not in ("string", "any") for kind in known]
    return path in _PUBLIC_TEXT or (bool(closed) and all(closed))


class _Reader(NamedTuple):
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
                self.unknown(below, key, keys)
            elif config[key] is None:
                section[key] = None
            elif (value := self.value(below, (*place, key), config[key], kinds)) is not None:
                section[key] = value
        return section

    def unknown(self, path: str, key: str, keys: Mapping[str, Kinds]) -> None:
        version = self.release.version
        others = [r.version for r in RELEASES.values() if kinds_at(r.schema.keys, path) is not None]
        if path.rpartition(".")[0] == "storage":
            fix = "storage.kind decides where images are kept: remove it"
        elif path in _RENAMED and others:
            fix = f"release {version} calls it {_RENAMED[path]}"
        elif others:
            fix = f"it belongs to release {' and '.join(others)}: remove it"
        else:
            fix = suggestion(key, keys) if keys else "remove it"
        self.refuse(path, f"is not a key of release {version}", fix)

    def value(self, path: str, place: Place, value: Any, kinds: Kinds) -> Tree:  # noqa: ANN401
        """`value` as the registry is to get it, or None where it was refused."""
        if path.count(".") + path.count("[") > _DEPTH:
            self.refuse(path, "is nested too deep", "write less")
            return None
        if isinstance(value, Mapping) and set(value) == {"from_secret"}:
            return self.hole(path, value["from_secret"], kinds)
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
                self.refuse(path, *WRONG_KIND["string"], value)  # 1.10 comes as 1.1
            case str() if against := value_problem(place[-1], value, kinds):
                rule, fix = against
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

    def hole(self, path: str, name: object, kinds: Kinds) -> Tree:
        if kinds not in ("string", "any"):
            self.refuse(path, "can't come from a secret", "write it plainly")
        elif name not in self.secrets:
            self.refuse(path, *missing_secret(name))
        else:
            return Placeholder(str(name))
        return None


# More specific than the fix that goes with a kind.
_FIXES = {
    "storage.s3.multipartcopythresholdsize": "write 1073741824 or less, or remove it: OSS copies "
    "at most 1 GiB in one call",
    "storage.s3.objectacl": "write private, or remove it",
    "storage.s3.storageclass": "write STANDARD_IA for what OSS calls IA, or remove it and set the "
    "storage class on the bucket",
}
# A part of a path that is empty, . or .. : clients and servers disagree on what such a path names.
_ODD_SEGMENT = r"/(?:\.\.?(?:/|$)|/)"


def _logs_requests(context: Context) -> bool:
    return context.lookup("log.level") in ("info", "debug")


def _sends_secret(endpoint: Section) -> bool:
    """Whether the address or a header of a hook comes from a secret: the registry logs both."""
    sent = (*walk("url", endpoint), *walk("headers.*.*", endpoint))
    return any(isinstance(value, Placeholder) for _, value in sent)


# What the registry does where nothing is said, or null has taken away what we say.
_UNSAID: Section = {
    "log": {"level": "info"},
    "storage": {
        "redirect": {"disable": False},
        "maintenance": {"uploadpurging": {"enabled": True}},
    },
}
# Object ACLs with which strangers read an object, whatever the bucket's own ACL is. OSS has the
# first two, and S3 all of them.
_PUBLIC_ACLS = ("public-read", "public-read-write", "authenticated-read", "aws-exec-read")
# Without these the registry does not start.
_NEEDED = {
    "auth.htpasswd": ("realm", "path"),
    "auth.silly": ("realm", "service"),
    "auth.token": ("realm", "service", "issuer"),
    "storage.redirect": ("disable",),
    "storage.maintenance.uploadpurging": ("enabled", "age", "interval", "dryrun"),
}
# Where the registry's configuration names a file in its container.
_FILES = (
    "auth.token.rootcertbundle",
    "auth.token.jwks",
    "http.tls.clientcas.*",
    "redis.tls.certificate",
    "redis.tls.key",
    "redis.tls.clientcas.*",
    "redis.tls.rootcas.*",
)
_RULES = (
    Rule("proxy", _there, "makes the registry refuse every push", "run a mirror on its own"),
    Rule("loglevel", _there, "is not heeded beside log.level", "set registry.log_level"),
    Rule(
        "http.tls",
        lambda tls, _: not (tls.keys() & {"certificate", "key", "letsencrypt"}),
        "is not heeded without a certificate",
        "set oss-registry:tls, or remove it",
    ),
    Rule(
        "http.tls.minimumtls",
        lambda least, _: least in ("tls1.0", "tls1.1"),
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
        _unlike(rf"https?://[\w.:\[\]-]+(?!\S*{_ODD_SEGMENT})(/\S*)?"),
        "must be an address with its scheme, and without empty, . and .. parts in its path",
        "write such as https://registry.example.com",
    ),
    Rule(
        "http.prefix",
        _unlike(rf"(?!\S*{_ODD_SEGMENT})/([\w.~-]+/)*"),
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
        lambda name, its: its.release.middleware is not None and name not in its.release.middleware,
        "is not a middleware of the official image",
        "remove it, or set registry.image to an image that has it",
    ),
    Rule(
        "storage.cache.blobdescriptor",
        lambda kind, its: kind == "redis" and not (its.lookup("redis.addr") or its.lookup("redis.addrs")),
        "redis needs the cache, which is off",
        "set cache.enabled: true, or write inmemory",
    ),
    Rule(
        "storage.cache.layerinfo",
        _there,
        "is the old name of blobdescriptor, and not heeded beside it",
        "write blobdescriptor",
    ),
    Rule(
        "storage.redirect.disable",
        lambda off, its: (
            not off
            and not its.lookup("storage.s3.redirectendpoint")
            and (
                its.lookup("storage.oss.internal")
                or "-internal." in str(its.lookup("storage.s3.regionendpoint"))
            )
        ),
        "can't be false with storage.internal: clients can't reach an address inside the region",
        "remove it, or set storage.internal: false, or storage.cname",
    ),
    Rule(
        "log.level",
        lambda _, its: (
            _logs_requests(its)
            and its.lookup("storage.oss") is not None
            and its.lookup("storage.redirect.disable") is False
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
        _unlike(r"https?://[\w.:\[\]-]+/?"),
        "must be an address with its scheme, and without path and query",
        "set storage.cname in place of it",
    ),
    Rule(
        "storage.maintenance.uploadpurging.enabled",
        lambda on, its: on and not its.release.purges_oss and its.lookup("storage.s3") is not None,
        "ends the registry within an hour on an object store, up to release 3.1.0",
        "remove it: a rule of the bucket clears unfinished uploads",
    ),
    Rule(
        "redis.addrs",
        # go-redis, universal.go: several addresses without a master are those of a cluster.
        lambda addrs, its: len(addrs) > 1 and not its.lookup("redis.mastername"),
        "makes the registry use its servers as one Redis Cluster, from which `make gc` can remove "
        "no entries",
        "keep one address, or name Sentinels and set redis.mastername",
    ),
    Rule(
        "redis.tls",
        lambda tls, its: tls and not its.release.redis_tls,
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
# It works, but the user should know.
_WARNINGS = (
    Rule(
        "notifications.endpoints.*",
        lambda endpoint, its: _logs_requests(its) and _sends_secret(endpoint),
        "sends a secret, which config.log.level info and debug write into the log",
        "set registry.log_level: warn",
    ),
    Rule(
        "middleware.storage.*",
        lambda middleware, its: (
            middleware.get("name") in _REDIRECTING
            and not middleware.get("disabled")
            and its.lookup("storage.redirect.disable") is True
        ),
        "is never used, as it redirects clients and storage.redirect.disable is true",
        "set storage.redirect.disable: false, or remove it",
    ),
    Rule(
        "health.tcp.*.addr",
        lambda addr, its: addr in (its.lookup("redis.addr"), *(its.lookup("redis.addrs") or ())),
        "answers every request with 503 while redis is away, which the registry can do without",
        "remove it",
    ),
    Rule(
        "auth.htpasswd.path",
        lambda path, its: path not in its.files,
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
        _there,
        "opens metrics and profiles, without a login, to all that is on the stack's network",
        "remove it",
    ),
)
# Other parts of the stack are made to match these, so they are set in one place only.
MANAGED = {
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


def problems(release: Release, planned: Section, user: Section) -> list[Problem]:
    """What `user`, laid over `planned`, can't say to this release."""
    context = Context(release, overlaid(planned, user))
    managed = {
        (here := _there_or_above(path, context.tree)): Problem(
            here, f"is set by {setting}", "set it there, and remove it here"
        )
        for path, setting in MANAGED.items()
        if _is_managed(path, planned) and context.lookup(path) != lookup(planned, path)
    }
    needed = [
        Problem(path, f"needs {key}: the registry does not start without", f"add {key}")
        for path, keys in _NEEDED.items()
        for _, section in walk(path, context.tree)
        for key in keys
        if key not in section and section.get("enabled") is not False
    ]
    own = BESIDE_DRIVER["storage"].union(lookup(planned, "storage"))
    second = [
        Problem(f"storage.{driver}", "is a second driver: storage.kind decides", "remove it")
        for driver in sorted(set(context.lookup("storage") or ()) - own)
    ]
    return [*managed.values(), *second, *needed, *broken(_RULES, _with_unsaid(context))]


def _is_managed(path: str, planned: Section) -> bool:
    """Whether another setting decides on `path`, also by leaving it out."""
    section, _, key = path.rpartition(".")
    left_out = section == "http.tls" or (key == "rootdirectory" and lookup(planned, section))
    return bool(left_out) or lookup(planned, path) is not None


def _there_or_above(path: str, tree: Section) -> str:
    """`path`, or the section that was taken away with it."""
    section = path.rpartition(".")[0]
    return path if not section or lookup(tree, section) is not None else _there_or_above(section, tree)


def warnings(release: Release, tree: Section, files: Set[str] = frozenset()) -> list[Problem]:
    """What works, but not as the user may think; `files` are put into the container."""
    return broken(_WARNINGS, _with_unsaid(Context(release, tree, files)))


def _with_unsaid(context: Context) -> Context:
    return context._replace(tree=merge(_UNSAID, context.tree))


def named_files(tree: Section) -> Iterator[tuple[str, str]]:
    """The files that `tree` names, after the path of each one's key."""
    for pattern in _FILES:
        for path, value in walk(pattern, tree):
            if isinstance(value, str):
                yield path, value
