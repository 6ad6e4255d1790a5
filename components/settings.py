"""The stack file: read, checked and made a `Stack` before the first resource is registered."""

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import pulumi
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails, core_schema

from components import certificates, distribution
from components.distribution import (
    CacheFacts,
    Context,
    HttpFacts,
    OssFacts,
    Problem,
    Release,
    Rule,
    VolumeFacts,
    password_of,
)
from components.environment import Section, Text, redact, to_environment, to_file

PROJECT = "oss-registry"
STACK_LABEL = "oss-registry.stack"  # on all that a stack makes in the engine
READ_ONLY_LABEL = "oss-registry.read-only"  # on a registry that takes no pushes
FILE_LABEL = "oss-registry.file"  # on a Swarm secret or config: the path that it is for
DRAIN_SECONDS = 30
PROVIDERS = ("alicloud", "docker", "pulumi")  # whose own keys a stack file may have
REGION = "alicloud:region"
CLOUD_SECRETS = ("secretKey", "securityToken")  # of the provider's own keys
USER_NAME = 64  # characters, RAM's limit
FILE_NAME = 64 - len("-registry-01234567-00")  # Docker's limit for the name of a secret
FILE_KIB = 500  # Docker's limit for what a secret holds
LOGINS = "docker:registryAuth"  # for pulling images
CERTIFICATES = "/etc/ssl/certs/oss-registry.pem"  # Go reads each file there, beside the bundle
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # in each official image
# Who can reach the registry, by the address that its port is published on unless another is set.
EXPOSURES = {"loopback": "127.0.0.1", "tls": "0.0.0.0", "proxy": "127.0.0.1", "open": "0.0.0.0"}
GUARDED = ("tls", "proxy")  # strangers come to these, so there must be a login
HTTPS = 443
PASSWORD_BYTES = 72  # all that bcrypt looks at
SOON = 30  # days
# What the alicloud provider heeds when the stack file names no region.
REGION_VARIABLES = ("ALICLOUD_REGION", "ALIBABA_CLOUD_REGION")


class Sealed(str):
    """A secret as it stands in the stack file, encrypted: what it holds can't be looked at."""


class SettingsError(pulumi.RunError):
    """All that is wrong with a stack file; Pulumi prints its text without a traceback."""


@dataclass(frozen=True)
class _Matches:
    """Text that matches `pattern` as a whole; `rule` is "must …", or "must …; what to do"."""

    pattern: str
    rule: str

    def check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.rule)
        return text

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(core), "pattern": f"^(?:{self.pattern})$"}


def _known_release(version: object) -> object:
    if version not in distribution.RELEASES:
        raise ValueError(
            f"must be one of {', '.join(map(json.dumps, distribution.RELEASES))}, in quotes; write "
            "one, and for another image set registry.image beside the release that it follows"
        )
    return version


def _distinct(labels: Sequence[str]) -> Sequence[str]:
    if len(set(labels)) < len(labels):
        raise ValueError("must have two different labels; change one")
    return labels


def _duration(value: object) -> object:
    if broken := distribution.refusal("", value, "duration"):
        raise ValueError("; ".join(broken))
    return value


def _address(text: str) -> str:
    """An address as the engine reads it back."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("must be one IP address; write such as 127.0.0.1") from None


def _at_least(size: str) -> AfterValidator:
    least = TypeAdapter(ByteSize).validate_python(size)

    def check(size_given: ByteSize) -> ByteSize:
        if size_given < least:
            raise ValueError(f"must be at least {size}; write more")
        return size_given

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=3650)]
Duration = Annotated[str, BeforeValidator(_duration)]
Word = Annotated[str, Field(min_length=1)]
Address = Annotated[str, AfterValidator(_address)]
Variable = Annotated[str, _Matches(r"[a-zA-Z_][a-zA-Z0-9_]*", "must be a variable's name")]
HostPort = Annotated[
    str,
    _Matches(
        r"[a-zA-Z0-9_.-]+:[0-9]{1,5}", "must be host:port; write such as redis.example.com:6379"
    ),
]
_PORT = r"([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
Url = Annotated[
    str,
    _Matches(
        rf"https://[a-zA-Z0-9.-]+(:{_PORT})?/?", "must be such as https://registry.example.com"
    ),
]
Bucket = Annotated[
    str,
    _Matches(
        r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
        "must be 3 to 63 of a-z, 0-9 and -, with - at neither end",
    ),
]
Prefix = Annotated[
    str,
    _Matches(
        r"([a-zA-Z0-9_.-]+(/[a-zA-Z0-9_.-]+)*)?",
        "must be such as team/registry, with / at neither end",
    ),
]
VolumeName = Annotated[
    str,
    _Matches(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", "must be a volume's name, as docker volume ls has it"),
]
LABEL = r"[a-z0-9-]{1,30}"
Label = Annotated[str, _Matches(LABEL, "must be of a-z, 0-9 and -, such as 2026-11")]
OssHost = Annotated[
    str,
    _Matches(
        r"oss-[a-z0-9-]+\.aliyuncs\.com",
        "must be OSS's host alone, without scheme and bucket; remove it, or write such as "
        "oss-cn-hangzhou-internal.aliyuncs.com",
    ),
]
User = Annotated[
    str,
    _Matches(
        r"(?!#)[^\s:\x00-\x1f\x7f]+", "must be a name without blanks and colons, and no # first"
    ),
]
BCRYPT = r"\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}"
Bcrypt = Annotated[
    str,
    _Matches(
        BCRYPT,
        "must be a bcrypt hash of cost 4 to 14, as it is computed for each request; htpasswd -nB "
        "NAME prints one",
    ),
]
Constraint = Annotated[
    str,
    _Matches(r"(node|engine)\.[\w.-]+ *(==|!=) *\S+", "must be such as node.labels.registry==true"),
]
Host = Annotated[
    str,
    _Matches(
        r"[a-z0-9-]+(\.[a-z0-9-]+)+", "must be a whole name, in lower case, without * and port"
    ),
]
FilePath = Annotated[
    str,
    _Matches(
        r"(/(?!\.\.?(/|$))[^/\x00-\x1f]+)+",
        "must be a file's whole path; write such as /etc/token/issuer.pem",
    ),
]
PublicText = Annotated[
    str,
    _Matches(r"(?![\s\S]*PRIVATE KEY)[\s\S]*", "must be public: a private key has no place here"),
]
Certificates = Annotated[
    str,
    _Matches(
        r"(?![\s\S]*PRIVATE KEY)\s*-----BEGIN CERTIFICATE-----[\s\S]*",
        "must be PEM certificates and nothing else",
    ),
]


class _Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


class Limits(_Settings):
    memory: Annotated[ByteSize, _at_least("32MiB")] | None = None
    """What it may use, without swap; whole MiB count."""
    cpus: Annotated[float, Field(ge=0.01)] | None = None
    """How many cores' time it may use."""


