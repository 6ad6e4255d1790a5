"""Tests of `make status` for a stack file that was changed after the last `make up`."""

from config.stack import Stack
from operations.commands import status
from operations.commands.status import FAIL, Running
from tests.unit.stack_files import load_stack


def _running(stack: Stack, **outputs: str) -> Running:
    """Return the stack after an `up` with these outputs."""
    resources = [{"type": "pulumi:pulumi:Stack", "outputs": outputs}]
    return Running(stack, {}, resources, {})


def test_a_bucket_that_up_has_not_created_yet_is_reported_with_the_command_make_up() -> None:
    stack = load_stack(region="cn-hangzhou", storage={"kind": "oss", "bucket": "images"})
    running = _running(stack, endpoint="http://127.0.0.1:5000", release="3.1.2", volume="data")
    state, text = status._storage(running)
    assert state == FAIL
    assert text == (
        "The registry does not use the bucket images yet. Run `make up STACK=dev` to apply the "
        "stack file."
    )
    assert status._key(running) == ("ok", "none")
