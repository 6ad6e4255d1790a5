"""Least privilege: remove each action from the RAM policy, and test which operations then fail.

The results must match the table in docs/least-privilege.md. A row is an action and a release, a
column is an operation.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping

import pytest

from components.storage.oss import policy
from tests.emulator.emulator import Emulator
from tests.integration.api import Api, RequestError
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import PROJECT, run, wait_until

pytestmark = pytest.mark.oss
TABLE_FILE = PROJECT / "docs" / "least-privilege.md"
KMS_KEY_ID = "0d1e2f30-kms"
ACTIONS = (policy.LIST_OBJECTS, policy.LIST_UPLOADS, *policy.ON_OBJECTS, *policy.WITH_KMS)
MEBIBYTE = 2**20


@pytest.fixture(scope="module", params=["2.8.3", "3.1.2"])
def stack(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CloudDeployment]:
    """Deploy a stack with a KMS key, so that the registry needs every action."""
    folder = tmp_path_factory.mktemp("project")
    deployment = CloudDeployment(
        folder, emulator, storage={"encryption": {"kms_key_id": KMS_KEY_ID}}
    )
    with deployment.use_release(request.param).deployed():
        yield deployment


def _documented(release: str) -> Mapping[str, Mapping[str, str]]:
    """Return the table's rows for `release`: the outcome of each operation, by action."""
    lines = [
        line.strip("|\n ") for line in TABLE_FILE.read_text().splitlines() if line.startswith("|")
    ]
    head, _, *rows = [[cell.strip(" `") for cell in line.split("|")] for line in lines]
    return {row[0]: dict(zip(head[2:], row[2:], strict=True)) for row in rows if row[1] == release}


class _Operations:
    """The operations of a registry, on images that `prepare` pushes.

    An operation raises RequestError if the registry reports an error, or if the operation had no
    effect: release 2.8.3 reports success for some operations that the storage refused.
    """

    def __init__(self, stack: CloudDeployment) -> None:
        self.stack, self.api = stack, Api(stack.outputs()["endpoint"])
        self.config = stack.inspect("registry", ".Config.Cmd")[-1]
        self.bucket = stack.emulator.oss.buckets[stack.bucket]

    def prepare(self) -> None:
        """Push the images that the operations pull, delete and collect."""
        self.kept, self.changed = (f"r{secrets.token_hex(4)}" for _ in range(2))
        self.api.push(self.kept, secrets.token_bytes(1000))
        self.to_delete = self.api.push(self.changed, secrets.token_bytes(1000))
        self.garbage = self.api.push(self.changed, secrets.token_bytes(1000))
        self.api.delete(self.changed, self.garbage)
        self.blob = self.api.push_blob(self.kept, [secrets.token_bytes(1000)])

    def start(self) -> None:
        name = f"{self.stack.prefix}-registry"
        self.stack.docker("restart", "--time", "1", name)
        wait_until(lambda: self._answers() or self.stack.inspect("registry", ".RestartCount"))
        if not self._answers():
            raise RequestError("the registry does not start")

    def _answers(self) -> bool:
        try:
            self.api.call("GET", "/v2/", [200])
        except RequestError:
            return False
        return True

    def push(self) -> None:
        self.api.push(f"r{secrets.token_hex(4)}", secrets.token_bytes(MEBIBYTE))

    def push_in_chunks(self) -> None:
        self.api.push(f"r{secrets.token_hex(4)}", secrets.token_bytes(12 * MEBIBYTE), chunks=2)

    def cancel_upload(self) -> None:
        repository = f"r{secrets.token_hex(4)}"
        self.api.cancel_upload(repository, secrets.token_bytes(MEBIBYTE))
        if [u for u in self.bucket.uploads.values() if f"/{repository}/" in u.key]:
            raise RequestError("the upload is still open")

    def mount(self) -> None:
        self.api.mount(f"r{secrets.token_hex(4)}", self.blob, self.kept)

    def pull(self) -> None:
        self.api.pull(self.kept)

    def delete(self) -> None:
        self.api.delete(self.changed, self.to_delete)
        self.api.call("GET", f"/v2/{self.changed}/manifests/{self.to_delete}", [404])

    def garbage_collection(self) -> None:
        registry = f"{self.stack.prefix}-registry"
        result = run("docker", "exec", registry, "registry", "garbage-collect", self.config)
        left = [name for name in self.bucket.names() if self.garbage.partition(":")[2] in name]
        if result.returncode or left:
            raise RequestError(result.stdout)

    @property
    def by_name(self) -> Mapping[str, Callable[[], None]]:
        """The operations by name, in an order in which a failure does not affect later ones.

        `start` is last.
        """
        return {
            "push": self.push,
            "chunked push": self.push_in_chunks,
            "cancelled push": self.cancel_upload,
            "mount": self.mount,
            "pull": self.pull,
            "delete": self.delete,
            "gc": self.garbage_collection,
            "start": self.start,
        }

    def outcomes(self) -> Mapping[str, str]:
        """Run each operation, and return `works` or `fails` by name."""

        def outcome(operation: Callable[[], None]) -> str:
            try:
                operation()
            except RequestError:
                return "fails"
            return "works"

        return {name: outcome(operation) for name, operation in self.by_name.items()}


def _without(document: str, action: str) -> str:
    """Return a policy document without `action`."""
    policy = json.loads(document)
    for statement in policy["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != action]
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
    return json.dumps(policy)


def test_each_documented_action_is_required_and_all_of_them_are_enough(
    stack: CloudDeployment,
) -> None:
    policy = stack.emulator.ram.policies[stack.prefix]
    original, operations = policy.versions[policy.current], _Operations(stack)
    operations.prepare()
    outcomes = {"all of them": operations.outcomes()}
    for action in ACTIONS:
        operations.prepare()
        policy.versions[policy.current] = _without(original, action)
        outcomes[action] = operations.outcomes()
        policy.versions[policy.current] = original
        operations.start()
    assert set(outcomes.pop("all of them").values()) == {"works"}
    assert not [action for action, row in outcomes.items() if "fails" not in row.values()]
    assert outcomes == _documented(stack.outputs()["release"]), json.dumps(outcomes, indent=1)
