"""Tests of the Pulumi program: the resources and outputs of a stack on one Docker engine."""

import json
import re
from datetime import UTC, datetime, timedelta

import bcrypt
import pulumi
import pytest

from components.error_hints import error_hint
from components.runtime.error_hints import ERROR_HINTS
from config import certificates
from tests.unit.mock_engine import Engine, is_secret, plain, replacement_trigger, run, stack_file

CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/remoteImage:RemoteImage"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
STASH = "pulumi:index:Stash"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SECRET_NAMES = ("one", "http-secret", "redis-password")


@pytest.fixture(scope="module")
def local() -> Engine:
    return run(stack_file("local"), stack="local")


def _registry_variables(engine: Engine) -> dict[str, str]:
    envs = [str(plain(env)) for env in plain(engine.inputs(CONTAINER, "registry")["envs"])]
    return dict(env.split("=", 1) for env in envs)


def _redis_configuration(engine: Engine) -> str:
    (upload,) = plain(engine.inputs(CONTAINER, "redis")["uploads"])
    return str(plain(plain(upload)["content"]))


def test_urns_stay_the_same_so_that_no_resource_is_replaced(local: Engine) -> None:
    # Unlike the engine, the mock monitor puts the stack's type into its children's URNs.
    urns = [urn.replace("pulumi:pulumi:Stack$", "") for urn in local.requests]
    assert sorted(urn.removeprefix("urn:pulumi:local::oss-registry::") for urn in urns) == [
        "docker:index/network:Network::network",
        "oss-registry:index:FilesystemStorage$docker:index/volume:Volume::data",
        "oss-registry:index:FilesystemStorage::storage",
        "oss-registry:index:RedisCache$docker:index/container:Container::redis",
        "oss-registry:index:RedisCache$docker:index/remoteImage:RemoteImage::redis-image",
        "oss-registry:index:RedisCache$pulumi:index:Stash::redis-password",
        "oss-registry:index:RedisCache::cache",
        "oss-registry:index:Registry$docker:index/container:Container::registry",
        "oss-registry:index:Registry$docker:index/remoteImage:RemoteImage::registry-image",
        "oss-registry:index:Registry$pulumi:index:Stash::http-secret",
        "oss-registry:index:Registry::registry",
        "pulumi:pulumi:Stack::oss-registry-local",
    ]


def test_the_outputs_contain_the_endpoint_the_release_and_the_place_of_the_images(
    local: Engine,
) -> None:
    assert local.exports["endpoint"] == "http://127.0.0.1:5000"
    assert local.exports["login_server"] == "localhost:5000"
    assert local.exports["release"] == "3.1.2"
    assert local.exports["images"] == {"volume": "oss-registry-local-data"}


def test_the_environment_output_shows_the_registrys_variables_without_secrets(
    local: Engine,
) -> None:
    shown, running = local.exports["environment"], _registry_variables(local)
    secrets = {name for name, text in shown.items() if text.startswith("[secret: ")}
    assert secrets == {"REGISTRY_HTTP_SECRET", "REGISTRY_REDIS_PASSWORD"}
    assert shown.keys() == running.keys()
    assert {n: t for n, t in running.items() if n not in secrets} == {
        n: t for n, t in shown.items() if n not in secrets
    }


def test_redis_and_the_registry_get_the_same_generated_password(local: Engine) -> None:
    password = json.loads(_registry_variables(local)["REGISTRY_REDIS_PASSWORD"])
    assert re.fullmatch(r"[\w-]{43}", password)
    assert f'requirepass "{password}"' in _redis_configuration(local)


def test_generated_secrets_are_pulumi_secrets_in_each_input_and_output(local: Engine) -> None:
    running = _registry_variables(local)
    secrets = [
        json.loads(running[f"REGISTRY_{name}"]) for name in ("HTTP_SECRET", "REDIS_PASSWORD")
    ]

    def without_secrets(value: object) -> object:
        if is_secret(value):
            return None
        if isinstance(value, dict):
            return {key: without_secrets(item) for key, item in value.items()}
        return [without_secrets(item) for item in value] if isinstance(value, list) else value

    for request in local.requests.values():
        text = json.dumps(without_secrets(local.inputs(request.type, request.name)))
        assert not any(secret in text for secret in secrets), request.name
    assert not any(secret in json.dumps(without_secrets(dict(local.exports))) for secret in secrets)


