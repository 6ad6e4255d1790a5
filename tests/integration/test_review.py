"""Compare `make preview` of a stack in the cloud with golden files that were reviewed.

Set UPDATE_GOLDEN=1 to update the files. Review the difference before you commit it.
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
INITIAL_STORAGE = {"access_keys": ["2026-11"], "versioning": {"noncurrent_days": 14}}


class ReviewedDeployment(CloudDeployment):
    """A stack whose initial port is `port`."""

    port: int


@pytest.fixture(scope="module")
def stack(
    emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReviewedDeployment]:
    """Provide a stack in the cloud, which the first test deploys."""
    deployment = ReviewedDeployment(
        tmp_path_factory.mktemp("project"), emulator, storage=INITIAL_STORAGE
    )
    deployment.port = deployment.settings["registry"]["port"]
    try:
        yield deployment
    finally:
        deployment.remove()


def _preview(stack: ReviewedDeployment, output_format: str = "markdown") -> tuple[int, str]:
    """Run `make preview`, and return its exit code and its output.

    Names and ports of the test are replaced by those in the golden files.
    """
    result = stack.make("--silent", "preview", f"FORMAT={output_format}", separate_stderr=True)
    replacements = {
        stack.stack: "prod",
        str(stack.port): "5000",
        str(stack.port + 1): "5001",
        stack.emulator.addresses[1]: "proxy:3128",
    }
    shown = result.stdout
    for name, reviewed in replacements.items():
        shown = shown.replace(name, reviewed)
    # The emulator creates a new certificate authority in each run.
    pem = r"(BEGIN CERTIFICATE-----\n).*?(.-----END)"
    return result.returncode, re.sub(pem, r"\1…\n\2", shown, flags=re.DOTALL)


def _assert_matches_golden(stack: ReviewedDeployment, name: str) -> str:
    """Assert that the preview is equal to the golden file `name`, and return it."""
    code, shown = _preview(stack)
    file = GOLDEN / f"{name}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(shown)
    assert shown == file.read_text()
    assert (code != 0) == ("it would fail" in shown)
    if stack.emulator.ram.users:
        for key in stack.emulator.ram.users[stack.prefix].keys.values():
            assert key.secret not in shown
    return shown


@pytest.mark.quick
def test_the_preview_of_a_first_deployment(stack: ReviewedDeployment) -> None:
    _assert_matches_golden(stack, "first")
    stack.make_succeeds("up")
    Api(stack.outputs()["endpoint"]).push("team/app", b"x" * 1000)


def test_a_preview_without_changes(stack: ReviewedDeployment) -> None:
    _assert_matches_golden(stack, "none")
    assert _preview(stack, "text") == (0, "prod: no change\n")


Edit = Callable[[ReviewedDeployment], None]


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
def test_the_preview_of_a_change_matches_the_reviewed_one(
    stack: ReviewedDeployment, name: str
) -> None:
    before = {section: dict(values) for section, values in stack.settings.items()}
    CHANGES[name](stack)
    try:
        _assert_matches_golden(stack, name)
    finally:
        stack.settings = before
        stack.configure()


def test_the_preview_of_an_invalid_stack_file_lists_the_errors(stack: ReviewedDeployment) -> None:
    stack.configure(registry={"port": "x", "log_level": "loud"})
    try:
        code, shown = _preview(stack)
    finally:
        stack.configure(registry={"port": stack.port, "log_level": "warn"})
    assert code != 0
    assert "oss-registry:registry.port: must be a whole number" in shown
    assert "oss-registry:registry.log_level: " in shown