class SwarmSettings(_Settings):
    publish_mode: Literal["ingress", "host"] = "ingress"
    """Who listens: each machine of the swarm, which passes on to a replica, or only those that run
    one, which a load balancer of yours then chooses from."""
    endpoint_mode: Literal["vip", "dnsrr"] = "vip"
    """One virtual address for all replicas, or the addresses of each."""
    order: Literal["start-first", "stop-first"] | None = None
    """Whether a new replica comes before the old one goes. Where it is not said, it does with
    ingress; with host it needs a machine to spare, as the port must be free."""
    constraints: Sequence[Constraint] = ()
    """Which machines may run the registry and its redis, such as node.labels.registry==true."""


class RegistrySettings(_Settings):
    """The registry itself."""

    release: Annotated[
        str,
        BeforeValidator(_known_release),
        Field(json_schema_extra={"enum": [*distribution.RELEASES]}),
    ] = distribution.DEFAULT_RELEASE
    """The release, in quotes. It decides the image and how it is configured."""
    image: Word | None = None
    """An image in place of the official one; `release` then says whose rules it follows, and must
    be given."""
    runtime: Literal["container", "swarm"] = "container"
    """One container, or a service of a Docker Swarm."""
    delivery: Literal["env", "file"] | None = None
    """Configure it by REGISTRY_* variables, or by one whole config.yml, which is the only way on
    swarm and the default there."""
    exposure: Literal["loopback", "tls", "proxy", "open"] = "loopback"
    """Who can reach it, and what guards it: nobody but this machine; anyone, who must log in, over
    TLS; the same through a proxy of yours that speaks TLS; anyone, unguarded."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5000
    """The port that Docker pushes to and pulls from."""
    bind: Address | None = None
    """The address that the port is published on; without it 127.0.0.1, or 0.0.0.0 with tls and
    open. Not on swarm."""
    replicas: Count = 1
    """How many run, on swarm."""
    swarm: SwarmSettings | None = None
    """How the swarm runs it."""
    external_url: Url | None = None
    """The address that clients use; required with tls and proxy."""
    log_level: Literal["error", "warn", "info", "debug"] = "warn"
    """What the registry logs; from info on, each request is a line."""
    environment: Mapping[Variable, str] = {}
    """More variables for the process, such as HTTP_PROXY, but no REGISTRY_* ones."""
    ca_certificates: Certificates | None = None
    """PEM certificates that the registry trusts beside the usual ones; in its container they are
    /etc/ssl/certs/oss-registry.pem."""
    files: Mapping[FilePath, PublicText] = {}
    """Files that `config` names, by their paths in the container, such as auth.token's
    rootcertbundle; nothing secret."""
    limits: Limits = Limits()
    """The memory and CPUs that it may use."""
    config: Mapping[str, Any] = {}
    """Any of the registry's own configuration, laid over what this program says: sections deep,
    lists whole; null takes one of our defaults away."""


class Versioning(_Settings):
    noncurrent_days: Days
    """After how many days an old version goes; you pay for it until then."""


class Encryption(_Settings):
    kms_key_id: Word
    """The id of a KMS key of your own."""


class StorageSettings(_Settings):
    """Where images are kept."""

    kind: Literal["filesystem", "oss"] = "filesystem"
    """A Docker volume, or a bucket in OSS, in the region `alicloud:region`."""
    bucket: Bucket | None = None
    """The bucket's name, unique in all of OSS, and never to change; required with kind: oss."""
    volume: VolumeName | None = None
    """A Docker volume that there is already, with images in it, in place of one of the stack's."""
    adopt: bool = False
    """The bucket exists already: use it as it is, and never delete it."""
    prefix: Prefix = "registry"
    """What the names of all objects in the bucket begin with; a new one starts empty. It may be ""
    with `adopt`."""
    access_keys: Annotated[
        Sequence[Label], Field(min_length=1, max_length=2), AfterValidator(_distinct)
    ] = ("1",)
    """A label for each access key; the last one is in use. RAM allows two."""
    endpoint: OssHost | None = None
    """OSS's host alone, without scheme and bucket, where it is not the region's own."""
    internal: bool = True
    """Reach OSS inside the region, where traffic is free; clients then get layers through the
    registry. Only without `endpoint`."""
    cname: Url | None = None
    """Send clients to this address of the bucket for layers, such as
    https://BUCKET.images.example.com; from 3.1 on."""
    signature_v1: bool = False
    """Yes, a new bucket shall take Signature V1, which release 2.8 needs."""
    versioning: Versioning | None = None
    """Keep old versions of objects; OSS can't switch it off again."""
    encryption: Encryption | None = None
    """Encrypt with a key of your own in place of OSS's; also where an adopted bucket has one."""
    protect: bool = True
    """Refuse to delete the bucket."""
    force_destroy: bool = False
    """Delete the bucket with all that is in it; needs `protect: false`."""


