"""The whole program, against each stack file."""

import json
import re
from datetime import UTC, datetime, timedelta

import bcrypt
import pulumi
import pytest

from components.error_hints import explanation
from components.runtime import ERROR_HINTS
from config import certificates
from tests.unit.mock_engine import Engine, is_secret, plain, replacement_trigger, run, stack_file

CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/remoteImage:RemoteImage"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
STASH = "pulumi:index:Stash"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
SECRETS = ("one", "http-secret", "redis-password")


@pytest.fixture(scope="module")
def local() -> Engine:
    return run(stack_file("local"), stack="local")


def _environment(engine: Engine) -> dict[str, str]:
    envs = [str(plain(env)) for env in plain(engine.inputs(CONTAINER, "registry")["envs"])]
    return dict(env.split("=", 1) for env in envs)


def _configuration_of_redis(engine: Engine) -> str:
    (upload,) = plain(engine.inputs(CONTAINER, "redis")["uploads"])
    return str(plain(plain(upload)["content"]))


def test_urns_stay_the_same_because_a_new_one_replaces_a_users_resource(local: Engine) -> None:
    # Unlike the engine, the mock monitor makes the stack's own type a part of its children's URNs.
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


def test_outputs_say_where_to_push_and_which_release_runs(local: Engine) -> None:
    assert local.exports["endpoint"] == "http://127.0.0.1:5000"
    assert local.exports["login_server"] == "localhost:5000"
    assert local.exports["release"] == "3.1.2"
    assert local.exports["images"] == {"volume": "oss-registry-local-data"}


def test_the_environment_output_is_what_runs_but_for_its_secrets(local: Engine) -> None:
    shown, running = local.exports["environment"], _environment(local)
    secrets = {name for name, text in shown.items() if text.startswith("[secret: ")}
    assert secrets == {"REGISTRY_HTTP_SECRET", "REGISTRY_REDIS_PASSWORD"}
    assert shown.keys() == running.keys()
    assert {n: t for n, t in running.items() if n not in secrets} == {
        n: t for n, t in shown.items() if n not in secrets
    }


def test_redis_and_the_registry_get_the_same_generated_password(local: Engine) -> None:
    password = json.loads(_environment(local)["REGISTRY_REDIS_PASSWORD"])
    assert re.fullmatch(r"[\w-]{43}", password)
    assert f'requirepass "{password}"' in _configuration_of_redis(local)


def test_generated_secrets_are_in_secret_boxes_wherever_they_are(local: Engine) -> None:
    running = _environment(local)
    secrets = [
        json.loads(running[f"REGISTRY_{name}"]) for name in ("HTTP_SECRET", "REDIS_PASSWORD")
    ]

    def unboxed(value: object) -> object:
        if is_secret(value):
            return None
        if isinstance(value, dict):
            return {key: unboxed(item) for key, item in value.items()}
        return [unboxed(item) for item in value] if isinstance(value, list) else value

    for request in local.requests.values():
        seen = json.dumps(unboxed(local.inputs(request.type, request.name)))
        assert not any(secret in seen for secret in secrets), request.name
    assert not any(secret in json.dumps(unboxed(dict(local.exports))) for secret in secrets)


@pytest.mark.parametrize("name", ["http-secret", "redis-password"])
def test_a_generated_secret_is_kept_from_the_first_up_on(local: Engine, name: str) -> None:
    options = local.request(STASH, name)
    assert list(options.ignoreChanges) == ["input"]
    assert list(options.additionalSecretOutputs) == ["output"]


def test_images_survive_a_destroyed_stack(local: Engine) -> None:
    assert local.request(VOLUME, "data").retainOnDelete
    (mount,) = local.inputs(CONTAINER, "registry")["volumes"]
    data = local.inputs(VOLUME, "data")["name"]
    assert mount == {"volumeName": data, "containerPath": "/var/lib/registry"}
    assert _environment(local)["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"] == "/var/lib/registry"


