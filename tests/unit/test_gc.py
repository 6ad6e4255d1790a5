"""What `make gc` asks for: a stack file of its own, a service like the registry's, an interrupt."""

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from config.problems import SettingsError
from config.stack import READ_ONLY_LABEL
from operations import Blocked, collector, engine, gc, stack_file, swarm
from tests.unit.stack_files import load_stack


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stack_file, "STACKS", tmp_path)
    return tmp_path


def _read_only(stacks: Path, text: str) -> dict[str, Any]:
    (stacks / "Pulumi.mine.yaml").write_text(text)
    content: dict[str, Any] = json.loads(stack_file.read_only("mine"))
    return content


def test_a_read_only_stack_file_says_the_same_but_for_pushes_and_the_cache(stacks: Path) -> None:
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
    assert _read_only(stacks, written) == {
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
def test_a_stack_file_with_next_to_nothing_becomes_read_only_too(stacks: Path, config: str) -> None:
    content = _read_only(stacks, f"config: {{oss-registry:cache: {{}}, {config}}}")
    registry = content["config"]["oss-registry:registry"]
    stack = load_stack(registry=registry)
    assert stack.read_only
    # Whole, as the registry takes it.
    assert stack.redacted["REGISTRY_STORAGE_MAINTENANCE_READONLY"] == '{"enabled":true}'


def test_what_is_wrong_with_the_stack_file_is_said(stacks: Path) -> None:
    with pytest.raises(SettingsError, match=r"registry\.port"):
        _read_only(stacks, 'config: {oss-registry:registry: {port: "5000"}}')


SERVICE: Mapping[str, Any] = {
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


class _Engine:
    """A swarm's manager: what it answers, by the first two words, and what it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.labels: Mapping[str, str] = {READ_ONLY_LABEL: "true"}
        self.tasks: list[Mapping[str, str]] = []
        self.told: list[tuple[str, ...]] = []
        self.there: dict[str, str] = {}
        self.ends = True  # what is removed
        monkeypatch.setattr(engine, "docker", self._docker)
        monkeypatch.setattr(engine, "printed", self._printed)
        monkeypatch.setattr(engine, "labelled", lambda *_: dict(self.there))
        self._moment = 0.0
        monkeypatch.setattr("time.monotonic", lambda: self._moment)
        monkeypatch.setattr("time.sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self._moment += seconds

    def _docker(self, _: Mapping[str, str], *words: str, **__: object) -> str:
        self.told.append(words)
        if words[:2] == ("service", "inspect"):
            spec = {"Labels": self.labels, "TaskTemplate": SERVICE}
            return json.dumps(self.labels if "--format" in words else [{"Spec": spec}])
        if words[:2] in (("service", "ps"), ("node", "ps")):
            over = self.ends and words[0] == "node"
            return "\n".join(map(json.dumps, [] if over else self.tasks))
        if words[:2] == ("service", "create"):
            self.there = {"j1": "oss-registry-dev-gc"}
        return {"inspect": "machine-1\n", "node": "node-1\n"}.get(words[0], "")

    def _printed(self, _: Mapping[str, str], *words: str) -> Iterator[str]:
        self.told.append(words)
        yield "blob eligible for deletion: sha256:aa\n"


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> _Engine:
    return _Engine(monkeypatch)


def _task(state: str, desired: str = "Running") -> Mapping[str, str]:
    return {
        "ID": "t1",
        "Name": "j1.x",
        "Node": "one",
        "DesiredState": desired,
        "CurrentState": state,
        "Error": "",
    }


def _sweep() -> collector.Collector:
    return collector.collector(load_stack(registry={"runtime": "swarm", "exposure": "open"}), {})


def test_a_sweep_has_all_that_the_service_has_on_a_machine_that_runs_a_replica(
    manager: _Engine,
) -> None:
    manager.tasks = [_task("Running 3 minutes ago"), _task("Complete 1 second ago")]
    assert [*_sweep().run("registry", "garbage-collect")] == [
        "blob eligible for deletion: sha256:aa\n"
    ]
    (created,) = [words for words in manager.told if words[:2] == ("service", "create")]
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
    assert ("service", "rm", "j1") in manager.told


def test_a_replica_of_before_that_is_not_seen_to_end_keeps_it_from_sweeping(
    manager: _Engine,
) -> None:
    manager.tasks = [_task("Running 3 hours ago", desired="Shutdown")]
    with pytest.raises(Blocked, match="a replica on one is not seen to have ended"):
        _sweep().alone()
    manager.tasks = [_task("Shutdown 1 second ago", desired="Shutdown"), _task("Running 1 s ago")]
    _sweep().alone()


def test_a_registry_that_takes_pushes_again_keeps_it_from_sweeping(manager: _Engine) -> None:
    manager.labels = {}
    with pytest.raises(Blocked, match="takes pushes again"):
        _sweep().alone()


def test_a_sweep_ends_as_soon_as_the_registry_takes_pushes(manager: _Engine) -> None:
    manager.tasks = [_task("Running 1 second ago")]
    sweep = _sweep()
    sweep.alone()
    manager.labels = {}
    with pytest.raises(Blocked, match="takes pushes again"):
        next(sweep.run("registry", "garbage-collect"))
    assert ("service", "rm", "j1") in manager.told


def test_a_sweep_that_was_left_and_does_not_end_is_named(manager: _Engine) -> None:
    manager.ends = False
    manager.there = {"j1": "oss-registry-dev-gc", "r1": "oss-registry-dev-registry"}
    manager.tasks = [_task("Running 1 second ago")]
    with pytest.raises(Blocked, match="a collection of garbage on one is not seen to have ended"):
        swarm.end_collection("dev", {})
    assert ("service", "rm", "j1") in manager.told


@pytest.fixture
def handlers() -> Iterator[None]:
    kept = {ends: signal.getsignal(ends) for ends in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for ends, handler in kept.items():
        signal.signal(ends, handler)


def _come(ends: signal.Signals) -> None:
    os.kill(os.getpid(), ends)


@pytest.mark.usefixtures("handlers")
def test_the_first_interrupt_ends_it_and_no_other_disturbs_the_way_back() -> None:
    interrupts = gc._Interrupts()
    with pytest.raises(KeyboardInterrupt):
        _come(signal.SIGTERM)
    for ends in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        _come(ends)
    with pytest.raises(KeyboardInterrupt):
        interrupts.heed()


@pytest.mark.usefixtures("handlers")
def test_an_interrupt_that_is_deferred_comes_when_it_is_heeded() -> None:
    interrupts = gc._Interrupts()
    interrupts.defer()
    _come(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.heed()


@pytest.mark.usefixtures("handlers")
def test_nohup_keeps_it_going_when_the_terminal_goes() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupts = gc._Interrupts()
    _come(signal.SIGHUP)
    interrupts.heed()


# The way back, by the stack file as it was.


@pytest.fixture
def ups(stacks: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What applies the stack file `mine`: Pulumi alone, or `make up` with its guard."""
    done: list[str] = []
    (stacks / "Pulumi.mine.yaml").write_text("config: {oss-registry:registry: {port: 5001}}")
    monkeypatch.setattr(gc, "recover", lambda name: None)
    monkeypatch.setattr(gc, "_up", lambda name, *flags: done.append("pulumi up"))
    monkeypatch.setattr(gc, "up", lambda name, *, consent, meant: done.append(f"up {meant}"))
    return done


def test_pushes_are_let_in_by_the_stack_file_of_before(ups: list[str]) -> None:
    gc._open("mine", stack_file.text("mine"))
    assert ups == ["pulumi up"]


def test_a_stack_file_that_was_written_meanwhile_goes_through_the_guard(
    stacks: Path, ups: list[str]
) -> None:
    own = stack_file.text("mine")
    (stacks / "Pulumi.mine.yaml").write_text(
        "config: {oss-registry:storage: {volume: another-one}}"
    )
    gc._open("mine", own)
    assert ups == ["up ()"]


def test_a_stack_file_that_was_broken_meanwhile_is_said(stacks: Path, ups: list[str]) -> None:
    own = stack_file.text("mine")
    (stacks / "Pulumi.mine.yaml").unlink()
    with pytest.raises(Blocked, match="the registry refuses pushes until this is mended"):
        gc._open("mine", own)
    assert not ups
