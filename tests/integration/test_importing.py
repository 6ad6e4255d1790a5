"""A registry that runs by docker compose moves in: the same images pull from the new one."""

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

from operations.importing.compose import read
from operations.importing.moving import chosen, moved
from tests.emulator.emulator import Emulator
from tests.integration.api import Api, RequestError
from tests.integration.clients import skopeo
from tests.integration.cloud import REGION, CloudDeployment
from tests.integration.deployment import Deployment, free_port, run, run_checked, wait_until
from tests.integration.leftovers import unique_name
from tests.unit.test_importing import MOVABLE

pytestmark = pytest.mark.ops

PLUGIN = run("docker", "compose", "version").returncode == 0
COMPOSE = ("docker", "compose") if PLUGIN else ("docker-compose",)
# What the program that came before the plugin does not know: `name`, and `host_ip` of a port.
NEWER = {"nginx", "release-3-notifications"}
READABLE = [file for file in MOVABLE if PLUGIN or file.parent.name not in NEWER]
PASSWORD, REDIS_PASSWORD, HTTP_SECRET = "pa55 word & more", "redis pa55$word", "long and drawn"
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


@pytest.mark.parametrize("file", READABLE, ids=lambda file: file.parent.name)
def test_a_compose_file_is_read_as_compose_reads_it(file: Path, tmp_path: Path) -> None:
    printed = run(*COMPOSE, "--file", file, "config", separate_stderr=True)
    assert not printed.returncode, printed.stderr
    whole = file.with_name("whole.yml")
    whole.write_text(printed.stdout)
    try:
        ours, its = ([*_became(each)] for each in (file, whole))
    finally:
        whole.unlink()
    assert ours == its


def _became(file: Path) -> Iterator[object]:
    compose = read(file, {})
    its = moved(compose, chosen(compose, ""), "imported")
    yield from (its.config, its.secrets, its.steps, its.old)


class Old:
    """A registry that runs by a compose file in `folder`, on `port`."""

    def __init__(self, folder: Path, services: Mapping[str, Any], env: str = "") -> None:
        self.file = folder / "docker-compose.yml"
        self.file.write_text(
            yaml.safe_dump({"version": "3", "services": services, "volumes": {"images": {}}})
        )
        (folder / ".env").write_text(env)

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            run_checked(*COMPOSE, "--file", self.file, "up", "--detach")
            yield
        finally:
            run(*COMPOSE, "--file", self.file, "down", "--volumes")


def _named(parent: Path) -> Path:
    """A folder whose name, which compose gives to all that it makes, nobody else has."""
    folder = parent / unique_name("compose")
    folder.mkdir()
    return folder


def _imported(new: Deployment, file: Path) -> list[str]:
    """Make the stack from `file` with `make import`; gives the lines that it printed."""
    new.pulumi("stack", "rm", "--yes")
    new.file.unlink(missing_ok=True)
    output = new.make_succeeds("import", f"COMPOSE={file}")
    lines = output.splitlines()
    return [line for line in lines if not re.match(r"make(\[\d+\])?: ", line)]  # of folders


def _do(new: Deployment, printed: list[str]) -> None:
    """Run what it printed below Then:, word by word."""
    for line in printed[printed.index("Then:") + 1 :]:
        words = line.strip()
        if not PLUGIN:
            words = words.replace("docker compose", "docker-compose")
        script = f"cd {shlex.quote(str(new.folder))} && {words}"
        run_checked("sh", "-c", script, env={**new.environment, "YES": "1"}, timeout=900)


@contextmanager
def _removed(new: Deployment) -> Iterator[None]:
    """Remove `new` at the end, with the volume that a printed command created."""
    try:
        yield
    finally:
        new.remove()
        new.docker("volume", "rm", "--force", f"{new.prefix}-data")


def _pushed(port: int, login: tuple[str, str] | None) -> tuple[Api, bytes]:
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


def _by_variables(folder: Path, port: int) -> Old:
    """The tutorial's: a list, a named volume, a redis with its password in the command line."""
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
    return Old(folder, {"registry": registry, "redis": redis}, env)