@pytest.mark.parametrize("name", ["redis", "registry"])
def test_containers_run_by_image_id_and_make_room_before_they_are_replaced(
    local: Engine, name: str
) -> None:
    container = local.inputs(CONTAINER, name)
    assert container["image"] == "sha256:0123"
    assert local.request(CONTAINER, name).deleteBeforeReplace
    assert local.inputs(IMAGE, f"{name}-image")["keepLocally"]
    assert container["networksAdvanced"] == [{"name": local.inputs(NETWORK, "network")["name"]}]
    assert (container["networkMode"], container["logDriver"]) == ("bridge", "json-file")


def test_the_registry_listens_on_loopback_only_and_redis_nowhere_on_the_host(local: Engine) -> None:
    (port,) = local.inputs(CONTAINER, "registry")["ports"]
    assert port == {"ip": "127.0.0.1", "external": 5000, "internal": 5000, "protocol": "tcp"}
    assert local.inputs(CONTAINER, "redis").get("ports", []) == []


def test_the_engine_gives_requests_under_way_longer_than_the_registry_does(local: Engine) -> None:
    assert _environment(local)["REGISTRY_HTTP_DRAINTIMEOUT"] == "30s"
    assert local.inputs(CONTAINER, "registry")["destroyGraceSeconds"] == 35


def test_settings_of_the_stack_file_reach_the_containers() -> None:
    engine = run(
        {
            "oss-registry:registry": {"release": "2.8.3", "port": 5555, "log_level": "debug"},
            "oss-registry:cache": {"max_memory": "64MiB", "image": "redis:7.2"},
        }
    )
    assert engine.inputs(CONTAINER, "registry")["ports"][0]["external"] == 5555
    assert engine.exports["endpoint"] == "http://127.0.0.1:5555"
    assert _environment(engine)["REGISTRY_LOG_LEVEL"] == "debug"
    assert engine.inputs(IMAGE, "registry-image")["name"] == "registry:2.8.3"
    assert engine.inputs(IMAGE, "redis-image")["name"] == "redis:7.2"
    assert "maxmemory 67108864\n" in _configuration_of_redis(engine)


def test_a_whole_file_takes_the_place_of_every_variable() -> None:
    engine = run({"oss-registry:registry": {"release": "2.8.3", "delivery": "file"}})
    assert not [name for name in _environment(engine) if name.startswith("REGISTRY_")]
    (upload,) = plain(engine.inputs(CONTAINER, "registry")["uploads"])
    path = "/etc/docker/registry/config.yml"
    assert plain(upload)["file"] == path
    content = json.loads(str(plain(plain(upload)["content"])))
    assert f'requirepass "{content["redis"]["password"]}"' in _configuration_of_redis(engine)
    assert is_secret(engine.inputs(CONTAINER, "registry")["uploads"])
    assert '"password": [secret: redis-password]' in engine.exports["environment"][path]


def test_secrets_of_the_user_take_the_place_of_generated_ones() -> None:
    engine = run(
        {"oss-registry:registry": {"config": {"log": {"fields": {"who": {"from_secret": "who"}}}}}},
        secrets={
            "oss-registry:redis-password": "Pa'ss\"w$x y\\z;FOO",
            "oss-registry:http-secret": "0899",
            "oss-registry:who": "#me",
        },
    )
    variables = _environment(engine)
    assert variables["REGISTRY_HTTP_SECRET"] == '"0899"'
    assert json.loads(variables["REGISTRY_REDIS_PASSWORD"]) == "Pa'ss\"w$x y\\z;FOO"
    assert variables["REGISTRY_LOG_FIELDS"] == '{"service":"registry","who":"#me"}'
    assert engine.exports["environment"]["REGISTRY_LOG_FIELDS"] == (
        '{"service":"registry","who":[secret: who]}'
    )
    assert _configuration_of_redis(engine).startswith('requirepass "Pa\'ss\\x22w$x y\\x5cz;FOO"\n')
    assert not [request for request in engine.requests.values() if request.type == STASH]


