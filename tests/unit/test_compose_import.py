"""Tests of `make import`, which turns a Compose file into a stack file."""

import json
import re
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import PIPE, CalledProcessError, Popen
from typing import Any

import pytest
import yaml

from config.tree import lookup
from operations import stack_file
from operations.commands import import_compose
from operations.compose_import.convert import choose_service, import_service
from operations.compose_import.project import load_project
from operations.compose_import.report import report_lines, stack_file_text
from operations.compose_import.result import Answers, ImportResult, differences
from operations.context import StackContext
from operations.errors import CommandError
from operations.stack_file import as_configuration
from tests.unit.compose_files import IMPORTABLE, Case, compose_files, imported, loader
from tests.unit.stack_files import load

# Folders that Compose or the import refuses, each with a part of the message.
REFUSED = {
    "built-image": "NAME is one of front, store",
    "gcs": "in gcs",
    "host-loopback": "NAME is one of mirror, registry",
    "mirror": "is a pull-through cache",
    "oss-top-level": "additional properties 'registry' not allowed",
    "profiles": r"registry \(profile serve\), registry-readonly \(profile tools\), sweep",
    "two": "There are several registries",
}
SECRETS = (
    "LTAIexample",
    "the-accounts-own-secret",
    "stray",
    "pa55-word",
    "two words",
    "overridden",
    "PRIVATE KEY",
    "examplehash",
)


def _import_text(
    folder: Path, text: str, *, settings: str = "", config_path: str = "", stack: str = ""
) -> ImportResult:
    """Import the registry of a Compose file with this text. The result may have questions."""
    file = folder / "docker-compose.yml"
    file.write_text(text)
    answers = Answers(settings=import_compose.parse_settings(settings), config_path=config_path)
    project = load_project(loader(), file, stack)
    return import_service(project, choose_service(project, "", list), "imported", answers)


def _compose_text(*lines: str, image: str = "registry:2.8.3") -> str:
    """Return a Compose file with the service `registry`. The given lines follow its image."""
    return "\n".join(("services:", "  registry:", f"    image: {image}", *lines))


def _with_environment(variables: Mapping[str, str], *lines: str) -> str:
    """Return a Compose file whose registry has these variables, and a volume for the images."""
    environment = f"    environment: {json.dumps(variables)}"
    volume = "    volumes: ['images:/var/lib/registry']"
    return _compose_text(environment, volume, *lines, "volumes: {images: {}}")


def _asked(result: ImportResult) -> Sequence[str]:
    return [question.part for question in result.questions]


def _setting(result: ImportResult, path: str) -> Any:  # noqa: ANN401
    config = {key.partition(":")[2]: below for key, below in result.config.items()}
    return lookup(config, path)


def _reason(result: ImportResult, part: str) -> str:
    """Return why the part was not imported."""
    return dict(result.omitted)[part]


@pytest.mark.parametrize("name", IMPORTABLE)
def test_no_secret_is_printed_or_written_in_plain_text(name: str) -> None:
    result = imported(name)

    shown = "\n".join((*report_lines(result), stack_file_text(result)))

    assert not [each for each in (*SECRETS, *result.secrets.values()) if each in shown]


@pytest.mark.parametrize("name", IMPORTABLE)
def test_the_written_stack_file_is_valid_and_describes_the_imported_stack(name: str) -> None:
    result = imported(name)
    texts, _ = as_configuration(yaml.safe_load(stack_file_text(result))["config"])
    secrets = {f"oss-registry:{secret}": value for secret, value in result.secrets.items()}

    stack, problems = result.validated()

    assert not result.questions
    assert not problems
    assert load("imported", {**texts, **secrets}, secrets.keys()) == stack


