"""A registry on a swarm of three machines behind a load balancer, while changes and failures occur.

The tests share one stack. Each one finds it healthy and leaves it healthy.
"""

import http.server
import io
import json
import os
import random
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from config.releases import RELEASES
from operations.garbage_collection.collector import END_TIMEOUT
from tests.emulator.emulator import Emulator
from tests.integration.api import Api, RequestError, Response
from tests.integration.balancer import load_balancer
from tests.integration.busy import BusyClient
from tests.integration.deployment import Deployment, free_port, run, run_checked, wait_until
from tests.integration.encodings import encoded_forms
from tests.integration.garbage import read_until
from tests.integration.leftovers import unique_name
from tests.integration.secured import configure_certificate
from tests.integration.swarm import SWARM_UNAVAILABLE, Node, Swarm, SwarmDeployment

pytestmark = [
    pytest.mark.swarm,
    pytest.mark.skipif(SWARM_UNAVAILABLE is not None, reason=str(SWARM_UNAVAILABLE)),
]
BALANCER_LOG = "haproxy.log"


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    deployment = Swarm(tmp_path_factory.mktemp("swarm"))
    try:
        yield deployment
    finally:
        deployment.remove()


@pytest.fixture(scope="module")
def emulator(swarm: Swarm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    emulator = Emulator(tmp_path_factory.mktemp("emulator"), host=swarm.address)
    yield emulator
    emulator.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stack(
    swarm: Swarm,
    emulator: Emulator,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SwarmDeployment]:
    """Deploy three replicas of release 2.8.3 behind a load balancer."""
    deployment = SwarmDeployment(tmp_path_factory.mktemp("project"), emulator, swarm)
    deployment.use_release("2.8.3")
    address = f"{swarm.address}:{free_port()}"
    deployment.configure(
        registry={"exposure": "tls", "external_url": f"https://{address}"},
        auth={"users": {"ci": {}}},
    )
    configure_certificate(deployment, authority, *_certificate_names(swarm))
    port = deployment.settings["registry"]["port"]
    replicas = [f"{node.address}:{port}" for node in swarm.nodes]
    certificates = Path("/etc/docker/certs.d", address)
    certificates.mkdir(parents=True)
    try:
        authority.cert_pem.write_to_path(certificates / "ca.crt")
        log = deployment.folder / BALANCER_LOG
        with load_balancer(tmp_path_factory.mktemp("haproxy"), log, authority, address, replicas):
            deployment.make_succeeds("up")
            yield deployment
            deployment.allow_destroy()
    finally:
        deployment.kill_processes()
        shutil.rmtree(certificates)


def _certificate_names(swarm: Swarm) -> tuple[str, ...]:
    """Return the names and addresses in the certificate of the replicas."""
    return ("registry.example.com", *swarm.addresses)


@pytest.fixture(scope="module")
def login(stack: SwarmDeployment) -> tuple[str, str]:
    return "ci", stack.generated_values()["password-ci"]


@pytest.fixture(scope="module")
def trusted(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


class _CountingApi(Api):
    """An API that counts its calls."""

    calls = 0

    def call(self, *args: Any, **kwargs: Any) -> Response:  # noqa: ANN401
        self.calls += 1
        return super().call(*args, **kwargs)


class _Clients:
    """Two clients of the load balancer: Docker, which retries, and `api`, which does not.

    `finished` counts the operations of Docker, and `raw_failures` the failed calls of `api`.
    """

    def __init__(self, stack: SwarmDeployment, login: tuple[str, str], api: _CountingApi) -> None:
        self.server = str(stack.outputs()["login_server"])
        self.folder = stack.folder
        self.api = api
        self.finished = self.raw_failures = 0
        self.failures: list[str] = []
        self._log_start = 0
        self._stop = threading.Event()
        config = f"--config={self.folder}/docker"
        self._docker = ("docker", config)
        words = (*self._docker, "login", f"--username={login[0]}", "--password-stdin", self.server)
        run_checked(*words, stdin=login[1])

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let both clients push and pull during the block.

        Raises AssertionError at the end of the block if Docker's client failed.
        """
        self.finished = self.raw_failures = self.api.calls = 0
        self.failures, self._stop = [], threading.Event()
        self._log_start = len((self.folder / BALANCER_LOG).read_text().splitlines())
        threads = [
            threading.Thread(target=self._work_with_docker),
            threading.Thread(target=self._work_without_docker),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        print(f"{self.finished} pushes and pulls")
        print(f"{self.raw_failures} of {self.api.calls} calls failed")
        assert not self.failures, "\n".join((*self.failures, *self._errors()))
        assert self.finished

    def _errors(self) -> list[str]:
        """Return lines of the load balancer's log: state changes of servers and failed requests."""
        lines = (self.folder / BALANCER_LOG).read_text().splitlines()
        return [line for line in lines[self._log_start :] if " ---- " not in line]

    def _work_with_docker(self) -> None:
        while not self._stop.is_set():
            name = f"{self.server}/loop/{secrets.token_hex(4)}:1"
            _import_random_image(self.folder / "layer.tar", name)
            for step in ("push", "pull"):
                result = run(*self._docker, step, name)
                if result.returncode:
                    self.failures.append(result.stdout)
                self.finished += 1
                run_checked("docker", "image", "rm", "--force", name)
            time.sleep(0.5)  # leaves CPU time to other tests

    def _work_without_docker(self) -> None:
        while not self._stop.is_set():
            try:
                self.api.push("loop/raw", secrets.token_bytes(300_000))
                self.api.pull("loop/raw")
            except RequestError as error:
                print(error)
                self.raw_failures += 1
            time.sleep(0.2)


def _import_random_image(file: Path, name: str) -> None:
    """Import a unique image of 3 MB into the engine."""
    content = secrets.token_bytes(3_000_000)
    with tarfile.open(file, "w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    run_checked("docker", "import", file, name)


@pytest.fixture(scope="module")
def clients(stack: SwarmDeployment, login: tuple[str, str], trusted: str) -> _Clients:
    return _Clients(stack, login, _CountingApi(stack.outputs()["endpoint"], login, trusted))


@pytest.fixture
def machine_apis(
    swarm: Swarm, stack: SwarmDeployment, login: tuple[str, str], trusted: str
) -> list[Api]:
    """Provide the API that each machine publishes, without the load balancer."""
    port = stack.settings["registry"]["port"]
    return [Api(f"https://{node.address}:{port}", login, trusted) for node in swarm.nodes]


def test_images_pushed_to_one_machine_can_be_pulled_from_the_others(
    machine_apis: list[Api],
) -> None:
    _assert_images_are_shared(machine_apis)


def _assert_images_are_shared(machine_apis: list[Api]) -> None:
    """Push an image to each machine, and pull it from all machines."""
    for first in machine_apis:
        name = f"team/{secrets.token_hex(4)}"
        digest = first.push(name, secrets.token_bytes(300_000), chunks=3)
        for other in machine_apis:
            other.pull(name)
            other.pull(name, digest)


def test_status_counts_the_replicas_of_registry_and_redis(stack: SwarmDeployment) -> None:
    # Requests to the machines must not use the proxy of the emulator.
    host = urlsplit(stack.outputs()["endpoint"]).hostname
    direct = {"NO_PROXY": f"{stack.environment['NO_PROXY']},{host}"}
    output = stack.make_succeeds("status", env={**stack.environment, **direct})
    for replicas in (
        f"3 of 3 replicas of {stack.prefix}-registry",
        f"1 of 1 replicas of {stack.prefix}-redis",
    ):
        assert f"{replicas} run" in output


def test_a_second_up_and_a_refreshed_preview_change_nothing(stack: SwarmDeployment) -> None:
    stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def _generated_secrets(stack: SwarmDeployment) -> list[str]:
    """Return the generated secrets and access keys, without the generated names of files."""
    keys = stack.emulator.ram.users[stack.prefix].keys.values()
    generated = (
        text for name, text in stack.generated_values().items() if not name.endswith("-files")
    )
    return [*generated, *(key.secret for key in keys)]


def test_secrets_are_only_in_protected_files_of_read_only_containers(
    swarm: Swarm, stack: SwarmDeployment
) -> None:
    forms = [form for secret in _generated_secrets(stack) for form in encoded_forms(secret)]
    for node in swarm.nodes:
        for container in node.containers(stack.stack):
            shown = node.docker("inspect", container)
            assert not [form for form in forms if form in shown]
            found = json.loads(shown)[0]
            assert found["HostConfig"]["ReadonlyRootfs"] is True
            assert found["HostConfig"]["CapDrop"] == ["ALL"]
            assert found["Config"]["User"] in ("65532:65532", "999:999")
    services = swarm.nodes[0].docker("service", "ls", "--quiet").split()
    shown = swarm.nodes[0].docker("service", "inspect", *services) + stack.state()
    assert not [form for form in forms if form in shown]


def _served_certificates(machine_apis: list[Api]) -> set[str]:
    """Return the distinct certificates of the replicas."""
    connections = [machine.connection() for machine in machine_apis]
    return {ssl.get_server_certificate((each.host, each.port), timeout=60) for each in connections}


def test_changes_reach_each_replica_while_clients_push_and_pull(
    swarm: Swarm,
    stack: SwarmDeployment,
    clients: _Clients,
    machine_apis: list[Api],
    authority: trustme.CA,
    emulator: Emulator,
) -> None:
    def configuration() -> None:
        stack.configure(registry={"log_level": "error"})

    def certificate() -> None:
        configure_certificate(stack, authority, *_certificate_names(swarm))

    def key() -> None:
        stack.configure(storage={"access_keys": ["2026-11", "2026-12"]})

    def release() -> None:
        stack.configure(registry={"release": "3.1.2", "image": stack.images["3.1.2"]})

    for change in (configuration, certificate, key, release):
        before = _served_certificates(machine_apis)
        change()
        with clients.working():
            started = time.monotonic()
            printed, command_lines = stack.watch_pulumi(
                "up", "--yes", "--diff", "--show-full-output"
            )
            print(f"{change.__name__}: {time.monotonic() - started:.0f} s")
        forms = [form for secret in _generated_secrets(stack) for form in encoded_forms(secret)]
        assert not [form for form in forms if form in printed]
        assert not [line for line in command_lines if any(form in line for form in forms)]
        after = _served_certificates(machine_apis)
        assert len(after) == 1
        assert (before == after) == (change is not certificate)
    stack.make_succeeds("up")
    # The running version, and the one for a rollback.
    assert stack.count_secret_versions("registry") == 2
    stack.pulumi("preview", "--refresh", "--expect-no-changes")
    earlier_calls = len(emulator.calls)
    _assert_images_are_shared(machine_apis)
    used = {call.key_id for call in emulator.calls[earlier_calls:] if call.to_oss}
    *_, newest = emulator.ram.users[stack.prefix].keys
    assert used == {newest}


@contextmanager
def _limited_gate(address: str, allowed: int) -> Iterator[int]:
    """Run a server that returns status 200 `allowed` times and 503 afterwards. Yields its port."""
    remaining = iter(range(allowed))

    class Gate(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the base class expects
            self.send_response(503 if next(remaining, None) is None else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((address, 0), Gate) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _fewest_reachable(swarm: Swarm, port: int) -> Iterator[Callable[[], int]]:
    """Count all the time how many machines answer at `port`.

    Yields a function that returns the lowest count so far.
    """
    fewest, stop = [len(swarm.nodes)], threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            fewest.append(sum(_answers(node, port) for node in swarm.nodes))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: min(fewest)
    finally:
        stop.set()
        thread.join()


def _answers(node: Node, port: int) -> bool:
    with suppress(OSError):
        ssl.get_server_certificate((node.address, port), timeout=30)
        return True
    return False


def test_an_update_with_an_unhealthy_replica_is_rolled_back(
    swarm: Swarm, stack: SwarmDeployment, tmp_path: Path
) -> None:
    stack.configure(registry={"replicas": 2})
    stack.up()
    # With a spare machine, each replica is stopped only after the next one has started.
    start_first = {**stack.settings["registry"]["swarm"], "order": "start-first"}
    stack.configure(registry={"swarm": start_first})
    stack.up()
    working_image = stack.settings["registry"]["image"]
    with _limited_gate(swarm.address, allowed=1) as port:
        gate = tmp_path / "gate"
        ask_gate = f"wget -Y off -q -O /dev/null http://{swarm.address}:{port}/"
        gate.write_text(f'#!/bin/sh\n{ask_gate} || exit 1\nexec /entrypoint.sh "$@"\n')
        gate.chmod(0o755)
        release = stack.settings["registry"]["release"]
        lines = (f"FROM registry:{release}", "COPY gate /gate", 'ENTRYPOINT ["/gate"]')
        cmd = f'CMD ["{RELEASES[release].config_path}"]'
        (tmp_path / "Dockerfile").write_text("\n".join((*lines, cmd)))
        reference = f"{unique_name('oss-registry-test')}:1"
        words = ("build", "--quiet", "--tag", reference, tmp_path)
        run_checked("docker", *words, env={"DOCKER_BUILDKIT": "0"})
        try:
            stack.configure(registry={"image": swarm.push_image(reference)})
        finally:
            run_checked("docker", "image", "rm", "--force", reference)
        with _fewest_reachable(swarm, stack.settings["registry"]["port"]) as fewest:
            output = stack.make_fails("up")
            assert "did not get healthy with the change, and runs as before" in output
            wait_until(stack.is_update_finished)
            wait_until(lambda: stack.healthy_replicas(swarm.nodes, "registry") == 2)
        # A rollback replaces one replica at a time, because a port must be free first.
        assert fewest() >= 1
    stack.pulumi_fails("preview", "--expect-no-changes")  # the change is still pending
    stack.configure(registry={"image": working_image, "log_level": "warn"})
    with _fewest_reachable(swarm, stack.settings["registry"]["port"]) as fewest:
        stack.up()
    assert fewest() >= 2
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_the_replica_of_a_machine_that_dies_is_replaced(
    swarm: Swarm, stack: SwarmDeployment, clients: _Clients
) -> None:
    stack.configure(registry={"replicas": 2})
    stack.up()
    wait_until(stack.is_update_finished)
    affected = next(node for node in swarm.nodes[1:] if node.containers(stack.stack, "registry"))
    with clients.working():
        wait_until(lambda: clients.finished > 2)
        affected.engine.kill()
        others = [node for node in swarm.nodes if node is not affected]
        wait_until(lambda: stack.healthy_replicas(others, "registry") == 2)
        affected.engine.start()
        wait_until(lambda: stack.ready_nodes() == 3)
        wait_until(lambda: stack.healthy_replicas(swarm.nodes, "registry") == 2)


def test_the_replica_of_a_disconnected_machine_is_replaced(
    swarm: Swarm, stack: SwarmDeployment, clients: _Clients
) -> None:
    affected = next(node for node in swarm.nodes[1:] if node.containers(stack.stack, "registry"))
    with clients.working():
        wait_until(lambda: clients.finished > 2)
        affected.disconnect()
        try:
            others = [node for node in swarm.nodes if node is not affected]
            wait_until(lambda: stack.healthy_replicas(others, "registry") == 2)
        finally:
            affected.connect()
        wait_until(lambda: stack.ready_nodes() == 3)
        wait_until(lambda: stack.healthy_replicas(swarm.nodes, "registry") == 2)


def test_pushes_and_pulls_work_when_the_machine_of_redis_dies(
    swarm: Swarm, stack: SwarmDeployment, clients: _Clients
) -> None:
    affected = next(node for node in swarm.nodes if node.containers(stack.stack, "redis"))
    with clients.working():
        wait_until(lambda: clients.finished > 2)
        affected.engine.kill()
        others = [node for node in swarm.nodes if node is not affected]
        wait_until(lambda: stack.healthy_replicas(others, "redis") == 1)
        affected.engine.start()
        wait_until(lambda: stack.ready_nodes(others[0]) == 3)


def test_garbage_is_collected_after_a_killed_collection_while_a_client_works(
    stack: SwarmDeployment, login: tuple[str, str], trusted: str, seeded_random: random.Random
) -> None:
    endpoint = stack.outputs()["endpoint"]
    api = Api(endpoint, login, trusted)
    api.delete("team/deleted", api.push("team/deleted", secrets.token_bytes(300_000)))
    deletions = ("DeleteMultipleObjects", "DeleteObject")
    with (
        # `make up` does not wait for so long, so it has to end the collection.
        stack.emulator.failing(*deletions, seconds=2 * END_TIMEOUT),
        stack.start_make("gc", output=subprocess.PIPE) as collecting,
    ):
        read_until(collecting, "gc: sweeping")
        wait_until(lambda: f"{stack.prefix}-gc" in stack.docker("service", "ls"))
        os.killpg(collecting.pid, signal.SIGKILL)
        output = stack.make_fails("status")
        assert re.search(r"fail  pushes  .* refused ", output)
        stack.make_succeeds("up")
    assert f"{stack.prefix}-gc" not in stack.docker("service", "ls")
    wait_until(stack.is_update_finished)  # until then, a read-only replica may answer
    # The first image may have been collected before the collection was ended.
    api.delete("team/more", api.push("team/more", secrets.token_bytes(300_000)))
    client = BusyClient(endpoint, seeded_random, login, trusted)
    with client.working():
        output = stack.make_succeeds("gc")
    assert re.search(r"gc: freed [1-9][\d,]* of [\d,]+ blobs, ", output), output
    assert client.read_only_responses
    print(f"{len(client.pulls)} pulls and {len(client.pushes)} pushes")
    assert not client.connection_errors
    client.check_images()
    wait_until(stack.is_update_finished)
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_garbage_is_collected_from_a_volume_on_another_machine(
    swarm: Swarm, emulator: Emulator, tmp_path: Path
) -> None:
    other = swarm.nodes[1]
    deployment = SwarmDeployment(tmp_path, emulator, swarm)
    deployment.settings["storage"] = {"kind": "filesystem"}
    machine = other.docker("info", "--format", "{{.Swarm.NodeID}}").strip()
    placed = {**deployment.settings["registry"]["swarm"], "constraints": [f"node.id=={machine}"]}
    deployment.configure(registry={"replicas": 1, "swarm": placed})
    with deployment.deployed():
        api = Api(f"http://{other.address}:{deployment.settings['registry']['port']}")
        api.push("team/kept", secrets.token_bytes(1000))
        api.delete("team/deleted", api.push("team/deleted", secrets.token_bytes(300_000)))
        for words, result in ((["DRY_RUN=1"], "would free"), ([], "freed"), ([], "freed 0 of")):
            output = deployment.make_succeeds("gc", *words)
            assert f"gc: {result} " in output
        api.pull("team/kept")
        api.push("team/deleted", secrets.token_bytes(1000))


def test_more_replicas_than_machines_are_refused_with_the_command_to_add_one(
    stack: SwarmDeployment,
) -> None:
    stack.configure(registry={"replicas": 4})
    try:
        output = stack.make_fails("up")
    finally:
        stack.configure(registry={"replicas": 3})
    assert "`docker node ls` has 3 that are ready: `docker swarm join-token worker`" in output


def test_an_engine_that_is_a_worker_is_reported(swarm: Swarm, tmp_path: Path) -> None:
    manager, other = swarm.nodes[0], swarm.nodes[2]
    node_id = other.docker("info", "--format", "{{.Swarm.NodeID}}").strip()
    registry = {"runtime": "swarm", "exposure": "open"}
    deployment = Deployment(tmp_path, host=other.engine.host, registry=registry)
    manager.docker("node", "demote", node_id)
    try:
        wait_until(
            lambda: "false" in other.docker("info", "--format", "{{.Swarm.ControlAvailable}}")
        )
        output = deployment.make_fails("up")
        assert "up: the engine is a worker of its swarm" in output
        output = deployment.pulumi_fails("up", "--yes", "--skip-preview")
        assert "error: the engine is a worker of its swarm" in output
    finally:
        manager.docker("node", "promote", node_id)


def test_down_deletes_services_secrets_configs_and_networks(stack: SwarmDeployment) -> None:
    # Machines that died have left unfinished uploads, which OSS deletes after a week.
    stack.emulator.oss.buckets[stack.bucket].uploads.clear()
    stack.make_succeeds("down", f"ALLOW_LOSS={stack.bucket}")
    for kind in ("service", "secret", "config", "network", "container"):
        assert not stack.docker_objects(kind), kind