class Pool(_Settings):
    max_idle: Count = 16
    """How many connections stay open without work."""
    max_active: Count = 64
    """How many there may be."""
    idle_timeout: Duration = "300s"
    """After how long an idle one is closed."""


class CacheSettings(_Settings):
    """The redis that holds blob descriptors."""

    enabled: bool = True
    """Whether there is one at all; without one the registry remembers descriptors itself."""
    image: Word = "redis:7.0.15"
    """The redis image."""
    address: HostPort | None = None
    """A redis of your own, host:port, in place of the stack's; its password, if it has one, is the
    secret `redis-password`."""
    max_memory: Annotated[ByteSize, _at_least("1MiB")] = ByteSize(256 * 2**20)
    """What redis may hold; beyond it the entries used least recently go."""
    db: Annotated[int, Field(ge=0, le=15)] = 0
    """The number of the database in redis."""
    pool: Pool = Pool()
    """The registry's connections to it."""


class UserSettings(_Settings):
    """One user."""

    hash: Bcrypt | None = None
    """A bcrypt hash of cost 4 to 14. Without one the password is the secret `password-NAME`, or
    drawn."""


class AuthSettings(_Settings):
    """Who may log in."""

    realm: Word = "Registry"
    """The name that a login shows."""
    users: Annotated[Mapping[User, UserSettings], Field(min_length=1)]
    """The users by name. Each may push, pull and delete."""


class LetsEncrypt(_Settings):
    hosts: Annotated[Sequence[Host], Field(min_length=1)]
    """The names to have certificates for."""
    email: Word | None = None
    """Where Let's Encrypt writes to."""
    directory_url: Annotated[str, _Matches(r"https://\S+", "must be https://…")] | None = None
    """Another authority that speaks ACME, in place of Let's Encrypt."""


class TlsSettings(_Settings):
    """The certificate; its key is the secret `tls-key`."""

    certificate: Certificates | None = None
    """The certificate chain in PEM, the server's own first; its key is the secret `tls-key`."""
    self_signed: bool = False
    """Make a key and a certificate for trials; the output `trust` is what each client must run."""
    letsencrypt: LetsEncrypt | None = None
    """Let the registry fetch it; from release 3 on."""


class MaintenanceSettings(_Settings):
    """What `make gc` does."""

    delete_untagged: bool = False
    """Delete images that have no tag, and belong to none that has one; from release 3 on."""


class StackSettings(_Settings):
    """A stack file's sections below `oss-registry:`."""

    registry: RegistrySettings = RegistrySettings()
    storage: StorageSettings = StorageSettings()
    cache: CacheSettings = CacheSettings()
    auth: AuthSettings | None = None
    tls: TlsSettings | None = None
    maintenance: MaintenanceSettings = MaintenanceSettings()


@dataclass(frozen=True)
class Stack:
    """A stack's settings and what follows from them without any resource.

    `region` is OSS's; `secrets` are those that the user brings, by name.
    """

    name: str
    settings: StackSettings
    region: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: Section = field(default_factory=dict)

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
        release = distribution.RELEASES[self.settings.registry.release]
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
        # Whoever is told to listen everywhere listens here too.
        address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.address, self.address)
        host = f"[{address}]" if ":" in address else address
        return (registry.external_url or f"{scheme}://{host}:{registry.port}").rstrip("/")

    @property
    def login_server(self) -> str:
        """The registry's name in a reference, as Docker takes it: there, no IPv6 address can be."""
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
        )

    def planned(self, release: Release, user: Section) -> Section:
        """The configuration of `release`, with holes where secrets go and `user` laid over it."""
        cache, in_oss = self.settings.cache, self.settings.storage.kind == "oss"
        redis = CacheFacts(
            address=cache.address or f"{self.redis_host}:6379",
            password=self.runs_redis or distribution.REDIS_PASSWORD.label in self.secrets,
            db=cache.db,
            **dict(cache.pool),
        )
        return distribution.plan(
            release,
            self.oss if in_oss else VolumeFacts(path=distribution.DATA_PATH),
            redis if cache.enabled else None,
            self._http,
            user,
        )

    @property
    def _http(self) -> HttpFacts:
        registry, auth, tls = self.settings.registry, self.settings.auth, self.settings.tls
        section: Section = dict(distribution.TLS_PATHS)
        if tls and (acme := tls.letsencrypt):
            asked = acme.model_dump(exclude_none=True)
            named = {name.replace("_", ""): value for name, value in asked.items()}
            section = {"letsencrypt": {"cachefile": distribution.LETSENCRYPT_PATH, **named}}
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

    @cached_property
    def environment(self) -> Mapping[str, Text]:
        """The registry's variables, sorted, with holes where secrets go."""
        process = {**self.release.environment, **self.settings.registry.environment}
        tree = distribution.over_image(self.release.image_defaults, self.tree)
        by_variable = self.delivery == "env"
        variables = to_environment(tree, self.release.schema) if by_variable else {}
        return {name: (text,) for name, text in sorted(process.items())} | variables

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
            lines = ((f"{user}:", distribution.hash_of(user), "\n") for user in sorted(auth.users))
            files[distribution.USERS_PATH] = tuple(piece for line in lines for piece in line)
        if tls and not tls.letsencrypt:
            chain = tls.certificate or distribution.SELF_SIGNED
            files[distribution.TLS_PATHS["certificate"]] = (chain,)
            files[distribution.TLS_PATHS["key"]] = (distribution.TLS_KEY,)
        return files

    @property
    def read_only(self) -> bool:
        """Whether the registry takes no pushes."""
        return distribution.at(self.tree, distribution.READ_ONLY) is True

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
        return {name: redact(text) for name, text in {**self.environment, **self.files}.items()}

    @cached_property
    def holes(self) -> Mapping[str, pulumi.Output[str]]:
        """The secrets that the user brings, by the label of their holes."""
        return {name: pulumi.Output.secret(value) for name, value in self.secrets.items()}

    @property
    def warnings(self) -> Sequence[str]:
        """What works, but not as the user may think."""
        found = distribution.warnings(self.release, self.tree, self.files.keys())
        return [line(problem) for problem in (*map(_in_config, found), *_remarks(self))]