@pytest.mark.parametrize(("folder", "message"), REFUSED.items())
def test_a_compose_file_that_cannot_be_imported_is_refused_with_the_reason(
    folder: str, message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        Case(folder=folder).import_registry()


# The setting that contains the value of a key, for the keys that are imported.
IMPORTED_KEYS = {
    "image": "registry.release",
    "ports.mode": "registry.exposure",
    "ports.host_ip": "registry.exposure",
    "ports.target": "registry.exposure",
    "ports.published": "registry.port",
    "ports.protocol": "registry.exposure",
    "network_mode": "registry.exposure",
    "cpus": "registry.limits.cpus",
    "deploy.resources.limits.cpus": "registry.limits.cpus",
    "deploy.resources.limits.memory": "registry.limits.memory",
    "deploy.placement.constraints": "registry.swarm.constraints",
    "deploy.endpoint_mode": "registry.swarm.endpoint_mode",
    "deploy.update_config.order": "registry.swarm.order",
}
# The next two tests, and those of the reference readers, cover these.
COVERED_KEYS = ("command", "environment", "volumes", "secrets", "configs", "env_file")


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yield the path and value of each value that is not empty, without the numbers of items."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, list):
        for item in tree:
            yield from _leaves(item, path)
    elif tree not in (None, "", False):
        yield path, tree


def _is_listed(result: ImportResult, path: str) -> bool:
    parts = path.split(".")
    sections = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return bool(sections & {part for part, _ in result.omitted})


def _redis(result: ImportResult) -> str:
    """Return the service that was the registry's redis, or an empty text."""
    names = [part for part, reason in result.omitted if "the stack has its own redis" in reason]
    return names[0].removeprefix("service ") if names else ""


@pytest.mark.parametrize("name", IMPORTABLE)
def test_each_key_of_the_registry_is_imported_or_listed(name: str) -> None:
    result = imported(name)
    for path, _ in _leaves(result.service.keys):
        if path.partition(".")[0] not in COVERED_KEYS and not _is_listed(result, path):
            assert _setting(result, IMPORTED_KEYS[path]) is not None, path
    for variable in result.service.environment:
        if not variable.startswith("REGISTRY_"):
            environment = _setting(result, "registry.environment") or {}
            assert variable in environment or _is_listed(result, f"environment.{variable}")


@pytest.mark.parametrize("name", IMPORTABLE)
def test_each_mount_of_the_registry_is_imported_or_listed(name: str) -> None:
    result = imported(name)
    texts = [str(value) for _, value in _leaves(result.old_tree)]
    used = {result.service.absolute(text) for text in texts}
    stack, _ = result.validated()
    used |= {stack.registry.release.config_path, *(result.service.keys["command"] or ())}
    for mount in result.service.mounts:
        is_used = any(Path(path).is_relative_to(mount.target) for path in used)
        assert is_used or _is_listed(result, mount.target), mount


def test_options_of_mounts_are_listed(tmp_path: Path) -> None:
    lines = (
        "    volumes:",
        "      - {type: volume, source: d, target: /var/lib/registry, volume: {nocopy: true}}",
        "      - {type: bind, source: /srv, target: /srv, bind: {propagation: rshared}}",
        "volumes: {d: {}}",
    )

    result = _import_text(tmp_path, _compose_text(*lines))

    assert _is_listed(result, "volumes.volume.nocopy")
    assert _is_listed(result, "volumes.bind.propagation")


@pytest.mark.parametrize("name", ["oss-notifications", "redis-conf", "redis-links", "tutorial"])
def test_each_key_of_the_redis_of_the_registry_is_imported_or_listed(name: str) -> None:
    result = imported(name)
    redis = _redis(result)
    service = result.project.services[redis]
    for path, _ in _leaves(service.keys):
        if path not in ("command", "volumes.target") and "volumes." not in path:
            assert _is_listed(result, f"{redis}.{path}"), path
    for option in re.findall(r"--([\w-]+)", " ".join(service.keys.get("command") or [])):
        if option == "maxmemory":
            assert _setting(result, "cache.max_memory")
        elif option != "requirepass":
            assert _is_listed(result, f"{redis}.command: {option}")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("built-image", "build"),
        ("built-image", "user"),
        ("built-image", "expose"),
        ("config-file", "user old"),
        ("config-file", "service ui"),
        ("global-service", "deploy.mode"),
        ("global-service", "volumes.data.driver_opts"),
        ("global-service", "sysctls.net.core.somaxconn"),
        ("global-service", "storage.delete.enabled"),
        ("global-service", "/etc/docker/registry/htpasswd"),
        ("global-service", "$SUFFIX"),
        ("hardened", "read_only"),
        ("hardened", "cap_drop"),
        ("hardened", "security_opt"),
        ("hardened", "tmpfs"),
        ("hardened", "deploy.resources.limits.pids"),
        ("hardened", "deploy.resources.reservations"),
        ("hardened", "$SERVICE"),
        ("host-loopback", "dns"),
        ("macvlan", "networks.lan"),
        ("misplaced", "cache"),
        ("misplaced", "http.secret"),
        ("misplaced", "secret notifications-endpoints-0-headers-authorization-0"),
        ("nginx", "image registry:3.1.1"),
        ("oss-notifications", "environment.OTEL_EXPORTER_OTLP_HEADERS"),
        ("oss-notifications", "storage.oss.secure"),
        ("portus", "command"),
        ("portus", "links"),
        ("portus", "/etc/docker/registry/init"),
        ("portus", "port 5001"),
        ("profiles", "service sweep"),
        ("proxied-token", "ports"),
        ("proxied-token", "labels"),
        ("redis-conf", "environment.AWS_SECRET_ACCESS_KEY"),
        ("redis-elsewhere", "redis.addrs: cache-b.example.com:6379"),
        ("redis-elsewhere", "redis.tls.certificate"),
        ("redis-url", "redis.addr"),
        ("release-3-wrong-path", "/etc/docker/registry/config.yml"),
        ("self-named-variables", "$REGISTRY_DOMAIN"),
        ("self-named-variables", "REGISTRY_HTTP_TIMEOUT_READ"),
        ("self-named-variables", "http.host"),
        ("traefik-login", "/data"),
        ("traefik-login", "/var/lib/registry"),
        ("traefik-login", "deploy.labels"),
        ("tutorial", "networks.overlaynet"),
        ("tutorial", "service redis"),
    ],
)
def test_a_part_that_is_not_imported_is_listed_with_the_reason(name: str, part: str) -> None:
    assert _reason(imported(name), part)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("alicdn", "storage.bucket", "example-images"),
        ("chart-shaped", "region", "cn-beijing"),
        ("chart-shaped", "storage.kind", "oss"),
        ("chart-shaped", "cache.address", "cache.example.com:6379"),
        ("chart-shaped", "cache.db", 1),
        ("chart-shaped", "registry.config.compatibility.schema1.enabled", True),
        ("config-in-volume", "storage.volume", "registry-images"),
        ("config-in-volume", "registry.port", 443),
        ("global-service", "registry.runtime", "swarm"),
        ("global-service", "registry.replicas", 1),
        ("global-service", "storage.volume", "layers-blue"),
        ("global-service", "auth", None),
        ("hardened", "registry.release", "3.0.0"),
        ("hardened", "registry.image", None),
        ("hardened", "registry.port", 5001),
        ("hardened", "registry.limits", {"memory": "300MiB", "cpus": 0.5}),
        ("hardened", "registry.config.storage.tag.concurrencylimit", 8),
        ("host-loopback", "registry.exposure", "loopback"),
        ("host-loopback", "registry.port", 5001),
        ("macvlan", "registry.exposure", "tls"),
        ("macvlan", "registry.port", 443),
        ("macvlan", "registry.image", None),
        ("macvlan", "registry.bind", None),
        ("macvlan", "registry.config.compatibility.schema1.enabled", True),
        ("misplaced", "cache.enabled", False),
        ("misplaced", "registry.log_level", "warn"),
        ("nginx", "registry.release", "3.1.2"),
        ("nginx", "registry.exposure", "proxy"),
        ("nginx", "registry.external_url", "https://registry.example.com"),
        ("nginx", "storage.volume", "distribution-registry_data"),
        ("oss-by-s3", "storage.internal", True),
        ("oss-notifications", "storage.prefix", "reg"),
        ("oss-notifications", "registry.config.storage.oss.secure", None),
        ("oss-tls", "registry.port", 443),
        ("oss-tls", "registry.exposure", "tls"),
        ("oss-tls", "storage.internal", True),
        ("oss-tls", "storage.prefix", "team"),
        ("override", "registry.port", 5010),
        ("override", "registry.exposure", "loopback"),
        ("override", "auth.realm", "Images"),
        ("read-only", "registry.config.storage.maintenance.readonly.enabled", True),
        ("read-only", "registry.config.storage.maintenance.uploadpurging.enabled", False),
        ("redis-conf", "cache.db", 3),
        ("redis-conf", "cache.max_memory", "100MiB"),
        ("redis-conf", "registry.environment", {"HTTP_PROXY": "http://proxy.example.com:3128"}),
        ("redis-elsewhere", "cache.address", "cache-a.example.com:6379"),
        ("redis-elsewhere", "cache.max_memory", None),
        ("redis-elsewhere", "registry.config.redis.username", "svc"),
        ("redis-url", "cache.address", "cache.example.com:6379"),
        ("self-named-variables", "registry.external_url", None),
        ("self-named-variables", "registry.log_level", "info"),
        ("self-named-variables", "registry.limits.cpus", 4),
        ("self-named-variables", "registry.config.log.accesslog.disabled", True),
        ("swarm-secrets", "registry.runtime", "swarm"),
        ("swarm-secrets", "registry.limits.memory", "512MiB"),
        ("traefik-login", "storage.volume", None),
        ("traefik-login", "registry.runtime", "swarm"),
        ("tutorial", "registry.release", "2.8.3"),  # latest, but with the driver oss
        ("tutorial", "registry.exposure", "open"),
        ("tutorial", "registry.runtime", None),
        ("tutorial", "storage.bucket", "example-images"),
        ("tutorial", "storage.adopt", True),
        ("tutorial", "storage.prefix", ""),
    ],
)
def test_a_value_is_imported_to_its_setting(name: str, path: str, value: object) -> None:
    assert _setting(imported(name), path) == value


