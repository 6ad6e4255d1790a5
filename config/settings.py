"""The settings of a stack file: one model for each section, with a description of each key.

`make schema` publishes the docstrings of the models and their fields. It writes docs/settings.md
and stacks/schema.json.
"""

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

from config import addresses, releases
from config.problems import closest
from config.tree import Placeholder
from config.values import value_problem

PROJECT = "oss-registry"


@dataclass(frozen=True)
class _Matches:
    """A constraint on text, which must match `pattern` as a whole.

    `rule` is the message for other text: "must …", or "must …; FIX".
    """

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


# Marks text that a message may repeat when it refuses the text.
PUBLIC = "public"


def _require_known_release(version: object) -> object:
    if version not in releases.RELEASES:
        known = [json.dumps(release) for release in releases.RELEASES]
        suggested = closest(json.dumps(str(version)), known) or "one"
        raise ValueError(
            f"must be one of {', '.join(known)}, in quotes; write {suggested}, and for another "
            "image set registry.image beside the release that it follows"
        )
    return version


def _require_distinct(labels: Sequence[str]) -> Sequence[str]:
    if len(set(labels)) < len(labels):
        raise ValueError("must have two different labels; change one")
    return labels


def _require_duration(value: object) -> object:
    if rule_and_fix := value_problem("", value, "duration"):
        raise ValueError("; ".join(rule_and_fix))
    return value


def _normalize_address(text: str) -> str:
    """Return an IP address in the form in which the Docker engine returns it."""
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


def _require_ipv6_in_brackets(text: str) -> str:
    host, _ = addresses.split(text)
    address = addresses.ip_address(host)
    if text.startswith("[") and not isinstance(address, ipaddress.IPv6Address):
        raise ValueError(HOST_AND_PORT)
    return text


def _parse_variable(value: object) -> str | Placeholder:
    """Return the text of a variable, or a placeholder for its secret."""
    match value:
        case str():
            return value
        case {"from_secret": str(name), **others} if not others:
            return Placeholder(name, quoted=False)
        case list():
            raise ValueError("must be text; write a comma-separated text")
        case None:
            raise ValueError("must be text; write a value, or remove it")
        case dict():
            raise ValueError("must be text or {from_secret: NAME}; write one of them")
    raise ValueError("must be text; put it in quotes")


