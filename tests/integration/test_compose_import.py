"""Import a registry from a Docker Compose file, and pull the same images from the imported one."""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from config.releases import DEFAULT_RELEASE
from tests.emulator.emulator import Emulator
from tests.integration.api import Api, RequestError
from tests.integration.clients import remove_and_pull, skopeo
from tests.integration.cloud import REGION, CloudDeployment
from tests.integration.deployment import Deployment, free_port, run, run_checked, wait_until
from tests.integration.engine import ENGINE_UNAVAILABLE, engine_with_images
from tests.integration.leftovers import unique_name

pytestmark = pytest.mark.ops

HAS_COMPOSE_PLUGIN = run("docker", "compose", "version").returncode == 0
COMPOSE = ("docker", "compose") if HAS_COMPOSE_PLUGIN else ("docker-compose",)
PASSWORD, REDIS_PASSWORD, HTTP_SECRET = "pa55 word & more", "redis pa55$word", "long and random"
CONFIG = """\
version: 0.1
storage:
  cache: {blobdescriptor: redis}
  filesystem: {rootdirectory: /images}
  delete: {enabled: true}
redis: {addr: "cache:6379", password: "redis pa55$word"}
http:
  addr: :5000
  headers: {X-From: [compose]}
auth:
  htpasswd: {realm: Team, path: /config/htpasswd}
"""


class ComposeRegistry:
    """A registry started from a Compose file in `folder`. `env` is the content of `.env`."""

    def __init__(self, folder: Path, services: Mapping[str, Any], env: str = "") -> None:
        self.file = folder / "docker-compose.yml"
        self.file.write_text(
            yaml.safe_dump({"version": "3", "services": services, "volumes": {"images": {}}})
        )
        (folder / ".env").write_text(env)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the registry until the end of the block, and delete its volumes."""
        try:
            run_checked(*COMPOSE, "--file", self.file, "up", "--detach")
            yield
        finally:
            run(*COMPOSE, "--file", self.file, "down", "--volumes")


def _project_folder(parent: Path) -> Path:
    """Create a folder with a unique name, because Compose names all objects after it."""
    folder = parent / unique_name("compose")
    folder.mkdir()
    return folder


def _make_import(new: Deployment, file: Path, *options: str) -> list[str]:
    """Replace the stack with one that `make import` creates from the Compose file `file`.

    Returns the lines of the output, without those in which make reports its folder.
    """
    new.pulumi("stack", "rm", "--yes")
    new.file.unlink(missing_ok=True)
    lines = new.make_succeeds("import", f"COMPOSE={file}", *options).splitlines()
    return [line for line in lines if not re.match(r"make(\[\d+\])?: ", line)]


def _run_printed_commands(new: Deployment, lines: list[str]) -> None:
    """Run the commands that `make import` printed at its end."""
    for line in lines[lines.index("Run these commands:") + 1 :]:
        script = f"cd {shlex.quote(str(new.folder))} && {line.strip()}"
        run_checked("sh", "-c", script, env={**new.environment, "YES": "1"}, timeout=900)


@contextmanager
def _removed_at_end(new: Deployment) -> Iterator[None]:
    """Remove the stack `new` and the volume of a printed command at the end of the block."""
    try:
        yield
    finally:
        new.remove()
        new.docker("volume", "rm", "--force", f"{new.prefix}-data")


def _push_image(port: int, login: tuple[str, str] | None) -> tuple[Api, bytes]:
    """Push an image to the registry at `port`, and return the registry's API and the manifest."""
    api = Api(f"http://127.0.0.1:{port}", login)
    wait_until(lambda: _answers(api))
    api.push("team/app", b"a layer" * 10_000)
    return api, api.manifest("team/app", "1")


def _answers(api: Api) -> bool:
    try:
        api.call("GET", "/v2/", [200])
    except (OSError, RequestError):
        return False
    return True


