"""What a stack file may say: a model for each section, with what each key takes and does."""

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
)
from pydantic_core import core_schema

from components import addresses, configuration, distribution
from components.environment import Hole

PROJECT = "oss-registry"


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


# Marks text that a message may repeat even if it was refused.
PUBLIC = "public"


def _known_release(version: object) -> object:
    if version not in distribution.RELEASES:
        known = [json.dumps(release) for release in distribution.RELEASES]
        found = configuration.near(json.dumps(str(version)), known) or "one"
        raise ValueError(
            f"must be one of {', '.join(known)}, in quotes; write {found}, and for another image "
            "set registry.image beside the release that it follows"
        )
    return version


def _distinct(labels: Sequence[str]) -> Sequence[str]:
    if len(set(labels)) < len(labels):
        raise ValueError("must have two different labels; change one")
    return labels


def _duration(value: object) -> object:
    if broken := configuration.refusal("", value, "duration"):
        raise ValueError("; ".join(broken))
    return value


def _address(text: str) -> str:
    """An address as the engine reads it back."""
    address = addresses.ip_address(text)
    if address is None:
        raise ValueError("must be one IP address; write such as 127.0.0.1")
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local:
        raise ValueError(
            "must not be a link-local address, as that needs a zone and Docker takes none; write "
            "another address of the machine"
        )
    return str(address)


HOST_AND_PORT = (
    "must be host:port with a port from 1 to 65535; write an address such as "
    "redis.example.com:6379 or [2001:db8::9]:6379"
)


def _brackets_hold_ipv6(text: str) -> str:
    host, _ = addresses.split(text)
    ip = addresses.ip_address(host)
    if text.startswith("[") and not isinstance(ip, ipaddress.IPv6Address):
        raise ValueError(HOST_AND_PORT)
    return text


def _text_or_secret(value: object) -> str | Hole:
    """A variable's text, or the placeholder of its secret."""
    match value:
        case str():
            return value
        case {"from_secret": str(name), **others} if not others:
            return Hole(name, quoted=False)
        case list():
            raise ValueError("must be text; write a comma-separated text")
        case None:
            raise ValueError("must be text; write a value, or remove it")
        case dict():
            raise ValueError("must be text or {from_secret: NAME}; write one of them")
    raise ValueError("must be text; put it in quotes")