CONFIGURATION = (
    "{version: 0.1, storage: {filesystem: {}}, auth: {htpasswd: {realm: a, path: /users}}}"
)
HASH = "$2y$05$ZTeCy1pXdCn4CYfsXm45tu8FKxsBNizJGD4SanDrInnFkEgQZ7ONe"


@pytest.mark.parametrize(
    ("lines", "image", "part", "text"),
    [
        (
            ["    volumes: ['conf:/etc/docker/registry']", "volumes: {conf: {}}"],
            "registry:2",
            "configuration",
            "docker cp",
        ),
        (
            ["    volumes: ['conf:/etc/docker/registry']", "volumes: {conf: {external: true}}"],
            "registry:latest",
            "configuration",
            "is in the volume conf",
        ),
        (
            ["    volumes: ['./gone.yml:/etc/docker/registry/config.yml']"],
            "registry:2",
            "configuration",
            "gone.yml on this machine",
        ),
        (["    build: ."], "registry:2", "configuration", "built from a Dockerfile"),
        (["    build: ."], "registry:2", "build", "REGISTRY_* variables"),
        (["    entrypoint: /opt/entrypoint.sh"], "registry:2", "command", "entrypoint.sh"),
        (["    volumes: ['./start:/entrypoint.sh']"], "registry:2", "command", "CONFIG_PATH"),
        (["    volumes: ['./start:/bin/registry']"], "registry:2", "command", "CONFIG_PATH"),
        (["    environment: [REGISTRY_AUTH]"], "registry:2", "REGISTRY_AUTH", "REGISTRY_AUTH= "),
        ([], "example.com/team/registry:2", "configuration", "not the official one"),
        (["    command: [serve, /own.yml]"], "registry:2", "configuration", "neither mounted"),
        (["    command: [serve, /own]"], "registry:2", "configuration", "/own "),
        (["    entrypoint: [registry, serve, /own]"], "registry:2", "configuration", "/own "),
        (["    command: sh -c 'exec registry serve'"], "registry:2", "command", "runs sh"),
        (["    entrypoint: /start.sh"], "registry:2", "command", "CONFIG_PATH=PATH"),
        (
            ["    configs: [conf]", "configs: {conf: {external: true, name: x}}"],
            "registry:2",
            "ports",
            "Swarm",
        ),
        (
            ["    env_file: [{path: gone.env, required: false}]"],
            "registry:2",
            "env_file",
            "gone.env",
        ),
        (
            ["    volumes: ['./conf.yml:/etc/docker/registry/config.yml']"],
            "registry:3",
            "/etc/docker/registry/config.yml",
            "CONFIG_PATH=/etc/distribution/config.yml",
        ),
        (
            ["    volumes: ['./conf.yml:/etc/registry/config.yml']"],
            "registry:2",
            "/etc/registry/config.yml",
            "other values for auth",
        ),
    ],
)
def test_a_configuration_that_cannot_be_read_is_asked_for(
    tmp_path: Path, lines: list[str], image: str, part: str, text: str
) -> None:
    (tmp_path / "conf.yml").write_text(CONFIGURATION)

    result = _import_text(tmp_path, _compose_text(*lines, image=image))

    (question,) = [question for question in result.questions if question.part == part]
    assert text in " ".join((question.problem, question.fix))


