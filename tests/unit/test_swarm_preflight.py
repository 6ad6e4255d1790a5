"""Tests of the preflight check for Swarm, and of the removal of unused secrets and configs."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from config import resource_names
from operations.preflight import find_problem
from operations.swarm import remove_unused_files
from tests.unit.contexts import FakeDocker
from tests.unit.stack_files import load_stack

CONTAINER = {"type": resource_names.CONTAINER, "urn": "a"}
SERVICE = {"type": resource_names.SERVICE, "urn": "b"}
MANAGER = {"LocalNodeState": "active", "ControlAvailable": True}
HOST_MODE = {"publish_mode": "host"}
OSS: Mapping[str, Any] = {
    "storage": {"kind": "oss", "bucket": "images-of-mine"},
    "region": "cn-hangzhou",
}


class _Engine(FakeDocker):
    """Answers a command by its first words, and records the commands without an answer."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        super().__init__(self._answer)
        self.answers = answers
        self.unanswered: list[str] = []

    def _answer(self, *words: str) -> str:
        command = " ".join(words)
        for start, answer in self.answers.items():
            if command.startswith(start):
                return answer
        self.unanswered.append(command)
        return ""


def _nodes(*states: str) -> str:
    """Return the output of `docker node ls`. A state is a status and an availability."""
    nodes = []
    for number, state in enumerate(states):
        status, availability = state.split()
        names = {"Hostname": f"machine{number}", "Self": number == 0}
        nodes.append({**names, "Status": status, "Availability": availability})
    return "\n".join(map(json.dumps, nodes))


@pytest.mark.parametrize(
    ("info", "fix"),
    [
        ({"LocalNodeState": "inactive", "ControlAvailable": False}, "`docker swarm init`"),
        ({"LocalNodeState": "active", "ControlAvailable": False}, "`docker node promote`"),
    ],
)
def test_an_engine_that_is_no_swarm_manager_is_reported(
    info: Mapping[str, object], fix: str
) -> None:
    engine = _Engine({"info": json.dumps(info)})
    stack = load_stack(registry={"runtime": "swarm", "exposure": "open"})
    assert fix in str(find_problem(stack, (), engine))


@pytest.mark.parametrize(
    ("swarm", "states", "most"),
    [
        (HOST_MODE, ["Ready Active"] * 3, 3),
        (HOST_MODE, ["Ready Active", "Down Active", "Ready Drain"], 1),
        ({**HOST_MODE, "order": "start-first"}, ["Ready Active"] * 3, 2),
    ],
)
def test_in_host_mode_more_replicas_than_nodes_are_reported(
    swarm: Mapping[str, str], states: list[str], most: int
) -> None:
    engine = _Engine({"info": json.dumps(MANAGER), "node ls": _nodes(*states)})

    def problem_with(replicas: int) -> str | None:
        registry = {"runtime": "swarm", "exposure": "open", "swarm": swarm, "replicas": replicas}
        return find_problem(load_stack(registry=registry, **OSS), (), engine)

    assert problem_with(most) is None
    assert f"or set registry.replicas: {most}" in str(problem_with(most + 1))


def test_in_ingress_mode_a_node_may_run_several_replicas() -> None:
    engine = _Engine({"info": json.dumps(MANAGER), "node ls": _nodes("Ready Active")})
    registry = {"runtime": "swarm", "exposure": "open", "replicas": 5}
    assert find_problem(load_stack(registry=registry, **OSS), (), engine) is None


def test_a_volume_without_a_node_constraint_is_reported_on_a_swarm_of_several_nodes() -> None:
    registry: dict[str, Any] = {"runtime": "swarm", "exposure": "open"}
    engine = _Engine({"info": json.dumps(MANAGER), "node ls": _nodes("Ready Active")})
    assert find_problem(load_stack(registry=registry), (), engine) is None
    nodes = _nodes("Ready Active", "Ready Active")
    engine = _Engine({"info": json.dumps(MANAGER), "node ls": nodes})
    problem = str(find_problem(load_stack(registry=registry), (), engine))
    assert "such as [node.hostname==machine0]" in problem
    registry["swarm"] = {"constraints": ["node.hostname==machine0"]}
    assert find_problem(load_stack(registry=registry), (), engine) is None


@pytest.mark.parametrize(
    ("runtime", "existing", "reported"),
    [
        ("container", [CONTAINER], False),
        ("container", [SERVICE], True),
        ("swarm", [SERVICE], False),
        ("swarm", [CONTAINER], True),
    ],
)
def test_a_changed_runtime_is_reported_with_the_command_make_move(
    runtime: str, existing: list[Mapping[str, str]], reported: bool
) -> None:
    engine = _Engine({"info": json.dumps(MANAGER), "node ls": _nodes("Ready Active")})
    stack = load_stack(registry={"runtime": runtime, "exposure": "open"})
    problem = find_problem(stack, existing, engine)
    assert (problem is not None) == reported
    assert problem is None or f"make move STACK=dev RUNTIME={runtime}" in problem


def test_secrets_and_configs_of_a_services_current_and_previous_version_are_retained() -> None:
    before, now = {"SecretID": "s1", "ConfigID": "c1"}, {"SecretID": "s2"}
    engine = _Engine(
        {
            "info": "true\n",
            "service ls": "id dev-registry\n",
            "service inspect": json.dumps([{"Spec": now, "PreviousSpec": before}], indent=4),
            "secret ls": "s0 a\ns1 b\ns2 c\n",
            "config ls": "c1 a\n",
        }
    )
    remove_unused_files("dev", engine)
    assert engine.unanswered == ["secret rm s0"]


def test_without_a_service_all_secrets_and_configs_are_removed_and_without_a_swarm_none() -> None:
    engine = _Engine(
        {"info": "true\n", "service ls": "", "secret ls": "s1 b\n", "config ls": "c1 a"}
    )
    remove_unused_files("dev", engine)
    assert engine.unanswered == ["secret rm s1", "config rm c1"]
    engine = _Engine({"info": "false\n"})
    remove_unused_files("dev", engine)
    assert engine.unanswered == []
