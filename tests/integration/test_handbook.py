"""Each procedure of docs/operations.md, word by word, for a stack of another name than prod."""

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
# Needs systemd, which is not on each machine; what it would start is followed as cron starts it.
NOT_FOLLOWED = {"Every Sunday"}


class Reader:
    """Who follows the page for a stack of that name, and for a second one where it makes one."""

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

    def _own(self, text: str) -> str:
        """`text` with the names and ports that are this stack's."""
        for theirs, ours in (
            ("example-registry-prod", getattr(self.stack, "bucket", "")),
            ("registry.example.com:5000", f"127.0.0.1:{self.port}"),
            ("registry.example.com:5001", f"127.0.0.1:{self.second_port}"),
            ("5001", str(self.second_port)),
            ("prod", self.stack.stack),
        ):
            text = text.replace(theirs, ours)
        return text

    def follow(self, heading: str, block: int = 0, release: str = "3.1.2") -> str:
        """Run each command of a block, to which 3.1.2 is `release`; gives what they printed."""
        found = lines(PROCEDURES[heading][block])
        return "".join(self.run(line.replace("3.1.2", release)) for line in found)

    def run(self, line: str) -> str:
        environment = {**self.stack.environment, "YES": "1"}
        if line.startswith("skopeo"):  # to which 127.0.0.1 is a registry like any other
            environment["HOME"] = str(self._home())
        script = f"cd '{self.stack.folder}' && {self._own(line)}"
        return run_checked("bash", "-c", script, env=environment, timeout=900)

    def _home(self) -> Path:
        folder = self.stack.folder / "home"
        settings = folder / ".config/containers"
        settings.mkdir(parents=True, exist_ok=True)
        (settings / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        hosts = (f"127.0.0.1:{port}" for port in (self.port, self.second_port))
        (settings / "registries.conf").write_text(
            "\n".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true' for host in hosts)
        )
        return folder

    def lose_the_state(self) -> None:
        shutil.rmtree(self.stack.folder / ".pulumi")

    def settled(self, stack: Deployment | None = None) -> None:
        """Nothing is left to do."""
        (stack or self.stack).pulumi("preview", "--refresh", "--expect-no-changes")


@pytest.fixture
def on_volume(new_stack: Deployment) -> Reader:
    """With an image in a volume."""
    return _with_an_image(new_stack)


@pytest.fixture
def on_bucket(new_cloud_stack: CloudDeployment) -> Reader:
    """With an image in a bucket."""
    new_cloud_stack.configure(storage={"access_keys": ["old"]})
    return _with_an_image(new_cloud_stack)


def _with_an_image(stack: Deployment) -> Reader:
    if not stack.docker_objects("container"):
        stack.up()
    reader = Reader(stack)
    reader.api.push("team/app", LAYER)
    return reader


@contextmanager
def _second(reader: Reader) -> Iterator[None]:
    """The second stack is removed at the end."""
    try:
        yield
    finally:
        reader.second.remove()


def test_each_procedure_of_the_page_is_followed_here() -> None:
    followed = set(re.findall(r'follow\("([^"]+)"', Path(__file__).read_text()))
    assert PROCEDURES.keys() - NOT_FOLLOWED == followed
    assert all(lines(text) for found in PROCEDURES.values() for text in found)


@pytest.mark.parametrize(
    "stack_on_each_storage",
    [("2.8.3", "filesystem"), ("2.8.3", "oss")],
    ids="-".join,
    indirect=True,
)
def test_an_upgrade_keeps_the_images_and_so_does_the_way_back(
    stack_on_each_storage: Deployment,
) -> None:
    reader = _with_an_image(stack_on_each_storage)
    for release in ("3.1.2", "2.8.3"):
        printed = reader.follow("Upgrade from 2.8 to 3.1", release=release)
        assert stack_on_each_storage.outputs()["release"] == release, printed
        reader.api.pull("team/app")
        reader.api.push(f"team/{release}", LAYER + release.encode())
        reader.settled()
    reader.api.pull("team/3.1.2")


def test_a_key_is_rotated(on_bucket: Reader) -> None:
    on_bucket.follow("Rotate the access key")
    assert on_bucket.stack.outputs()["access_key"] != "old"
    on_bucket.api.pull("team/app")


def test_a_key_that_leaked_is_refused_afterwards(on_bucket: Reader, emulator: Emulator) -> None:
    assert isinstance(on_bucket.stack, CloudDeployment)
    leaked = on_bucket.stack.key_in_use()
    assert emulator.ram.key(leaked)
    on_bucket.follow("The access key has leaked")
    assert not emulator.ram.key(leaked)
    on_bucket.api.pull("team/app")
    on_bucket.settled()


def test_room_is_made(on_volume: Reader) -> None:
    on_volume.api.push("team/old", LAYER + b"old")
    on_volume.api.delete("team/old", digest_of(on_volume.api.manifest("team/old", "1")))
    printed = on_volume.follow("Room for new images: garbage collection")
    assert re.search(r"freed [1-9]\d* of \d+ blobs", printed), printed
    on_volume.api.pull("team/app")
    on_volume.settled()


def test_room_is_made_by_cron(on_volume: Reader) -> None:
    (line,) = (text for language, text in blocks(PAGE) if language == "cron")
    shell = line.split(maxsplit=6)[6]  # after minute, hour, three of days, and the user
    folder = on_volume.stack.folder
    variables = folder / "prod.env"
    variables.write_text("PULUMI_CONFIG_PASSPHRASE='only for tests'\n")
    for theirs, ours in (
        ("/srv/oss-registry", str(folder)),
        ("/etc/oss-registry/prod.env", str(variables)),
        ("/var/log", str(folder)),
    ):
        assert theirs in shell
        shell = shell.replace(theirs, ours)
    run_checked(
        "sh",
        "-c",
        shell.replace("STACK=prod", f"STACK={on_volume.stack.stack}"),
        env=on_volume.stack.environment,
    )
    assert "freed 0 of" in (folder / "registry-gc.log").read_text()


@pytest.mark.parametrize("kind", ["volume", "bucket"])
def test_a_copy_of_the_state_brings_a_stack_back(kind: str, request: pytest.FixtureRequest) -> None:
    reader: Reader = request.getfixturevalue(f"on_{kind}")
    reader.follow("A copy of the state")
    if kind == "bucket":  # what the copy does not know of
        reader.run("make rotate STACK=prod LABEL=new")
    reader.lose_the_state()
    reader.follow("A copy of the state", 1)
    reader.settled()
    reader.api.pull("team/app")


def test_a_stack_begins_anew_on_a_volume_whose_state_is_lost(on_volume: Reader) -> None:
    on_volume.lose_the_state()
    on_volume.follow("The state is lost")
    on_volume.api.pull("team/app")
    on_volume.settled()


def test_a_stack_begins_anew_on_a_bucket_whose_state_is_lost(on_bucket: Reader) -> None:
    on_bucket.lose_the_state()
    with _second(on_bucket):
        on_bucket.follow("The state is lost", 1)
        on_bucket.api.pull("team/app")
        on_bucket.api.push("team/new", LAYER)
        on_bucket.settled(on_bucket.second)


def test_images_go_along_to_another_engine(on_volume: Reader) -> None:
    on_volume.follow("Another engine")
    stack = on_volume.stack
    # An engine that has nothing of the stack.
    stack.docker("container", "rm", "--force", "--volumes", *stack.docker_objects("container"))
    stack.docker("network", "rm", *stack.docker_objects("network"))
    stack.docker("volume", "rm", f"{stack.prefix}-data")
    on_volume.follow("Another engine", 1)
    on_volume.api.pull("team/app")
    on_volume.settled()


def test_images_go_along_to_another_region(on_bucket: Reader, emulator: Emulator) -> None:
    with _second(on_bucket):
        on_bucket.follow("Another region")
        (there,) = (each for each in emulator.oss.buckets.values() if each.region == "cn-beijing")
        assert there.objects
        on_bucket.second_api.pull("team/app")
        assert on_bucket.second_api.manifest("team/app", "1") == on_bucket.api.manifest(
            "team/app", "1"
        )
        on_bucket.settled(on_bucket.second)


def test_a_bucket_that_was_deleted_is_there_again_and_takes_the_same_images(
    on_bucket: Reader, emulator: Emulator, archive: Path, tmp_path: Path
) -> None:
    # By a client that asks which layers are there already.
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
    on_bucket.settled()
