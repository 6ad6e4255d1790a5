"""A stack and its registries: names, addresses and configuration, computed from valid settings."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlsplit

from config import addresses, docker_engine, plan
from config.releases import RELEASES, Release
from config.render import Text, redact, to_environment, to_file
from config.resource_names import REDIS, REGISTRY
from config.secrecy import masked
from config.settings import PROJECT, RegistrySettings, StackSettings, SwarmSettings
from config.storage_driver import StorageDriver
from config.tree import Placeholder, Section, lookup, switch_off_missing

REGION = "alicloud:region"
STACK_LABEL = "oss-registry.stack"  # on all objects that a stack creates in the engine
READ_ONLY_LABEL = "oss-registry.read-only"  # on a registry that refuses pushes
FILE_LABEL = "oss-registry.file"  # on a Swarm secret or config: the path of its file
CA_CERTIFICATES_PATH = "/etc/ssl/certs/oss-registry.pem"  # Go reads all files in this folder
# A user sets one of these variables to have the registry send traces (release 3, tracing.go).
TRACES_ENDPOINTS = frozenset({"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"})
# The address that the port is published on by default, for each `exposure`.
DEFAULT_ADDRESSES = {
    "loopback": "127.0.0.1",
    "tls": "0.0.0.0",
    "proxy": "127.0.0.1",
    "open": "0.0.0.0",
}

Backends = Mapping[str, Callable[["RegistryConfig"], StorageDriver]]
"""A constructor for each `storage.kind`."""


def prefix_of(stack: str) -> str:
    """Return the prefix of the names of all resources that the stack `stack` creates."""
    return f"{PROJECT}-{stack}"


def collector_name(stack: str) -> str:
    """Return the name of the Swarm service that collects the garbage of the stack `stack`."""
    return f"{prefix_of(stack)}-gc"


@dataclass(frozen=True)
class Stack:
    """A stack: its settings, and the registries that they describe.

    `region` is the region of OSS. `secrets` are the secrets that the user provides, by name.
    `engine` is the address of the Docker engine as in DOCKER_HOST, if it is known. `overlay` is the
    user's own configuration of the registry.
    """

    name: str
    settings: StackSettings
    backends: Backends
    region: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    overlay: Section = field(default_factory=dict)
    engine: str = ""

    @property
    def prefix(self) -> str:
        """The prefix of the names of all resources that the stack creates."""
        return prefix_of(self.name)

    @cached_property
    def registries(self) -> Sequence["RegistryConfig"]:
        return [RegistryConfig(self, REGISTRY, self.settings.registry)]

    @property
    def registry(self) -> "RegistryConfig":
        """The registry that clients push to."""
        return self.registries[0]

    @property
    def swarm_settings(self) -> SwarmSettings:
        return self.settings.registry.swarm or SwarmSettings()

    @property
    def volumes(self) -> Sequence[str]:
        """The volumes with data that cannot be generated again."""
        return [volume for registry in self.registries for volume in registry.volumes]

    @property
    def runs_redis(self) -> bool:
        """Whether redis is part of the stack."""
        return self.settings.cache.enabled and self.settings.cache.address is None

    @property
    def redis_host(self) -> str:
        return f"{self.prefix}-{REDIS}"

    @property
    def redis_address(self) -> str:
        """The `host:port` of the redis that the registry uses."""
        return self.settings.cache.address or f"{self.redis_host}:6379"

    @property
    def redis_has_password(self) -> bool:
        return self.runs_redis or plan.REDIS_PASSWORD.label in self.secrets


@dataclass(frozen=True)
class RegistryConfig:
    """One registry of a stack. `name` is the name of its Pulumi resource."""

    stack: Stack
    name: str
    settings: RegistrySettings

    @property
    def container(self) -> str:
        """The name of its container or service."""
        return f"{self.stack.prefix}-{self.name}"

    @property
    def release(self) -> Release:
        release = RELEASES[self.settings.release]
        return release._replace(middleware=None) if self.settings.image else release

    @property
    def image(self) -> str:
        return self.settings.image or self.release.image

    @cached_property
    def storage(self) -> StorageDriver:
        return self.stack.backends[self.stack.settings.storage.kind](self)

    @property
    def volumes(self) -> Sequence[str]:
        """The volumes with data that cannot be generated again."""
        tls = self.stack.settings.tls
        if tls and tls.letsencrypt:
            return [*self.storage.volumes, self.letsencrypt_volume]
        return self.storage.volumes

    @property
    def letsencrypt_volume(self) -> str:
        """The volume for the certificates that the registry obtains from Let's Encrypt."""
        return f"{self.stack.prefix}-letsencrypt"

    @property
    def address(self) -> str:
        """The IP address that the port is published on."""
        if self.settings.bind:
            return self.settings.bind
        return (
            "0.0.0.0"
            if self.settings.runtime == "swarm"
            else DEFAULT_ADDRESSES[self.settings.exposure]
        )

    @property
    def published(self) -> str:
        """The `address:port` that the engine listens on."""
        return addresses.join(self.address, self.settings.port)

    @property
    def endpoint(self) -> str:
        """The URL for clients."""
        if self.settings.external_url:
            return self.settings.external_url.rstrip("/")
        all_addresses = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        address = self.address
        if address in all_addresses:
            address = docker_engine.machine(self.stack.engine) or all_addresses[address]
        scheme = "https" if self.stack.settings.tls else "http"
        return f"{scheme}://{addresses.join(address, self.settings.port)}"

    @property
    def is_local_to_remote_engine(self) -> bool:
        """Whether only the machine of the engine can reach it, and that is not this machine."""
        if self.settings.external_url or docker_engine.machine(self.stack.engine) is None:
            return False
        return addresses.is_loopback(self.address)

    @property
    def login_server(self) -> str:
        """The registry's host in an image reference.

        Docker accepts no IPv6 address there up to release 20.10, so ::1 becomes localhost.
        """
        server = urlsplit(self.endpoint).netloc
        if self.settings.external_url:
            return server
        return re.sub(r"^(127\.0\.0\.1|\[::1\]):", "localhost:", server)

    @property
    def tls_host(self) -> str | None:
        """The host for which the registry needs a certificate, if `external_url` names it."""
        # A proxy has its own certificate, and may connect to the registry by any name.
        if self.settings.exposure == "proxy" or not self.settings.external_url:
            return None
        return urlsplit(self.endpoint).hostname

    @property
    def self_signed_hosts(self) -> Sequence[str]:
        """The hosts for which a self-signed certificate is created."""
        if self.tls_host:
            return [self.tls_host]
        host = urlsplit(self.endpoint).hostname or ""
        return [*dict.fromkeys((host, "localhost", "127.0.0.1", "::1"))]

    @property
    def delivery(self) -> str:
        """How the registry gets its configuration: `env` or `file`."""
        default = "file" if self.settings.runtime == "swarm" else "env"
        return self.settings.delivery or default

    def planned(self, release: Release, overlay: Section) -> Section:
        """Return its configuration for `release`, with placeholders and `overlay` applied."""
        return plan.plan_configuration(
            self.stack.settings,
            self.storage,
            release,
            overlay,
            external_url=self.endpoint if self.settings.external_url else None,
            redis_address=self.stack.redis_address,
            redis_has_password=self.stack.redis_has_password,
        )

    @cached_property
    def tree(self) -> Section:
        """Its configuration, with placeholders for secrets."""
        return self.planned(self.release, self.stack.overlay)

    @property
    def process_environment(self) -> Mapping[str, str | Placeholder]:
        """The variables of the process, without those of the configuration."""
        given = self.settings.environment
        defaults: dict[str, str | Placeholder] = {**self.release.environment}
        if defaults and TRACES_ENDPOINTS & given.keys():
            # Without it, newer official images send no traces either.
            defaults["OTEL_TRACES_EXPORTER"] = "otlp"
        return {**defaults, **given}

    @cached_property
    def environment(self) -> Mapping[str, Text]:
        """All variables of its process, sorted, with placeholders for secrets."""
        process: dict[str, Text] = {
            name: (text,) for name, text in sorted(self.process_environment.items())
        }
        if self.delivery == "file":
            return process
        tree = switch_off_missing(self.release.image_defaults, self.tree)
        return process | to_environment(tree, self.release.schema)

    @cached_property
    def files(self) -> Mapping[str, Text]:
        """Its files by path, with placeholders for secrets."""
        auth, tls = self.stack.settings.auth, self.stack.settings.tls
        files: dict[str, Text] = {path: (text,) for path, text in self.settings.files.items()}
        if self.delivery == "file":
            files[self.release.config_path] = to_file(self.tree)
        if self.settings.ca_certificates:
            files[CA_CERTIFICATES_PATH] = (self.settings.ca_certificates,)
        if auth:
            lines = [(f"{user}:", plan.password_hash(user), "\n") for user in sorted(auth.users)]
            files[plan.USERS_PATH] = tuple(piece for line in lines for piece in line)
        if tls and not tls.letsencrypt:
            files[plan.TLS_PATHS["certificate"]] = (tls.certificate or plan.SELF_SIGNED,)
            files[plan.TLS_PATHS["key"]] = (plan.TLS_KEY,)
        return files

    @property
    def refuses_pushes(self) -> bool:
        return lookup(self.tree, plan.READ_ONLY) is True

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of its container or service, beside STACK_LABEL."""
        return {READ_ONLY_LABEL: "true"} if self.refuses_pushes else {}

    @property
    def requires_login(self) -> bool:
        auth = self.tree.get("auth") or {}
        return isinstance(auth, Mapping) and ("htpasswd" in auth or "token" in auth)

    @property
    def redacted(self) -> Mapping[str, str]:
        """Its variables and files by name, without secrets."""
        texts = {**self.environment, **self.files}
        return {name: masked(name, redact(text)) for name, text in texts.items()}
