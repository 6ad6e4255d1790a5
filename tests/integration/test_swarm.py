"""A registry on three machines, a load balancer in front, while things change and machines go.

One stack for all of these tests: each finds it healthy, and leaves it so.
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
from operations.swarm import PATIENCE
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
    made = Swarm(tmp_path_factory.mktemp("swarm"))
    try:
        yield made
    finally:
        made.remove()


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
    """Three replicas of release 2.8.3, reached through a load balancer."""
    made = SwarmDeployment(tmp_path_factory.mktemp("project"), emulator, swarm)
    made.use_release("2.8.3")
    address = f"{swarm.address}:{free_port()}"
    made.configure(
        registry={"exposure": "tls", "external_url": f"https://{address}"},
        auth={"users": {"ci": {}}},
    )
    configure_certificate(made, authority, *_names(swarm))
    port = made.settings["registry"]["port"]
    replicas = [f"{node.address}:{port}" for node in swarm.nodes]
    certificates = Path("/etc/docker/certs.d", address)
    certificates.mkdir(parents=True)
    try:
        authority.cert_pem.write_to_path(certificates / "ca.crt")
        log = made.folder / BALANCER_LOG
        with load_balancer(tmp_path_factory.mktemp("haproxy"), log, authority, address, replicas):
            _up(made)
            yield made
            made.allow_destroy()
    finally:
        made.kill_processes()
        shutil.rmtree(certificates)


def _names(swarm: Swarm) -> tuple[str, ...]:
    """What the replicas' certificate is for."""
    return ("registry.example.com", *swarm.addresses)


@pytest.fixture(scope="module")
def login(stack: SwarmDeployment) -> tuple[str, str]:
    return "ci", stack.generated_values()["password-ci"]


