"""The supported releases of the registry (distribution), and the differences between them.

A new release is a `Release` in RELEASES. docs/architecture.md lists the other parts to add.
"""

from collections.abc import Mapping, Set
from typing import Literal, NamedTuple

from config.schema import Schema, kinds_at, read_schema
from config.tree import Section


class Release(NamedTuple):
    """One release of the registry.

    `config_path` is the path of the configuration file in its image. `image_defaults` are the
    values in that file, without the section `storage`, which is always replaced. `environment` has
    the variables that its process needs.
    """

    version: str
    major: int
    config_path: str
    schema: Schema
    image_defaults: Section
    environment: Mapping[str, str]
    redis_client: Literal["redigo", "go-redis"]
    redis_supports_tls: bool
    oss_driver: Literal["oss", "s3"]
    # Upload purging ends the registry on an object store (distribution issue 4358).
    purges_object_storage: bool
    # The middleware in the official image, or None if the stack uses another image.
    middleware: Set[str] | None

    @property
    def image(self) -> str:
        return f"registry:{self.version}"

    @property
    def supports_redirect_endpoint(self) -> bool:
        """Whether the registry can redirect clients to another address than its own endpoint."""
        return kinds_at(self.schema.keys, "storage.s3.redirectendpoint") is not None


HEALTH: Section = {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}}
_IMAGE_2: Section = {
    "log": {"fields": {"service": "registry"}},
    "http": {"addr": ":5000", "headers": {"X-Content-Type-Options": ["nosniff"]}},
    "health": HEALTH,
}
_IMAGE_3: Section = {
    "log": {"level": "debug", "fields": {"service": "registry", "environment": "development"}},
    "http": {
        "addr": ":5000",
        "debug": {"addr": ":5001", "prometheus": {"enabled": True, "path": "/metrics"}},
    },
    "health": HEALTH,
}
_RELEASE_2_8_3 = Release(
    version="2.8.3",
    major=2,
    config_path="/etc/docker/registry/config.yml",
    schema=read_schema("2.8.3", "common", "2.8"),
    image_defaults=_IMAGE_2,
    environment={},
    redis_client="redigo",
    redis_supports_tls=False,
    oss_driver="oss",
    purges_object_storage=True,
    middleware={"cloudfront", "redirect"},
)
_RELEASE_3_0_0 = Release(
    version="3.0.0",
    major=3,
    config_path="/etc/distribution/config.yml",
    schema=read_schema("3.0.0", "common", "3.0"),
    image_defaults=_IMAGE_3,
    # Without it, release 3 sends traces to localhost:4318 (distribution issue 4270).
    environment={"OTEL_TRACES_EXPORTER": "none"},
    redis_client="go-redis",
    redis_supports_tls=False,
    oss_driver="s3",
    purges_object_storage=False,
    middleware={"cloudfront", "redirect", "rewrite"},
)
_RELEASE_3_1_2 = _RELEASE_3_0_0._replace(
    version="3.1.2",
    schema=read_schema("3.1.2", "common", "3.0", "3.1"),
    redis_supports_tls=True,
    purges_object_storage=True,
)
RELEASES = {
    release.version: release for release in (_RELEASE_2_8_3, _RELEASE_3_0_0, _RELEASE_3_1_2)
}
DEFAULT_RELEASE = "3.1.2"
