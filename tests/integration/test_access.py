"""Least privilege: what fails without each action of the registry's RAM user, as the docs have it.

A row of the table in docs/least-privilege.md is an action and a release; a column is an operation.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping

import pytest

from components import access
from tests.emulator.emulator import Emulator
from tests.integration.api import Api, RequestError
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import PROJECT, run, wait_until

pytestmark = pytest.mark.oss
TABLE = PROJECT / "docs" / "least-privilege.md"
KEY = "0d1e2f30-kms"
ACTIONS = (access.LIST_OBJECTS, access.LIST_UPLOADS, *access.ON_OBJECTS, *access.WITH_KMS)
MEBIBYTE = 2**20


@pytest.fixture(scope="module", params=["2.8.3", "3.1.2"])
def stack(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CloudDeployment]:
    """With a KMS key, so that it needs every action there is."""
    folder = tmp_path_factory.mktemp("project")
    made = CloudDeployment(folder, emulator, storage={"encryption": {"kms_key_id": KEY}})
    with made.use_release(request.param).deployed():
        yield made


def _documented(release: str) -> Mapping[str, Mapping[str, str]]:
    """The table's rows for `release`: what is said of each operation, by action."""
    lines = [line.strip("|\n ") for line in TABLE.read_text().splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip(" `") for cell in line.split("|")] for line in lines]
    return {row[0]: dict(zip(head[2:], row[2:], strict=True)) for row in rows if row[1] == release}


class _Operations:
    """What a registry does, each on repositories of its own that were pushed beforehand.

    It fails where a client is told so, and where nothing came of it: 2.8.3 answers well to what
    storage refused.
    """

    def __init__(self, stack: CloudDeployment) -> None:
        self.stack, self.api = stack, Api(stack.outputs()["endpoint"])
        self.config = stack.inspect("registry", ".Config.Cmd")[-1]
        self.bucket = stack.emulator.oss.buckets[stack.bucket]

    def prepare(self) -> None:
        self.there, self.gone = (f"r{secrets.token_hex(4)}" for _ in range(2))
        self.api.push(self.there, secrets.token_bytes(1000))
        self.doomed = self.api.push(self.gone, secrets.token_bytes(1000))
        self.swept = self.api.push(self.gone, secrets.token_bytes(1000))
        self.api.delete(self.gone, self.swept)
        self.blob = self.api.push_blob(self.there, [secrets.token_bytes(1000)])

    def start(self) -> None:
        name = f"{self.stack.prefix}-registry"
        self.stack.docker("restart", "--time", "1", name)
        wait_until(lambda: self._answers() or self.stack.inspect("registry", ".RestartCount"))
        if not self._answers():
            raise RequestError("it does not start")

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
        self.api.mount(f"r{secrets.token_hex(4)}", self.blob, self.there)

    def pull(self) -> None:
        self.api.pull(self.there)

    def delete(self) -> None:
        self.api.delete(self.gone, self.doomed)
        self.api.call("GET", f"/v2/{self.gone}/manifests/{self.doomed}", [404])

    def garbage_collection(self) -> None:
        registry = f"{self.stack.prefix}-registry"
        done = run("docker", "exec", registry, "registry", "garbage-collect", self.config)
        if done.returncode or [n for n in self.bucket.names() if self.swept[7:] in n]:
            raise RequestError(done.stdout)

    @property
    def by_name(self) -> Mapping[str, Callable[[], None]]:
        """In an order in which one that fails spoils no other; `start` is last."""
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

    def observed(self) -> Mapping[str, str]:
        def outcome(operation: Callable[[], None]) -> str:
            try:
                operation()
            except RequestError:
                return "fails"
            return "works"

        return {name: outcome(operation) for name, operation in self.by_name.items()}


def _without(document: str, action: str) -> str:
    policy = json.loads(document)
    for statement in policy["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != action]
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
    return json.dumps(policy)


def test_each_action_is_needed_for_what_the_table_says_and_all_are_enough(
    stack: CloudDeployment,
) -> None:
    policy = stack.emulator.ram.policies[stack.prefix]
    whole, operations = policy.versions[policy.current], _Operations(stack)
    operations.prepare()
    observed = {"all of them": operations.observed()}
    for action in ACTIONS:
        operations.prepare()
        policy.versions[policy.current] = _without(whole, action)
        observed[action] = operations.observed()
        policy.versions[policy.current] = whole
        operations.start()
    assert set(observed.pop("all of them").values()) == {"works"}
    assert not [action for action, row in observed.items() if "fails" not in row.values()]
    assert observed == _documented(stack.outputs()["release"]), json.dumps(observed, indent=1)
