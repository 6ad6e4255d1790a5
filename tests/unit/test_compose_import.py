"""Tests of `make import`, which turns a compose file into a stack file."""

from argparse import Namespace
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
import yaml

from config.tree import lookup
from operations import stack_file
from operations.commands import import_compose
from operations.compose_import.compose import read_compose_file
from operations.compose_import.convert import choose_service, import_service
from operations.compose_import.output import report_lines, stack_file_text
from operations.compose_import.result import ImportResult, differences
from operations.context import StackContext
from operations.errors import CommandError
from operations.stack_file import as_configuration
from tests.unit.stack_files import load

COMPOSE_FILES = Path(__file__).parent.parent / "compose"
NOT_IMPORTABLE = {
    "gcs": "in gcs",
    "mirror": "is a mirror",
    "two": "several registries: say SERVICE=",
}
# Compose files with the structure of files that were found in public, but with other values.
FILES = sorted(COMPOSE_FILES.glob("*/*compose.y*ml"))
IMPORTABLE = [file for file in FILES if file.parent.name not in NOT_IMPORTABLE]
SECRETS = (
    "LTAIexample",
    "the-accounts-own-secret",
    "stray",
    "pa55-word",
    "two words",
    "overridden",
)


def _import(file: Path, service: str = "") -> ImportResult:
    compose = read_compose_file(file, {})
    return import_service(compose, choose_service(compose, service), "imported")


_import_once = cache(_import)  # for files that no test changes


def _import_text(folder: Path, text: str) -> ImportResult:
    file = folder / "docker-compose.yml"
    file.write_text(text)
    return _import(file)


def _compose_text(*lines: str, image: str = "registry:2") -> str:
    """Return a compose file with the service `registry`. The given lines follow its image."""
    return "\n".join(("services:", "  registry:", f"    image: {image}", *lines))


@pytest.mark.parametrize("file", IMPORTABLE, ids=lambda file: file.parent.name)
def test_no_secret_is_printed_or_written_in_plain_text(file: Path) -> None:
    result = _import_once(file)

    shown = "\n".join((*report_lines(result), stack_file_text(result)))

    assert not [each for each in (*SECRETS, *result.secrets.values()) if each in shown]


@pytest.mark.parametrize("file", IMPORTABLE, ids=lambda file: file.parent.name)
def test_the_written_stack_file_matches_the_report(file: Path) -> None:
    result = _import_once(file)
    texts, _ = as_configuration(yaml.safe_load(stack_file_text(result))["config"])
    secrets = {f"oss-registry:{name}": value for name, value in result.secrets.items()}

    stack, problems = result.validated()

    if not problems:
        assert load("imported", {**texts, **secrets}, secrets.keys()) == stack
    for problem in problems:
        assert [line for line in report_lines(result) if problem.path in line]


@pytest.mark.parametrize(("folder_name", "reason"), NOT_IMPORTABLE.items())
def test_a_registry_that_cannot_be_imported_is_refused_with_the_reason(
    folder_name: str, reason: str
) -> None:
    (file,) = (COMPOSE_FILES / folder_name).glob("*compose.y*ml")

    with pytest.raises(CommandError, match=reason):
        _import_once(file)


def test_one_of_several_registries_is_imported_by_its_service_name() -> None:
    result = _import_once(COMPOSE_FILES / "two/docker-compose.yml", "registry")

    assert ("the service registry-read-only", "stays where it is") in result.not_imported


@pytest.mark.parametrize(
    ("folder_name", "part"),
    [
        ("config-file", "the user old"),
        ("config-file", "the service ui"),
        ("nginx", "registry:3.1.1"),
        ("portus", "command"),
        ("portus", "links"),
        ("portus", "/etc/docker/registry/init"),
        ("portus", "port 5001"),
        ("proxied-token", "its port"),
        ("proxied-token", "labels"),
        ("redis-conf", "$AWS_SECRET_ACCESS_KEY"),
        ("release-3-wrong-path", "/etc/docker/registry/config.yml"),
        ("tutorial", "networks"),
        ("tutorial", "the service redis"),
    ],
)
def test_a_part_that_cannot_be_imported_is_listed_with_the_reason(
    folder_name: str, part: str
) -> None:
    (file,) = (COMPOSE_FILES / folder_name).glob("*compose.y*ml")

    reasons = dict(_import_once(file).not_imported)

    assert reasons[part]