def _by_file(folder: Path, port: int) -> Old:
    """A whole config.yml, a folder of the machine, and redis as a list of words."""
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
    return Old(folder, {"registry": registry, "cache": {"image": "redis:7.0.15", "command": words}})


def _by_hand(folder: Path, port: int) -> Old:
    """As few words as it takes: the images are in a volume without a name."""
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
    return Old(folder, {"registry": registry, "redis": {"image": "redis:7.0.15", "command": words}})


@pytest.mark.parametrize(
    "composed", [pytest.param(_by_variables, marks=pytest.mark.quick), _by_file, _by_hand]
)
def test_the_images_of_a_volume_and_of_a_folder_pull_from_the_new_registry(
    new_stack: Deployment, tmp_path: Path, composed: Callable[[Path, int], Old]
) -> None:
    folder = _named(tmp_path)
    (folder / "config").mkdir()
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "config" / "htpasswd").write_text(f"ci:{hashed}\n")
    port = free_port()
    old = composed(folder, port)
    with old.running(), _removed(new_stack):
        api, manifest = _pushed(port, ("ci", PASSWORD))

        printed = _imported(new_stack, old.file)
        _do(new_stack, printed)

        api.pull("team/app")
        assert api.manifest("team/app", "1") == manifest
        api.push("team/other", b"new")
        with pytest.raises(RequestError):
            Api(f"http://127.0.0.1:{port}").pull("team/app")
        told = new_stack.inspect("registry", ".Config.Env")
        assert f"REGISTRY_HTTP_SECRET={json.dumps(HTTP_SECRET)}" in told
        assert [each for each in told if "REDIS" in each and json.dumps(REDIS_PASSWORD) in each]
    clear = "\n".join((*printed, new_stack.file.read_text(), new_stack.state()))
    assert not [each for each in (PASSWORD, REDIS_PASSWORD, HTTP_SECRET) if each in clear]


def test_the_images_of_a_bucket_pull_from_the_new_registry(
    new_cloud_stack: CloudDeployment, emulator: Emulator, tmp_path: Path
) -> None:
    folder = _named(tmp_path)
    (folder / "ca.pem").write_text(emulator.registry["ca_certificates"])
    emulator.add_bucket(new_cloud_stack.bucket, REGION)
    port = free_port()
    registry = {
        "image": "registry:2.8.3",
        "ports": [f"127.0.0.1:{port}:5000"],
        "volumes": ["./ca.pem:/etc/ssl/certs/ours.pem:ro"],
        "environment": {
            **emulator.registry["environment"],
            "REGISTRY_STORAGE": "oss",
            "REGISTRY_STORAGE_OSS_ACCESSKEYID": emulator.key_id,
            "REGISTRY_STORAGE_OSS_ACCESSKEYSECRET": emulator.key_secret,
            "REGISTRY_STORAGE_OSS_REGION": f"oss-{REGION}",
            "REGISTRY_STORAGE_OSS_BUCKET": new_cloud_stack.bucket,
            "REGISTRY_STORAGE_OSS_SECURE": "true",
        },
    }
    old = Old(folder, {"registry": registry})
    with old.running():
        api, manifest = _pushed(port, None)
        before = set(emulator.oss.buckets[new_cloud_stack.bucket].names())
        assert before

        printed = _imported(new_cloud_stack, old.file)
        _do(new_cloud_stack, printed)

        # Its clients are sent to OSS, as they were.
        image, there = f"docker://127.0.0.1:{port}/team/app:1", tmp_path / "pulled"
        skopeo("copy", "--src-tls-verify=false", image, f"dir:{there}", env=emulator.environment)
        assert (there / "manifest.json").read_bytes() == manifest
        api.push("team/other", b"new")
        names = set(emulator.oss.buckets[new_cloud_stack.bucket].names())
        assert names > before
        assert all(name.startswith("docker/registry/v2/") for name in names)
        assert new_cloud_stack.key_in_use() != emulator.key_id
    clear = "\n".join((*printed, new_cloud_stack.file.read_text(), new_cloud_stack.state()))
    assert emulator.key_secret not in clear