def _remarks(stack: Stack) -> Iterator[Problem]:
    storage, registry, tls = stack.settings.storage, stack.settings.registry, stack.settings.tls
    for path, file in distribution.named_files(stack.tree):
        if file not in (*stack.files, BUNDLE) and not registry.image:
            rule = f"names {file}, which is not in the official image"
            fix = "add it to registry.files, or set registry.image to one that has it"
            yield _in_config(Problem(path, rule, fix))
    if registry.exposure == "open" and not (stack.guarded and tls):
        what = "takes passwords in clear text" if stack.guarded else "lets anyone push and delete"
        rule = f"{what} who reaches {stack.address}:{registry.port}"
        yield Problem(f"{PROJECT}:registry.exposure", rule, "write tls or proxy, and name users")
    if registry.exposure == "proxy" and not tls and not _loopback(stack.address):
        rule = f"lets others past the proxy, without TLS, on {stack.address}:{registry.port}"
        yield Problem(f"{PROJECT}:registry.bind", rule, "let a firewall admit the proxy alone")
    if registry.exposure == "tls" and (urlsplit(stack.endpoint).port or HTTPS) != registry.port:
        rule = f"is not on the port {registry.port} that the registry listens on"
        yield Problem(f"{PROJECT}:registry.external_url", rule, "see that something forwards it")
    if tls and tls.certificate:
        day, days = certificates.left(tls.certificate, certificates.now())
        if days < SOON:
            yield Problem(
                f"{PROJECT}:tls.certificate", f"expires on {day}, in {days} days", "renew it"
            )
    if (
        registry.replicas > 1
        and distribution.at(stack.tree, "storage.cache.blobdescriptor") == "inmemory"
    ):
        rule = "each replica remembers for itself, and goes on with what another one has deleted"
        yield Problem(f"{PROJECT}:registry.replicas", rule, "let them share a redis")
    if registry.runtime == "swarm" and stack.volumes and not stack.swarm.constraints:
        rule = f"lets it move away from {', '.join(stack.volumes)}, which is on one machine alone"
        fix = "name that machine, such as [node.hostname==one]"
        yield Problem(f"{PROJECT}:registry.swarm.constraints", rule, fix)
    if storage.adopt and not stack.release.purges_oss:
        rule = f"with release {stack.release.version} nobody clears unfinished uploads"
        below = f" below {stack.oss.below}" if stack.oss.below else ""
        fix = f"add a lifecycle rule to the bucket that aborts them{below}"
        yield Problem(f"{PROJECT}:storage.adopt", rule, fix)
    if storage.endpoint and stack.region not in storage.endpoint:
        # It may be right: some of OSS's hosts are named otherwise.
        rule = f"names another region than {REGION}, which requests are signed for"
        yield Problem(f"{PROJECT}:storage.endpoint", rule, "remove it, unless you know better")


def _loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _is_loopback(address: str) -> bool:
    return bool(re.match(r"localhost:|127\.", address))


def _host(its: Context) -> str | None:
    return urlsplit(its.at("registry.external_url") or "").hostname


def _comes_to_443(its: Context) -> bool:
    url = urlsplit(its.at("registry.external_url") or "https:")
    return its.at("registry.exposure") in ("tls", "open") and url.port in (None, HTTPS)


def _new_and_v1(_: object, its: Context) -> bool:
    kind, old, adopted = its.at("storage.kind"), its.release.major < 3, its.at("storage.adopt")
    return kind == "oss" and old and not adopted and not its.at("storage.signature_v1")