def _with_variables(folder: Path, port: int) -> ComposeRegistry:
    """Create the tutorial's registry: a list of variables, a named volume, and a redis.

    The password of redis is in its command line.
    """
    redis = {"image": "redis:7.0.15", "command": "redis-server --requirepass '${REDIS_PASSWORD}'"}
    registry = {
        "image": "registry:2.8.3",
        "ports": [f"127.0.0.1:{port}:5000"],
        "volumes": ["images:/var/lib/registry", "./config:/config:ro"],
        "environment": [
            "REGISTRY_HTTP_SECRET=${HTTP_SECRET}",
            "REGISTRY_AUTH=htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM=Team",
            "REGISTRY_AUTH_HTPASSWD_PATH=/config/htpasswd",
            "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR=redis",
            "REGISTRY_REDIS_ADDR=redis:6379",
            "REGISTRY_REDIS_PASSWORD=${REDIS_PASSWORD}",
        ],
    }
    env = f"REDIS_PASSWORD='{REDIS_PASSWORD}'\nHTTP_SECRET={HTTP_SECRET}\n"
    return ComposeRegistry(folder, {"registry": registry, "redis": redis}, env)


def _with_configuration_file(folder: Path, port: int) -> ComposeRegistry:
    """Create a registry with a config.yml and a folder, and a redis whose command is a list."""
    (folder / "config" / "config.yml").write_text(CONFIG)
    words = ["redis-server", "--requirepass", REDIS_PASSWORD.replace("$", "$$")]
    registry = {
        "image": "registry:2.8.3",
        "ports": [{"target": 5000, "published": port}],
        "environment": {"REGISTRY_HTTP_SECRET": HTTP_SECRET},
        "volumes": [
            "./store:/images",
            "./config:/config:ro",
            "./config/config.yml:/etc/docker/registry/config.yml:ro",
        ],
        "depends_on": ["cache"],
    }
    return ComposeRegistry(
        folder, {"registry": registry, "cache": {"image": "redis:7.0.15", "command": words}}
    )


def _with_minimal_settings(folder: Path, port: int) -> ComposeRegistry:
    """Create a registry with a minimal file and an anonymous volume."""
    registry = {
        "image": "registry:2.8.3",
        "ports": [f"127.0.0.1:{port}:5000"],
        "volumes": ["./config:/config:ro"],
        "environment": {
            "REGISTRY_HTTP_SECRET": HTTP_SECRET,
            "REGISTRY_REDIS_PASSWORD": REDIS_PASSWORD.replace("$", "$$"),
            "REGISTRY_REDIS_ADDR": "redis:6379",
            "REGISTRY_AUTH_HTPASSWD": "{realm: Team, path: /config/htpasswd}",
        },
    }
    words = ["redis-server", "--requirepass", REDIS_PASSWORD.replace("$", "$$")]
    return ComposeRegistry(
        folder, {"registry": registry, "redis": {"image": "redis:7.0.15", "command": words}}
    )


@pytest.mark.parametrize(
    "create",
    [
        pytest.param(_with_variables, marks=pytest.mark.quick),
        _with_configuration_file,
        _with_minimal_settings,
    ],
)
def test_images_in_a_volume_or_folder_can_be_pulled_after_the_import(
    new_stack: Deployment, tmp_path: Path, create: Callable[[Path, int], ComposeRegistry]
) -> None:
    folder = _project_folder(tmp_path)
    (folder / "config").mkdir()
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "config" / "htpasswd").write_text(f"ci:{hashed}\n")
    port = free_port()
    old = create(folder, port)
    with old.running(), _removed_at_end(new_stack):
        api, manifest = _push_image(port, ("ci", PASSWORD))

        lines = _make_import(new_stack, old.file)
        _run_printed_commands(new_stack, lines)

        api.pull("team/app")
        assert api.manifest("team/app", "1") == manifest
        api.push("team/other", b"new")
        with pytest.raises(RequestError):
            Api(f"http://127.0.0.1:{port}").pull("team/app")
        variables = new_stack.inspect("registry", ".Config.Env")
        assert f"REGISTRY_HTTP_SECRET={json.dumps(HTTP_SECRET)}" in variables
        assert [
            each for each in variables if "REDIS" in each and json.dumps(REDIS_PASSWORD) in each
        ]
    plain_text = "\n".join((*lines, new_stack.file.read_text(), new_stack.state()))
    assert not [each for each in (PASSWORD, REDIS_PASSWORD, HTTP_SECRET) if each in plain_text]