def _require_at_least(size: str) -> AfterValidator:
    minimum = TypeAdapter(ByteSize).validate_python(size)

    def check(value: ByteSize) -> ByteSize:
        if value < minimum:
            raise ValueError(f"must be at least {size}; write more")
        return value

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=3650)]
Duration = Annotated[str, BeforeValidator(_require_duration), PUBLIC]
NonEmptyText = Annotated[str, Field(min_length=1)]
Address = Annotated[str, AfterValidator(_normalize_address), PUBLIC]
VariableName = Annotated[str, _Matches(r"[a-zA-Z_][a-zA-Z0-9_]*", "must be a variable's name")]
HostPort = Annotated[
    str,
    _Matches(f"{addresses.HOST}:{addresses.PORT}", HOST_AND_PORT),
    AfterValidator(_require_ipv6_in_brackets),
]
HttpsUrl = Annotated[
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
# The registry resolves . and .. in its paths, but OSS and RAM policies do not.
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
_IMAGE_NAME_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
# As in distribution's reference package: a host, a path of names, a tag and a digest.
Image = Annotated[
    str,
    _Matches(
        rf"(?:{addresses.HOST_WITH_OPTIONAL_PORT}/)?{_IMAGE_NAME_PART}(?:/{_IMAGE_NAME_PART})*"
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
UserName = Annotated[
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
HostName = Annotated[
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
    """A reference to a secret of the stack file."""

    from_secret: str
    """The name of the secret. Set it with `pulumi config set --secret oss-registry:NAME`."""


VariableText = Annotated[
    str | Placeholder,
    PlainValidator(_parse_variable, json_schema_input_type=str | FromSecret),
    PlainSerializer(lambda value: value, return_type=Any),
]


class Limits(_Settings):
    """Limits for a container or for each replica on swarm."""

    memory: Annotated[ByteSize, _require_at_least("32MiB")] | None = None
    """The memory that the registry may use, without swap. Only whole MiB count. The default is no
    limit. With less than 1 GiB, uploads go to OSS in smaller chunks. With images in OSS, the limit
    must be at least ten chunks."""
    cpus: Annotated[float, Field(ge=0.01)] | None = None
    """The CPU time that the registry may use, in cores. The default is no limit."""


class SwarmSettings(_Settings):
    """Settings of the service on Docker Swarm."""

    publish_mode: Literal["ingress", "host"] = "ingress"
    """The machines that listen on the port. With `ingress`, every machine of the swarm listens and
    forwards requests to a replica. With `host`, only the machines that run a replica listen, and
    your load balancer selects one of them."""
    endpoint_mode: Literal["vip", "dnsrr"] = "vip"
    """The address of the service inside the swarm. With `vip`, all replicas share one virtual
    address. With `dnsrr`, the name resolves to the addresses of the replicas. `dnsrr` cannot be
    used with `publish_mode: ingress`."""
    order: Literal["start-first", "stop-first"] | None = None
    """Whether an update starts the new replica first or stops the old one first. The default is
    `start-first` with `ingress` and `stop-first` with `host`. With `host`, `start-first` needs a
    spare machine, because the port must be free."""
    constraints: Sequence[Constraint] = ()
    """The constraints that select the machines for the registry and its redis, such as
    `node.labels.registry==true`. The default is no constraint."""


class RegistrySettings(_Settings):
    """The registry: its release, the address that it serves on, and its configuration."""

    release: Annotated[
        str,
        BeforeValidator(_require_known_release),
        Field(json_schema_extra={"enum": [*releases.RELEASES]}),
        PUBLIC,
    ] = releases.DEFAULT_RELEASE
    """The release of the registry, in quotes. It determines the image and the keys of its
    configuration."""
    image: Image | None = None
    """An image that replaces the official one. `release` is then required and must be the release
    that the image was built from."""
    runtime: Literal["container", "swarm"] = "container"
    """Whether the registry runs as one container or as a service of a Docker Swarm."""
    delivery: Literal["env", "file"] | None = None
    """The form in which the registry receives its configuration. `env` sets REGISTRY_* variables,
    and `file` writes a complete config.yml. The default is `env` with `runtime: container`. On
    swarm, the default is `file`, and `env` is not allowed."""
    exposure: Literal["loopback", "tls", "proxy", "open"] = "loopback"
    """The clients that can reach the registry, and its protection. `loopback` serves only the
    machine of the Docker engine. `tls` serves all clients over TLS and requires a login. `proxy`
    requires a login and leaves TLS to your own proxy. `open` serves all clients and requires
    neither."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5000
    """The port on which clients push and pull."""
    bind: Address | None = None
    """The IP address on which the port is published. The default is 127.0.0.1, or 0.0.0.0 with
    exposure `tls` and `open`. It cannot be set on swarm."""
    replicas: Count = 1
    """The number of replicas on swarm. More than one replica requires images in OSS. With `runtime:
    container`, the number must be 1."""
    swarm: SwarmSettings | None = None
    """Settings of the service. They can only be set with `runtime: swarm`."""
    external_url: HttpsUrl | None = None
    """The https address that clients use. It is required with exposure `tls` and `proxy`, and not
    allowed with `loopback`."""
    log_level: Literal["error", "warn", "info", "debug"] = "warn"
    """The lowest level of messages that the registry logs. With `info` and `debug` it also logs
    each request."""
    environment: Mapping[VariableName, VariableText] = {}
    """Additional environment variables for the registry, such as HTTP_PROXY. Most values must come
    from a secret: `{from_secret: NAME}`. REGISTRY_* variables are not allowed. Use `config` in
    place of them."""
    ca_certificates: Certificates | None = None
    """PEM certificates that the registry trusts in addition to the usual ones. The container has
    them in the file /etc/ssl/certs/oss-registry.pem."""
    files: Mapping[FilePath, PublicText] = {}
    """Files that `config` refers to, such as the rootcertbundle of auth.token. The keys are
    absolute paths in the container. The content must not be secret."""
    limits: Limits = Limits()
    """Limits for the memory and CPU time of the registry."""
    config: Mapping[str, Any] = {}
    """The registry's own configuration, which takes precedence over the generated one. Sections are
    merged key by key, lists are replaced, and null removes a generated default."""


class Versioning(_Settings):
    """Settings for old versions of objects."""

    noncurrent_days: Days
    """The number of days after which an old version is deleted. OSS charges for its storage until
    then."""


class Encryption(_Settings):
    """Settings for the encryption of objects."""

    kms_key_id: NonEmptyText
    """The ID of the KMS key."""


class StorageSettings(_Settings):
    """The storage for images."""

    kind: Literal["filesystem", "oss"] = "filesystem"
    """The kind of storage. `filesystem` is a Docker volume. `oss` is a bucket in the region
    `alicloud:region`. All other settings of this section except `volume` require `oss`."""
    bucket: Bucket | None = None
    """The name of the bucket, which must be unique in all of OSS. It is required with `kind: oss`.
    Do not change it later."""
    volume: VolumeName | None = None
    """An existing Docker volume with images. The default is a volume that the stack creates. It can
    only be set with `kind: filesystem`."""
    adopt: bool = False
    """Whether to use an existing bucket. The stack then does not change its settings and does not
    delete it."""
    prefix: Prefix = "registry"
    """The beginning of the names of all objects in the bucket. After a change, the registry no
    longer finds the images below the old prefix. It may be "" only with `adopt`."""
    access_keys: Annotated[
        Sequence[Label], Field(min_length=1, max_length=2), AfterValidator(_require_distinct)
    ] = ("1",)
    """One label for each access key of the registry. The registry uses the last one. RAM allows at
    most two access keys."""
    endpoint: OssHost | None = None
    """The host name of OSS, without scheme and bucket. The default is the host of the region."""
    internal: bool = True
    """Whether the registry uses the internal network of the region, where traffic is free. Clients
    then download layers through the registry. The setting has no effect if `endpoint` is set."""
    cname: HttpsUrl | None = None
    """An https address of the bucket to which the registry redirects clients for layers. It begins
    with the bucket's name, such as https://BUCKET.images.example.com. It requires release 3.1."""
    signature_v1: bool = False
    """Confirm that a new bucket may use Signature V1, which OSS is withdrawing. Release 2.8
    supports no other signature, so it requires `true` for a new bucket."""
    versioning: Versioning | None = None
    """Keep old versions of objects. OSS cannot disable versioning again. The section cannot be set
    with `adopt`."""
    encryption: Encryption | None = None
    """Encrypt objects with your own KMS key. The default is a key of OSS. Also set it if an adopted
    bucket uses a KMS key."""
    protect: bool = True
    """Whether to protect the bucket from deletion."""
    force_destroy: bool = False
    """Whether to delete a bucket together with the objects in it. It requires `protect: false` and
    cannot be used with `adopt`."""


class Pool(_Settings):
    """A pool of connections to redis."""

    max_idle: Count = 16
    """The maximum number of idle connections."""
    max_active: Count = 64
    """The maximum number of connections."""
    idle_timeout: Duration = "300s"
    """The time after which an idle connection is closed."""


class CacheSettings(_Settings):
    """The redis that caches blob descriptors."""

    enabled: bool = True
    """Whether the registry uses redis. Without redis, it caches descriptors in its own memory."""
    image: Image = "redis:7.0.15"
    """The image of the stack's redis. It cannot be set with `address`."""
    address: HostPort | None = None
    """The host:port of your own redis. The default is a redis that the stack runs. If your redis
    has a password, set it as the secret `redis-password`."""
    max_memory: Annotated[ByteSize, _require_at_least("1MiB")] = ByteSize(256 * 2**20)
    """The memory for the data in the stack's redis. When it is full, redis removes the least
    recently used entries. It cannot be set with `address`."""
    db: Annotated[int, Field(ge=0, le=15)] = 0
    """The number of the redis database."""
    pool: Pool = Pool()
    """The registry's connections to redis."""


class UserSettings(_Settings):
    """A user who may log in."""

    hash: Bcrypt | None = None
    """The bcrypt hash of the password, with a cost of 4 to 14. Without a hash, the password is the
    secret `password-NAME`, or a generated one if there is no such secret."""


class AuthSettings(_Settings):
    """The users who may log in."""

    realm: NonEmptyText = "Registry"
    """The name of the registry that clients show when they ask for a login."""
    users: Annotated[Mapping[UserName, UserSettings], Field(min_length=1)]
    """The users by name. Each may push, pull and delete."""


class LetsEncrypt(_Settings):
    """Settings for certificates from Let's Encrypt."""

    hosts: Annotated[Sequence[HostName], Field(min_length=1)]
    """The host names for which the registry requests certificates."""
    email: NonEmptyText | None = None
    """The email address to which Let's Encrypt writes."""
    directory_url: DirectoryUrl | None = None
    """The directory URL of another ACME authority. The default is Let's Encrypt."""


class TlsSettings(_Settings):
    """The registry's TLS certificate. Set exactly one of `certificate`, `self_signed` and
    `letsencrypt`."""

    certificate: Certificates | None = None
    """The certificate chain in PEM, with the server's own certificate first. Set its private key as
    the secret `tls-key`."""
    self_signed: bool = False
    """Whether the stack generates a key and a certificate for trials. Each client must run the
    command in the output `trust`."""
    letsencrypt: LetsEncrypt | None = None
    """Let the registry request its certificate from Let's Encrypt. It requires release 3, exposure
    `tls` and an `external_url` on port 443."""


class MaintenanceSettings(_Settings):
    """Settings of garbage collection with `make gc`."""

    delete_untagged: bool = False
    """Whether to delete images that have no tag and do not belong to a tagged image. It requires
    release 3."""


class StackSettings(_Settings):
    """The sections of a stack file below `oss-registry:`."""

    registry: RegistrySettings = RegistrySettings()
    storage: StorageSettings = StorageSettings()
    cache: CacheSettings = CacheSettings()
    auth: AuthSettings | None = None
    tls: TlsSettings | None = None
    maintenance: MaintenanceSettings = MaintenanceSettings()


def is_public(place: Sequence[str], annotation: object = StackSettings) -> bool:
    """Return whether a message may repeat a value that is refused at `place`.

    `place` is a sequence of keys, with `N]` for item N of a list, relative to `annotation`.
    Numbers, booleans, words of a fixed list and text that is marked PUBLIC are public. Other text
    may be a secret in the wrong place.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return (PUBLIC in arguments and not place) or is_public(place, arguments[0])
    if origin in (Union, UnionType):
        return any(is_public(place, each) for each in arguments)
    if origin is Mapping:
        return bool(place) and is_public(place[1:], arguments[1])
    if origin is Sequence:
        is_item = bool(place) and place[0].endswith("]")
        return is_public(place[1:] if is_item else place, arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(place[0]) if place else None
        return field is not None and is_public(place[1:], field.rebuild_annotation())
    if place:
        return False
    is_number = isinstance(annotation, type) and issubclass(annotation, int | float)
    return is_number or origin is Literal


def model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model in the type of a setting: a model, an optional model, or a map of models."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None