# What is wrong between settings that are right one by one.
_RULES = (
    Rule(
        "storage.bucket",
        lambda bucket, its: its.at("storage.kind") == "oss" and bucket is None,
        "is required with kind: oss",
        "choose a name that no one else has",
    ),
    Rule(
        "storage.signature_v1",
        _new_and_v1,
        "must be true for a new bucket: release 2.8 signs with V1, which OSS is withdrawing",
        'set registry.release: "3.1.2", or say signature_v1: true',
    ),
    Rule(
        "storage.cname",
        lambda cname, its: cname is not None and not its.release.redirects,
        "needs release 3.1: an earlier one sends clients to the address that it uses itself",
        'set registry.release: "3.1.2", or remove it',
    ),
    Rule(
        "storage.cname",
        lambda cname, its: cname and not cname.startswith(f"https://{its.at('storage.bucket')}."),
        "must begin with the bucket's name, which the registry puts before the address",
        "bind such as https://BUCKET.images.example.com to the bucket",
    ),
    Rule(
        "storage.prefix",
        lambda prefix, its: not prefix and not its.at("storage.adopt"),
        "can't be empty for a new bucket",
        "remove it, or write such as registry",
    ),
    Rule(
        "storage.volume",
        lambda volume, its: volume is not None and its.at("storage.kind") == "oss",
        "belongs to kind: filesystem",
        "remove it",
    ),
    Rule(
        "storage.versioning",
        lambda on, its: on is not None and its.at("storage.adopt"),
        "belongs to a bucket that the stack makes: one that is adopted stays as it is",
        "remove it, and set it on the bucket",
    ),
    Rule(
        "storage.force_destroy",
        lambda force, its: force and (its.at("storage.protect") or its.at("storage.adopt")),
        "can't be true with protect (the default) or adopt",
        "remove it, or set protect: false",
    ),
    Rule(
        "registry.bind",
        lambda bind, its: (
            bind is not None and its.at("registry.exposure") == "loopback" and not _loopback(bind)
        ),
        "must be a loopback address with exposure: loopback",
        "remove it, or write such as 127.0.0.2",
    ),
    Rule(
        "cache.address",
        lambda address, _: address is not None and _is_loopback(address),
        "must be an address that the registry reaches: this one is its own container",
        "write the machine's name or address",
    ),
    Rule(
        "cache.address",
        lambda address, its: address is not None and not its.at("cache.enabled"),
        "can't be set with enabled: false",
        "remove one of them",
    ),
    Rule(
        "registry.config.redis.tls",
        lambda _, its: its.at("cache.address") is None,
        "needs a redis of your own: the stack's is reached on its own network, without TLS",
        "set cache.address, or remove it",
    ),
    Rule(
        "registry.config.redis.username",
        lambda name, its: its.at("cache.address") is None and name != "default",
        "needs a redis of your own: the stack's has no users",
        "set cache.address, or remove it",
    ),
    Rule(
        "registry.exposure",
        lambda exposure, its: exposure == "loopback" and its.at("registry.runtime") == "swarm",
        "can't be loopback on swarm, whose ports listen on every address",
        "set tls, proxy or open",
    ),
    Rule(
        "registry.bind",
        lambda bind, its: bind is not None and its.at("registry.runtime") == "swarm",
        "can't be on swarm, whose ports listen on every address",
        "remove it, and let a firewall say who comes",
    ),
    Rule(
        "registry.delivery",
        lambda way, its: way == "env" and its.at("registry.runtime") == "swarm",
        "can't be env on swarm: what is secret is a Docker secret there, and that is a file",
        "remove it, or write file",
    ),
    Rule(
        "registry.replicas",
        lambda replicas, its: replicas > 1 and its.at("registry.runtime") == "container",
        "needs runtime: swarm: a container runs once",
        "set registry.runtime: swarm, or leave it at 1",
    ),
    Rule(
        "registry.replicas",
        lambda replicas, its: replicas > 1 and its.at("storage.kind") == "filesystem",
        "needs kind: oss: a volume is on one machine, and the others would see none of it",
        "set storage.kind: oss, or leave it at 1",
    ),
    Rule(
        "registry.swarm",
        lambda swarm, its: swarm is not None and its.at("registry.runtime") == "container",
        "belongs to runtime: swarm",
        "remove it, or set registry.runtime: swarm",
    ),
    Rule(
        "registry.swarm.endpoint_mode",
        lambda mode, its: mode == "dnsrr" and its.at("registry.swarm.publish_mode") == "ingress",
        "can't be dnsrr with publish_mode: ingress, which passes on to the virtual address",
        "remove it, or set publish_mode: host",
    ),
    Rule(
        "tls.letsencrypt",
        lambda acme, its: acme and its.at("registry.replicas") > 1,
        "needs replicas: 1: the authority would ask any of them for what one has asked it",
        "set a certificate of your own, or leave registry.replicas at 1",
    ),
    Rule(
        "registry.external_url",
        lambda url, its: url is None and its.at("registry.exposure") in GUARDED,
        "is required with exposure tls and proxy",
        "write the address that clients use, such as https://registry.example.com",
    ),
    Rule(
        "registry.external_url",
        lambda url, its: url is not None and its.at("registry.exposure") == "loopback",
        "can't be with exposure: loopback, where others do not come",
        "set registry.exposure to tls or proxy, or remove it",
    ),
    Rule(
        "tls",
        lambda tls, its: tls is None and its.at("registry.exposure") == "tls",
        "is required with exposure: tls",
        "set one of certificate, self_signed and letsencrypt",
    ),
    Rule(
        "tls.letsencrypt",
        lambda acme, its: acme and not _comes_to_443(its),
        "needs exposure: tls and an external_url on port 443, where the authority comes to look",
        "set them, or another certificate",
    ),
    Rule(
        "tls.letsencrypt.hosts",
        lambda hosts, its: _host(its) not in (None, *hosts),
        "must name the host of registry.external_url",
        "add it",
    ),
    Rule(
        "tls",
        lambda tls, _: tls is not None and len([*filter(None, tls.values())]) != 1,
        "needs exactly one of certificate, self_signed and letsencrypt",
        "keep one of them",
    ),
    Rule(
        "tls.letsencrypt",
        lambda on, its: on and its.release.major < 3,
        "needs release 3: release 2.8 speaks a protocol that was switched off",
        'set registry.release: "3.1.2"',
    ),
    Rule(
        "maintenance.delete_untagged",
        lambda on, its: on and its.release.major < 3,
        "takes the parts of multi-architecture images in release 2.8 (distribution issue 3178)",
        'remove it, or set registry.release: "3.1.2"',
    ),
)


