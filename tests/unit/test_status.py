"""Tests of `make status` for a stack file that was changed after the last `make up`."""

from operations.commands import status
from operations.commands.status import FAIL
from tests.unit.contexts import fake_context
from tests.unit.stack_files import load_stack


def test_status_suggests_make_up_for_a_missing_bucket() -> None:
    stack = load_stack(region="cn-hangzhou", storage={"kind": "oss", "bucket": "images"})
    outputs = {"endpoint": "http://127.0.0.1:5000", "release": "3.1.2", "volume": "data"}
    context = fake_context(stack, outputs=outputs)
    state, text = status._storage(context)
    assert state == FAIL
    assert text == (
        "The registry does not use the bucket images yet. Run `make up STACK=dev` to apply the "
        "stack file."
    )
    assert status._key(context) == ("ok", "none")
