"""Tests of `make gc`: the read-only stack file, the service that collects, and interrupts."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from config.problems import SettingsError
from config.stack import READ_ONLY_LABEL
from operations import stack_file
from operations.clients.docker import Docker
from operations.commands import gc
from operations.context import StackContext
from operations.errors import CommandError
from operations.garbage_collection.collector import Collector, create_collector, end_collection
from operations.garbage_collection.interrupts import Interrupts
from tests.unit.stack_files import load_stack


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    return tmp_path


def _read_only_stack_file(stacks: Path, text: str) -> dict[str, Any]:
    (stacks / "Pulumi.mine.yaml").write_text(text)
    content: dict[str, Any] = json.loads(stack_file.read_only_copy("mine"))
    return content


def test_the_read_only_stack_file_only_changes_readonly_and_the_cache(stacks: Path) -> None:
    written = """
encryptionsalt: v1:abc
config:
  oss-registry:http-secret: {secure: v1:def}
  registry:
    port: 5001
    config:
      http: {draintimeout: 10s}
      storage: {cache: {blobdescriptor: inmemory}, maintenance: {uploadpurging: {age: 24h}}}
"""
    assert _read_only_stack_file(stacks, written) == {
        "encryptionsalt": "v1:abc",
        "config": {
            "oss-registry:http-secret": {"secure": "v1:def"},
            "oss-registry:registry": {
                "port": 5001,
                "config": {
                    "http": {"draintimeout": "10s"},
                    "storage": {
                        "cache": {"blobdescriptor": "inmemory"},
                        "maintenance": {
                            "uploadpurging": {"age": "24h"},
                            "readonly": {"enabled": True},
                        },
                    },
                },
            },
        },
    }
    assert (stacks / "Pulumi.mine.yaml").read_text() == written


@pytest.mark.parametrize(
    "config",
    [
        "",
        "registry: {}",
        "registry: {config: {}}",
        "registry: {config: {storage: {maintenance: }}}",
    ],
)
def test_a_nearly_empty_stack_file_becomes_read_only_too(stacks: Path, config: str) -> None:
    content = _read_only_stack_file(stacks, f"config: {{oss-registry:cache: {{}}, {config}}}")
    registry = content["config"]["oss-registry:registry"]
    stack = load_stack(registry=registry)
    assert stack.registry.refuses_pushes
    # The registry accepts only the complete section.
    assert stack.registry.redacted["REGISTRY_STORAGE_MAINTENANCE_READONLY"] == '{"enabled":true}'


def test_problems_of_the_stack_file_are_reported_before_garbage_collection(stacks: Path) -> None:
    with pytest.raises(SettingsError, match=r"registry\.port"):
        _read_only_stack_file(stacks, 'config: {oss-registry:registry: {port: "5000"}}')


TASK_TEMPLATE: Mapping[str, Any] = {
    "ContainerSpec": {
        "Image": "registry:3.1.2@sha256:aa",
        "User": "65532:65532",
        "Env": ["OTEL_TRACES_EXPORTER=none"],
        "ReadOnly": True,
        "CapabilityDrop": ["ALL"],
        "Mounts": [
            {"Type": "volume", "Source": "images", "Target": "/var/lib/registry"},
            {"Type": "tmpfs", "Target": "/tmp"},
        ],
        "Secrets": [
            {
                "File": {"Name": "/etc/c.yml", "UID": "65532", "GID": "65532", "Mode": 0o400},
                "SecretName": "config-1",
            }
        ],
        "Configs": [
            {
                "File": {"Name": "/etc/ca.pem", "UID": "0", "GID": "0", "Mode": 0o444},
                "ConfigName": "ca-1",
            }
        ],
    },
    "Networks": [{"Target": "n1"}],
}


class _FakeSwarm(Docker):
    """A Swarm manager that runs the registry's service, and records the commands that it gets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__({})
        self.labels: Mapping[str, str] = {READ_ONLY_LABEL: "true"}
        self.tasks: list[Mapping[str, str]] = []
        self.commands: list[tuple[str, ...]] = []
        self.services: dict[str, str] = {}
        self.tasks_end = True  # whether the tasks of a removed service end
        self._now = 0.0
        monkeypatch.setattr("time.monotonic", lambda: self._now)
        monkeypatch.setattr("time.sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self._now += seconds

    def run(self, *words: str, **_: object) -> str:
        self.commands.append(words)
        if words[:2] == ("service", "inspect"):
            spec = {"Labels": self.labels, "TaskTemplate": TASK_TEMPLATE}
            return json.dumps(self.labels if "--format" in words else [{"Spec": spec}])
        if words[:2] in (("service", "ps"), ("node", "ps")):
            ended = self.tasks_end and words[0] == "node"
            return "\n".join(map(json.dumps, [] if ended else self.tasks))
        if words[:2] == ("service", "create"):
            self.services = {"j1": "oss-registry-dev-gc"}
        return {"inspect": "machine-1\n", "node": "node-1\n"}.get(words[0], "")

    def labelled(self, *_: str) -> Mapping[str, str]:
        return dict(self.services)

    def lines(self, *words: str) -> Iterator[str]:
        self.commands.append(words)
        yield "blob eligible for deletion: sha256:aa\n"


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> _FakeSwarm:
    return _FakeSwarm(monkeypatch)


def _task(state: str, desired: str = "Running") -> Mapping[str, str]:
    return {
        "ID": "t1",
        "Name": "j1.x",
        "Node": "one",
        "DesiredState": desired,
        "CurrentState": state,
        "Error": "",
    }


def _collector(manager: _FakeSwarm) -> Collector:
    stack = load_stack(registry={"runtime": "swarm", "exposure": "open"})
    return create_collector(stack, manager)


def test_garbage_collection_runs_as_a_copy_of_the_service_on_a_node_with_a_replica(
    manager: _FakeSwarm,
) -> None:
    manager.tasks = [_task("Running 3 minutes ago"), _task("Complete 1 second ago")]
    assert [*_collector(manager).run("registry", "garbage-collect")] == [
        "blob eligible for deletion: sha256:aa\n"
    ]
    (created,) = [words for words in manager.commands if words[:2] == ("service", "create")]
    assert {
        "--restart-condition=none",
        "--stop-signal=SIGKILL",
        "--constraint=node.id==machine-1",
        "--user=65532:65532",
        "--env=OTEL_TRACES_EXPORTER=none",
        "--read-only",
        "--cap-drop=ALL",
        "--mount=type=volume,target=/var/lib/registry,source=images",
        "--mount=type=tmpfs,target=/tmp",
        "--secret=source=config-1,target=/etc/c.yml,uid=65532,gid=65532,mode=400",
        "--config=source=ca-1,target=/etc/ca.pem,uid=0,gid=0,mode=444",
        "--network=n1",
    } <= set(created)
    assert created[-3:] == ("registry:3.1.2@sha256:aa", "registry", "garbage-collect")
    assert ("service", "rm", "j1") in manager.commands


def test_garbage_collection_does_not_start_until_the_old_replicas_have_ended(
    manager: _FakeSwarm,
) -> None:
    manager.tasks = [_task("Running 3 hours ago", desired="Shutdown")]
    with pytest.raises(CommandError, match="a replica on one is not seen to have ended"):
        _collector(manager).wait_for_writers()
    manager.tasks = [_task("Shutdown 1 second ago", desired="Shutdown"), _task("Running 1 s ago")]
    _collector(manager).wait_for_writers()


def test_garbage_collection_does_not_start_if_the_registry_accepts_pushes_again(
    manager: _FakeSwarm,
) -> None:
    manager.labels = {}
    with pytest.raises(CommandError, match="takes pushes again"):
        _collector(manager).wait_for_writers()


def test_garbage_collection_stops_as_soon_as_the_registry_accepts_pushes(
    manager: _FakeSwarm,
) -> None:
    manager.tasks = [_task("Running 1 second ago")]
    registry_collector = _collector(manager)
    registry_collector.wait_for_writers()
    manager.labels = {}
    with pytest.raises(CommandError, match="takes pushes again"):
        next(registry_collector.run("registry", "garbage-collect"))
    assert ("service", "rm", "j1") in manager.commands


def test_an_earlier_garbage_collection_that_does_not_end_is_reported(manager: _FakeSwarm) -> None:
    manager.tasks_end = False
    manager.services = {"j1": "oss-registry-dev-gc", "r1": "oss-registry-dev-registry"}
    manager.tasks = [_task("Running 1 second ago")]
    with pytest.raises(
        CommandError, match="a collection of garbage on one is not seen to have ended"
    ):
        end_collection("dev", manager)
    assert ("service", "rm", "j1") in manager.commands


@pytest.fixture
def restored_handlers() -> Iterator[None]:
    """Restore the signal handlers after the test."""
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _send(number: signal.Signals) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), number)