@pytest.mark.parametrize("name", ["http-secret", "redis-password"])
def test_a_generated_secret_is_persisted_by_the_first_up(local: Engine, name: str) -> None:
    options = local.request(STASH, name)
    assert list(options.ignoreChanges) == ["input"]
    assert list(options.additionalSecretOutputs) == ["output"]


def test_the_volume_with_the_images_is_retained_if_the_stack_is_destroyed(local: Engine) -> None:
    assert local.request(VOLUME, "data").retainOnDelete
    (mount,) = local.inputs(CONTAINER, "registry")["volumes"]
    data = local.inputs(VOLUME, "data")["name"]
    assert mount == {"volumeName": data, "containerPath": "/var/lib/registry"}
    assert (
        _registry_variables(local)["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"]
        == "/var/lib/registry"
    )


@pytest.mark.parametrize("name", ["redis", "registry"])
def test_containers_use_the_image_id_and_are_deleted_before_they_are_replaced(
    local: Engine, name: str
) -> None:
    container = local.inputs(CONTAINER, name)
    assert container["image"] == "sha256:0123"
    assert local.request(CONTAINER, name).deleteBeforeReplace
    assert local.inputs(IMAGE, f"{name}-image")["keepLocally"]
    assert container["networksAdvanced"] == [{"name": local.inputs(NETWORK, "network")["name"]}]
    assert (container["networkMode"], container["logDriver"]) == ("bridge", "json-file")


def test_the_registry_is_published_on_loopback_and_redis_is_not_published(local: Engine) -> None:
    (port,) = local.inputs(CONTAINER, "registry")["ports"]
    assert port == {"ip": "127.0.0.1", "external": 5000, "internal": 5000, "protocol": "tcp"}
    assert local.inputs(CONTAINER, "redis").get("ports", []) == []


def test_the_engines_stop_timeout_is_longer_than_the_registrys_drain_timeout(local: Engine) -> None:
    assert _registry_variables(local)["REGISTRY_HTTP_DRAINTIMEOUT"] == "30s"
    assert local.inputs(CONTAINER, "registry")["destroyGraceSeconds"] == 35


def test_settings_of_the_stack_file_become_properties_of_the_containers() -> None:
    engine = run(
        {
            "oss-registry:registry": {"release": "2.8.3", "port": 5555, "log_level": "debug"},
            "oss-registry:cache": {"max_memory": "64MiB", "image": "redis:7.2"},
        }
    )
    assert engine.inputs(CONTAINER, "registry")["ports"][0]["external"] == 5555
    assert engine.exports["endpoint"] == "http://127.0.0.1:5555"
    assert _registry_variables(engine)["REGISTRY_LOG_LEVEL"] == "debug"
    assert engine.inputs(IMAGE, "registry-image")["name"] == "registry:2.8.3"
    assert engine.inputs(IMAGE, "redis-image")["name"] == "redis:7.2"
    assert "maxmemory 67108864\n" in _redis_configuration(engine)


def test_delivery_by_file_replaces_all_registry_variables() -> None:
    engine = run({"oss-registry:registry": {"release": "2.8.3", "delivery": "file"}})
    assert not [name for name in _registry_variables(engine) if name.startswith("REGISTRY_")]
    (upload,) = plain(engine.inputs(CONTAINER, "registry")["uploads"])
    path = "/etc/docker/registry/config.yml"
    assert plain(upload)["file"] == path
    content = json.loads(str(plain(plain(upload)["content"])))
    assert f'requirepass "{content["redis"]["password"]}"' in _redis_configuration(engine)
    assert is_secret(engine.inputs(CONTAINER, "registry")["uploads"])
    assert '"password": [secret: redis-password]' in engine.exports["environment"][path]


def test_secrets_of_the_user_replace_generated_ones() -> None:
    engine = run(
        {"oss-registry:registry": {"config": {"log": {"fields": {"who": {"from_secret": "who"}}}}}},
        secrets={
            "oss-registry:redis-password": "Pa'ss\"w$x y\\z;FOO",
            "oss-registry:http-secret": "0899",
            "oss-registry:who": "#me",
        },
    )
    variables = _registry_variables(engine)
    assert variables["REGISTRY_HTTP_SECRET"] == '"0899"'
    assert json.loads(variables["REGISTRY_REDIS_PASSWORD"]) == "Pa'ss\"w$x y\\z;FOO"
    assert variables["REGISTRY_LOG_FIELDS"] == '{"service":"registry","who":"#me"}'
    assert engine.exports["environment"]["REGISTRY_LOG_FIELDS"] == (
        '{"service":"registry","who":[secret: who]}'
    )
    assert _redis_configuration(engine).startswith('requirepass "Pa\'ss\\x22w$x y\\x5cz;FOO"\n')
    assert not [request for request in engine.requests.values() if request.type == STASH]