def load(
    name: str,
    config: Mapping[str, str],
    secret_keys: Set[str],
    variables: Mapping[str, str] | None = None,
) -> Stack:
    """The stack `name` from its configuration as Pulumi hands it over: JSON text by full key.

    `variables` are this process's own, which may name the region. Raises SettingsError with every
    problem: config key, rule, value and fix, but no secret value.
    """
    stack, problems = checked(name, config, secret_keys, variables)
    if problems:
        lines = "".join(f"\n  - {line(problem)}" for problem in problems)
        raise SettingsError(f"stacks/Pulumi.{name}.yaml can't be used:{lines}")
    return stack


def checked(
    name: str,
    config: Mapping[str, str],
    secret_keys: Set[str],
    variables: Mapping[str, str] | None = None,
) -> tuple[Stack, Sequence[Problem]]:
    """The stack as `load` gives it, without what is wrong with its file, and that."""
    sections, secrets, problems = _divided(config, secret_keys)
    settings, found = _validated(sections)
    problems += found
    named = (variables or {}).get
    region = config.get(REGION) or next(filter(None, map(named, REGION_VARIABLES)), "")
    stack = Stack(name, settings, region, secrets)
    problems += _logins(config.get(LOGINS, ""), LOGINS in secret_keys)
    broken = {problem.path for problem in problems}
    problems += [p for p in _contradictions(stack) if not _within(p.path, broken)]
    problems += _unused(stack)
    problems += _files(stack)
    problems += _passwords(stack)
    problems += _certificate(stack)
    known = f"{PROJECT}:registry.release" not in broken
    user, found = _configured(
        stack, [stack.release] if known else [*distribution.RELEASES.values()]
    )
    problems += found
    stack = replace(stack, user=user)
    if not _within(f"{PROJECT}:auth", broken):
        problems += _unguarded(stack)
    problems += _too_long(stack)
    return stack, problems


def _too_long(stack: Stack) -> Iterator[Problem]:
    """Linux takes no variable of 128 KiB or more (MAX_ARG_STRLEN)."""
    if stack.settings.registry.runtime == "swarm":
        for path, text in stack.files.items():
            if len(redact(text).encode()) > FILE_KIB * 1024:
                rule = f"makes {path} larger than the {FILE_KIB} KiB that a Docker secret may have"
                yield Problem(f"{PROJECT}:registry", rule, "see registry.config and files")
        if len(stack.prefix) > FILE_NAME:
            rule = "makes names of Docker secrets longer than the 64 that they may have"
            yield Problem(f"the stack name {stack.name}", rule, "choose a shorter one")
    for name, text in stack.environment.items():
        if len(f"{name}={redact(text)}".encode()) >= 2**17:
            rule = f"makes {name} longer than the 128 KiB that a variable may have"
            yield Problem(f"{PROJECT}:registry.config", rule, "set registry.delivery: file")


def _within(path: str, broken: Iterable[str]) -> bool:
    return any(other == path or other.startswith(f"{path}.") for other in broken)


def line(problem: Problem) -> str:
    # What is long, has lines, or may hold a password is not repeated.
    text = json.dumps(problem.shown, ensure_ascii=False)
    hidden = len(text) > 60 or "@" in text or "\\n" in text or problem.path.endswith(".hash")
    shown = problem.shown is not None and problem.rule.startswith("must") and not hidden
    return f"{problem.path}: {problem.rule}{f', not {text}' if shown else ''}; {problem.fix}"


def _divided(
    config: Mapping[str, str], secret_keys: Set[str]
) -> tuple[dict[str, Any], dict[str, str], list[Problem]]:
    """The sections, and the secrets, by name."""
    sections: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    problems = []
    set_secret = distribution.SET_SECRET
    for key, text in sorted(config.items()):
        namespace, _, name = key.partition(":")
        if namespace == "alicloud" and name in CLOUD_SECRETS and key not in secret_keys:
            fix = f"{set_secret} {key}, or leave it to ALIBABA_CLOUD_ACCESS_KEY_SECRET"
            problems.append(Problem(key, "is a secret in plain text", fix))
        if namespace in PROVIDERS:
            continue
        if namespace != PROJECT:
            fix = f"known are {', '.join((PROJECT, *PROVIDERS))}"
            problems.append(Problem(key, f"{namespace} is not a namespace here", fix))
        elif name in StackSettings.model_fields:
            if key in secret_keys:
                rule = "holds a secret, which would come out as plain text"
                fix = f"{set_secret} {PROJECT}:NAME, and {{from_secret: NAME}} in registry.config"
                problems.append(Problem(key, rule, fix))
            else:
                sections[name] = _parsed(text)
        elif key in secret_keys:
            secrets[name] = text
        elif name in _SECRETS or name.startswith(password_of("")):
            problems.append(Problem(key, "must be a secret", f"{set_secret} {key}"))
        else:
            fix = distribution.nearest(name, [*StackSettings.model_fields, *_SECRETS])
            problems.append(Problem(key, "is not a setting", fix))
    return sections, secrets, problems


