"""Tests of stacks on a Docker Swarm: refused settings, warnings, and the properties of services."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from components.error_hints import error_hint
from components.runtime.error_hints import ERROR_HINTS
from components.runtime.swarm import format_duration, pin_digest
from config.load import warnings
from config.problems import SettingsError
from tests.unit.mock_engine import Engine, Provider, is_secret, plain, replacement_trigger, run
from tests.unit.stack_files import assert_refused, load, load_stack, problems

SERVICE = "docker:index/service:Service"
SECRET = "docker:index/secret:Secret"
CONFIG = "docker:index/serviceConfig:ServiceConfig"
KEY = "alicloud:ram/accessKey:AccessKey"
STASH = "pulumi:index:Stash"
NETWORK = "docker:index/network:Network"
IMAGE = "docker:index/remoteImage:RemoteImage"
SWARM = {"runtime": "swarm", "exposure": "open"}
HOST_MODE = {"publish_mode": "host", "endpoint_mode": "dnsrr"}
OSS = {"kind": "oss", "bucket": "images-of-mine"}
BUCKET: Mapping[str, Any] = {"storage": OSS, "region": "cn-hangzhou"}


# Refused settings.


@pytest.mark.parametrize(
    ("key", "word", "sections"),
    [
        ("registry.exposure", "every address", {"registry": {"runtime": "swarm"}}),
        ("registry.bind", "every address", {"registry": {**SWARM, "bind": "10.0.0.7"}}),
        ("registry.delivery", "Docker secret", {"registry": {**SWARM, "delivery": "env"}}),
        ("registry.replicas", "kind: oss", {"registry": {**SWARM, "replicas": 2}}),
        ("registry.replicas", "runtime: swarm", {"registry": {"replicas": 2}, **BUCKET}),
        ("registry.swarm", "runtime: swarm", {"registry": {"swarm": {}}}),
        (
            "registry.swarm.endpoint_mode",
            "virtual address",
            {"registry": {**SWARM, "swarm": {"endpoint_mode": "dnsrr"}}},
        ),
        (
            "registry.swarm.constraints[0]",
            "node.labels",
            {"registry": {**SWARM, "swarm": {"constraints": ["one"]}}},
        ),
        (
            "registry.environment.REGISTRY_HTTP_SECRET_FILE",
            "past all checks",
            {"registry": {**SWARM, "environment": {"REGISTRY_HTTP_SECRET_FILE": "/run/x"}}},
        ),
        (
            "tls.letsencrypt",
            "replicas: 1",
            {
                "registry": {"runtime": "swarm", "exposure": "tls", "replicas": 2, "port": 443}
                | {"external_url": "https://registry.example.com"},
                "tls": {"letsencrypt": {"hosts": ["registry.example.com"]}},
                "auth": {"users": {"ci": {}}},
                **BUCKET,
            },
        ),
    ],
)
def test_a_setting_that_swarm_does_not_support_is_refused(
    key: str, word: str, sections: Mapping[str, Any]
) -> None:
    assert_refused(f"oss-registry:{key}", word, **sections)


SECRET_BYTES, CONFIG_BYTES = 500 * 1024, 1000 * 1024  # the smallest sizes that Docker refuses
ISSUER = "/etc/token/issuer.pem"


def _certificates_of_size(size: int) -> str:
    return "-----BEGIN CERTIFICATE-----\n".ljust(size, "x")


@pytest.mark.parametrize(
    ("registry", "key", "words"),
    [
        ({"files": {ISSUER: "x" * CONFIG_BYTES}}, f"files.{ISSUER}", "config of 1024000 bytes"),
        ({"files": {ISSUER: "ü" * (CONFIG_BYTES // 2)}}, f"files.{ISSUER}", "1023999 are the most"),
        (
            {"ca_certificates": _certificates_of_size(CONFIG_BYTES)},
            "ca_certificates",
            "config of 1024000 bytes",
        ),
        (
            {"config": {"log": {"fields": {"a": "x" * SECRET_BYTES}}}},
            "config",
            "a Docker secret of 513",
        ),
    ],
)
def test_a_file_too_large_for_swarm_is_refused_at_its_key(
    registry: dict[str, Any], key: str, words: str
) -> None:
    (line,) = problems(registry={**SWARM, **registry})
    assert line.startswith(f"oss-registry:registry.{key}: makes /etc/")
    assert words in line


def test_a_public_file_may_be_larger_than_a_secret() -> None:
    for registry in (
        {"ca_certificates": _certificates_of_size(600_000)},
        {"files": {ISSUER: "x" * (CONFIG_BYTES - 1)}},
    ):
        load_stack(registry={**SWARM, **registry})


def test_the_size_of_a_file_counts_the_values_of_its_secrets() -> None:
    config = {"log": {"fields": {"note": {"from_secret": "note"}}}}

    def problems_with(size: int) -> list[str]:
        given: Any = {"secrets": {"note": "x" * size}, "registry": {**SWARM, "config": config}}
        try:
            load_stack(**given)
        except SettingsError as error:
            return str(error).splitlines()[1:]
        return []

    (line,) = problems_with(SECRET_BYTES)
    rest = (
        int(re.findall(r"secret of (\d+) bytes, and 511999 are the most", line)[0]) - SECRET_BYTES
    )
    assert problems_with(SECRET_BYTES - rest - 1) == []
    assert f"secret of {SECRET_BYTES} bytes" in problems_with(SECRET_BYTES - rest)[0]


@pytest.mark.parametrize("runtime", [{}, SWARM])
def test_a_file_without_content_is_refused(runtime: dict[str, Any]) -> None:
    registry = {**runtime, "files": {ISSUER: ""}}
    assert_refused(f"oss-registry:registry.files.{ISSUER}", "can't be empty", registry=registry)


def test_the_size_of_a_variable_counts_the_values_of_its_secrets() -> None:
    hook = {"headers": {"Authorization": [{"from_secret": "hook"}]}, "name": "hook"}
    config = {"notifications": {"endpoints": [hook]}}
    given: Any = {"secrets": {"hook": "x" * 2**17}, "registry": {"config": config}}
    (line,) = problems(**given)
    assert "makes the variable REGISTRY_NOTIFICATIONS_ENDPOINTS 131" in line
    assert "xxx" not in line


def test_runtime_swarm_needs_no_other_setting_for_three_replicas() -> None:
    stack = load_stack(registry={**SWARM, "replicas": 3}, **BUCKET)
    assert stack.registry.delivery == "file"
    assert stack.registry.address == "0.0.0.0"
    assert not [name for name in stack.registry.environment if name.startswith("REGISTRY_")]


@pytest.mark.parametrize("name", ["eu.prod", "a..b", ".a", "ü"])
def test_a_stack_name_that_swarm_refuses_in_a_service_name_is_refused(name: str) -> None:
    config = {"oss-registry:registry": json.dumps(SWARM)}
    with pytest.raises(SettingsError, match=r"names of services.*only letters, digits, - and _"):
        load(name, config, set())
    assert load("eu_prod-1", config, set()).name == "eu_prod-1"


@pytest.mark.parametrize("excess", [1, 30])
def test_a_stack_name_too_long_for_the_names_of_docker_secrets_is_refused(excess: int) -> None:
    config = {"oss-registry:registry": json.dumps(SWARM)}
    longest = 30  # The other 34 of 64 characters are those of oss-registry-…-registry-01234567-00.
    load("s" * longest, config, set())
    with pytest.raises(SettingsError, match="choose a shorter one"):
        load("s" * (longest + excess), config, set())


# Warnings.


def test_several_replicas_without_a_shared_redis_are_a_warning() -> None:
    stack = load_stack(registry={**SWARM, "replicas": 2}, cache={"enabled": False}, **BUCKET)
    assert any("registry.replicas" in line and "redis" in line for line in warnings(stack))
    stack = load_stack(registry={**SWARM, "replicas": 2}, **BUCKET)
    assert not any("registry.replicas" in line for line in warnings(stack))


def test_a_volume_without_a_constraint_on_the_node_is_a_warning() -> None:
    unconstrained = load_stack(registry=SWARM)
    assert any("oss-registry-dev-data" in line for line in warnings(unconstrained))
    constrained = load_stack(registry={**SWARM, "swarm": {"constraints": ["node.hostname==one"]}})
    assert not any("oss-registry-dev-data" in line for line in warnings(constrained))


def test_exposure_proxy_on_swarm_is_a_warning_as_clients_can_bypass_the_proxy() -> None:
    url = "https://registry.example.com"
    registry = {"runtime": "swarm", "exposure": "proxy", "external_url": url}
    stack = load_stack(registry=registry, auth={"users": {"ci": {}}}, **BUCKET)
    assert any("past the proxy" in line for line in warnings(stack))


# Properties of the services.


class CloudProvider(Provider):
    COMPUTED: Mapping[str, Mapping[str, str]] = {**Provider.COMPUTED, KEY: {"secret": "s"}}


def _run(engine: Engine | None = None, **registry: object) -> Engine:
    config: dict[str, object] = {"oss-registry:registry": {**SWARM, **registry}}
    if "replicas" in registry:
        config |= {"oss-registry:storage": OSS, "alicloud:region": "cn-hangzhou"}
    return run(config, engine=engine or Engine(CloudProvider()))


@pytest.fixture(scope="module")
def swarm() -> Engine:
    public = {"/etc/hook.pem": "public"}
    return _run(replicas=3, files=public, limits={"memory": "512MiB", "cpus": 1.5})


def _service(engine: Engine, name: str = "registry") -> Any:  # noqa: ANN401
    return plain(engine.inputs(SERVICE, name))


def _container_spec(engine: Engine, name: str = "registry") -> Any:  # noqa: ANN401
    return plain(_service(engine, name)["taskSpec"])["containerSpec"]


def test_services_are_attached_to_an_overlay_network_by_its_id(swarm: Engine) -> None:
    assert swarm.inputs(NETWORK, "network")["driver"] == "overlay"
    service = _service(swarm)
    assert service["mode"] == {"replicated": {"replicas": 3}}
    for name in ("registry", "redis"):
        task = plain(_service(swarm, name)["taskSpec"])
        assert task["networksAdvanceds"] == [{"id": "network-id"}]
    assert _service(swarm, "redis")["mode"] == {"replicated": {"replicas": 1}}


def test_replicas_are_updated_one_by_one_and_rolled_back_if_one_fails(swarm: Engine) -> None:
    for name in ("registry", "redis"):
        service = _service(swarm, name)
        assert service["updateConfig"]["failureAction"] == "rollback"
        assert service["updateConfig"]["parallelism"] == 1
        assert service["rollbackConfig"]["parallelism"] == 1
        assert service["convergeConfig"]["delay"] == "0s"
    assert _container_spec(swarm)["stopGracePeriod"] == "35s"


@pytest.mark.parametrize(("mode", "order"), [("ingress", "start-first"), ("host", "stop-first")])
def test_in_host_mode_the_old_replica_stops_before_the_new_one_starts(
    mode: str, order: str
) -> None:
    engine = _run(swarm={"publish_mode": mode})
    service = _service(engine)
    assert service["updateConfig"]["order"] == service["rollbackConfig"]["order"] == order
    (port,) = service["endpointSpec"]["ports"]
    assert port == {
        "publishMode": mode,
        "publishedPort": 5000,
        "targetPort": 5000,
        "protocol": "tcp",
    }


def test_a_rollback_in_host_mode_stops_the_failed_replica_first() -> None:
    service = _service(_run(swarm={"publish_mode": "host", "order": "start-first"}))
    assert service["updateConfig"]["order"] == "start-first"
    assert service["rollbackConfig"]["order"] == "stop-first"


def test_only_the_published_service_has_a_virtual_address(swarm: Engine) -> None:
    assert _service(swarm)["endpointSpec"]["mode"] == "vip"
    assert _service(swarm, "redis")["endpointSpec"] == {"mode": "dnsrr", "ports": []}
    assert _service(_run(swarm=HOST_MODE))["endpointSpec"]["mode"] == "dnsrr"


def test_a_file_with_a_secret_is_a_docker_secret_and_any_other_file_a_docker_config(
    swarm: Engine,
) -> None:
    spec = _container_spec(swarm)
    assert not [name for name in spec["env"] if name.startswith("REGISTRY_")]
    (secret,), (config,) = spec["secrets"], spec["configs"]
    assert secret["fileName"] == "/etc/distribution/config.yml"
    assert config["fileName"] == "/etc/hook.pem"
    for reference in (secret, config):
        ownership = [reference[key] for key in ("fileUid", "fileGid", "fileMode")]
        assert ownership == ["65532", "65532", 0o400]
    docker_secret = swarm.inputs(SECRET, "registry-file-0")
    assert is_secret(docker_secret["data"])
    content = json.loads(base64.b64decode(str(plain(docker_secret["data"]))))
    assert content["redis"]["password"] in str(
        base64.b64decode(str(plain(swarm.inputs(SECRET, "redis-file-0")["data"])))
    )
    assert base64.b64decode(swarm.inputs(CONFIG, "registry-file-1")["data"]) == b"public"


def test_a_docker_secret_is_retained_for_rollbacks_and_labelled_with_its_stack(
    swarm: Engine,
) -> None:
    for kind, name in ((SECRET, "registry-file-0"), (CONFIG, "registry-file-1")):
        assert swarm.request(kind, name).retainOnDelete
        labels = {label["label"]: label["value"] for label in swarm.inputs(kind, name)["labels"]}
        assert labels["oss-registry.stack"] == "dev"
        assert labels["oss-registry.file"].startswith("/etc/")


def test_docker_secrets_get_new_names_if_the_content_of_one_changes() -> None:
    def trigger_of_names(level: str) -> object:
        # The mock engine does not persist generated secrets, so they are set here.
        secrets = {"http-secret": "one", "redis-password": "two"}
        config = {
            "oss-registry:registry": {**SWARM, "log_level": level},
            "oss-registry:storage": {"kind": "filesystem"},
        }
        engine = run(config, secrets={f"oss-registry:{k}": v for k, v in secrets.items()})
        name = engine.inputs(SECRET, "registry-file-0")["name"]
        assert not is_secret(name)
        suffix = plain(engine.inputs(STASH, "registry-files")["input"])
        assert name == f"oss-registry-dev-registry-{plain(suffix)}-0"
        return replacement_trigger(engine.request(STASH, "registry-files"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.runtime.swarm.secrets.token_hex", lambda n=32: "ab" * n)
        first, same, other = map(trigger_of_names, ("warn", "warn", "error"))
    assert first == same != other


def test_a_service_is_hardened(swarm: Engine) -> None:
    for name, user in (("registry", "65532:65532"), ("redis", "999:999")):
        spec = _container_spec(swarm, name)
        assert spec["user"] == user
        assert spec["readOnly"] is True
        assert spec["capDrops"] == ["ALL"]
        assert spec["mounts"] == [
            {"type": "tmpfs", "target": "/tmp", "tmpfsOptions": {"sizeBytes": 2**26}}
        ]


def test_limits_apply_to_each_replica(swarm: Engine) -> None:
    limits = plain(_service(swarm)["taskSpec"])["resources"]["limits"]
    assert limits == {"memoryBytes": 2**29, "nanoCpus": 1_500_000_000}


def test_constraints_apply_to_all_services_in_any_order() -> None:
    constraints = ["node.role==worker", "node.labels.registry==true"]
    for given in (constraints, constraints[::-1]):
        engine = _run(swarm={"constraints": given})
        for name in ("registry", "redis"):
            task = plain(_service(engine, name)["taskSpec"])
            assert task["placement"] == {"constraints": sorted(constraints)}


def test_services_use_the_digest_of_the_pulled_image() -> None:
    class PullingProvider(CloudProvider):
        COMPUTED: Mapping[str, Mapping[str, str]] = {
            **CloudProvider.COMPUTED,
            IMAGE: {"imageId": "sha256:0123", "repoDigest": "registry@sha256:4567"},
        }

    engine = _run(Engine(PullingProvider()))
    assert _container_spec(engine)["image"] == "registry:3.1.2@sha256:4567"
    assert _container_spec(engine, "redis")["image"] == "redis:7.0.15"


@pytest.mark.parametrize(
    ("image", "repo_digest", "expected"),
    [
        ("registry:3.1.2", "", "registry:3.1.2"),
        ("registry:3.1.2", None, "registry:3.1.2"),
        ("registry:3.1.2", "registry@sha256:1", "registry:3.1.2@sha256:1"),
        ("docker.io/library/registry:3.1.2", "registry@sha256:1", None),
        ("docker.io/mine/registry", "mine/registry@sha256:1", None),
        ("images.example.com:5000/r:1", "images.example.com:5000/r@sha256:1", None),
        ("images.example.com:5000/r", "images.example.com:5000/r@sha256:1", None),
        # An image that was built or tagged locally may be missing from the registry that it names.
        ("registry:3.1.2", "images.example.com:5000/registry@sha256:1", "registry:3.1.2"),
        ("registry:3.1.2@sha256:1", "registry@sha256:1", "registry:3.1.2@sha256:1"),
    ],
)
def test_an_image_is_pinned_by_digest_only_if_its_registry_has_that_digest(
    image: str, repo_digest: str | None, expected: str | None
) -> None:
    assert pin_digest(image, repo_digest) == (expected or f"{image}@sha256:1")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((5, "5s"), (35, "35s"), (60, "1m"), (95, "1m35s"), (600, "10m"), (630, "10m30s")),
        *((3600, "1h"), (3605, "1h0m5s"), (3660, "1h1m"), (36000, "10h")),
    ],
)
def test_durations_are_written_as_docker_prints_them(seconds: int, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join"',
            "docker swarm init",
        ),
        (
            "This node is not a swarm manager. Worker nodes can't be used to view or modify "
            "cluster state. Please run this command on a manager node or promote the current node",
            "docker node promote",
        ),
        ("Cannot create a multi-host network from a worker node. Please", "docker node promote"),
        ("service rollback completed: rollback completed", "runs as before: `docker service ps"),
        ("Service with ID (x) did not converge after 4m0s", "`docker node ls`"),
        ("port '5000' is already in use by service 'x' (y) as an ingress port", "registry.port"),
        ("rpc error: name conflicts with an existing object", "is in the engine already"),
    ],
)
def test_an_error_of_swarm_has_a_hint(error: str, hint: str) -> None:
    assert hint in (error_hint(error, {"name": "it"}, ERROR_HINTS) or "")


def test_all_problems_are_reported_together() -> None:
    found = problems(registry={**SWARM, "bind": "10.0.0.7", "delivery": "env", "replicas": 2})
    assert len(found) == 3