@pytest.mark.parametrize(
    ("folder_name", "path", "value"),
    [
        ("tutorial", "registry.release", "2.8.3"),  # latest, but with the driver oss
        ("tutorial", "registry.exposure", "open"),
        ("tutorial", "storage.bucket", "example-images"),
        ("tutorial", "storage.adopt", True),
        ("tutorial", "storage.prefix", ""),
        ("nginx", "registry.release", "3.1.2"),
        ("nginx", "registry.exposure", "proxy"),
        ("nginx", "registry.external_url", "https://registry.example.com"),
        ("nginx", "storage.volume", "distribution-registry_data"),
        ("config-file", "registry.log_level", None),
        ("oss-tls", "registry.port", 443),
        ("oss-tls", "registry.exposure", "tls"),
        ("oss-tls", "storage.internal", True),
        ("oss-tls", "storage.prefix", "team"),
        ("redis-conf", "cache.db", 3),
        ("redis-conf", "cache.max_memory", "100MiB"),
        ("redis-conf", "registry.environment", {"HTTP_PROXY": "http://proxy.example.com:3128"}),
        ("swarm-secrets", "registry.runtime", "swarm"),
        ("swarm-secrets", "registry.limits.memory", "512MiB"),
    ],
)
def test_a_value_is_imported_to_its_setting(folder_name: str, path: str, value: object) -> None:
    (file,) = (COMPOSE_FILES / folder_name).glob("*compose.y*ml")
    config = {key.partition(":")[2]: below for key, below in _import_once(file).config.items()}

    assert lookup(config, path) == value


def test_a_printed_command_turns_a_folder_with_images_into_a_volume() -> None:
    result = _import_once(COMPOSE_FILES / "config-file/docker-compose.yml")

    folder = (COMPOSE_FILES / "config-file/registry-data").resolve()
    assert result.steps_before_up == [
        f'docker volume create --opt type=none --opt o=bind --opt device="{folder}" '
        "oss-registry-imported-data"
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A", "one"),
        ("${A}", "one"),
        ("${A:-two}", "one"),
        ("${EMPTY:-two}", "two"),
        ("${EMPTY-two}", ""),
        ("${NONE-${A}}", "one"),
        ("${NONE:-a${NONE:-b}c}", "abc"),
        ("${A:+two}", "two"),
        ("${NONE:+two}", ""),
        ("${QUOTED}", 'x"#y z'),
        ("$$A", "$A"),
        ("pre${A}post", "preonepost"),
        ("${NONE}", ""),
    ],
)
@pytest.mark.parametrize("form", ["      LOG: '{}'", "      - 'LOG={}'"])
def test_variables_are_substituted_as_compose_does(
    tmp_path: Path, form: str, text: str, value: str
) -> None:
    (tmp_path / ".env").write_text("A=one  # a comment\nEMPTY=\nexport QUOTED='x\"#y z'\n")
    file = tmp_path / "docker-compose.yml"
    file.write_text(_compose_text("    environment:", form.format(text)))

    compose = read_compose_file(file, {})

    assert compose.services["registry"].variables["LOG"] == value
    assert list(compose.unset) == (["NONE"] if text == "${NONE}" else [])


def test_a_variable_of_the_shell_takes_precedence_over_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\n")
    file = tmp_path / "docker-compose.yml"
    file.write_text(_compose_text('    ports: ["${PORT}:5000"]'))

    (port,) = read_compose_file(file, {"PORT": "7000"}).services["registry"].ports

    assert port.published == 7000