@pytest.mark.parametrize(
    ("variables", "lines", "part"),
    [
        ({"REGISTRY_AUTH_HTPASSWD_PATH": "/users"}, [], "auth.htpasswd"),
        ({"REGISTRY_AUTH_HTPASSWD_PATH": "/users"}, ["    tmpfs: [/users]"], "auth.htpasswd"),
        (
            {
                "REGISTRY_AUTH_TOKEN_REALM": "https://a",
                "REGISTRY_AUTH_TOKEN_SERVICE": "b",
                "REGISTRY_AUTH_TOKEN_ISSUER": "c",
                "REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE": "/ca.crt",
            },
            [],
            "auth.token.rootcertbundle",
        ),
        (
            {"REGISTRY_HTTP_TLS_CERTIFICATE": "/a", "REGISTRY_HTTP_TLS_KEY": "/b"},
            [],
            "http.tls.certificate",
        ),
        ({"REGISTRY_HTTP_TLS_CERTIFICATE": "/a"}, [], "http.tls.key"),
        ({}, ["    volumes: ['/srv/images:/var/lib/registry:ro']"], "/var/lib/registry"),
        ({"REGISTRY_HTTP_ADDR": ":https"}, ["    ports: ['443:443']"], "http.addr"),
        ({}, ["    ports: ['127.0.0.1:5000:5000', '192.0.2.1:5000:5000']"], "ports"),
        ({}, ["    network_mode: none"], "network_mode"),
        ({}, ["    labels: {com.df.users: x}"], "labels.com.df.users"),
        (
            {
                "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
                "REGISTRY_REDIS_ADDR": "rediss://cache.example.com:6380",
            },
            [],
            "redis",
        ),
        (
            {"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "ture"},
            [],
            "storage.maintenance.readonly.enabled",
        ),
        ({"REGISTRY_HTTP_NET": "unix", "REGISTRY_HTTP_ADDR": "/a.sock"}, [], "http.net"),
        ({}, ["    network_mode: 'service:proxy'", "  proxy: {image: nginx}"], "network_mode"),
        ({}, ["    ports: ['8000-8010:5000']"], "ports"),
        ({"VIRTUAL_HOST": "images.example.com"}, [], "environment.VIRTUAL_HOST"),
        ({}, ["    labels: {caddy.basic_auth.ci: x}"], "labels.caddy.basic_auth.ci"),
        (
            {},
            ["    labels: ['traefik.http.routers.a.middlewares=login@file']"],
            "labels.traefik.http.routers.a.middlewares",
        ),
        ({}, ["    networks: [lan]", "networks: {lan: {driver: ipvlan}}"], "networks.lan"),
        ({}, ["    ports: ['127.0.0.1:5000:5000']", "    deploy: {mode: global}"], "deploy"),
        (
            {
                "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
                "REGISTRY_REDIS_ADDR": "c_redis:6379",
            },
            [],
            "redis",
        ),
        (
            {"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis", "REGISTRY_REDIS_ADDR": "localhost"},
            [],
            "redis",
        ),
    ],
)
def test_a_guard_that_cannot_be_carried_over_is_asked_for(
    tmp_path: Path, variables: dict[str, str], lines: list[str], part: str
) -> None:
    result = _import_text(
        tmp_path, _compose_text(f"    environment: {json.dumps(variables)}", *lines)
    )

    assert part in _asked(result)


def test_all_questions_are_asked_at_once_and_answers_settle_them(tmp_path: Path) -> None:
    text = _compose_text(
        "    environment: {REGISTRY_AUTH_HTPASSWD_PATH: /users, REGISTRY_REDIS_ADDR: 'c:6379',",
        "      REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR: redis}",
        "    ports: ['8000-8010:5000']",
    )
    answers = """auth.users.ci={} cache.address=c.example.com:6379 registry.port=8003"""

    first, second = (_import_text(tmp_path, text, settings=each) for each in ("", answers))

    assert _asked(first) == ["redis", "auth.htpasswd", "ports"]
    assert not second.questions
    assert _setting(second, "registry.port") == 8003
    assert _setting(second, "auth.users") == {"ci": {}}
    assert _setting(second, "cache.address") == "c.example.com:6379"


def test_a_login_of_an_unknown_kind_is_asked_for(tmp_path: Path) -> None:
    result = _import_configuration(tmp_path, {"auth": {"ldap": {"server": "a"}}})

    assert _asked(result) == ["auth"]


@pytest.mark.parametrize("image", ["registry", "registry:latest", "registry@sha256:" + 64 * "1"])
def test_deletes_stay_off_if_the_image_may_be_a_release_that_refuses_them(
    tmp_path: Path, image: str
) -> None:
    results = [
        _import_text(tmp_path, _compose_text(image=image), settings=settings)
        for settings in ("", "registry.release=2.8.3", "registry.release=3.1.2")
    ]

    trees = [result.validated()[0].registry.tree for result in results]
    assert [lookup(tree, "storage.delete.enabled") for tree in trees] == [False, None, True]
    assert "registry.config.storage.delete.enabled" in _reason(results[0], "storage.delete.enabled")


def test_options_in_the_configuration_file_of_redis_are_listed() -> None:
    assert _reason(imported("redis-conf"), "redis.command: maxmemory-policy")


def test_a_long_configuration_inside_the_compose_file_is_read(tmp_path: Path) -> None:
    lines = (
        "    configs: [{source: own, target: /etc/docker/registry/config.yml}]",
        "configs:",
        "  own:",
        "    content: |",
        f"      # {'x' * 5000}",
        "      storage: {filesystem: {}}",
    )

    assert not _import_text(tmp_path, _compose_text(*lines)).questions


def test_a_configuration_at_the_path_of_one_release_names_the_release(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("storage: {filesystem: {}, delete: {enabled: true}}")

    result = _import_text(
        tmp_path,
        _compose_text(
            "    volumes: ['./config.yml:/etc/distribution/config.yml']", image="registry"
        ),
    )

    assert lookup(result.validated()[0].registry.tree, "storage.delete.enabled") is True


def test_an_answer_that_replaces_a_secret_leaves_no_unused_secret(tmp_path: Path) -> None:
    variables = {"HTTPS_PROXY": "http://svc:hunter2@proxy:3128"}

    result = _import_text(
        tmp_path,
        _with_environment(variables),
        settings="registry.environment.HTTPS_PROXY=http://proxy:3128",
    )

    assert not result.questions
    assert not result.secrets


def test_a_cache_that_the_user_switches_off_leaves_no_address_behind(tmp_path: Path) -> None:
    variables = {
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
        "REGISTRY_REDIS_ADDR": "localhost:6379",
    }

    result = _import_text(tmp_path, _with_environment(variables), settings="cache.enabled=false")

    stack, problems = result.validated()
    assert not problems
    assert lookup(stack.registry.tree, "redis") is None
    assert lookup(stack.registry.tree, "storage.cache.blobdescriptor") == "inmemory"


def test_lines_and_options_that_may_be_passwords_are_not_printed(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"hunter1\nci:{HASH}\n")
    (tmp_path / "redis.conf").write_text("hunter2\nrequirepass hunter3\n")
    variables = {
        "REGISTRY_AUTH_HTPASSWD_PATH": "/users",
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
        "REGISTRY_REDIS_ADDR": "cache:6379",
    }

    result = _import_text(
        tmp_path,
        _compose_text(
            f"    environment: {json.dumps(variables)}",
            "    volumes: ['./users:/users']",
            "  cache:",
            "    image: redis",
            "    volumes: ['./redis.conf:/redis.conf']",
            "    command: redis-server /redis.conf --requirepass a--hunter4 --masterauth=hunter5",
        ),
    )

    assert not result.questions
    assert "hunter" not in "\n".join((*report_lines(result), stack_file_text(result)))


@pytest.mark.parametrize("files", ["users=/tmp/x", "/users=/no/such/file", "/users", "'"])
def test_a_wrong_copy_of_a_file_is_reported(tmp_path: Path, files: str) -> None:
    with pytest.raises(CommandError, match=r"^FILES "):
        _run_command("imported", tmp_path, files=files)


def test_a_copy_of_a_file_in_the_container_is_used_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "copy.yml").write_text(CONFIGURATION)
    (tmp_path / "users").write_text(f"ci:{HASH}\n")
    case = Case(
        folder=str(tmp_path),
        files={
            "/etc/docker/registry/config.yml": str(tmp_path / "copy.yml"),
            "/users": str(tmp_path / "users"),
        },
    )
    (tmp_path / "compose.yaml").write_text(
        _compose_text("    volumes: ['conf:/etc/docker/registry']", "volumes: {conf: {}}")
    )

    result = case.import_registry()

    assert not result.questions
    assert _setting(result, "auth.users") == {"ci": {"hash": HASH}}


@pytest.mark.parametrize(
    ("lines", "exposure", "bind", "port"),
    [
        (["    ports: ['5000:5000']"], "open", None, 5000),
        (["    ports: ['127.0.0.1:5001:5000']"], "loopback", None, 5001),
        (["    ports: ['[::1]:5001:5000/tcp']"], "loopback", "::1", 5001),
        (["    ports: ['192.0.2.1:5002:5000']"], "open", "192.0.2.1", 5002),
        (["    ports: ['5000']"], "open", None, None),
        (["    ports: ['5000:5000/udp']"], "loopback", None, None),
        (["    ports: ['6000:6000']"], "loopback", None, None),
        (["    ports: ['5003-5005:5000-5002']"], "open", None, 5003),
        (["    ports: ['[::]:5000:5000']"], "open", "::", 5000),
        (["    ports: [{target: 5000, published: '0'}]"], "open", None, None),
        (["    ports: [{target: 5000, published: 5000, mode: host}]"], "open", None, 5000),
        (["    network_mode: host"], "open", None, 5000),
        (
            ["    networks: [out]", "networks: {out: {external: true, name: host}}"],
            "open",
            None,
            5000,
        ),
        (["    networks: [host]", "networks: {host: {external: true}}"], "open", None, 5000),
        (
            ["    network_mode: host", "    environment: {REGISTRY_HTTP_ADDR: '127.0.0.1:5009'}"],
            "loopback",
            None,
            5009,
        ),
        (
            ["    network_mode: host", "    environment: {REGISTRY_HTTP_ADDR: 'localhost:5009'}"],
            "loopback",
            None,
            5009,
        ),
        (
            ["    network_mode: host", "    environment: {REGISTRY_HTTP_ADDR: '192.0.2.1:5009'}"],
            "open",
            "192.0.2.1",
            5009,
        ),
        (
            ["    environment: {REGISTRY_HTTP_ADDR: '127.0.0.1:5000'}", "    ports: ['5000:5000']"],
            "loopback",
            None,
            None,
        ),
        (
            ["    ports: ['127.0.0.1:5000:5000']", "    deploy: {replicas: 1}"],
            "loopback",
            None,
            5000,
        ),
    ],
)
def test_the_stack_is_reached_by_the_same_machines_as_the_old_registry(
    tmp_path: Path, lines: list[str], exposure: str, bind: str | None, port: int | None
) -> None:
    result = _import_text(tmp_path, _compose_text(*lines))

    assert not result.questions
    assert _setting(result, "registry.exposure") == exposure
    assert _setting(result, "registry.bind") == bind
    assert _setting(result, "registry.port") == port
    assert _setting(result, "registry.runtime") is None


def test_the_report_says_who_reached_a_port_that_the_engine_chose(tmp_path: Path) -> None:
    result = _import_text(tmp_path, _compose_text("    ports: ['5000']"))

    assert "open to everyone who reaches this machine" in _reason(result, "port")


@pytest.mark.parametrize(
    ("text", "is_on"),
    [("true", True), ("yes", True), ("false", False), ('"true"', False), ("ture", False)],
)
def test_deletes_are_on_only_if_the_old_registry_accepted_them(
    tmp_path: Path, text: str, is_on: bool
) -> None:
    result = _import_text(tmp_path, _with_environment({"REGISTRY_STORAGE_DELETE_ENABLED": text}))

    stack, _ = result.validated()
    assert (lookup(stack.registry.tree, "storage.delete.enabled") is True) == is_on
    is_reported = "storage.delete.enabled" in dict(result.omitted)
    assert is_reported == (text in ('"true"', "ture"))


@pytest.mark.parametrize("value", ["ture", '"true"'])
def test_a_switch_of_the_driver_that_is_neither_true_nor_false_is_quoted_in_the_report(
    tmp_path: Path, value: str
) -> None:
    result = _import_text(
        tmp_path,
        _with_environment(
            {
                "REGISTRY_STORAGE": "oss",
                "REGISTRY_STORAGE_OSS_BUCKET": "images",
                "REGISTRY_STORAGE_OSS_REGION": "oss-cn-hangzhou",
                "REGISTRY_STORAGE_OSS_INTERNAL": value,
            }
        ),
    )

    assert _setting(result, "storage.internal") is False
    assert value.strip('"') in _reason(result, "storage.oss.internal")


def test_values_are_those_that_compose_resolves(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("X=value\nV=p$X\nW=p$$x\nQUOTED='x\"#y z'  # a comment\n")
    lines = (
        "    environment:",
        "      REGISTRY_HTTP_HEADERS_P: '[007700]'",
        "      NO_PROXY: 0899",
        "      GOGC: 010",
        "      TZ: 1.10",
        "      HTTP_PROXY: ${V}",
        "      HTTPS_PROXY: ${W}",
        "      ALL_PROXY: ${QUOTED}",
        "  web: {image: nginx, labels: {price: 5$$}}",
    )

    result = _import_text(tmp_path, _compose_text(*lines))

    assert result.service.environment == {
        "REGISTRY_HTTP_HEADERS_P": "[007700]",
        "NO_PROXY": "899",
        "GOGC": "8",
        "TZ": "1.1",
        "HTTP_PROXY": "pvalue",
        "HTTPS_PROXY": "p$x",
        "ALL_PROXY": 'x"#y z',
    }


def test_a_file_for_swarm_is_read_without_env_file_and_its_volumes_belong_to_the_named_stack(
    tmp_path: Path,
) -> None:
    (tmp_path / ".env").write_text("PORT=7000\n")
    text = _compose_text(
        "    ports: ['${PORT:-5000}:5000']",
        "    volumes: ['data:/var/lib/registry']",
        "    deploy: {placement: {constraints: [node.role==manager]}}",
        "volumes: {data: {}}",
    )

    unnamed, named = (_import_text(tmp_path, text, stack=each) for each in ("", "images"))
    (tmp_path / ".env").unlink()
    without_env_file = _import_text(tmp_path, text)

    for result in (unnamed, without_env_file):
        (question,) = result.questions
        assert "SWARM_STACK=NAME" in question.fix
    assert not named.questions
    assert _setting(named, "storage.volume") == "images_data"
    assert _setting(named, "registry.port") == 5000
    assert named.stop_command == "docker service scale images_registry=0"


def test_a_volume_that_the_file_names_keeps_its_name(tmp_path: Path) -> None:
    lines = ("    volumes: ['data:/var/lib/registry']", "volumes: {data: {external: {name: real}}}")

    assert _setting(_import_text(tmp_path, _compose_text(*lines)), "storage.volume") == "real"


@pytest.mark.parametrize(
    ("address", "lines"),
    [
        ("cache:6379", ["    links: ['store:cache']", "  store: {image: redis}"]),
        ("store:6379", ["  store: {image: redis}"]),
        ("tasks.store:6379", ["  store: {image: redis}"]),
        ("box:6379", ["  store: {image: redis, container_name: box}"]),
        ("c:6379", ["  store: {image: redis, networks: {default: {aliases: [c]}}}"]),
    ],
)
def test_the_redis_that_the_registry_used_is_replaced_by_that_of_the_stack(
    tmp_path: Path, address: str, lines: list[str]
) -> None:
    variables = {"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis", "REGISTRY_REDIS_ADDR": address}

    result = _import_text(
        tmp_path, _compose_text(f"    environment: {json.dumps(variables)}", *lines)
    )

    assert not result.questions
    assert _redis(result) == "store"
    assert not {"address", "enabled"} & result.section("cache").keys()


@pytest.mark.parametrize(
    ("address", "lines", "kept"),
    [
        ("redis://svc@cache.example.com:6379", ["  redis: {image: redis}"], "cache.example.com"),
        ("cache.example.com", [], "cache.example.com"),
        ("cache:6379", ["    extra_hosts: ['cache:192.0.2.7']"], "192.0.2.7"),
    ],
)
def test_a_redis_outside_of_the_file_stays_in_use(
    tmp_path: Path, address: str, lines: list[str], kept: str
) -> None:
    variables = {"REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis", "REGISTRY_REDIS_ADDR": address}

    result = _import_text(
        tmp_path, _compose_text(f"    environment: {json.dumps(variables)}", *lines)
    )

    assert _setting(result, "cache.address") == f"{kept}:6379"


def test_a_redis_that_the_registry_did_not_use_is_not_imported(tmp_path: Path) -> None:
    variables = {"REGISTRY_REDIS_ADDR": "cache.example.com:6379", "REGISTRY_REDIS_PASSWORD": "p"}

    result = _import_text(tmp_path, _with_environment(variables))

    assert _setting(result, "cache") == {"enabled": False}
    assert "redis-password" not in result.secrets


def test_oss_through_the_s3_driver_of_release_2_8_becomes_an_adopted_bucket(tmp_path: Path) -> None:
    result = _import_text(
        tmp_path,
        _compose_text(
            "    environment:",
            "      REGISTRY_STORAGE: s3",
            "      REGISTRY_STORAGE_S3_REGION: us-east-1",
            "      REGISTRY_STORAGE_S3_REGIONENDPOINT: http://oss-cn-beijing-internal.aliyuncs.com",
            "      REGISTRY_STORAGE_S3_BUCKET: demo",
            "      REGISTRY_STORAGE_S3_ACCESSKEY: LTAIexample",
            "      REGISTRY_STORAGE_S3_SECRETKEY: the-accounts-own-secret",
            "      REGISTRY_STORAGE_S3_CHUNKSIZE: '\"10485760\"'",
            "      REGISTRY_STORAGE_S3_SECURE: 'false'",
            "      REGISTRY_STORAGE_S3_V4AUTH: 'true'",
        ),
    )

    assert not result.questions
    assert not result.secrets
    assert _setting(result, "region") == "cn-beijing"
    assert _setting(result, "storage.internal") is True
    assert _setting(result, "registry.config.storage.oss") == {"chunksize": 10485760}
    assert "not encrypted" in _reason(result, "storage.s3.secure")
    assert "not encrypted" in _reason(result, "storage endpoint")
    assert _reason(result, "storage.s3.v4auth")


def test_images_are_copied_out_of_an_anonymous_volume_before_the_registry_stops(
    tmp_path: Path,
) -> None:
    result = _import_text(tmp_path, _compose_text())

    lines = [*report_lines(result)]
    (copy,) = [number for number, line in enumerate(lines) if "docker cp" in line]
    assert copy < lines.index(f"  {result.stop_command}")


def test_paths_in_printed_commands_are_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder"
    folder.mkdir()

    result = _import_text(folder, _compose_text("    volumes: ['./data:/var/lib/registry']"))

    (command,) = result.steps_before_up
    assert f"device={folder}/data" in shlex.split(command)


@pytest.mark.parametrize(
    ("lines", "limits"),
    [
        (["    mem_limit: 1.5g"], {"memory": "1536MiB"}),
        (["    mem_limit: 512m", "    cpus: 2"], {"memory": "512MiB", "cpus": 2}),
        (
            ["    deploy: {resources: {limits: {memory: 512MiB, cpus: '0.5'}}}"],
            {"memory": "512MiB", "cpus": 0.5},
        ),
    ],
)
def test_limits_are_imported_in_each_form(
    tmp_path: Path, lines: list[str], limits: dict[str, object]
) -> None:
    assert _setting(_import_text(tmp_path, _compose_text(*lines)), "registry.limits") == limits


@pytest.mark.parametrize("level", ["INFO", "Error", ""])
def test_a_log_level_is_imported_in_lower_case(tmp_path: Path, level: str) -> None:
    result = _import_text(tmp_path, _with_environment({"REGISTRY_LOG_LEVEL": level}))

    assert not result.questions
    assert _setting(result, "registry.log_level") == (level.lower() or None)


def test_client_certificates_that_the_registry_requires_are_imported(tmp_path: Path) -> None:
    pem = (compose_files() / "macvlan/certs/domain.crt").read_text()
    for name in ("ca.crt", "tls.crt"):
        (tmp_path / name).write_text(pem)
    (tmp_path / "tls.key").write_text((compose_files() / "macvlan/certs/domain.key").read_text())
    variables = {
        "REGISTRY_HTTP_TLS_CERTIFICATE": "/c/tls.crt",
        "REGISTRY_HTTP_TLS_KEY": "/c/tls.key",
        "REGISTRY_HTTP_TLS_CLIENTCAS": "[c/ca.crt]",
    }

    result = _import_text(
        tmp_path,
        _compose_text(f"    environment: {json.dumps(variables)}", "    volumes: ['.:/c']"),
    )

    assert not result.questions
    assert _setting(result, "registry.config.http.tls.clientcas") == ["/c/ca.crt"]
    assert _setting(result, "registry.files") == {"/c/ca.crt": pem}


def test_a_reader_that_ends_early_is_no_error_with_a_traceback() -> None:
    command = [sys.executable, "-m", "operations", "schema"]
    with Popen(command, stdout=PIPE, stderr=PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        errors = process.stderr.read()

    assert not errors


def test_a_private_key_in_a_certificate_file_is_not_written_to_the_stack_file(
    tmp_path: Path,
) -> None:
    pem = "-----BEGIN {0}-----\nMAo=\n-----END {0}-----\n"
    both = pem.format("PRIVATE KEY") + pem.format("CERTIFICATE")
    (tmp_path / "both.pem").write_text(both)

    result = _import_text(
        tmp_path,
        _compose_text(
            "    volumes: ['./both.pem:/both.pem']",
            "    environment:",
            "      REGISTRY_HTTP_TLS_CERTIFICATE: /both.pem",
            "      REGISTRY_HTTP_TLS_KEY: /both.pem",
            "      REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE: /both.pem",
        ),
    )

    assert "PRIVATE KEY" not in stack_file_text(result)
    assert "-----BEGIN CERTIFICATE-----" in stack_file_text(result)


def test_the_storage_drivers_key_secure_does_not_make_the_section_a_pulumi_secret(
    tmp_path: Path,
) -> None:
    result = _import_text(
        tmp_path,
        _compose_text(
            "    environment:",
            "      REGISTRY_STORAGE: oss",
            "      REGISTRY_STORAGE_OSS_BUCKET: images",
            "      REGISTRY_STORAGE_OSS_REGION: oss-cn-hangzhou",
            "      REGISTRY_STORAGE_OSS_SECURE: true",
        ),
    )

    _, secret = as_configuration(result.config)

    assert lookup(result.section("registry"), "config.storage.oss.secure") is True
    assert not secret
    assert as_configuration({"http-secret": {"secure": "v1:x"}})[1] == {"oss-registry:http-secret"}


@pytest.mark.parametrize("image", ["registry", "registry:latest"])
def test_latest_becomes_the_newest_release_that_reads_the_mounted_configuration(
    tmp_path: Path, image: str
) -> None:
    (tmp_path / "config.yml").write_text("{log: {level: error}, storage: {filesystem: {}}}")
    newest, older = (
        _import_text(tmp_path, _compose_text(f"    volumes: ['./config.yml:{path}']", image=image))
        for path in ("/etc/distribution/config.yml", "/etc/docker/registry/config.yml")
    )

    assert newest.section("registry")["release"] == "3.1.2"
    assert older.section("registry")["release"] == "2.8.3"
    assert newest.section("registry")["log_level"] == "error"


@pytest.mark.parametrize("value", ["2026-13-45", "=", "<<"])
def test_text_that_resembles_another_yaml_type_stays_text(tmp_path: Path, value: str) -> None:
    result = _import_text(
        tmp_path,
        _compose_text(
            "    environment:",
            "      REGISTRY_STORAGE: oss",
            f"      REGISTRY_STORAGE_OSS_ROOTDIRECTORY: '{value}'",
        ),
    )

    assert result.section("storage")["prefix"] == value


def test_the_configuration_is_read_from_the_path_in_the_command(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("{log: {level: error}, storage: {filesystem: {}}}")
    for command in ("/own.yml", "[serve, /own.yml]", "registry serve /own.yml"):
        result = _import_text(
            tmp_path,
            _compose_text("    volumes: ['./own.yml:/own.yml']", f"    command: {command}"),
        )
        assert result.section("registry")["log_level"] == "error"


def _import_configuration(folder: Path, config: dict[str, Any], *lines: str) -> ImportResult:
    (folder / "config.yml").write_text(yaml.dump({"storage": {"filesystem": {}}, **config}))
    mount = "    volumes: ['./config.yml:/etc/docker/registry/config.yml']"
    return _import_text(folder, _compose_text(mount, *lines))


def test_a_value_that_may_be_a_secret_becomes_a_secret_named_after_its_path(tmp_path: Path) -> None:
    hook = {"name": "a", "url": "https://h/?key=hunter1", "headers": {"X-Hook-Sig": ["hunter2"]}}
    result = _import_configuration(
        tmp_path,
        {"notifications": {"endpoints": [hook]}},
        "    environment:",
        "      http_proxy: http://svc:hunter3@proxy:3128",
        "      HTTP_PROXY: http://svc:hunter4@proxy:3128",
        "      HTTPS_PROXY: http://proxy:3128",
        "      OTEL_EXPORTER_OTLP_HEADERS: x-key=hunter5",
    )

    stack, problems = result.validated()

    assert not problems
    assert result.secrets == {
        "http-proxy": "http://svc:hunter4@proxy:3128",
        "http-proxy-2": "http://svc:hunter3@proxy:3128",
        "notifications-endpoints-0-headers-x-hook-sig-0": "hunter2",
        "notifications-endpoints-0-url": "https://h/?key=hunter1",
    }
    assert stack.registry.redacted["http_proxy"] == "[secret: http-proxy-2]"
    assert stack.registry.redacted["HTTPS_PROXY"] == "http://proxy:3128"
    assert "hunter" not in "\n".join(
        (*report_lines(result), stack_file_text(result), *stack.registry.redacted.values())
    )


def test_a_secret_of_a_part_that_is_not_imported_is_dropped(tmp_path: Path) -> None:
    cdn = {"name": "alicdn", "options": {"baseurl": "https://cdn", "privatekey": "hunter2"}}

    result = _import_configuration(tmp_path, {"middleware": {"storage": [cdn]}})

    assert not result.secrets
    assert not result.validated()[1]
    assert "hunter2" not in "\n".join((*report_lines(result), stack_file_text(result)))


def test_a_configuration_inside_the_compose_file_is_read(tmp_path: Path) -> None:
    result = _import_text(
        tmp_path,
        _compose_text(
            "    configs: [{source: ours, target: /etc/docker/registry/config.yml}]",
            "configs:",
            "  ours:",
            "    content: |",
            "      log: {level: error}",
            "      storage: {filesystem: {}}",
        ),
    )

    assert result.section("registry")["log_level"] == "error"
    assert not dict(result.omitted).get("/etc/docker/registry/config.yml")


@pytest.mark.parametrize(
    ("endpoint", "settings"),
    [
        ("demo.oss-cn-beijing.aliyuncs.com", {"internal": False}),
        ("https://demo.oss-cn-beijing-internal.aliyuncs.com", {"internal": True}),
        ("demo.oss-accelerate.aliyuncs.com", {"endpoint": "oss-accelerate.aliyuncs.com"}),
        (
            "oss-accelerate-overseas.aliyuncs.com",
            {"endpoint": "oss-accelerate-overseas.aliyuncs.com"},
        ),
    ],
)
def test_an_oss_endpoint_becomes_separate_settings(
    tmp_path: Path, endpoint: str, settings: dict[str, object]
) -> None:
    result = _import_text(
        tmp_path,
        _compose_text(
            "    environment:",
            "      REGISTRY_STORAGE: oss",
            "      REGISTRY_STORAGE_OSS_BUCKET: demo",
            "      REGISTRY_STORAGE_OSS_REGION: oss-cn-beijing",
            f"      REGISTRY_STORAGE_OSS_ENDPOINT: {endpoint}",
        ),
    )

    assert result.config["alicloud:region"] == "cn-beijing"
    assert settings.items() <= result.section("storage").items()


def test_a_printed_command_changes_the_owner_of_files_of_another_user(tmp_path: Path) -> None:
    steps = [
        _import_text(
            tmp_path,
            _compose_text("    volumes: ['./data:/var/lib/registry']", f"    user: {user}"),
        ).steps_before_up
        for user in ("'1000:1000'", "'0'", "root")
    ]

    assert [len(each) for each in steps] == [2, 1, 1]
    assert "--volume oss-registry-imported-data:/v busybox chown -R 0:0 /v" in steps[0][1]


def test_ca_certificates_that_the_registry_trusts_are_imported(tmp_path: Path) -> None:
    for name in ("one", "two"):
        pem = f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n"
        (tmp_path / f"{name}.crt").write_text(pem)

    result = _import_text(
        tmp_path,
        _compose_text(
            "    volumes: ['./one.crt:/ca.crt', './two.crt:/etc/ssl/certs/two.crt']",
            "    environment: {SSL_CERT_FILE: /ca.crt}",
        ),
    )

    trusted = result.section("registry")["ca_certificates"]
    assert [line for line in trusted.splitlines() if "-" not in line] == ["one", "two"]


@pytest.mark.parametrize(
    ("command", "memory"),
    [
        ("redis-server --maxmemory 64mb --requirepass x", "64MiB"),
        ('["redis-server", "--requirepass", "x", "--maxmemory", "1gb"]', "1GiB"),
        ("--maxmemory 5000000", "5000000"),
        ("sh -c 'exec redis-server --maxmemory 64mb'", "64MiB"),
        ("redis-server", None),
    ],
)
def test_the_memory_limit_of_redis_is_read_from_each_form_of_its_command(
    tmp_path: Path, command: str, memory: str | None
) -> None:
    result = _import_text(
        tmp_path,
        _compose_text(
            "    environment: {REGISTRY_REDIS_ADDR: 'cache:6379', REGISTRY_REDIS_PASSWORD: 'p w'}",
            "  cache:",
            "    image: redis",
            f"    command: {command}",
        ),
    )

    assert result.section("cache").get("max_memory") == memory
    assert result.secrets == {"redis-password": "p w"}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (_compose_text("    extends: {file: base.yml, service: registry}"), "no such file"),
        ("services:\n  registry: ['pa55',", "line 2"),
        ("x: &a [*a, 'pa55'\n", "did not find expected"),
        ("", "empty compose file"),
        ("- a\n- b\n", "can't load"),
        ("services:\n", "services must be a mapping"),
        ("services: {registry: }\n", "services.registry must be a mapping"),
        ("services: {web: {image: nginx}}\n", "NAME is one of web"),
        ("services: {registry: {image: registry, ports: [x]}}\n", "Invalid containerPort"),
        (_compose_text("    env_file: [gone.env]"), "gone.env not found"),
        (_compose_text("    <<: {}", "    <<: {}"), 'mapping key "<<" already defined'),
        (_compose_text("networks: {inner: {name: }}"), "networks.inner.name must be a string"),
        (
            _compose_text("    volumes: [{type: bind, source: ., target: /a, content: pa55}]"),
            "additional properties 'content' not allowed",
        ),
        (_compose_text("    environment: ['A=${B:?is needed}']"), "variable B is missing"),
        (_compose_text("    environment: ['A=pa55${']"), r"a literal \$ as \$\$"),
        (_compose_text("    environment: ['REGISTRY_HTTP=[pa55']"), "is not valid YAML"),
        (_compose_text("    environment: ['REGISTRY_AUTH_HTPASSWD=pa55']"), "must be a section"),
        (_compose_text("    environment: ['REGISTRY_STORAGE_GCS_BUCKET=b']"), "2 storage drivers"),
    ],
)
def test_an_invalid_compose_file_is_refused_without_showing_secrets(
    tmp_path: Path, content: str, error: str
) -> None:
    with pytest.raises(CommandError, match=error) as failure:
        _import_text(tmp_path, content)

    assert "pa55" not in str(failure.value)


def _run_command(stack: str, compose: Path | str = "", files: str = "") -> None:
    """Run the command of `make import`."""
    options = {
        **dict.fromkeys(("service", "swarm_stack", "config_path", "set"), ""),
        "files": files,
    }
    command = shlex.join(loader())
    arguments = Namespace(compose=str(compose), loader=command, **options)
    import_compose.run(StackContext(stack), arguments)


@pytest.mark.parametrize("exists", [True, False])
def test_an_existing_stack_file_is_not_overwritten_and_a_failed_import_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    def fail(*_: Any, **__: Any) -> str:  # noqa: ANN401
        raise CommandError("no backend")

    monkeypatch.setattr(import_compose, "run_pulumi", fail)
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    file = tmp_path / "Pulumi.prod.yaml"
    if exists:
        file.write_text("mine")

    with pytest.raises(CommandError, match="exists" if exists else "no backend"):
        _run_command("prod", compose_files() / "tutorial")

    assert file.exists() == exists
    assert not exists or file.read_text() == "mine"


def test_a_missing_pulumi_login_is_reported_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> str:  # noqa: ANN401
        raise CalledProcessError(255, ["pulumi"], stderr="error: no token")

    monkeypatch.setattr(import_compose, "run_pulumi", fail)
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)

    with pytest.raises(
        CommandError, match=r"error: no token\nLog in to Pulumi and set a passphrase first"
    ):
        _run_command("prod", compose_files() / "tutorial")


def test_missing_arguments_are_reported_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no-such\.yml does not exist"):
        _run_command("imported", tmp_path / "no-such.yml")
    with pytest.raises(CommandError, match=r"make import COMPOSE=docker-compose\.yml STACK=prod"):
        _run_command("imported")


def _differences(old: object, new: object) -> Sequence[str]:
    return [*differences(old, new)]


def test_an_import_lists_changed_values_and_no_empty_ones() -> None:
    assert not _differences({"a": {"b": None, "c": ""}, "d": 1}, {"d": 1, "e": {}})
    assert _differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3}) == ["a.b", "c"]