def _parsed(text: str) -> object:
    """Pulumi hands over a scalar as it is written, and a map as JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# How to say each kind of error that pydantic finds, by its own name for it: rule and fix.
_ERRORS = {
    "bool_type": distribution.MUST["bool"],
    "dict_type": distribution.MUST["section"],
    "int_type": distribution.MUST["int"],
    "list_type": distribution.MUST["list"],
    "mapping_type": distribution.MUST["section"],
    "model_type": distribution.MUST["section"],
    "sequence_str": distribution.MUST["list"],
    "sequence_type": distribution.MUST["list"],
    "string_type": distribution.MUST["string"],
    "extra_forbidden": ("is not a setting", ""),
    "missing": ("is required", "add it"),
    "string_too_short": ("can't be empty", "write a value, or remove it"),
    "too_long": ("can have two entries at most", "drop the oldest"),
    "too_short": ("can't be empty", "add an entry"),
}


def _validated(sections: dict[str, Any]) -> tuple[StackSettings, list[Problem]]:
    """The settings without what is wrong with them, and that."""
    problems: list[Problem] | None = None
    while True:
        try:
            return StackSettings.model_validate(sections), problems or []
        except ValidationError as error:
            details = error.errors(include_url=False)
            if problems is None:  # what is wrong later is wrong for want of what was dropped
                problems = [_problem(detail) for detail in details]
            for detail in details:
                place = _place(detail)
                _drop(sections, place[:-1] if detail["type"] == "missing" else place)


def _place(detail: ErrorDetails) -> list[str | int]:
    return [part for part in detail["loc"] if part != "[key]"]


def _problem(detail: ErrorDetails) -> Problem:
    place = _place(detail)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    kind, value = detail["type"], detail["input"]
    message = detail["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
    rule, fix = _ERRORS.get(kind) or (*message.split("; ", 1), "write one that is")[:2]
    if kind == "extra_forbidden":
        fix = distribution.nearest(str(place[-1]), _known_at(place[:-1]))
    elif kind == "string_type" and isinstance(value, list | dict):
        fix = "write a single value"
    # An unknown key may hold anything, a secret too.
    shown = None if kind == "extra_forbidden" else distribution.shown(value)
    return Problem(f"{PROJECT}:{path[1:]}", rule, _HINTS.get(path[1:], fix), shown)


# Better than a general fix for what users look for.
_HINTS = {
    "cache.policy": "remove it: redis always drops the oldest entries, as any other policy ends in "
    "refused pushes",
    "cache.tls": 'write registry.config.redis.tls, which needs release "3.1.2"',
    "storage.region": "set alicloud:region, from which all else follows",
    "storage.versioning": "write {noncurrent_days: 30}: without an end, old versions cost for ever",
    "storage.versioning.noncurrent_days": "write such as 30: old versions cost until then",
}


def _known_at(place: Sequence[str | int]) -> Iterable[str]:
    """The settings of the section at `place`."""
    model: Any = StackSettings
    for part in place:
        annotation = model.model_fields[part].annotation if part in model.model_fields else model
        model = next(
            kind
            for kind in (annotation, *get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return list(model.model_fields)


def _drop(tree: dict[str, Any], place: Sequence[Any]) -> None:
    """Remove what is at `place`; of a list, all of it."""
    part, *below = place
    if below and isinstance(tree.get(part), dict):
        _drop(tree[part], below)
    else:
        tree.pop(part, None)


def _contradictions(stack: Stack) -> Iterator[Problem]:
    """What is wrong between settings that are right one by one."""
    registry, storage = stack.settings.registry, stack.settings.storage
    context = Context(stack.release, stack.settings.model_dump())
    for problem in distribution.broken(_RULES, context):
        yield problem._replace(path=f"{PROJECT}:{problem.path}")
    if registry.image and "release" not in registry.model_fields_set:
        rule = "must be given with registry.image: it says which rules the image follows"
        yield Problem(f"{PROJECT}:registry.release", rule, "add the release that it was built from")
    if stack.settings.cache.address:
        for key in sorted(stack.settings.cache.model_fields_set & {"image", "max_memory"}):
            rule = "belongs to a redis of the stack"
            yield Problem(f"{PROJECT}:cache.{key}", rule, "remove it, or address")
    if storage.kind == "filesystem":
        for key in sorted(storage.model_fields_set - {"kind", "volume"}):
            yield Problem(f"{PROJECT}:storage.{key}", "belongs to kind: oss", "remove it")
    elif not stack.region:
        yield Problem(
            REGION, "is required with kind: oss", f"pulumi config set {REGION} cn-hangzhou"
        )
    elif len(stack.prefix) > USER_NAME:
        rule = f"makes the RAM user {stack.prefix} longer than the {USER_NAME} that RAM allows"
        yield Problem(f"the stack name {stack.name}", rule, "choose a shorter one")
    if stack.region and not re.fullmatch(_REGION, stack.region):
        near = re.search(_REGION, re.sub(r"oss-|-internal|\.aliyuncs.*", "", stack.region.lower()))
        example = near[0] if near else "cn-hangzhou"
        yield Problem(REGION, "must be a region's id alone", f"write {example}", stack.region)
    for name, value in sorted(registry.environment.items()):
        key = f"{PROJECT}:registry.environment.{name}"
        if name.startswith("REGISTRY_"):
            yield Problem(key, "would go past all checks", "say it in registry.config")
        elif distribution.is_secret(name, value):
            yield Problem(key, "is a secret in plain text", "remove it")


def _logins(text: str, secret: bool) -> Iterator[Problem]:
    """What the docker plugin would take, and then not use, or write down as plain text."""
    entries = _parsed(text)
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        key, entry = f"{LOGINS}[{number}]", entry if isinstance(entry, dict) else {}
        address = str(entry.get("address", ""))
        if not re.fullmatch(_REGISTRY_HOST, address):
            rule = "must be the registry's host alone, without scheme and path"
            host = re.sub(r"^\w*://|/.*", "", address)
            yield Problem(f"{key}.address", rule, f"write {host or 'registry.example.com'}")
        if entry.get("password") and not secret:
            fix = f"{distribution.SET_SECRET} --path '{key}.password'"
            yield Problem(f"{key}.password", "is a secret in plain text", fix)


def _unguarded(stack: Stack) -> Iterator[Problem]:
    exposure = stack.settings.registry.exposure
    if exposure in GUARDED and not stack.guarded:
        rule = f"is required with exposure: {exposure}: else anyone may push, pull and delete"
        fix = "name users, or set token or htpasswd in registry.config.auth"
        yield Problem(f"{PROJECT}:auth", rule, fix)


def _files(stack: Stack) -> Iterator[Problem]:
    own = {CERTIFICATES, *(release.config_path for release in distribution.RELEASES.values())}
    mounted = (
        distribution.DATA_PATH,
        distribution.LETSENCRYPT_PATH,
        "/tmp",
        "/dev",
        "/proc",
        "/sys",
    )
    folders = (distribution.OURS, *(f"{path}/" for path in mounted))
    for path in stack.settings.registry.files:
        if path in own or path.startswith(folders) or f"{path}/" in folders:
            rule = "is where this program, the registry or the kernel has something of its own"
            yield Problem(f"{PROJECT}:registry.files.{path}", rule, "choose another path")


def _passwords(stack: Stack) -> Iterator[Problem]:
    for user, settings in (stack.settings.auth.users if stack.settings.auth else {}).items():
        secret = password_of(user)
        password = stack.secrets.get(secret)
        if settings.hash and password is not None:
            rule = f"is there beside the secret {secret}"
            yield Problem(f"{PROJECT}:auth.users.{user}.hash", rule, "keep one of them")
        if password is None or isinstance(password, Sealed):
            continue
        key, fix = f"{PROJECT}:{secret}", "set another one"
        if len(password.encode(errors="surrogatepass")) > PASSWORD_BYTES:
            yield Problem(key, f"is longer than the {PASSWORD_BYTES} bytes that bcrypt takes", fix)
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", password):
            yield Problem(key, "holds characters that clients can't send", fix)


def _certificate(stack: Stack) -> Iterator[Problem]:
    pem = stack.settings.tls and stack.settings.tls.certificate
    key = stack.secrets.get(TLS_KEY)
    if not pem:
        return
    found = [*certificates.broken(pem, stack.host, certificates.now())]
    yield from (Problem(f"{PROJECT}:tls.certificate", *each) for each in found)
    if key is None:
        fix = f"{distribution.SET_SECRET} {PROJECT}:{TLS_KEY} < its file"
        yield Problem(f"{PROJECT}:{TLS_KEY}", "is required with tls.certificate", fix)
    elif not isinstance(key, Sealed) and (broken := certificates.broken_key(key, pem)):
        yield Problem(f"{PROJECT}:{TLS_KEY}", *broken)


_REGISTRY_HOST = r"[\w.-]+(:\d+)?"
_REGION = r"(?!.*internal)[a-z]{2}(-[a-z]{2,}|-\d{1,2})+"
# What each secret that the user may bring is for; besides, `password-USER`.
TLS_KEY = distribution.TLS_KEY.label
_SECRETS = ("http-secret", "redis-password", TLS_KEY)


def _unused(stack: Stack) -> Iterator[Problem]:
    """Secrets that nothing uses, or that hold nothing."""
    users, tls = stack.settings.auth.users if stack.settings.auth else {}, stack.settings.tls
    used = {*_SECRETS, *map(password_of, users)}
    used -= {TLS_KEY} if not (tls and tls.certificate) else set()
    used |= _named_secrets(stack.settings.registry.config)
    for name, value in stack.secrets.items():
        key = f"{PROJECT}:{name}"
        if name not in used:
            fix = distribution.nearest(name, used)
            yield Problem(key, "is a secret that nothing uses", f"{fix}, or name it in from_secret")
        elif not value:
            yield Problem(key, "is empty", f"{distribution.SET_SECRET} {key}")


def _named_secrets(config: object) -> set[str]:
    if isinstance(config, Mapping):
        named = {name for key, name in config.items() if (key, type(name)) == ("from_secret", str)}
        return named.union(*map(_named_secrets, config.values()))
    return set().union(*map(_named_secrets, config)) if isinstance(config, list) else set()


def _configured(stack: Stack, releases: Sequence[Release]) -> tuple[Section, list[Problem]]:
    """The user's own tree; and what is wrong with it for each of `releases`."""
    found: list[list[Problem]] = []
    user: Section = {}
    for release in releases:
        user, problems = distribution.read(
            release, stack.settings.registry.config, stack.secrets.keys()
        )
        broken = {problem.path for problem in problems}
        more = distribution.problems(release, stack.planned(release, {}), user)
        found.append(problems + [p for p in more if not _within(p.path, broken)])
    common = set.intersection(*({problem.path for problem in problems} for problems in found))
    return user, [_in_config(problem) for problem in found[-1] if problem.path in common]


def _in_config(problem: Problem) -> Problem:
    return problem._replace(path=f"{PROJECT}:registry.config.{problem.path}")
