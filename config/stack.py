"""What follows from a stack's settings, without any resource."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlsplit

from config import addresses, docker_engine, releases
from config.plan import READ_ONLY, plan
from config.releases import CacheFacts, HttpFacts, OssFacts, Release, VolumeFacts
from config.render import Text, redact, to_environment, to_file
from config.secrecy import masked
from config.settings import PROJECT, StackSettings, SwarmSettings
from config.tree import Placeholder, Section, lookup, switch_off_defaults

REGION = "alicloud:region"
STACK_LABEL = "oss-registry.stack"  # on all that a stack makes in the engine
READ_ONLY_LABEL = "oss-registry.read-only"  # on a registry that takes no pushes
FILE_LABEL = "oss-registry.file"  # on a Swarm secret or config: the path that it is for
DRAIN_SECONDS = 30
CERTIFICATES = "/etc/ssl/certs/oss-registry.pem"  # Go reads each file there, beside the bundle
# Where a user has the registry send traces (release 3, tracing/tracing.go).
TRACES_TO = frozenset({"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"})
# Who can reach the registry, by the address that its port is published on unless another is set.
EXPOSURES = {"loopback": "127.0.0.1", "tls": "0.0.0.0", "proxy": "127.0.0.1", "open": "0.0.0.0"}


@dataclass(frozen=True)
class Stack:
    """A stack's settings and what follows from them without any resource.

    `region` is OSS's; `secrets` are those that the user brings, by name; `engine` is the address
    of the Docker engine, as DOCKER_HOST has it, if it is known.
    """

    name: str
    settings: StackSettings
    region: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: Section = field(default_factory=dict)
    engine: str = ""

    @property
    def prefix(self) -> str:
        """The start of the name of everything that the stack makes in the engine."""
        return f"{PROJECT}-{self.name}"

    @property
    def volume(self) -> str:
        """The volume that holds the images, where none other does."""
        return self.settings.storage.volume or f"{self.prefix}-data"

    @property
    def release(self) -> Release:
        release = releases.RELEASES[self.settings.registry.release]
        return release._replace(middleware=None) if self.settings.registry.image else release

    @property
    def image(self) -> str:
        return self.settings.registry.image or self.release.image

    @property
    def address(self) -> str:
        """The address that the port is published on."""
        registry = self.settings.registry
        exposed = "0.0.0.0" if registry.runtime == "swarm" else EXPOSURES[registry.exposure]
        return registry.bind or exposed

    @property
    def published(self) -> str:
        """The address and port that the engine listens on."""
        return addresses.join(self.address, self.settings.registry.port)

    @property
    def swarm(self) -> SwarmSettings:
        return self.settings.registry.swarm or SwarmSettings()

    @property
    def delivery(self) -> str:
        """How the registry is configured: `env` or `file`."""
        registry = self.settings.registry
        return registry.delivery or ("file" if registry.runtime == "swarm" else "env")

    @property
    def endpoint(self) -> str:
        """The registry's address for clients."""
        registry = self.settings.registry
        scheme = "https" if self.settings.tls else "http"
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        address = self.address
        if address in everywhere:
            address = docker_engine.machine(self.engine) or everywhere[address]
        here = addresses.join(address, registry.port)
        return (registry.external_url or f"{scheme}://{here}").rstrip("/")

    @property
    def only_on_engine(self) -> bool:
        """Whether the registry is reached only from the engine's machine, which is another one."""
        if self.settings.registry.external_url or docker_engine.machine(self.engine) is None:
            return False
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def login_server(self) -> str:
        """The registry's name in an image reference.

        Docker takes no IPv6 address there up to release 20.10, so ::1 becomes localhost.
        """
        own = self.settings.registry.external_url is None
        server = urlsplit(self.endpoint).netloc
        return re.sub(r"^(127\.0\.0\.1|\[::1\]):", "localhost:", server) if own else server

    @property
    def host(self) -> str | None:
        """The host that clients come to by TLS of the registry's own, where one is set."""
        registry = self.settings.registry
        # A proxy brings its own certificate, and comes to whatever name it likes.
        by_proxy = registry.exposure == "proxy"
        return None if by_proxy or not registry.external_url else urlsplit(self.endpoint).hostname

    @property
    def hosts(self) -> Sequence[str]:
        """The hosts that a certificate of the stack's own is for."""
        address = urlsplit(self.endpoint).hostname or ""
        here = ("localhost", "127.0.0.1", "::1")
        return [self.host] if self.host else [*dict.fromkeys((address, *here))]

    @property
    def letsencrypt_volume(self) -> str:
        """The volume that holds the certificates that the registry fetches."""
        return f"{self.prefix}-letsencrypt"

    @property
    def volumes(self) -> Sequence[str]:
        """The volumes that hold what is not made anew."""
        tls, in_volume = self.settings.tls, self.settings.storage.kind == "filesystem"
        fetched = tls is not None and tls.letsencrypt is not None
        return [self.volume] * in_volume + [self.letsencrypt_volume] * fetched

    @property
    def redis_host(self) -> str:
        return f"{self.prefix}-redis"

    @property
    def runs_redis(self) -> bool:
        """Whether the stack has a redis of its own."""
        cache = self.settings.cache
        return cache.enabled and cache.address is None

    @property
    def oss(self) -> OssFacts:
        """The bucket that the images are in, where `storage.kind` says so."""
        storage = self.settings.storage
        internal = "-internal" * storage.internal
        return OssFacts(
            region=self.region,
            host=storage.endpoint or f"oss-{self.region}{internal}.aliyuncs.com",
            bucket=storage.bucket or "",
            prefix=storage.prefix,
            key=storage.access_keys[-1],
            cname=storage.cname and storage.cname.rstrip("/"),
            memory=self.settings.registry.limits.memory,
        )

    @property
    def images(self) -> Mapping[str, str]:
        """Where the registry looks for its images: another place has other images."""
        if self.settings.storage.kind == "filesystem":
            return {"volume": self.volume}
        # One of OSS's hosts for all regions, oss-accelerate, leads to the bucket's own.
        named = re.fullmatch(r"oss-(?!accelerate)([a-z0-9-]+?)(-internal)?\..*", self.oss.host)
        region = named[1] if named else self.region
        return {"bucket": self.oss.bucket, "region": region, "prefix": self.oss.prefix}

    def planned(self, release: Release, user: Section) -> Section:
        """The configuration of `release`, with holes where secrets go and `user` laid over it."""
        cache, in_oss = self.settings.cache, self.settings.storage.kind == "oss"
        redis = CacheFacts(
            address=cache.address or f"{self.redis_host}:6379",
            password=self.runs_redis or releases.REDIS_PASSWORD.label in self.secrets,
            db=cache.db,
            **dict(cache.pool),
        )
        return plan(
            release,
            self.oss if in_oss else VolumeFacts(path=releases.DATA_PATH),
            redis if cache.enabled else None,
            self._http,
            user,
        )

    @property
    def _http(self) -> HttpFacts:
        registry, auth, tls = self.settings.registry, self.settings.auth, self.settings.tls
        section: Section = dict(releases.TLS_PATHS)
        if tls and (acme := tls.letsencrypt):
            asked = acme.model_dump(exclude_none=True)
            named = {name.replace("_", ""): value for name, value in asked.items()}
            section = {"letsencrypt": {"cachefile": releases.LETSENCRYPT_PATH, **named}}
        return HttpFacts(
            log_level=registry.log_level,
            drain_seconds=DRAIN_SECONDS,
            external_url=registry.external_url and self.endpoint,
            tls=section if tls else None,
            realm=auth.realm if auth else None,
        )

    @cached_property
    def tree(self) -> Section:
        """The registry's configuration, with holes where secrets go."""
        return self.planned(self.release, self.user)

    @property
    def process(self) -> Mapping[str, str | Placeholder]:
        """The variables of the registry's process that are not its configuration."""
        given = self.settings.registry.environment
        ours: dict[str, str | Placeholder] = {**self.release.environment}
        if ours and not TRACES_TO.isdisjoint(given):
            ours["OTEL_TRACES_EXPORTER"] = "otlp"  # newer official images have none, too
        return {**ours, **given}

    @cached_property
    def environment(self) -> Mapping[str, Text]:
        """The registry's variables, sorted, with holes where secrets go."""
        tree = switch_off_defaults(self.release.image_defaults, self.tree)
        by_variable = self.delivery == "env"
        variables = to_environment(tree, self.release.schema) if by_variable else {}
        return {name: (text,) for name, text in sorted(self.process.items())} | variables

    @cached_property
    def files(self) -> Mapping[str, Text]:
        """The registry's files by their paths, with holes where secrets go."""
        registry, auth, tls = self.settings.registry, self.settings.auth, self.settings.tls
        files: dict[str, Text] = {path: (text,) for path, text in registry.files.items()}
        if self.delivery == "file":
            files[self.release.config_path] = to_file(self.tree)
        if registry.ca_certificates:
            files[CERTIFICATES] = (registry.ca_certificates,)
        if auth:
            lines = ((f"{user}:", releases.hash_of(user), "\n") for user in sorted(auth.users))
            files[releases.USERS_PATH] = tuple(piece for line in lines for piece in line)
        if tls and not tls.letsencrypt:
            chain = tls.certificate or releases.SELF_SIGNED
            files[releases.TLS_PATHS["certificate"]] = (chain,)
            files[releases.TLS_PATHS["key"]] = (releases.TLS_KEY,)
        return files

    @property
    def read_only(self) -> bool:
        """Whether the registry takes no pushes."""
        return lookup(self.tree, READ_ONLY) is True

    @property
    def labels(self) -> Mapping[str, str]:
        """What is written on the registry's container or service, beside whose it is."""
        return {READ_ONLY_LABEL: "true"} if self.read_only else {}

    @property
    def guarded(self) -> bool:
        """Whether strangers must log in."""
        auth = self.tree.get("auth") or {}
        return isinstance(auth, Mapping) and not auth.keys().isdisjoint({"htpasswd", "token"})

    @property
    def redacted(self) -> Mapping[str, str]:
        """`environment` and `files` as a reviewer may see them."""
        texts = {**self.environment, **self.files}
        return {name: masked(name, redact(text)) for name, text in texts.items()}
