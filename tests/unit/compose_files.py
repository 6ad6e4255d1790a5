"""Compose files with the structure of files that were found in public, but with other values."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

from config import certificates
from operations.commands.import_compose import parse_settings
from operations.compose_import.convert import choose_service, import_service
from operations.compose_import.project import Project, enabled_services, load_project
from operations.compose_import.result import Answers, ImportResult
from toolchain.compose import COMPOSE_CONFIG

_SOURCES = Path(__file__).parent.parent / "compose"
# Certificates and keys are generated, so that the repository contains no private key.
_CERTIFICATES = {
    "macvlan/certs": ("domain.crt", "domain.key"),
    "oss-tls/conf": ("example.pem", "example.key"),
    "portus/secrets": ("portus.crt", "portus.key"),
    "proxied-token/certs": ("gitlab-registry.crt", "gitlab-registry.key"),
    "redis-links/certs": ("registry.crt", "registry.key"),
    "swarm-secrets/certs": ("registry.crt", "registry.key"),
}
_USERS = "config-file/registry-config/htpasswd"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A folder with a Compose file, and what the user adds to `make import`.

    `files` are copies of files in the container, which are below the folder of all Compose files.
    `variables` are those of the user's shell.
    """

    folder: str
    service: str = ""
    swarm_stack: str = ""
    config_path: str = ""
    settings: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def answers(self) -> Answers:
        return Answers(settings=parse_settings(self.settings), config_path=self.config_path)

    def load(self) -> Project:
        files = {path: compose_files() / file for path, file in self.files.items()}
        with mock.patch.dict(os.environ, self.variables):
            path = compose_files() / self.folder
            return load_project(loader(), path, self.swarm_stack, files)

    def import_registry(self) -> ImportResult:
        """Import the registry. The result may have questions. Raises CommandError."""
        project = self.load()

        def enabled() -> Sequence[str]:
            with mock.patch.dict(os.environ, self.variables):
                return enabled_services(loader(), project.file, project.stack)

        service = choose_service(project, self.service, enabled)
        return import_service(project, service, "imported", self.answers)


def _config_file(name: str, **options: object) -> Case:
    variables = {"CONFIG": f"{name}.yml"}
    return Case(folder="config-files", variables=variables, **options)  # type: ignore[arg-type]


# The cases that can be imported, by name.
IMPORTABLE = {
    **{
        name: Case(folder=name)
        for name in (
            "anchors",
            "config-file",
            "config-odd",
            "hardened",
            "headers",
            "host-network",
            "macvlan",
            "nginx",
            "oss-by-s3",
            "oss-list",
            "oss-notifications",
            "oss-tls",
            "override",
            "proxied-token",
            "redis-conf",
            "redis-elsewhere",
            "redis-links",
            "release-3-notifications",
            "self-named-variables",
            "tutorial",
        )
    },
    "alicdn": _config_file("alicdn"),
    "chart-shaped": _config_file("chart-shaped", files={"/certs/htpasswd": _USERS}),
    "misplaced": _config_file("misplaced"),
    "hook-key-in-url": _config_file("hook-key-in-url"),
    "built-image": Case(
        folder="built-image",
        service="store",
        config_path="/etc/docker/registry/config.yml",
        files={"/etc/docker/registry/config.yml": "built-image/registry/config.yaml"},
        settings="registry.exposure=loopback",
    ),
    "config-in-volume": Case(
        folder="config-in-volume",
        files={
            "/etc/docker/registry/config.yml": "config-in-volume/copy.yml",
            "/auth/htpasswd": _USERS,
            "/certs/tls.crt": "macvlan/certs/domain.crt",
            "/certs/tls.key": "macvlan/certs/domain.key",
        },
    ),
    "global-service": Case(
        folder="global-service", swarm_stack="edge", settings="registry.exposure=open"
    ),
    "host-loopback": Case(folder="host-loopback", service="registry"),
    "portus": Case(folder="portus", config_path="/etc/docker/registry/config.yml"),
    "profiles": Case(folder="profiles", variables={"COMPOSE_PROFILES": "serve"}),
    "read-only": Case(folder="profiles", service="registry-readonly"),
    "redis-url": Case(
        folder="redis-elsewhere",
        variables={"TAG": "2.8.3", "ADDRS": "", "ADDR": "redis://cache.example.com:6379"},
    ),
    "release-3-wrong-path": Case(
        folder="release-3-wrong-path", config_path="/etc/distribution/config.yml"
    ),
    "users-made-at-start": Case(
        folder="users-made-at-start",
        config_path="/etc/distribution/config.yml",
        settings="auth.users.ci={}",
    ),
    "swarm-secrets": Case(
        folder="swarm-secrets", swarm_stack="infra", variables={"DOCKER_ROOT": "/srv/docker"}
    ),
    "traefik-login": Case(
        folder="traefik-login", swarm_stack="images", settings="registry.exposure=open"
    ),
}


@cache
def compose_files() -> Path:
    """Return a temporary copy of the Compose files, with certificates."""
    copy = Path(tempfile.mkdtemp(prefix="compose-files-"))
    atexit.register(shutil.rmtree, copy)
    shutil.copytree(_SOURCES, copy, dirs_exist_ok=True)
    pair = certificates.self_signed_pair(["images.example.com"], certificates.now())
    key, begin, certificate = pair.partition("-----BEGIN CERTIFICATE-----")
    for folder, (certificate_file, key_file) in _CERTIFICATES.items():
        (copy / folder).mkdir(parents=True, exist_ok=True)
        (copy / folder / certificate_file).write_text(begin + certificate)
        (copy / folder / key_file).write_text(key)
    return copy


@cache
def loader() -> Sequence[str]:
    """Return the command of the program on Compose's library. The first call builds it."""
    return [str(COMPOSE_CONFIG.build())]


@cache
def imported(name: str) -> ImportResult:
    """Return the result of importing one of the cases IMPORTABLE. Tests do not change it."""
    return IMPORTABLE[name].import_registry()
