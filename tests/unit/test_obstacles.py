"""What keeps a stack from its engine, said before anything is changed."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from operations import engine
from operations.swarm import obstacle, remove_unused
from tests.unit.stack_files import load_stack

CONTAINER = {"type": "docker:index/container:Container", "urn": "a"}
SERVICE = {"type": "docker:index/service:Service", "urn": "b"}
MANAGER = {"LocalNodeState": "active", "ControlAvailable": True}
HOST = {"publish_mode": "host"}
OSS: Mapping[str, Any] = {
    "storage": {"kind": "oss", "bucket": "images-of-mine"},
    "region": "cn-hangzhou",
}
Docker = Callable[[Mapping[str, str]], list[str]]


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Gives docker's answers, by the first words of the command; what else it is told is kept."""

    def answering(answers: Mapping[str, str]) -> list[str]:
        told: list[str] = []

        def run(_: Mapping[str, str], *words: str) -> str:
            said = " ".join(words)
            found = [answer for begin, answer in answers.items() if said.startswith(begin)]
            if not found:
                told.append(said)
            return next(iter(found), "")

        monkeypatch.setattr(engine, "docker", run)
        return told

    return answering


def _nodes(*states: str) -> str:
    """`docker node ls`, each machine by its status and availability."""
    nodes = []
    for number, state in enumerate(states):
        status, availability = state.split()
        names = {"Hostname": f"machine{number}", "Self": number == 0}
        nodes.append({**names, "Status": status, "Availability": availability})
    return "\n".join(map(json.dumps, nodes))


@pytest.mark.parametrize(
    ("info", "sentence"),
    [
        ({"LocalNodeState": "inactive", "ControlAvailable": False}, "`docker swarm init`"),
        ({"LocalNodeState": "active", "ControlAvailable": False}, "`docker node promote`"),
    ],
)
def test_an_engine_that_takes_no_orders_for_a_swarm(
    docker: Docker, info: Mapping[str, object], sentence: str
) -> None:
    docker({"info": json.dumps(info)})
    stack = load_stack(registry={"runtime": "swarm", "exposure": "open"})
    assert sentence in str(obstacle(stack, (), {}))


@pytest.mark.parametrize(
    ("swarm", "states", "most"),
    [
        (HOST, ["Ready Active"] * 3, 3),
        (HOST, ["Ready Active", "Down Active", "Ready Drain"], 1),
        ({**HOST, "order": "start-first"}, ["Ready Active"] * 3, 2),
    ],
)
def test_a_port_of_its_own_takes_a_machine_for_each_replica(
    docker: Docker, swarm: Mapping[str, str], states: list[str], most: int
) -> None:
    docker({"info": json.dumps(MANAGER), "node ls": _nodes(*states)})

    def hindered(replicas: int) -> str | None:
        registry = {"runtime": "swarm", "exposure": "open", "swarm": swarm, "replicas": replicas}
        return obstacle(load_stack(registry=registry, **OSS), (), {})

    assert hindered(most) is None
    assert f"or set registry.replicas: {most}" in str(hindered(most + 1))


def test_any_machine_passes_on_to_any_number_of_replicas(docker: Docker) -> None:
    docker({"info": json.dumps(MANAGER), "node ls": _nodes("Ready Active")})
    registry = {"runtime": "swarm", "exposure": "open", "replicas": 5}
    assert obstacle(load_stack(registry=registry, **OSS), (), {}) is None


def test_a_volume_must_not_be_left_behind(docker: Docker) -> None:
    registry: dict[str, Any] = {"runtime": "swarm", "exposure": "open"}
    docker({"info": json.dumps(MANAGER), "node ls": _nodes("Ready Active")})
    assert obstacle(load_stack(registry=registry), (), {}) is None
    docker({"info": json.dumps(MANAGER), "node ls": _nodes("Ready Active", "Ready Active")})
    said = str(obstacle(load_stack(registry=registry), (), {}))
    assert "such as [node.hostname==machine0]" in said
    registry["swarm"] = {"constraints": ["node.hostname==machine0"]}
    assert obstacle(load_stack(registry=registry), (), {}) is None


@pytest.mark.parametrize(
    ("runtime", "there", "hindered"),
    [
        ("container", [CONTAINER], False),
        ("container", [SERVICE], True),
        ("swarm", [SERVICE], False),
        ("swarm", [CONTAINER], True),
    ],
)
def test_what_runs_otherwise_has_to_be_moved(
    docker: Docker, runtime: str, there: list[Mapping[str, str]], hindered: bool
) -> None:
    docker({"info": json.dumps(MANAGER), "node ls": _nodes("Ready Active")})
    stack = load_stack(registry={"runtime": runtime, "exposure": "open"})
    said = obstacle(stack, there, {})
    assert (said is not None) == hindered
    assert said is None or f"make move STACK=dev RUNTIME={runtime}" in said


def test_what_a_service_uses_or_would_go_back_to_stays(docker: Docker) -> None:
    before, now = {"SecretID": "s1", "ConfigID": "c1"}, {"SecretID": "s2"}
    told = docker(
        {
            "info": "true\n",
            "service ls": "id dev-registry\n",
            "service inspect": json.dumps([{"Spec": now, "PreviousSpec": before}], indent=4),
            "secret ls": "s0 a\ns1 b\ns2 c\n",
            "config ls": "c1 a\n",
        }
    )
    remove_unused("dev", {})
    assert told == ["secret rm s0"]


def test_without_a_service_all_goes_and_without_a_swarm_nothing_is_asked(docker: Docker) -> None:
    told = docker({"info": "true\n", "service ls": "", "secret ls": "s1 b\n", "config ls": "c1 a"})
    remove_unused("dev", {})
    assert told == ["secret rm s1", "config rm c1"]
    told = docker({"info": "false\n"})
    remove_unused("dev", {})
    assert told == []