def test_a_longer_drain_timeout_extends_the_engines_stop_timeout() -> None:
    engine = run({"oss-registry:registry": {"config": {"http": {"draintimeout": "2m"}}}})
    assert _registry_variables(engine)["REGISTRY_HTTP_DRAINTIMEOUT"] == "2m"
    assert engine.inputs(CONTAINER, "registry")["destroyGraceSeconds"] == 125


def test_registry_image_replaces_the_official_image() -> None:
    engine = run({"oss-registry:registry": {"release": "3.1.2", "image": "mirror.example/reg:3"}})
    assert engine.inputs(IMAGE, "registry-image")["name"] == "mirror.example/reg:3"


def test_limits_and_the_bind_address_become_properties_of_the_container() -> None:
    limits = {"memory": "96MiB", "cpus": 0.5}
    engine = run({"oss-registry:registry": {"limits": limits, "bind": "127.0.0.2", "port": 80}})
    container = engine.inputs(CONTAINER, "registry")
    # Without memorySwap, the engine chooses a value, which causes a diff.
    assert (container["memory"], container["memorySwap"]) == (96, 96)
    assert (container["cpuPeriod"], container["cpuQuota"]) == (100_000, 50_000)
    assert container["ports"][0]["ip"] == "127.0.0.2"
    assert engine.exports["endpoint"] == "http://127.0.0.2:80"
    assert engine.exports["login_server"] == "127.0.0.2:80"


def test_an_ipv6_loopback_endpoint_has_brackets_and_the_login_server_is_localhost() -> None:
    engine = run({"oss-registry:registry": {"bind": "::1"}})
    assert engine.exports["endpoint"] == "http://[::1]:5000"
    assert engine.exports["login_server"] == "localhost:5000"


@pytest.mark.parametrize(
    "cache",
    [{"enabled": False}, {"address": "redis.example.com:6379"}],
    ids=["disabled", "external"],
)
def test_no_redis_runs_if_the_cache_is_disabled_or_external(cache: dict[str, object]) -> None:
    engine = run({"oss-registry:cache": cache})
    names = {request.name for request in engine.requests.values()}
    assert not names & {"cache", "redis", "redis-image", "redis-password"}
    assert "registry" in names


def test_properties_that_pulumis_provider_cannot_update_replace_the_container(
    local: Engine,
) -> None:
    request = local.request(CONTAINER, "registry")
    assert {"healthcheck", "memory", "memorySwap", "cpuQuota"} <= set(request.replaceOnChanges)


def test_the_redis_container_has_no_variables_as_its_image_reads_none(local: Engine) -> None:
    assert local.inputs(CONTAINER, "redis").get("envs", []) == []


def test_a_variable_from_a_secret_is_passed_unchanged_and_stays_secret() -> None:
    engine = run(
        {"oss-registry:registry": {"environment": {"HTTPS_PROXY": {"from_secret": "proxy"}}}},
        secrets={"oss-registry:proxy": 'http://svc:p"w@proxy.lan:3128'},
    )
    assert _registry_variables(engine)["HTTPS_PROXY"] == 'http://svc:p"w@proxy.lan:3128'
    assert engine.exports["environment"]["HTTPS_PROXY"] == "[secret: proxy]"
    assert is_secret(engine.inputs(CONTAINER, "registry")["envs"])