def test_a_longer_drain_gives_the_engine_more_patience() -> None:
    engine = run({"oss-registry:registry": {"config": {"http": {"draintimeout": "2m"}}}})
    assert _environment(engine)["REGISTRY_HTTP_DRAINTIMEOUT"] == "2m"
    assert engine.inputs(CONTAINER, "registry")["destroyGraceSeconds"] == 125


def test_an_image_of_the_users_own_is_what_runs() -> None:
    engine = run({"oss-registry:registry": {"release": "3.1.2", "image": "mirror.example/reg:3"}})
    assert engine.inputs(IMAGE, "registry-image")["name"] == "mirror.example/reg:3"


def test_limits_and_the_address_reach_the_container() -> None:
    limits = {"memory": "96MiB", "cpus": 0.5}
    engine = run({"oss-registry:registry": {"limits": limits, "bind": "127.0.0.2", "port": 80}})
    container = engine.inputs(CONTAINER, "registry")
    # Without the second, the engine chooses, and what it chose looks like a change.
    assert (container["memory"], container["memorySwap"]) == (96, 96)
    assert (container["cpuPeriod"], container["cpuQuota"]) == (100_000, 50_000)
    assert container["ports"][0]["ip"] == "127.0.0.2"
    assert engine.exports["endpoint"] == "http://127.0.0.2:80"
    assert engine.exports["login_server"] == "127.0.0.2:80"


def test_an_ipv6_address_stands_in_brackets_where_docker_takes_it() -> None:
    engine = run({"oss-registry:registry": {"bind": "::1"}})
    assert engine.exports["endpoint"] == "http://[::1]:5000"
    assert engine.exports["login_server"] == "localhost:5000"


@pytest.mark.parametrize(
    "cache", [{"enabled": False}, {"address": "redis.example.com:6379"}], ids=["off", "other"]
)
def test_no_redis_runs_where_there_is_none_or_another(cache: dict[str, object]) -> None:
    engine = run({"oss-registry:cache": cache})
    names = {request.name for request in engine.requests.values()}
    assert not names & {"cache", "redis", "redis-image", "redis-password"}
    assert "registry" in names


def test_what_the_plugin_would_change_in_place_and_does_not_is_replaced(local: Engine) -> None:
    options = local.request(CONTAINER, "registry")
    assert {"healthcheck", "memory", "memorySwap", "cpuQuota"} <= set(options.replaceOnChanges)


def test_no_variable_of_redis_says_what_its_image_would_not_heed(local: Engine) -> None:
    assert local.inputs(CONTAINER, "redis").get("envs", []) == []


def test_a_variable_from_a_secret_reaches_the_process_as_it_is_and_stays_secret() -> None:
    engine = run(
        {"oss-registry:registry": {"environment": {"HTTPS_PROXY": {"from_secret": "proxy"}}}},
        secrets={"oss-registry:proxy": 'http://svc:p"w@proxy.lan:3128'},
    )
    assert _environment(engine)["HTTPS_PROXY"] == 'http://svc:p"w@proxy.lan:3128'
    assert engine.exports["environment"]["HTTPS_PROXY"] == "[secret: proxy]"
    assert is_secret(engine.inputs(CONTAINER, "registry")["envs"])


def test_the_order_of_the_stack_file_changes_no_input() -> None:
    def inputs(config: dict[str, object], environment: dict[str, str]) -> dict[str, object]:
        registry = {"config": config, "environment": environment, "ca_certificates": PEM}
        engine = run(
            {"oss-registry:registry": registry},
            secrets={f"oss-registry:{secret}": secret for secret in SECRETS},
        )
        return {r.name: engine.inputs(r.type, r.name) for r in engine.requests.values()}

    fields = {"a": {"from_secret": "one"}, "b": "2"}
    variables = {"GOGC": "80", "TZ": "UTC"}
    one = inputs({"log": {"fields": fields}, "http": {"host": "https://h"}}, variables)
    turned = dict(reversed(fields.items()))
    variables = dict(reversed(variables.items()))
    two = inputs({"http": {"host": "https://h"}, "log": {"fields": turned}}, variables)
    assert json.dumps(one) == json.dumps(two)


