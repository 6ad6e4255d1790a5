"""A compose file becomes a stack file: what is kept, what is said, and what is never shown."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
import yaml

from config.tree import lookup
from operations import Blocked, importing, stack_file
from operations.importing import report, written
from operations.importing.compose import read
from operations.importing.moving import Moved, chosen, differences, moved
from operations.stack_file import handed_over
from tests.unit.stack_files import load

SHAPES = Path(__file__).parent.parent / "compose"
REFUSED = {"gcs": "in gcs", "mirror": "is a mirror", "two": "several registries: say SERVICE="}
# Shapes of public compose files, their values replaced.
FILES = sorted(SHAPES.glob("*/*compose.y*ml"))
MOVABLE = [file for file in FILES if file.parent.name not in REFUSED]
SECRETS = (
    "LTAIexample",
    "the-accounts-own-secret",
    "stray",
    "pa55-word",
    "two words",
    "overridden",
)


def _moved(file: Path, service: str = "") -> Moved:
    compose = read(file, {})
    return moved(compose, chosen(compose, service), "imported")


_shape = cache(_moved)  # of what does not change


def _composed(folder: Path, text: str) -> Moved:
    file = folder / "docker-compose.yml"
    file.write_text(text)
    return _moved(file)


def _registry(*lines: str, image: str = "registry:2") -> str:
    return "\n".join(("services:", "  registry:", f"    image: {image}", *lines))


@pytest.mark.parametrize("file", MOVABLE, ids=lambda file: file.parent.name)
def test_no_secret_is_printed_or_written_in_clear(file: Path) -> None:
    its = _shape(file)

    shown = "\n".join((*report(its), written(its)))

    assert not [each for each in (*SECRETS, *its.secrets.values()) if each in shown]


@pytest.mark.parametrize("file", MOVABLE, ids=lambda file: file.parent.name)
def test_the_file_that_is_written_is_what_was_reported(file: Path) -> None:
    its = _shape(file)
    texts, _ = handed_over(yaml.safe_load(written(its))["config"])
    secrets = {f"oss-registry:{name}": value for name, value in its.secrets.items()}

    stack, problems = its.checked()

    if not problems:
        assert load("imported", {**texts, **secrets}, secrets.keys()) == stack
    for problem in problems:
        assert [line for line in report(its) if problem.path in line]


@pytest.mark.parametrize(("shape", "why"), REFUSED.items())
def test_what_can_not_move_in_is_refused_with_the_reason(shape: str, why: str) -> None:
    (file,) = (SHAPES / shape).glob("*compose.y*ml")

    with pytest.raises(Blocked, match=why):
        _shape(file)


def test_one_of_several_registries_moves_in_by_its_name() -> None:
    its = _shape(SHAPES / "two/docker-compose.yml", "registry")

    assert ("the service registry-read-only", "stays where it is") in its.lost


@pytest.mark.parametrize(
    ("shape", "lost"),
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
def test_what_has_no_place_is_listed_with_the_reason(shape: str, lost: str) -> None:
    (file,) = (SHAPES / shape).glob("*compose.y*ml")

    reasons = dict(_shape(file).lost)

    assert reasons[lost]


@pytest.mark.parametrize(
    ("shape", "path", "value"),
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
def test_what_has_a_place_goes_there(shape: str, path: str, value: object) -> None:
    (file,) = (SHAPES / shape).glob("*compose.y*ml")
    config = {key.partition(":")[2]: below for key, below in _shape(file).config.items()}

    assert lookup(config, path) == value


def test_a_folder_of_images_gets_the_name_of_a_volume_by_a_printed_command() -> None:
    its = _shape(SHAPES / "config-file/docker-compose.yml")

    folder = (SHAPES / "config-file/registry-data").resolve()
    assert its.steps == [
        f'docker volume create --opt type=none --opt o=bind --opt device="{folder}" '
        "oss-registry-imported-data"
    ]


@pytest.mark.parametrize(
    ("written_as", "value"),
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
def test_variables_are_read_as_compose_reads_them(
    tmp_path: Path, form: str, written_as: str, value: str
) -> None:
    (tmp_path / ".env").write_text("A=one  # a remark\nEMPTY=\nexport QUOTED='x\"#y z'\n")
    file = tmp_path / "docker-compose.yml"
    file.write_text(_registry("    environment:", form.format(written_as)))

    compose = read(file, {})

    assert compose.services["registry"].variables["LOG"] == value
    assert list(compose.unset) == (["NONE"] if written_as == "${NONE}" else [])


def test_a_variable_of_the_shell_counts_for_more_than_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\n")
    file = tmp_path / "docker-compose.yml"
    file.write_text(_registry('    ports: ["${PORT}:5000"]'))

    (port,) = read(file, {"PORT": "7000"}).services["registry"].ports

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
def test_each_form_of_a_port_is_understood(
    tmp_path: Path, form: str, published: int | None, address: str
) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(_registry("    ports:", f"      - {form}"))

    (port,) = read(file, {}).services["registry"].ports

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
def test_redis_keeps_its_size_however_it_is_told(
    tmp_path: Path, command: str, memory: str | None
) -> None:
    its = _composed(
        tmp_path,
        _registry(
            "    environment: {REGISTRY_REDIS_ADDR: 'cache:6379', REGISTRY_REDIS_PASSWORD: 'p w'}",
            "  cache:",
            "    image: redis",
            f"    command: {command}",
        ),
    )

    assert its.section("cache").get("max_memory") == memory
    assert its.secrets == {"redis-password": "p w"}


def test_a_redis_elsewhere_stays_the_one_that_is_used(tmp_path: Path) -> None:
    its = _composed(
        tmp_path, _registry("    environment: ['REGISTRY_REDIS_ADDR=redis.example.com']")
    )

    assert its.section("cache")["address"] == "redis.example.com:6379"


def test_a_key_in_the_certificate_s_file_does_not_get_into_the_stack_file(tmp_path: Path) -> None:
    pem = "-----BEGIN {0}-----\nMAo=\n-----END {0}-----\n"
    both = pem.format("PRIVATE KEY") + pem.format("CERTIFICATE")
    (tmp_path / "both.pem").write_text(both)

    its = _composed(
        tmp_path,
        _registry(
            "    volumes: ['./both.pem:/both.pem']",
            "    environment:",
            "      REGISTRY_HTTP_TLS_CERTIFICATE: /both.pem",
            "      REGISTRY_HTTP_TLS_KEY: /both.pem",
            "      REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE: /both.pem",
        ),
    )

    assert "PRIVATE KEY" not in written(its)
    assert "-----BEGIN CERTIFICATE-----" in written(its)


def test_the_driver_s_own_key_secure_is_no_secret_of_pulumi_s(tmp_path: Path) -> None:
    its = _composed(
        tmp_path,
        _registry(
            "    environment:",
            "      REGISTRY_STORAGE: oss",
            "      REGISTRY_STORAGE_OSS_BUCKET: images",
            "      REGISTRY_STORAGE_OSS_REGION: oss-cn-hangzhou",
            "      REGISTRY_STORAGE_OSS_SECURE: true",
        ),
    )

    _, secret = handed_over(its.config)

    assert lookup(its.section("registry"), "config.storage.oss.secure") is True
    assert not secret
    assert handed_over({"http-secret": {"secure": "v1:x"}})[1] == {"oss-registry:http-secret"}


@pytest.mark.parametrize("image", ["registry", "registry:latest"])
def test_latest_is_the_newest_release_that_heeds_all_that_it_is_told(
    tmp_path: Path, image: str
) -> None:
    (tmp_path / "config.yml").write_text("{log: {level: error}, storage: {filesystem: {}}}")
    newest, older = (
        _composed(tmp_path, _registry(f"    volumes: ['./config.yml:{path}']", image=image))
        for path in ("/etc/distribution/config.yml", "/etc/docker/registry/config.yml")
    )

    assert newest.section("registry")["release"] == "3.1.2"
    assert older.section("registry")["release"] == "2.8.3"
    assert newest.section("registry")["log_level"] == "error"


@pytest.mark.parametrize("value", ["2026-13-45", "=", "<<"])
def test_what_looks_like_a_value_of_yaml_s_and_is_none_stays_text(
    tmp_path: Path, value: str
) -> None:
    its = _composed(
        tmp_path,
        _registry(
            "    environment:",
            "      REGISTRY_STORAGE: oss",
            f"      REGISTRY_STORAGE_OSS_ROOTDIRECTORY: '{value}'",
        ),
    )

    assert its.section("storage")["prefix"] == value


def test_a_configuration_is_read_where_the_command_says(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("{log: {level: error}, storage: {filesystem: {}}}")
    for command in ("/own.yml", "[serve, /own.yml]", "registry serve /own.yml"):
        its = _composed(
            tmp_path, _registry("    volumes: ['./own.yml:/own.yml']", f"    command: {command}")
        )
        assert its.section("registry")["log_level"] == "error"


def _configured(folder: Path, config: dict[str, Any], *lines: str) -> Moved:
    (folder / "config.yml").write_text(yaml.dump({"storage": {"filesystem": {}}, **config}))
    mount = "    volumes: ['./config.yml:/etc/docker/registry/config.yml']"
    return _composed(folder, _registry(mount, *lines))


def test_what_may_be_a_secret_becomes_one_under_a_name_of_its_place(tmp_path: Path) -> None:
    hook = {"name": "a", "url": "https://h/?key=hunter1", "headers": {"X-Hook-Sig": ["hunter2"]}}
    its = _configured(
        tmp_path,
        {"notifications": {"endpoints": [hook]}},
        "    environment:",
        "      http_proxy: http://svc:hunter3@proxy:3128",
        "      HTTP_PROXY: http://svc:hunter4@proxy:3128",
        "      HTTPS_PROXY: http://proxy:3128",
        "      OTEL_EXPORTER_OTLP_HEADERS: x-key=hunter5",
    )

    stack, problems = its.checked()

    assert not problems
    assert its.secrets == {
        "http-proxy": "http://svc:hunter4@proxy:3128",
        "http-proxy-2": "http://svc:hunter3@proxy:3128",
        "notifications-endpoints-0-headers-x-hook-sig-0": "hunter2",
        "notifications-endpoints-0-url": "https://h/?key=hunter1",
        "otel-exporter-otlp-headers": "x-key=hunter5",
    }
    assert stack.registry.redacted["http_proxy"] == "[secret: http-proxy-2]"
    assert stack.registry.redacted["HTTPS_PROXY"] == "http://proxy:3128"
    assert "hunter" not in "\n".join(
        (*report(its), written(its), *stack.registry.redacted.values())
    )


def test_a_secret_of_what_is_refused_does_not_stay(tmp_path: Path) -> None:
    cdn = {"name": "alicdn", "options": {"baseurl": "https://cdn", "privatekey": "hunter2"}}

    its = _configured(tmp_path, {"middleware": {"storage": [cdn]}})

    assert not its.secrets
    assert not its.checked()[1]
    assert "hunter2" not in "\n".join((*report(its), written(its)))


def test_a_configuration_that_stands_in_the_compose_file_itself_is_read(tmp_path: Path) -> None:
    its = _composed(
        tmp_path,
        _registry(
            "    configs: [{source: ours, target: /etc/docker/registry/config.yml}]",
            "configs:",
            "  ours:",
            "    content: |",
            "      log: {level: error}",
            "      storage: {filesystem: {}}",
        ),
    )

    assert its.section("registry")["log_level"] == "error"
    assert not dict(its.lost).get("/etc/docker/registry/config.yml")


@pytest.mark.parametrize(
    ("told", "settings"),
    [
        ("demo.oss-cn-beijing.aliyuncs.com", {"internal": False}),
        ("https://demo.oss-cn-beijing-internal.aliyuncs.com", {"internal": True}),
        ("demo.oss-accelerate.aliyuncs.com", {"endpoint": "oss-accelerate.aliyuncs.com"}),
    ],
)
def test_an_endpoint_in_oss_is_taken_apart(
    tmp_path: Path, told: str, settings: dict[str, object]
) -> None:
    its = _composed(
        tmp_path,
        _registry(
            "    environment:",
            "      REGISTRY_STORAGE: oss",
            "      REGISTRY_STORAGE_OSS_BUCKET: demo",
            "      REGISTRY_STORAGE_OSS_REGION: oss-cn-beijing",
            f"      REGISTRY_STORAGE_OSS_ENDPOINT: {told}",
        ),
    )

    assert its.config["alicloud:region"] == "cn-beijing"
    assert settings.items() <= its.section("storage").items()


def test_files_of_a_user_of_their_own_are_given_to_the_one_that_the_registry_is(
    tmp_path: Path,
) -> None:
    steps = [
        _composed(
            tmp_path, _registry("    volumes: ['./data:/var/lib/registry']", f"    user: {user}")
        ).steps
        for user in ("'1000:1000'", "0", "root")
    ]

    assert [len(each) for each in steps] == [2, 1, 1]
    assert "--volume oss-registry-imported-data:/v busybox chown -R 0:0 /v" in steps[0][1]


def test_whom_the_registry_trusts_comes_along(tmp_path: Path) -> None:
    for name in ("one", "two"):
        pem = f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n"
        (tmp_path / f"{name}.crt").write_text(pem)

    its = _composed(
        tmp_path,
        _registry(
            "    volumes: ['./one.crt:/ca.crt', './two.crt:/etc/ssl/certs/two.crt']",
            "    environment: {SSL_CERT_FILE: /ca.crt}",
        ),
    )

    trusted = its.section("registry")["ca_certificates"]
    assert [line for line in trusted.splitlines() if "-" not in line] == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_registry("    extends: {file: base.yml, service: registry}"), "takes parts from other"),
        ("services:\n  registry: ['pa55',", "line 2: is not YAML"),
        ("x: &a [*a, 'pa55'\n", "is not YAML"),
        ("", "is no compose file"),
        ("- a\n- b\n", "is no compose file"),
        ("services:\n", "is no compose file"),
        ("services: {registry: }\n", "is no compose file"),
        ("services: {web: {image: nginx}}\n", "there is no registry among web"),
        ("services: {registry: {image: registry, ports: [x]}}\n", "services.registry.ports.0"),
        (_registry("    environment: ['REGISTRY_HTTP=[pa55']"), "does not hold YAML"),
        (_registry("    environment: ['A=${B:?is needed}']"), "the variable B must be set"),
        (_registry("    environment: ['A=pa55$-b']"), r"a \$ that is no variable's"),
        (_registry("    environment: ['A=pa55$']"), r"a \$ that is no variable's"),
        (_registry("    environment: ['REGISTRY_STORAGE_GCS_BUCKET=b']"), "2 storage drivers"),
    ],
)
def test_a_bad_compose_file_is_refused_in_words(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(Blocked, match=why) as refused:
        _composed(tmp_path, content)

    assert "pa55" not in str(refused.value)


def test_variables_that_can_not_be_read_are_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "own.env").write_bytes(b"A=\xff\xfe")

    with pytest.raises(Blocked, match=r"own\.env can't be read"):
        _composed(tmp_path, _registry("    env_file: own.env"))


@pytest.mark.parametrize("there", [True, False])
def test_a_stack_file_is_never_overwritten_and_none_is_left_by_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    def fails(*_: Any, **__: Any) -> str:  # noqa: ANN401
        raise Blocked("no backend")

    monkeypatch.setattr(importing, "pulumi", fails)
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    file = tmp_path / "Pulumi.prod.yaml"
    if there:
        file.write_text("mine")

    with pytest.raises(Blocked, match="is there already" if there else "no backend"):
        importing.main("prod", str(SHAPES / "tutorial/docker-compose.yml"))

    assert file.exists() == there
    assert not there or file.read_text() == "mine"


def test_who_is_not_logged_in_is_told_what_a_stack_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> str:  # noqa: ANN401
        raise CalledProcessError(255, ["pulumi"], stderr="error: no token")

    monkeypatch.setattr(importing, "pulumi", fails)
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)

    with pytest.raises(Blocked, match=r"error: no token\nA stack needs a login and a passphrase"):
        importing.main("prod", str(SHAPES / "tutorial/docker-compose.yml"))


def test_what_was_left_out_of_the_command_is_said(tmp_path: Path) -> None:
    with pytest.raises(Blocked, match=r"no-such\.yml: No such file"):
        importing.main("imported", str(tmp_path / "no-such.yml"))
    with pytest.raises(Blocked, match=r"make import COMPOSE=docker-compose\.yml STACK=prod"):
        importing.main("imported")


def _differences(old: object, new: object) -> Sequence[str]:
    return [*differences(old, new)]


def test_what_is_empty_counts_as_not_there_when_two_configurations_are_compared() -> None:
    assert not _differences({"a": {"b": None, "c": ""}, "d": 1}, {"d": 1, "e": {}})
    assert _differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3}) == ["a.b", "c"]