@pytest.mark.swarm
@pytest.mark.skipif(ENGINE_UNAVAILABLE is not None, reason=str(ENGINE_UNAVAILABLE))
def test_images_of_a_stack_on_swarm_can_be_pulled_after_the_import(
    tmp_path: Path, image: str
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / ".env").write_text("PORT=1\n")  # docker stack deploy does not read it
    port = free_port()
    published = {"target": 5000, "published": f"${{PORT:-{port}}}", "mode": "host"}
    registry = {
        "image": f"registry:{DEFAULT_RELEASE}",
        "ports": [published],
        "volumes": ["images:/var/lib/registry"],
        "deploy": {"endpoint_mode": "dnsrr", "placement": {"constraints": ["node.role==manager"]}},
    }
    content = {"version": "3.8", "services": {"registry": registry}, "volumes": {"images": {}}}
    file = tmp_path / "stack.yml"
    file.write_text(yaml.safe_dump(content))
    with engine_with_images() as engine:
        engine.load(image)
        new = Deployment(folder, host=engine.host)
        docker = ("docker", "--host", engine.host)
        run_checked(*docker, "swarm", "init", "--advertise-addr=127.0.0.1")
        run_checked(*docker, "stack", "deploy", "--compose-file", file, "old")
        reference = f"127.0.0.1:{port}/team/app:1"
        run_checked(*docker, "tag", image, reference)
        wait_until(lambda: run(*docker, "push", reference).returncode == 0)

        lines = _make_import(new, file, "SWARM_STACK=old")
        _run_printed_commands(new, lines)

        assert remove_and_pull(new, reference)
        assert new.docker("volume", "ls", "--quiet").split() == ["old_images"]
        new.kill_processes()


def test_images_in_a_bucket_can_be_pulled_after_the_import(
    new_cloud_stack: CloudDeployment, emulator: Emulator, tmp_path: Path
) -> None:
    folder = _project_folder(tmp_path)
    (folder / "ca.pem").write_text(emulator.registry_settings["ca_certificates"])
    emulator.add_bucket(new_cloud_stack.bucket, REGION)
    port = free_port()
    registry = {
        "image": "registry:2.8.3",
        "ports": [f"127.0.0.1:{port}:5000"],
        "volumes": ["./ca.pem:/etc/ssl/certs/ours.pem:ro"],
        "environment": {
            **emulator.registry_settings["environment"],
            "REGISTRY_STORAGE": "oss",
            "REGISTRY_STORAGE_OSS_ACCESSKEYID": emulator.key_id,
            "REGISTRY_STORAGE_OSS_ACCESSKEYSECRET": emulator.key_secret,
            "REGISTRY_STORAGE_OSS_REGION": f"oss-{REGION}",
            "REGISTRY_STORAGE_OSS_BUCKET": new_cloud_stack.bucket,
            "REGISTRY_STORAGE_OSS_SECURE": "true",
        },
    }
    old = ComposeRegistry(folder, {"registry": registry})
    with old.running():
        api, manifest = _push_image(port, None)
        before = set(emulator.oss.buckets[new_cloud_stack.bucket].names())
        assert before

        lines = _make_import(new_cloud_stack, old.file)
        _run_printed_commands(new_cloud_stack, lines)

        # The old registry redirected clients to OSS, so the new one does too.
        image, pulled = f"docker://127.0.0.1:{port}/team/app:1", tmp_path / "pulled"
        skopeo("copy", "--src-tls-verify=false", image, f"dir:{pulled}", env=emulator.environment)
        assert (pulled / "manifest.json").read_bytes() == manifest
        api.push("team/other", b"new")
        names = set(emulator.oss.buckets[new_cloud_stack.bucket].names())
        assert names > before
        assert all(name.startswith("docker/registry/v2/") for name in names)
        assert new_cloud_stack.key_in_use() != emulator.key_id
    plain_text = "\n".join((*lines, new_cloud_stack.file.read_text(), new_cloud_stack.state()))
    assert emulator.key_secret not in plain_text