TAKEN = "127.0.0.1:5000 is taken: stop what listens there, or set registry.port to another"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("Bind for 127.0.0.1:5000 failed: port is already allocated", TAKEN),
        ("listen tcp4 127.0.0.1:5000: bind: address already in use", TAKEN),
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
def test_what_only_the_engine_can_know_is_one_sentence(error: str, sentence: str | None) -> None:
    said = explanation(
        error, {"name": "x", "ports": [{"ip": "127.0.0.1", "external": 5000.0}]}, ERROR_HINTS
    )
    assert said is None if sentence is None else str(said).startswith(sentence)


def test_redis_keeps_nothing_on_disk_and_drops_what_is_used_least(local: Engine) -> None:
    lines = _configuration_of_redis(local).splitlines()
    assert {"maxmemory-policy allkeys-lru", 'save ""', "appendonly no"} <= set(lines)


@pytest.mark.parametrize(("release", "exporter"), [("3.1.2", "none"), ("2.8.3", None)])
def test_a_release_that_sends_traces_by_default_sends_none(
    release: str, exporter: str | None
) -> None:
    engine = run({"oss-registry:registry": {"release": release}})
    assert _environment(engine).get("OTEL_TRACES_EXPORTER") == exporter


def test_two_stacks_share_one_engine_without_sharing_a_name() -> None:
    def names(stack: str) -> set[str]:
        engine = run({}, stack=stack)
        kinds = {CONTAINER, NETWORK, VOLUME}
        made = [r for r in engine.requests.values() if r.type in kinds]
        return {engine.inputs(request.type, request.name)["name"] for request in made}

    assert len(names("dev")) == 4
    assert not names("dev") & names("prod")


def test_nothing_is_registered_when_the_stack_file_has_problems() -> None:
    engine = Engine()
    with pytest.raises(pulumi.RunError, match=r"oss-registry:registry\.port"):
        run({"oss-registry:registry": {"port": 0}}, engine=engine)
    assert {request.type for request in engine.requests.values()} == {"pulumi:pulumi:Stack"}


# Users, certificates, and what containers may do.


GUARDED = {
    "oss-registry:registry": {"exposure": "tls", "external_url": "https://registry.example.com"},
    "oss-registry:auth": {"users": {"ci": {}, "alice": {}, "bob": {"hash": "$2b$10$" + "b" * 53}}},
    "oss-registry:tls": {"self_signed": True},
}
PASSWORD = {"oss-registry:password-alice": "alice's pass word"}


@pytest.fixture(scope="module")
def guarded() -> Engine:
    return run(GUARDED, secrets=PASSWORD)


def _files(engine: Engine) -> dict[str, str]:
    uploads = [plain(upload) for upload in plain(engine.inputs(CONTAINER, "registry")["uploads"])]
    return {upload["file"]: str(plain(upload["content"])) for upload in uploads}


def test_each_user_gets_in_with_their_own_password_and_costs_what_it_is_worth(
    guarded: Engine,
) -> None:
    lines = _files(guarded)["/etc/oss-registry/htpasswd"].splitlines()
    hashes = dict(line.split(":", 1) for line in lines)
    assert list(hashes) == ["alice", "bob", "ci"]
    assert bcrypt.checkpw(b"alice's pass word", hashes["alice"].encode())
    assert hashes["alice"].startswith("$2b$10$")
    drawn = str(plain(guarded.inputs(STASH, "password-ci")["input"]))
    assert bcrypt.checkpw(drawn.encode(), hashes["ci"].encode())
    assert hashes["ci"].startswith("$2b$05$")
    assert hashes["bob"] == "$2b$10$" + "b" * 53


