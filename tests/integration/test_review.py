"""`make preview` of a stack in the cloud, against what a reviewer was shown: golden files.

UPDATE_GOLDEN=1 writes them anew; look at the difference before you commit it.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.emulator.emulator import Emulator
from tests.integration.api import Api
from tests.integration.cloud import CloudDeployment

pytestmark = pytest.mark.ops
GOLDEN = Path(__file__).with_name("reviews")
BASE = {"access_keys": ["2026-11"], "versioning": {"noncurrent_days": 14}}


class Reviewed(CloudDeployment):
    """A stack whose port, until a test changes it, is `port`."""

    port: int


@pytest.fixture(scope="module")
def stack(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed]:
    """One in the cloud; the first test has it made."""
    made = Reviewed(tmp_path_factory.mktemp("project"), emulator, storage=BASE)
    made.port = made.settings["registry"]["port"]
    try:
        yield made
    finally:
        made.remove()


def _previewed(stack: Reviewed, form: str = "markdown") -> tuple[int, str]:
    """How it ended, and what was printed, without the names that are the test's own."""
    result = stack.make("--silent", "preview", f"FORMAT={form}", separate_stderr=True)
    own = {
        stack.stack: "prod",
        str(stack.port): "5000",
        str(stack.port + 1): "5001",
        stack.emulator.addresses[1]: "proxy:3128",
    }
    shown = result.stdout
    for name, common in own.items():
        shown = shown.replace(name, common)
    # The proxy's authority is another one each time.
    pem = r"(BEGIN CERTIFICATE-----\n).*?(.-----END)"
    return result.returncode, re.sub(pem, r"\1…\n\2", shown, flags=re.DOTALL)


def _is_golden(stack: Reviewed, name: str) -> str:
    code, shown = _previewed(stack)
    file = GOLDEN / f"{name}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(shown)
    assert shown == file.read_text()
    assert (code != 0) == ("it would fail" in shown)
    for key in (
        stack.emulator.ram.users[stack.prefix].keys.values() if stack.emulator.ram.users else ()
    ):
        assert key.secret not in shown
    return shown


@pytest.mark.quick
def test_a_first_deployment(stack: Reviewed) -> None:
    _is_golden(stack, "first")
    stack.make_succeeds("up")
    Api(stack.outputs()["endpoint"]).push("team/app", b"x" * 1000)


def test_no_change(stack: Reviewed) -> None:
    _is_golden(stack, "none")
    assert _previewed(stack, "text") == (0, "prod: no change\n")


Edit = Callable[[Reviewed], None]


CHANGES: Mapping[str, Edit] = {
    "variable": lambda stack: stack.configure(registry={"log_level": "error"}),
    "port": lambda stack: stack.configure(registry={"port": stack.port + 1}),
    "release": lambda stack: stack.configure(registry={"release": "3.0.0"}),
    "rotation": lambda stack: stack.configure(storage={"access_keys": ["2026-11", "2026-12"]}),
    "bucket": lambda stack: stack.configure(
        storage={"bucket": f"other-{stack.stack}", "protect": False}
    ),
    "bucket-protected": lambda stack: stack.configure(storage={"bucket": f"other-{stack.stack}"}),
}


CASES = (
    pytest.param("rotation", marks=pytest.mark.quick),
    *(name for name in CHANGES if name != "rotation"),
)


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_shown_as_it_was_reviewed(stack: Reviewed, name: str) -> None:
    before = {section: dict(values) for section, values in stack.settings.items()}
    CHANGES[name](stack)
    try:
        _is_golden(stack, name)
    finally:
        stack.settings = before
        stack.configure()


def test_a_stack_file_with_mistakes_is_a_comment_that_lists_them(stack: Reviewed) -> None:
    stack.configure(registry={"port": "x", "log_level": "loud"})
    try:
        code, shown = _previewed(stack)
    finally:
        stack.configure(registry={"port": stack.port, "log_level": "warn"})
    assert code != 0
    assert "oss-registry:registry.port: must be a whole number" in shown
    assert "oss-registry:registry.log_level: " in shown