def test_the_order_of_keys_in_the_stack_file_changes_no_input() -> None:
    def inputs(config: dict[str, object], environment: dict[str, str]) -> dict[str, object]:
        registry = {"config": config, "environment": environment, "ca_certificates": PEM}
        engine = run(
            {"oss-registry:registry": registry},
            secrets={f"oss-registry:{secret}": secret for secret in SECRET_NAMES},
        )
        return {r.name: engine.inputs(r.type, r.name) for r in engine.requests.values()}

    fields = {"a": {"from_secret": "one"}, "b": "2"}
    variables = {"GOGC": "80", "TZ": "UTC"}
    one = inputs({"log": {"fields": fields}, "http": {"host": "https://h"}}, variables)
    reordered = dict(reversed(fields.items()))
    variables = dict(reversed(variables.items()))
    two = inputs({"http": {"host": "https://h"}, "log": {"fields": reordered}}, variables)
    assert json.dumps(one) == json.dumps(two)


PORT_IN_USE = "127.0.0.1:5000 is taken: stop what listens there, or set registry.port to another"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("Bind for 127.0.0.1:5000 failed: port is already allocated", PORT_IN_USE),
        ("listen tcp4 127.0.0.1:5000: bind: address already in use", PORT_IN_USE),
        (
            "listen tcp4 127.0.0.1:5000: bind: cannot assign requested address",
            "127.0.0.1 is not an address of the engine's machine: set registry.bind to one that is",
        ),
        ("unable to pull image x: no such host", "the image x is not in the engine, and its"),
        ("Cannot connect to the Docker daemon at unix:///x.", "the Docker engine does not answer:"),
        ('The container name "/x" is already in use by container', "x is in the engine already"),
        ("network with name x already exists", "x is in the engine already"),
        ("container failed to be in healthy state", "x was not healthy within 60 s: `docker log"),
        ("something new", None),
    ],
)
def test_an_error_of_the_engine_has_a_hint(error: str, hint: str | None) -> None:
    found = error_hint(
        error, {"name": "x", "ports": [{"ip": "127.0.0.1", "external": 5000.0}]}, ERROR_HINTS
    )
    assert found is None if hint is None else str(found).startswith(hint)


def test_redis_stores_nothing_on_disk_and_evicts_the_least_recently_used_entries(
    local: Engine,
) -> None:
    lines = _redis_configuration(local).splitlines()
    assert {"maxmemory-policy allkeys-lru", 'save ""', "appendonly no"} <= set(lines)


@pytest.mark.parametrize(("release", "exporter"), [("3.1.2", "none"), ("2.8.3", None)])
def test_a_release_that_sends_traces_by_default_is_configured_to_send_none(
    release: str, exporter: str | None
) -> None:
    engine = run({"oss-registry:registry": {"release": release}})
    assert _registry_variables(engine).get("OTEL_TRACES_EXPORTER") == exporter


def test_two_stacks_on_one_engine_have_different_names_for_all_resources() -> None:
    def names(stack: str) -> set[str]:
        engine = run({}, stack=stack)
        kinds = {CONTAINER, NETWORK, VOLUME}
        named = [r for r in engine.requests.values() if r.type in kinds]
        return {engine.inputs(request.type, request.name)["name"] for request in named}

    assert len(names("dev")) == 4
    assert not names("dev") & names("prod")


def test_no_resource_is_registered_if_the_stack_file_has_problems() -> None:
    engine = Engine()
    with pytest.raises(pulumi.RunError, match=r"oss-registry:registry\.port"):
        run({"oss-registry:registry": {"port": 0}}, engine=engine)
    assert {request.type for request in engine.requests.values()} == {"pulumi:pulumi:Stack"}


# Users, certificates, and the privileges of containers.


WITH_LOGIN = {
    "oss-registry:registry": {"exposure": "tls", "external_url": "https://registry.example.com"},
    "oss-registry:auth": {"users": {"ci": {}, "alice": {}, "bob": {"hash": "$2b$10$" + "b" * 53}}},
    "oss-registry:tls": {"self_signed": True},
}
PASSWORD = {"oss-registry:password-alice": "alice's pass word"}


@pytest.fixture(scope="module")
def with_login() -> Engine:
    return run(WITH_LOGIN, secrets=PASSWORD)


def _files(engine: Engine) -> dict[str, str]:
    uploads = [plain(upload) for upload in plain(engine.inputs(CONTAINER, "registry")["uploads"])]
    return {upload["file"]: str(plain(upload["content"])) for upload in uploads}


