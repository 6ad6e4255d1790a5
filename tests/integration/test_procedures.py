"""Tests that run the commands of each procedure in docs/operations.md."""

import copy
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.pages import PROJECT, blocks, lines, procedures
from tests.emulator.emulator import Emulator
from tests.integration.api import Api, RequestError, digest_of
from tests.integration.clients import skopeo_pull, skopeo_push
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import Deployment, free_port, run_checked, wait_until

pytestmark = pytest.mark.ops

PAGE = PROJECT / "docs/operations.md"
PROCEDURES = procedures(PAGE)
LAYER = secrets.token_bytes(50_000)
# Not every machine has systemd. The command that its timer starts is tested as cron starts it.
NOT_TESTED = {"Every Sunday"}


class Reader:
    """Runs the commands of the page for `stack`, and for the second stack that they may create."""

    def __init__(self, stack: Deployment) -> None:
        self.stack = stack
        self.second = copy.copy(stack)
        self.second.stack, self.second.prefix = f"{stack.stack}2", f"{stack.prefix}2"
        self.port, self.second_port = stack.settings["registry"]["port"], free_port()

    @property
    def api(self) -> Api:
        return Api(f"http://127.0.0.1:{self.port}")

    @property
    def second_api(self) -> Api:
        return Api(f"http://127.0.0.1:{self.second_port}")

    def _adapted(self, text: str) -> str:
        """Return `text` with the names and ports of the test's stacks."""
        for documented, actual in (
            ("example-registry-prod", getattr(self.stack, "bucket", "")),
            ("registry.example.com:5000", f"127.0.0.1:{self.port}"),
            ("registry.example.com:5001", f"127.0.0.1:{self.second_port}"),
            ("5001", str(self.second_port)),
            ("prod", self.stack.stack),
        ):
            text = text.replace(documented, actual)
        return text

    def follow(self, heading: str, block: int = 0, release: str = "3.1.2") -> str:
        """Run the commands of a block, with `release` in place of 3.1.2, and return their output.

        `block` is the position of the block below the heading.
        """
        commands = lines(PROCEDURES[heading][block])
        return "".join(self.run(line.replace("3.1.2", release)) for line in commands)

    def run(self, line: str) -> str:
        """Run one command of the page in the stack's project, and return its output."""
        environment = {**self.stack.environment, "YES": "1"}
        if line.startswith("skopeo"):  # skopeo expects TLS even at 127.0.0.1
            environment["HOME"] = str(self._skopeo_home())
        script = f"cd '{self.stack.folder}' && {self._adapted(line)}"
        return run_checked("bash", "-c", script, env=environment, timeout=900)

    def _skopeo_home(self) -> Path:
        """Create a home directory with which skopeo uses HTTP for the test's registries."""
        folder = self.stack.folder / "home"
        settings = folder / ".config/containers"
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        hosts = (f"127.0.0.1:{port}" for port in (self.port, self.second_port))
        (settings / "registries.conf").write_text(
            "\n".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true' for host in hosts)
        )
        return folder

    def delete_state(self) -> None:
        shutil.rmtree(self.stack.folder / ".pulumi")

    def assert_no_changes(self, stack: Deployment | None = None) -> None:
        """Assert that a refreshed preview shows no changes."""
        (stack or self.stack).pulumi("preview", "--refresh", "--expect-no-changes")


@pytest.fixture
def on_volume(new_stack: Deployment) -> Reader:
    """Deploy a stack with an image in a volume, and provide its Reader."""
    return _with_an_image(new_stack)


@pytest.fixture
def on_bucket(new_cloud_stack: CloudDeployment) -> Reader:
    """Deploy a stack with an image in a bucket, and provide its Reader."""
    new_cloud_stack.configure(storage={"access_keys": ["old"]})
    return _with_an_image(new_cloud_stack)


def _with_an_image(stack: Deployment) -> Reader:
    """Deploy the stack if necessary, push an image to it, and return its Reader."""
    if not stack.docker_objects("container"):
        stack.up()
    reader = Reader(stack)
    reader.api.push("team/app", LAYER)
    return reader


@contextmanager
def _second_stack_removed(reader: Reader) -> Iterator[None]:
    """Remove the second stack at the end of the block."""
    try:
        yield
    finally:
        reader.second.remove()


def test_each_procedure_of_the_page_has_a_test() -> None:
    followed = set(re.findall(r'follow\("([^"]+)"', Path(__file__).read_text()))
    assert PROCEDURES.keys() - NOT_TESTED == followed
    for blocks_below_heading in PROCEDURES.values():
        assert all(lines(block) for block in blocks_below_heading)


@pytest.mark.parametrize(
    "stack_on_each_storage",
    [("2.8.3", "filesystem"), ("2.8.3", "oss")],
    ids="-".join,
    indirect=True,
)
def test_an_upgrade_and_a_downgrade_keep_the_images(stack_on_each_storage: Deployment) -> None:
    reader = _with_an_image(stack_on_each_storage)
    for release in ("3.1.2", "2.8.3"):
        output = reader.follow("Upgrade from 2.8 to 3.1", release=release)
        assert stack_on_each_storage.outputs()["release"] == release, output
        reader.api.pull("team/app")
        reader.api.push(f"team/{release}", LAYER + release.encode())
        reader.assert_no_changes()
    reader.api.pull("team/3.1.2")