@pytest.fixture(scope="module")
def trusted(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


class _Counted(Api):
    """Counts its calls."""

    calls = 0

    def call(self, *words: Any, **more: Any) -> Response:  # noqa: ANN401
        self.calls += 1
        return super().call(*words, **more)


class _Work:
    """What clients do through the balancer: Docker's, which tries again, and one that does not."""

    def __init__(self, stack: SwarmDeployment, login: tuple[str, str], api: _Counted) -> None:
        self.server = str(stack.outputs()["login_server"])
        self.folder = stack.folder
        self.api = api
        self.done = self.raw_failures = 0
        self.lost: list[str] = []
        self._begun = 0
        self._stop = threading.Event()
        config = f"--config={self.folder}/docker"
        self._docker = ("docker", config)
        words = (*self._docker, "login", f"--username={login[0]}", "--password-stdin", self.server)
        run_checked(*words, stdin=login[1])

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Raises AssertionError where Docker's client failed."""
        self.done = self.raw_failures = self.api.calls = 0
        self.lost, self._stop = [], threading.Event()
        self._begun = len((self.folder / BALANCER_LOG).read_text().splitlines())
        threads = [threading.Thread(target=do) for do in (self._with_docker, self._without)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        print(f"{self.done} pushes and pulls, {self.raw_failures} of {self.api.calls} calls failed")
        assert not self.lost, "\n".join((*self.lost, *self._errors()))
        assert self.done

    def _errors(self) -> list[str]:
        """What the balancer says of servers, and of requests that did not end well."""
        lines = (self.folder / BALANCER_LOG).read_text().splitlines()
        return [line for line in lines[self._begun :] if " ---- " not in line]

    def _with_docker(self) -> None:
        while not self._stop.is_set():
            name = f"{self.server}/loop/{secrets.token_hex(4)}:1"
            _import(self.folder / "layer.tar", name)
            for step in ("push", "pull"):
                result = run(*self._docker, step, name)
                if result.returncode:
                    self.lost.append(result.stdout)
                self.done += 1
                run_checked("docker", "image", "rm", "--force", name)
            time.sleep(0.5)  # leaves CPU time to other tests

    def _without(self) -> None:
        while not self._stop.is_set():
            try:
                self.api.push("loop/raw", secrets.token_bytes(300_000))
                self.api.pull("loop/raw")
            except RequestError as error:
                print(error)
                self.raw_failures += 1
            time.sleep(0.2)


def _import(file: Path, name: str) -> None:
    """Make an image of 3 MB that nobody has."""
    content = secrets.token_bytes(3_000_000)
    with tarfile.open(file, "w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    run_checked("docker", "import", file, name)


@pytest.fixture(scope="module")
def work(stack: SwarmDeployment, login: tuple[str, str], trusted: str) -> _Work:
    return _Work(stack, login, _Counted(stack.outputs()["endpoint"], login, trusted))


def _up(stack: SwarmDeployment) -> None:
    stack.make_succeeds("up")


@pytest.fixture
def by_machine(
    swarm: Swarm, stack: SwarmDeployment, login: tuple[str, str], trusted: str
) -> list[Api]:
    """The registry as each machine publishes it, past the load balancer."""
    port = stack.settings["registry"]["port"]
    return [Api(f"https://{node.address}:{port}", login, trusted) for node in swarm.nodes]


def test_what_one_machine_is_given_each_other_has(by_machine: list[Api]) -> None:
    _see_each_others_images(by_machine)


def _see_each_others_images(machines: list[Api]) -> None:
    for first in machines:
        name = f"team/{secrets.token_hex(4)}"
        digest = first.push(name, secrets.token_bytes(300_000), chunks=3)
        for other in machines:
            other.pull(name)
            other.pull(name, digest)


def test_its_status_counts_the_replicas_of_both(stack: SwarmDeployment) -> None:
    # What is a proxy to the cloud is none to the machines.
    machines = urlsplit(stack.outputs()["endpoint"]).hostname
    direct = {"NO_PROXY": f"{stack.environment['NO_PROXY']},{machines}"}
    output = stack.make_succeeds("status", env={**stack.environment, **direct})
    for replicas in (
        f"3 of 3 replicas of {stack.prefix}-registry",
        f"1 of 1 replicas of {stack.prefix}-redis",
    ):
        assert f"{replicas} run" in output


def test_a_second_up_and_a_refreshed_preview_change_nothing(stack: SwarmDeployment) -> None:
    stack.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def _secrets(stack: SwarmDeployment) -> list[str]:
    """All that was drawn or made for it, but for what its files are called by."""
    keys = stack.emulator.ram.users[stack.prefix].keys.values()
    drawn = (text for name, text in stack.generated_values().items() if not name.endswith("-files"))
    return [*drawn, *(key.secret for key in keys)]


def test_secrets_are_files_that_nobody_else_reads_and_nothing_else_can_be_written(
    swarm: Swarm, stack: SwarmDeployment
) -> None:
    hidden = [form for secret in _secrets(stack) for form in encoded_forms(secret)]
    for node in swarm.nodes:
        for container in node.containers(stack.stack):
            shown = node.docker("inspect", container)
            assert not [form for form in hidden if form in shown]
            found = json.loads(shown)[0]
            assert found["HostConfig"]["ReadonlyRootfs"] is True
            assert found["HostConfig"]["CapDrop"] == ["ALL"]
            assert found["Config"]["User"] in ("65532:65532", "999:999")
    services = swarm.nodes[0].docker("service", "ls", "--quiet").split()
    shown = swarm.nodes[0].docker("service", "inspect", *services) + stack.state()
    assert not [form for form in hidden if form in shown]


def _served(machines: list[Api]) -> set[str]:
    """The certificates of the replicas."""
    found = (machine.connection() for machine in machines)
    return {ssl.get_server_certificate((one.host, one.port), timeout=60) for one in found}


def test_changes_reach_each_replica_while_clients_push_and_pull(
    swarm: Swarm,
    stack: SwarmDeployment,
    work: _Work,
    by_machine: list[Api],
    authority: trustme.CA,
    emulator: Emulator,
) -> None:
    def configuration() -> None:
        stack.configure(registry={"log_level": "error"})

    def certificate() -> None:
        configure_certificate(stack, authority, *_names(swarm))

    def key() -> None:
        stack.configure(storage={"access_keys": ["2026-11", "2026-12"]})

    def release() -> None:
        stack.configure(registry={"release": "3.1.2", "image": stack.images["3.1.2"]})

    for change in (configuration, certificate, key, release):
        before = _served(by_machine)
        change()
        with work.going_on():
            started = time.monotonic()
            printed, command_lines = stack.watch_pulumi(
                "up", "--yes", "--diff", "--show-full-output"
            )
            print(f"{change.__name__}: {time.monotonic() - started:.0f} s")
        hidden = [form for secret in _secrets(stack) for form in encoded_forms(secret)]
        assert not [form for form in hidden if form in printed]
        assert not [line for line in command_lines if any(form in line for form in hidden)]
        after = _served(by_machine)
        assert len(after) == 1
        assert (before == after) == (change is not certificate)
    _up(stack)
    # What runs, and what it would go back to.
    assert stack.secret_versions("registry") == 2
    stack.pulumi("preview", "--refresh", "--expect-no-changes")
    begun = len(emulator.calls)
    _see_each_others_images(by_machine)
    used = {call.key_id for call in emulator.calls[begun:] if call.to_oss}
    *_, newest = emulator.ram.users[stack.prefix].keys
    assert used == {newest}


@contextmanager
def _gate(address: str, admitted: int) -> Iterator[int]:
    """A server that says yes so many times; gives its port."""
    left = iter(range(admitted))

    class Gate(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as its base class has it
            self.send_response(503 if next(left, None) is None else 200)
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
def _fewest(swarm: Swarm, port: int) -> Iterator[Callable[[], int]]:
    """How few of the machines answered at any time since."""
    fewest, stop = [len(swarm.nodes)], threading.Event()

    def look() -> None:
        while not stop.wait(0.2):
            fewest.append(sum(_answers(node, port) for node in swarm.nodes))

    thread = threading.Thread(target=look)
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


def test_an_update_whose_last_replica_never_gets_healthy_is_taken_back(
    swarm: Swarm, stack: SwarmDeployment, tmp_path: Path
) -> None:
    stack.configure(registry={"replicas": 2})
    stack.up()
    # Now there is a machine to spare: each replica goes only when the next one is there.
    spare = {**stack.settings["registry"]["swarm"], "order": "start-first"}
    stack.configure(registry={"swarm": spare})
    stack.up()
    good = stack.settings["registry"]["image"]
    with _gate(swarm.address, admitted=1) as port:
        gate = tmp_path / "gate"
        asked = f"wget -Y off -q -O /dev/null http://{swarm.address}:{port}/"
        gate.write_text(f'#!/bin/sh\n{asked} || exit 1\nexec /entrypoint.sh "$@"\n')
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
        with _fewest(swarm, stack.settings["registry"]["port"]) as fewest:
            output = stack.make_fails("up")
            assert "did not get healthy with the change, and runs as before" in output
            wait_until(stack.is_update_finished)
            wait_until(lambda: stack.healthy_replicas(swarm.nodes, "registry") == 2)
        # Going back, a port must be free first: one replica at a time.
        assert fewest() >= 1
    stack.pulumi_fails("preview", "--expect-no-changes")  # nobody takes it for done
    stack.configure(registry={"image": good, "log_level": "warn"})
    with _fewest(swarm, stack.settings["registry"]["port"]) as fewest:
        stack.up()
    assert fewest() >= 2
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_two_replicas_of_three_machines_outlive_one_that_dies(
    swarm: Swarm, stack: SwarmDeployment, work: _Work
) -> None:
    stack.configure(registry={"replicas": 2})
    stack.up()
    wait_until(stack.is_update_finished)
    lost = next(node for node in swarm.nodes[1:] if node.containers(stack.stack, "registry"))
    with work.going_on():
        wait_until(lambda: work.done > 2)
        lost.engine.kill()
        others = [node for node in swarm.nodes if node is not lost]
        wait_until(lambda: stack.healthy_replicas(others, "registry") == 2)
        lost.engine.start()
        wait_until(lambda: stack.ready_nodes() == 3)
        wait_until(lambda: stack.healthy_replicas(swarm.nodes, "registry") == 2)


def test_a_machine_that_is_cut_off_is_done_without_and_comes_back_clean(
    swarm: Swarm, stack: SwarmDeployment, work: _Work
) -> None:
    lost = next(node for node in swarm.nodes[1:] if node.containers(stack.stack, "registry"))
    with work.going_on():
        wait_until(lambda: work.done > 2)
        lost.disconnect()
        try:
            others = [node for node in swarm.nodes if node is not lost]
            wait_until(lambda: stack.healthy_replicas(others, "registry") == 2)
        finally:
            lost.connect()
        wait_until(lambda: stack.ready_nodes() == 3)
        wait_until(lambda: stack.healthy_replicas(swarm.nodes, "registry") == 2)


def test_pushes_and_pulls_go_on_when_the_machine_of_redis_dies(
    swarm: Swarm, stack: SwarmDeployment, work: _Work
) -> None:
    lost = next(node for node in swarm.nodes if node.containers(stack.stack, "redis"))
    with work.going_on():
        wait_until(lambda: work.done > 2)
        lost.engine.kill()
        others = [node for node in swarm.nodes if node is not lost]
        wait_until(lambda: stack.healthy_replicas(others, "redis") == 1)
        lost.engine.start()
        wait_until(lambda: stack.ready_nodes(others[0]) == 3)


def test_garbage_goes_while_a_client_goes_on_and_a_sweep_that_was_left_is_ended(
    stack: SwarmDeployment, login: tuple[str, str], trusted: str, seeded_random: random.Random
) -> None:
    endpoint = stack.outputs()["endpoint"]
    api = Api(endpoint, login, trusted)
    api.delete("team/deleted", api.push("team/gone", secrets.token_bytes(300_000)))
    deletions = ("DeleteMultipleObjects", "DeleteObject")
    with (
        # Longer than `make up` waits: it has to be ended, not waited for.
        stack.emulator.failing(*deletions, seconds=2 * PATIENCE),
        stack.start_make("gc", output=subprocess.PIPE) as collecting,
    ):
        read_until(collecting, "gc: sweeping")
        wait_until(lambda: f"{stack.prefix}-gc" in stack.docker("service", "ls"))
        os.killpg(collecting.pid, signal.SIGKILL)
        output = stack.make_fails("status")
        assert re.search(r"fail  pushes  .* refused ", output)
        _up(stack)
    assert f"{stack.prefix}-gc" not in stack.docker("service", "ls")
    # The other one may have been swept before that was ended.
    api.delete("team/more", api.push("team/more", secrets.token_bytes(300_000)))
    client = BusyClient(endpoint, seeded_random, login, trusted)
    with client.working():
        output = stack.make_succeeds("gc")
    assert re.search(r"gc: freed [1-9][\d,]* of [\d,]+ blobs, ", output), output
    assert client.read_only
    print(f"{len(client.pulls)} pulls and {len(client.pushes)} pushes")
    assert not client.connection_errors
    client.check_images()
    wait_until(stack.is_update_finished)
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_garbage_goes_from_a_volume_of_another_machine_than_the_one_that_is_asked(
    swarm: Swarm, emulator: Emulator, tmp_path: Path
) -> None:
    other = swarm.nodes[1]
    made = SwarmDeployment(tmp_path, emulator, swarm)
    made.settings["storage"] = {"kind": "filesystem"}
    machine = other.docker("info", "--format", "{{.Swarm.NodeID}}").strip()
    placed = {**made.settings["registry"]["swarm"], "constraints": [f"node.id=={machine}"]}
    made.configure(registry={"replicas": 1, "swarm": placed})
    with made.deployed():
        api = Api(f"http://{other.address}:{made.settings['registry']['port']}")
        api.push("team/kept", secrets.token_bytes(1000))
        api.delete("team/deleted", api.push("team/gone", secrets.token_bytes(300_000)))
        for words, result in ((["DRY_RUN=1"], "would free"), ([], "freed"), ([], "freed 0 of")):
            output = made.make_succeeds("gc", *words)
            assert f"gc: {result} " in output
        api.pull("team/kept")
        api.push("team/deleted", secrets.token_bytes(1000))


def test_more_replicas_than_machines_that_can_listen_are_refused_with_the_command(
    stack: SwarmDeployment,
) -> None:
    stack.configure(registry={"replicas": 4})
    result = stack.make("up")
    stack.configure(registry={"replicas": 3})
    assert result.returncode != 0
    assert (
        "`docker node ls` has 3 that are ready: `docker swarm join-token worker`" in result.stdout
    )


def test_a_worker_is_said_to_take_no_orders(swarm: Swarm, tmp_path: Path) -> None:
    manager, other = swarm.nodes[0], swarm.nodes[2]
    identity = other.docker("info", "--format", "{{.Swarm.NodeID}}").strip()
    registry = {"runtime": "swarm", "exposure": "open"}
    elsewhere = Deployment(tmp_path, host=other.engine.host, registry=registry)
    manager.docker("node", "demote", identity)
    try:
        wait_until(
            lambda: "false" in other.docker("info", "--format", "{{.Swarm.ControlAvailable}}")
        )
        output = elsewhere.make_fails("up")
        assert "up: the engine is a worker of its swarm" in output
        output = elsewhere.pulumi_fails("up", "--yes", "--skip-preview")
        assert "error: the engine is a worker of its swarm" in output
    finally:
        manager.docker("node", "promote", identity)


def test_down_leaves_no_service_secret_config_and_network(stack: SwarmDeployment) -> None:
    # Machines that died have left uploads unfinished, which OSS itself ends after a week.
    stack.emulator.oss.buckets[stack.bucket].uploads.clear()
    stack.make_succeeds("down", f"LOSE={stack.bucket}")
    for kind in ("service", "secret", "config", "network", "container"):
        assert not stack.docker_objects(kind), kind