def _at_least(size: str) -> AfterValidator:
    least = TypeAdapter(ByteSize).validate_python(size)

    def check(size_given: ByteSize) -> ByteSize:
        if size_given < least:
            raise ValueError(f"must be at least {size}; write more")
        return size_given

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=3650)]
Duration = Annotated[str, BeforeValidator(_duration), PUBLIC]
Word = Annotated[str, Field(min_length=1)]
Address = Annotated[str, AfterValidator(_address), PUBLIC]
Variable = Annotated[str, _Matches(r"[a-zA-Z_][a-zA-Z0-9_]*", "must be a variable's name")]
HostPort = Annotated[
    str,
    _Matches(f"{addresses.HOST}:{addresses.PORT}", HOST_AND_PORT),
    AfterValidator(_brackets_hold_ipv6),
]
Url = Annotated[
    str,
    _Matches(
        rf"https://[a-zA-Z0-9.-]+(:{addresses.PORT})?/?",
        "must be such as https://registry.example.com",
    ),
]
Bucket = Annotated[
    str,
    _Matches(
        r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
        "must be 3 to 63 of a-z, 0-9 and -, with - at neither end",
    ),
    PUBLIC,
]
# The registry resolves . and .. in its paths, but OSS and RAM policies take them as they are.
_SEGMENT = r"(?!\.\.?(?:/|$))[a-zA-Z0-9_.-]+"
Prefix = Annotated[
    str,
    _Matches(
        rf"({_SEGMENT}(/{_SEGMENT})*)?",
        "must have / at neither end and no part that is empty, . or ..; write a path such as "
        "team/registry",
    ),
    PUBLIC,
]
_PATH_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
# The parts are those of distribution's reference package: a host, a path, a tag and a digest.
Image = Annotated[
    str,
    _Matches(
        rf"(?:{addresses.HOST_WITH_OPTIONAL_PORT}/)?{_PATH_PART}(?:/{_PATH_PART})*"
        r"(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?(?:@[a-z0-9+._-]+:[0-9a-f]{32,})?",
        "must be an image name that `docker pull` accepts; write a name such as "
        "images.example.com/registry:3.1.2",
    ),
]
VolumeName = Annotated[
    str,
    _Matches(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", "must be a volume's name, as docker volume ls has it"),
    PUBLIC,
]
LABEL = r"[a-z0-9-]{1,30}"
Label = Annotated[str, _Matches(LABEL, "must be of a-z, 0-9 and -, such as 2026-11"), PUBLIC]
DirectoryUrl = Annotated[
    str,
    _Matches(
        rf"https://[a-zA-Z0-9.-]+(:{addresses.PORT})?(/[^\s?#@]*)?",
        "must be an https address without user and query, with a port from 1 to 65535 if it has "
        "one; remove it, or write "
        "https://acme.example.com/directory",
    ),
]
OssHost = Annotated[
    str,
    _Matches(
        r"oss-[a-z0-9-]+\.aliyuncs\.com",
        "must be OSS's host alone, without scheme and bucket; remove it, or write such as "
        "oss-cn-hangzhou-internal.aliyuncs.com",
    ),
    PUBLIC,
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
    PUBLIC,
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
    Field(min_length=1),
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


class FromSecret(_Settings):
    """A value that is in a secret of the stack file."""

    from_secret: str
    """The name of the secret: `pulumi config set --secret oss-registry:NAME`."""


VariableText = Annotated[
    str | Hole,
    PlainValidator(_text_or_secret, json_schema_input_type=str | FromSecret),
    PlainSerializer(lambda value: value, return_type=Any),
]


class Limits(_Settings):
    memory: Annotated[ByteSize, _at_least("32MiB")] | None = None
    """What it may use, without swap; whole MiB count. With less than 1 GiB, uploads go to OSS in
    smaller chunks. With images in OSS it must hold ten chunks."""
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
        PUBLIC,
    ] = distribution.DEFAULT_RELEASE
    """The release, in quotes. It decides the image and how it is configured."""
    image: Image | None = None
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
    environment: Mapping[Variable, VariableText] = {}
    """More variables for the process, such as HTTP_PROXY, but no REGISTRY_* ones. Most values come
    from a secret: `{from_secret: NAME}`."""
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
    image: Image = "redis:7.0.15"
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
    directory_url: DirectoryUrl | None = None
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


def is_public(place: Sequence[str], annotation: object = StackSettings) -> bool:
    """Whether a message may repeat a value that was refused at `place`.

    `place` is keys, with `N]` for the items of a list. Numbers, switches, words of a list and text
    that is marked PUBLIC are public. Any other text may be a secret in the wrong place.
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return (PUBLIC in inner and not place) or is_public(place, inner[0])
    if origin in (Union, UnionType):
        return any(is_public(place, each) for each in inner)
    if origin is Mapping:
        return bool(place) and is_public(place[1:], inner[1])
    if origin is Sequence:
        in_list = bool(place) and place[0].endswith("]")
        return is_public(place[1:] if in_list else place, inner[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(place[0]) if place else None
        return field is not None and is_public(place[1:], field.rebuild_annotation())
    number = isinstance(annotation, type) and issubclass(annotation, int | float)
    return not place and (origin is Literal or number)


def model_in(annotation: object) -> type[BaseModel] | None:
    """The model that `annotation` is, or that an optional one or a map of them holds."""
    inner = (annotation, *get_args(annotation))
    return next((i for i in inner if isinstance(i, type) and issubclass(i, BaseModel)), None)