def test_the_access_key_can_be_rotated(on_bucket: Reader) -> None:
    on_bucket.follow("Rotate the access key")
    assert on_bucket.stack.outputs()["access_key"] != "old"
    on_bucket.api.pull("team/app")


def test_a_leaked_access_key_is_deleted(on_bucket: Reader, emulator: Emulator) -> None:
    assert isinstance(on_bucket.stack, CloudDeployment)
    leaked = on_bucket.stack.key_in_use()
    assert emulator.ram.key(leaked)
    on_bucket.follow("The access key has leaked")
    assert not emulator.ram.key(leaked)
    on_bucket.api.pull("team/app")
    on_bucket.assert_no_changes()


def test_garbage_collection_frees_space(on_volume: Reader) -> None:
    on_volume.api.push("team/old", LAYER + b"old")
    on_volume.api.delete("team/old", digest_of(on_volume.api.manifest("team/old", "1")))
    output = on_volume.follow("Room for new images: garbage collection")
    assert re.search(r"freed [1-9]\d* of \d+ blobs", output), output
    on_volume.api.pull("team/app")
    on_volume.assert_no_changes()


def test_garbage_collection_runs_from_cron(on_volume: Reader) -> None:
    (line,) = (text for language, text in blocks(PAGE) if language == "cron")
    shell = line.split(maxsplit=6)[6]  # after five fields for the time, and the user
    folder = on_volume.stack.folder
    variables = folder / "prod.env"
    variables.write_text("PULUMI_CONFIG_PASSPHRASE='only for tests'\n")
    for documented, actual in (
        ("/srv/oss-registry", str(folder)),
        ("/etc/oss-registry/prod.env", str(variables)),
        ("/var/log", str(folder)),
    ):
        assert documented in shell
        shell = shell.replace(documented, actual)
    run_checked(
        "sh",
        "-c",
        shell.replace("STACK=prod", f"STACK={on_volume.stack.stack}"),
        env=on_volume.stack.environment,
    )
    assert "freed 0 of" in (folder / "registry-gc.log").read_text()


@pytest.mark.parametrize("kind", ["volume", "bucket"])
def test_a_stack_can_be_restored_from_a_copy_of_the_state(
    kind: str, request: pytest.FixtureRequest
) -> None:
    reader: Reader = request.getfixturevalue(f"on_{kind}")
    reader.follow("A copy of the state")
    if kind == "bucket":  # a change that is not in the copy
        reader.run("make rotate STACK=prod LABEL=new")
    reader.delete_state()
    reader.follow("A copy of the state", 1)
    reader.assert_no_changes()
    reader.api.pull("team/app")


def test_a_volume_can_be_used_again_after_the_state_is_lost(on_volume: Reader) -> None:
    on_volume.delete_state()
    on_volume.follow("The state is lost")
    on_volume.api.pull("team/app")
    on_volume.assert_no_changes()


def test_a_bucket_can_be_used_again_after_the_state_is_lost(on_bucket: Reader) -> None:
    on_bucket.delete_state()
    with _second_stack_removed(on_bucket):
        on_bucket.follow("The state is lost", 1)
        on_bucket.api.pull("team/app")
        on_bucket.api.push("team/new", LAYER)
        on_bucket.assert_no_changes(on_bucket.second)


def test_images_can_be_moved_to_another_engine(on_volume: Reader) -> None:
    on_volume.follow("Another engine")
    stack = on_volume.stack
    # Without the objects of the stack, the same engine can be used as the other one.
    stack.docker("container", "rm", "--force", "--volumes", *stack.docker_objects("container"))
    stack.docker("network", "rm", *stack.docker_objects("network"))
    stack.docker("volume", "rm", f"{stack.prefix}-data")
    on_volume.follow("Another engine", 1)
    on_volume.api.pull("team/app")
    on_volume.assert_no_changes()


def test_images_can_be_copied_to_another_region(on_bucket: Reader, emulator: Emulator) -> None:
    with _second_stack_removed(on_bucket):
        on_bucket.follow("Another region")
        buckets = emulator.oss.buckets.values()
        (copy_of_bucket,) = (bucket for bucket in buckets if bucket.region == "cn-beijing")
        assert copy_of_bucket.objects
        on_bucket.second_api.pull("team/app")
        assert on_bucket.second_api.manifest("team/app", "1") == on_bucket.api.manifest(
            "team/app", "1"
        )
        on_bucket.assert_no_changes(on_bucket.second)


def test_a_deleted_bucket_is_created_again_and_accepts_the_same_images(
    on_bucket: Reader, emulator: Emulator, archive: Path, tmp_path: Path
) -> None:
    # skopeo checks which layers exist before it uploads them.
    skopeo_push(on_bucket.stack, archive, "team/again")
    skopeo_pull(on_bucket.stack, "team/again", tmp_path / "before")
    emulator.oss.buckets.clear()
    on_bucket.follow("The bucket was deleted")
    # The last command restarts the registry.
    wait_until(lambda: on_bucket.stack.is_healthy("registry"))
    with pytest.raises(RequestError):
        on_bucket.api.pull("team/app")
    skopeo_push(on_bucket.stack, archive, "team/again")
    skopeo_pull(on_bucket.stack, "team/again", tmp_path / "after")
    on_bucket.assert_no_changes()