def test_each_password_has_a_hash_with_a_low_cost_if_the_password_is_generated(
    with_login: Engine,
) -> None:
    lines = _files(with_login)["/etc/oss-registry/htpasswd"].splitlines()
    hashes = dict(line.split(":", 1) for line in lines)
    assert list(hashes) == ["alice", "bob", "ci"]
    assert bcrypt.checkpw(b"alice's pass word", hashes["alice"].encode())
    assert hashes["alice"].startswith("$2b$10$")
    generated = str(plain(with_login.inputs(STASH, "password-ci")["input"]))
    assert bcrypt.checkpw(generated.encode(), hashes["ci"].encode())
    assert hashes["ci"].startswith("$2b$05$")
    assert hashes["bob"] == "$2b$10$" + "b" * 53


def test_no_password_no_hash_and_no_key_is_shown_in_plain_text(with_login: Engine) -> None:
    files = _files(with_login)
    shown = json.dumps(plain(with_login.exports))
    hidden = [*files["/etc/oss-registry/htpasswd"].splitlines(), "alice's pass word"]
    hidden += files["/etc/oss-registry/tls.key"].splitlines()[1:-1]
    hidden.append(str(plain(with_login.inputs(STASH, "password-ci")["input"])))
    assert not [text for text in hidden if text in shown]
    assert is_secret(with_login.inputs(CONTAINER, "registry")["uploads"])


def test_a_self_signed_certificate_has_an_output_with_the_command_that_trusts_it(
    with_login: Engine,
) -> None:
    files, exports = _files(with_login), with_login.exports
    certificate = exports["certificate"]
    assert files["/etc/oss-registry/tls.crt"] == certificate
    assert (
        list(certificates.problems(certificate, "registry.example.com", certificates.now())) == []
    )
    assert certificates.key_problem(files["/etc/oss-registry/tls.key"], certificate) is None
    assert "'/etc/docker/certs.d/registry.example.com/ca.crt'" in exports["trust"]
    assert certificate in exports["trust"]


def test_a_new_host_replaces_the_certificate_and_a_new_cost_replaces_the_salt(
    with_login: Engine,
) -> None:
    triggers = {
        name: replacement_trigger(with_login.request(STASH, name))
        for name in ("self-signed", "salt-alice", "salt-ci")
    }
    assert triggers == {"self-signed": "registry.example.com 0", "salt-alice": "10", "salt-ci": "5"}


def test_a_self_signed_certificate_is_renewed_more_than_30_days_before_it_expires() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    days = [
        certificates.renewals_due(first.isoformat(), first + timedelta(days)) for days in range(700)
    ]
    assert days == sorted(days)
    assert days.index(1) < (certificates.LIFETIME - timedelta(30)).days


@pytest.mark.parametrize("name", ["redis", "registry"])
def test_containers_have_no_capabilities_and_cannot_gain_privileges(
    local: Engine, name: str
) -> None:
    container = local.inputs(CONTAINER, name)
    assert container["capabilities"] == {"drops": ["ALL"]}
    assert container["securityOpts"] == ["no-new-privileges"]
    assert container["tmpfs"] == {"/tmp": "size=64m"}


def test_a_registry_with_a_volume_runs_as_root_because_root_owns_the_volume(local: Engine) -> None:
    # Root owns a new volume, and without capabilities no other user can write to it.
    assert "user" not in local.inputs(CONTAINER, "registry")
    assert local.inputs(CONTAINER, "redis")["user"] == "999:999"


def test_the_memory_limit_of_redis_is_twice_max_memory_plus_64_mib(local: Engine) -> None:
    assert local.inputs(CONTAINER, "redis")["memory"] == 2 * 256 + 64


def test_certificates_from_lets_encrypt_are_stored_in_a_retained_volume() -> None:
    tls = {"letsencrypt": {"hosts": ["registry.example.com"]}}
    users = {"users": {"bob": {"hash": "$2b$10$" + "b" * 53}}}
    engine = run({**WITH_LOGIN, "oss-registry:tls": tls, "oss-registry:auth": users})
    assert engine.request(VOLUME, "letsencrypt").retainOnDelete
    mounts = engine.inputs(CONTAINER, "registry")["volumes"]
    assert "/var/lib/letsencrypt" in [mount["containerPath"] for mount in mounts]


def test_with_tls_the_health_check_avoids_wget_whose_handshakes_would_fail(
    with_login: Engine,
) -> None:
    tests = with_login.inputs(CONTAINER, "registry")["healthcheck"]["tests"]
    assert tests[:3] == ["CMD", "sh", "-c"]
    assert "wget" not in tests[3]
