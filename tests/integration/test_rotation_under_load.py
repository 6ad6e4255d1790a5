"""Rotation of access keys while a client pushes and pulls."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial

import pytest

from tests.emulator.clients import s3 as s3_client
from tests.integration.api import Api, RequestError
from tests.integration.cloud import REGION, CloudDeployment

pytestmark = pytest.mark.oss
# At half a second for each attempt, this is longer than the replacement of a container takes.
ATTEMPTS = 120


class _Client:
    """A client that pushes and pulls all the time, and retries failed requests as Docker does.

    `done` is the number of images that the client has pushed and pulled.
    """

    def __init__(self, endpoint: str) -> None:
        self.api = Api(endpoint)
        self.done = 0
        self.failures: list[str] = []

    def work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            name = f"r{self.done}"
            self._try(partial(self.api.push, name, secrets.token_bytes(300_000)))
            self._try(partial(self.api.pull, name))
            self.done += 1

    def _try(self, step: Callable[[], object]) -> None:
        for number in range(ATTEMPTS):
            try:
                step()
                break
            except RequestError as error:
                if number + 1 == ATTEMPTS:
                    self.failures.append(str(error))
                time.sleep(0.5)


@contextmanager
def _working(deployment: CloudDeployment) -> Iterator[_Client]:
    """Run a client in a thread during the block."""
    client, stop = _Client(deployment.outputs()["endpoint"]), threading.Event()
    thread = threading.Thread(target=client.work, args=(stop,))
    thread.start()
    try:
        yield client
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("release", ["2.8.3", "3.1.2"])
def test_a_client_that_retries_loses_no_request_during_a_rotation(
    new_cloud_stack: CloudDeployment, release: str
) -> None:
    emulator = new_cloud_stack.emulator
    new_cloud_stack.use_release(release).up()
    (old,) = emulator.ram.users[new_cloud_stack.prefix].keys.values()
    emulator.ram.settling_seconds = 10  # during which OSS refuses a new key
    started_at = time.time()
    try:
        with _working(new_cloud_stack) as client:
            new_cloud_stack.configure(storage={"access_keys": ["2026-11", "2026-12"]})
            new_cloud_stack.up()
            new = emulator.ram.key(new_cloud_stack.key_in_use())
            assert new
            assert new.id != old.id
            assert len(emulator.ram.users[new_cloud_stack.prefix].keys) == 2
            new_cloud_stack.configure(storage={"access_keys": ["2026-12"]})
            new_cloud_stack.up()
            rounds = client.done
        assert client.done >= rounds > 0
    finally:
        emulator.ram.settling_seconds = 0
    assert not client.failures
    # Only the program used the new key too early, to check whether OSS accepts it.
    calls = [call for call in emulator.calls if call.at > started_at]
    assert {call.key for call in calls if call.code == "InvalidAccessKeyId"} == {
        "registry/oss-registry.stack"
    }
    assert not [call for call in emulator.calls if call.code == "LimitExceeded.User.AccessKey"]
    assert [*emulator.ram.users[new_cloud_stack.prefix].keys] == [new.id]
    assert new_cloud_stack.outputs()["access_key"] == "2026-12"
    api = Api(new_cloud_stack.outputs()["endpoint"])
    for number in range(client.done):
        api.pull(f"r{number}")
    with (
        closing(s3_client(emulator, old, REGION)) as s3,
        pytest.raises(Exception, match="InvalidAccessKeyId"),
    ):
        s3.list_objects_v2(Bucket=new_cloud_stack.bucket, Prefix="registry/")


def test_a_third_access_key_is_refused_with_the_steps_to_take(
    new_cloud_stack: CloudDeployment,
) -> None:
    new_cloud_stack.configure(storage={"access_keys": ["a", "b"]})
    new_cloud_stack.up()
    new_cloud_stack.configure(storage={"access_keys": ["b", "c"]})
    output = new_cloud_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert (
        f"the RAM user {new_cloud_stack.prefix} has two access keys, RAM's limit: leave one"
        in output
    )
    new_cloud_stack.configure(storage={"access_keys": ["b"]})
    new_cloud_stack.up()
    new_cloud_stack.configure(storage={"access_keys": ["b", "c"]})
    new_cloud_stack.up()
    Api(new_cloud_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))
