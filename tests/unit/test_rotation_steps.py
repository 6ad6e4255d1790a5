"""From wherever a rotation was left, its next steps."""

import pytest

from operations import Blocked
from operations.rotate import steps


@pytest.mark.parametrize(
    ("labels", "made", "in_use", "way"),
    [
        pytest.param(["a"], ["a"], "a", [["a", "new"], ["new"]], id="none is under way"),
        pytest.param(["a", "b"], ["a"], "a", [["a", "b"], ["b"]], id="the file was written"),
        pytest.param(["a", "b"], ["a", "b"], "a", [["a", "b"], ["b"]], id="the key was made"),
        pytest.param(["a", "b"], ["a", "b"], "b", [["a", "b"], ["b"]], id="it is used"),
        pytest.param(["b"], ["a", "b"], "b", [["b"]], id="the second step began"),
        pytest.param(["b"], ["a"], "a", [["a", "b"], ["b"]], id="both were written at once"),
        pytest.param(["a", "b"], ["b"], "b", [["b"]], id="the old one is gone"),
    ],
)
def test_it_goes_on_from_there(
    labels: list[str], made: list[str], in_use: str, way: list[list[str]]
) -> None:
    assert steps(labels, made, in_use, "new") == way


@pytest.mark.parametrize(
    ("labels", "made", "in_use", "said"),
    [
        (["a"], [], None, "`make up` first"),
        (["new"], ["new"], "new", "is new already: name another one"),
        (["c"], ["a", "b"], "b", "a and b are there, RAM's limit"),
    ],
)
def test_what_can_t_be_gone_on_with_is_said(
    labels: list[str], made: list[str], in_use: str | None, said: str
) -> None:
    with pytest.raises(Blocked, match=said):
        steps(labels, made, in_use, "new")