@pytest.mark.parametrize(
    ("form", "published", "address"),
    [
        ('"5000:5000"', 5000, ""),
        ("5000:5000", 5000, ""),
        ('"127.0.0.1:5001:5000"', 5001, "127.0.0.1"),
        ('"[::1]:5001:5000/tcp"', 5001, "::1"),
        ('"5000"', None, ""),
        ("{target: 5000, published: 5002, host_ip: 192.0.2.1}", 5002, "192.0.2.1"),
        ('"5003-5005:5000-5002"', 5003, ""),
    ],
)
def test_each_form_of_a_port_is_read(
    tmp_path: Path, form: str, published: int | None, address: str
) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(_compose_text("    ports:", f"      - {form}"))

    (port,) = read_compose_file(file, {}).services["registry"].ports

    assert port == (5000, published, address)


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


def test_an_external_redis_stays_in_use(tmp_path: Path) -> None:
    result = _import_text(
        tmp_path, _compose_text("    environment: ['REGISTRY_REDIS_ADDR=redis.example.com']")
    )

    assert result.section("cache")["address"] == "redis.example.com:6379"


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
        "otel-exporter-otlp-headers": "x-key=hunter5",
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
    assert not dict(result.not_imported).get("/etc/docker/registry/config.yml")


@pytest.mark.parametrize(
    ("endpoint", "settings"),
    [
        ("demo.oss-cn-beijing.aliyuncs.com", {"internal": False}),
        ("https://demo.oss-cn-beijing-internal.aliyuncs.com", {"internal": True}),
        ("demo.oss-accelerate.aliyuncs.com", {"endpoint": "oss-accelerate.aliyuncs.com"}),
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
        for user in ("'1000:1000'", "0", "root")
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
    ("content", "error"),
    [
        (
            _compose_text("    extends: {file: base.yml, service: registry}"),
            "takes parts from other",
        ),
        ("services:\n  registry: ['pa55',", "line 2: is not YAML"),
        ("x: &a [*a, 'pa55'\n", "is not YAML"),
        ("", "is no compose file"),
        ("- a\n- b\n", "is no compose file"),
        ("services:\n", "is no compose file"),
        ("services: {registry: }\n", "is no compose file"),
        ("services: {web: {image: nginx}}\n", "there is no registry among web"),
        ("services: {registry: {image: registry, ports: [x]}}\n", "services.registry.ports.0"),
        (_compose_text("    environment: ['REGISTRY_HTTP=[pa55']"), "does not hold YAML"),
        (_compose_text("    environment: ['A=${B:?is needed}']"), "the variable B must be set"),
        (_compose_text("    environment: ['A=pa55$-b']"), r"a \$ that is no variable's"),
        (_compose_text("    environment: ['A=pa55$']"), r"a \$ that is no variable's"),
        (_compose_text("    environment: ['REGISTRY_STORAGE_GCS_BUCKET=b']"), "2 storage drivers"),
    ],
)
def test_an_invalid_compose_file_is_refused_without_showing_secrets(
    tmp_path: Path, content: str, error: str
) -> None:
    with pytest.raises(CommandError, match=error) as failure:
        _import_text(tmp_path, content)

    assert "pa55" not in str(failure.value)


def test_an_env_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "own.env").write_bytes(b"A=\xff\xfe")

    with pytest.raises(CommandError, match=r"own\.env can't be read"):
        _import_text(tmp_path, _compose_text("    env_file: own.env"))


def _run_command(stack: str, compose: Path | None = None) -> None:
    """Run the command of `make import`."""
    arguments = Namespace(compose=compose, service="")
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

    with pytest.raises(CommandError, match="is there already" if exists else "no backend"):
        _run_command("prod", COMPOSE_FILES / "tutorial/docker-compose.yml")

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
        CommandError, match=r"error: no token\nA stack needs a login and a passphrase"
    ):
        _run_command("prod", COMPOSE_FILES / "tutorial/docker-compose.yml")


def test_missing_arguments_are_reported_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no-such\.yml: No such file"):
        _run_command("imported", tmp_path / "no-such.yml")
    with pytest.raises(CommandError, match=r"make import COMPOSE=docker-compose\.yml STACK=prod"):
        _run_command("imported")


def _differences(old: object, new: object) -> Sequence[str]:
    return [*differences(old, new)]


def test_an_import_lists_changed_values_and_no_empty_ones() -> None:
    assert not _differences({"a": {"b": None, "c": ""}, "d": 1}, {"d": 1, "e": {}})
    assert _differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3}) == ["a.b", "c"]
