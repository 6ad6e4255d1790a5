"""Tests of the steps that complete a rotation, from each state in which one can stop."""

import pytest

from operations.commands.rotate import plan_steps
from operations.errors import CommandError


@pytest.mark.parametrize(
    ("labels", "existing", "in_use", "expected"),
    [
        pytest.param(["a"], ["a"], "a", [["a", "new"], ["new"]], id="no rotation has started"),
        pytest.param(
            ["a", "b"], ["a"], "a", [["a", "b"], ["b"]], id="the stack file names the new key"
        ),
        pytest.param(["a", "b"], ["a", "b"], "a", [["a", "b"], ["b"]], id="the new key exists"),
        pytest.param(
            ["a", "b"], ["a", "b"], "b", [["a", "b"], ["b"]], id="the registry uses the new key"
        ),
        pytest.param(
            ["b"], ["a", "b"], "b", [["b"]], id="the stack file no longer names the old key"
        ),
        pytest.param(
            ["b"],
            ["a"],
            "a",
            [["a", "b"], ["b"]],
            id="the stack file was changed to the new key in one step",
        ),
        pytest.param(["a", "b"], ["b"], "b", [["b"]], id="the old key is deleted"),
    ],
)
def test_a_rotation_continues_from_where_it_stopped(
    labels: list[str], existing: list[str], in_use: str, expected: list[list[str]]
) -> None:
    assert plan_steps(labels, existing, in_use, "new") == expected


@pytest.mark.parametrize(
    ("labels", "existing", "in_use", "error"),
    [
        (["a"], [], None, "`make up` first"),
        (["new"], ["new"], "new", "is new already: name another one"),
        (["c"], ["a", "b"], "b", "a and b are there, RAM's limit"),
    ],
)
def test_a_rotation_that_cannot_continue_is_reported(
    labels: list[str], existing: list[str], in_use: str | None, error: str
) -> None:
    with pytest.raises(CommandError, match=error):
        plan_steps(labels, existing, in_use, "new")