@pytest.mark.usefixtures("restored_handlers")
def test_the_first_interrupt_stops_garbage_collection_and_later_ones_wait_for_the_clean_up() -> (
    None
):
    interrupts = Interrupts()
    with pytest.raises(KeyboardInterrupt):
        _send(signal.SIGTERM)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        _send(number)
    with pytest.raises(KeyboardInterrupt):
        interrupts.allow()


@pytest.mark.usefixtures("restored_handlers")
def test_an_interrupt_in_a_critical_step_stops_garbage_collection_after_that_step() -> None:
    interrupts = Interrupts()
    interrupts.defer()
    _send(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.allow()


@pytest.mark.usefixtures("restored_handlers")
def test_with_nohup_garbage_collection_continues_after_the_terminal_is_closed() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupts = Interrupts()
    _send(signal.SIGHUP)
    interrupts.allow()


# Opening the registry for pushes again.


@pytest.fixture
def applied_by(stacks: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each run adds how it applied the stack file `mine`."""
    commands: list[str] = []
    (stacks / "Pulumi.mine.yaml").write_text("config: {oss-registry:registry: {port: 5001}}")
    monkeypatch.setattr(gc, "recover", lambda _: None)
    monkeypatch.setattr(gc, "_pulumi_up", lambda _: commands.append("pulumi up"))
    monkeypatch.setattr(gc, "up", lambda _, *, consent: commands.append("up with its guard"))
    return commands


def test_the_original_stack_file_is_applied_by_pulumi_up(applied_by: list[str]) -> None:
    gc.allow_pushes(StackContext("mine"), stack_file.read_as_json("mine"))
    assert applied_by == ["pulumi up"]


def test_a_stack_file_that_changed_meanwhile_is_applied_by_up_with_its_guard(
    stacks: Path, applied_by: list[str]
) -> None:
    before = stack_file.read_as_json("mine")
    (stacks / "Pulumi.mine.yaml").write_text(
        "config: {oss-registry:storage: {volume: another-one}}"
    )
    gc.allow_pushes(StackContext("mine"), before)
    assert applied_by == ["up with its guard"]


def test_a_stack_file_that_became_invalid_meanwhile_is_reported(
    stacks: Path, applied_by: list[str]
) -> None:
    before = stack_file.read_as_json("mine")
    (stacks / "Pulumi.mine.yaml").unlink()
    with pytest.raises(CommandError, match="the registry refuses pushes until this is mended"):
        gc.allow_pushes(StackContext("mine"), before)
    assert not applied_by