def test_no_password_no_hash_and_no_key_is_in_the_clear(guarded: Engine) -> None:
    files = _files(guarded)
    shown = json.dumps(plain(guarded.exports))
    hidden = [*files["/etc/oss-registry/htpasswd"].splitlines(), "alice's pass word"]
    hidden += files["/etc/oss-registry/tls.key"].splitlines()[1:-1]
    hidden.append(str(plain(guarded.inputs(STASH, "password-ci")["input"])))
    assert not [text for text in hidden if text in shown]
    assert is_secret(guarded.inputs(CONTAINER, "registry")["uploads"])


def test_a_self_signed_certificate_comes_with_the_command_that_trusts_it(guarded: Engine) -> None:
    files, exports = _files(guarded), guarded.exports
    certificate = exports["certificate"]
    assert files["/etc/oss-registry/tls.crt"] == certificate
    assert (
        list(certificates.problems(certificate, "registry.example.com", certificates.now())) == []
    )
    assert certificates.key_problem(files["/etc/oss-registry/tls.key"], certificate) is None
    assert "'/etc/docker/certs.d/registry.example.com/ca.crt'" in exports["trust"]
    assert certificate in exports["trust"]


def test_another_host_takes_another_certificate_and_a_password_of_ones_own_another_salt(
    guarded: Engine,
) -> None:
    triggers = {
        name: replacement_trigger(guarded.request(STASH, name))
        for name in ("self-signed", "salt-alice", "salt-ci")
    }
    assert triggers == {"self-signed": "registry.example.com 0", "salt-alice": "10", "salt-ci": "5"}


def test_a_self_signed_certificate_is_due_well_before_it_ends() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    days = [
        certificates.renewals_due(first.isoformat(), first + timedelta(days)) for days in range(700)
    ]
    assert days == sorted(days)
    assert days.index(1) < (certificates.LIFETIME - timedelta(30)).days


@pytest.mark.parametrize("name", ["redis", "registry"])
def test_containers_have_no_capabilities_and_gain_no_privileges(local: Engine, name: str) -> None:
    container = local.inputs(CONTAINER, name)
    assert container["capabilities"] == {"drops": ["ALL"]}
    assert container["securityOpts"] == ["no-new-privileges"]
    assert container["tmpfs"] == {"/tmp": "size=64m"}


def test_a_registry_with_a_volume_is_a_root_who_can_do_nothing_but_write_there(
    local: Engine,
) -> None:
    # What a new volume holds is root's: without capabilities no other user could write there.
    assert "user" not in local.inputs(CONTAINER, "registry")
    assert local.inputs(CONTAINER, "redis")["user"] == "999:999"


def test_redis_may_use_what_its_entries_take_and_some_more(local: Engine) -> None:
    assert local.inputs(CONTAINER, "redis")["memory"] == 2 * 256 + 64


def test_lets_encrypt_keeps_what_it_gets_on_a_volume_that_outlives_the_stack() -> None:
    tls = {"letsencrypt": {"hosts": ["registry.example.com"]}}
    users = {"users": {"bob": {"hash": "$2b$10$" + "b" * 53}}}
    engine = run({**GUARDED, "oss-registry:tls": tls, "oss-registry:auth": users})
    assert engine.request(VOLUME, "letsencrypt").retainOnDelete
    mounts = engine.inputs(CONTAINER, "registry")["volumes"]
    assert "/var/lib/letsencrypt" in [mount["containerPath"] for mount in mounts]


def test_with_tls_the_health_check_leaves_no_line_in_the_registrys_log(guarded: Engine) -> None:
    tests = guarded.inputs(CONTAINER, "registry")["healthcheck"]["tests"]
    assert tests[:3] == ["CMD", "sh", "-c"]
    assert "wget" not in tests[3]
