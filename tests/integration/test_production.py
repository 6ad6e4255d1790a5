"""The policies of docs/production.md, a state in a bucket, and a CNAME of a bucket."""

import json
import re
import secrets
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.emulator.emulator import Emulator
from tests.integration.api import Api
from tests.integration.cloud import REGION, CloudDeployment
from tests.integration.deployment import PROJECT, run_checked

pytestmark = pytest.mark.oss
PAGE = (PROJECT / "docs" / "production.md").read_text()


def _policy(name: str) -> str:
    """Return the policy document below the HTML comment `name` of the page."""
    found = re.search(rf"<!-- {name} -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


@contextmanager
def _as_user(deployment: CloudDeployment, name: str) -> Iterator[None]:
    """Run Pulumi during the block as a new RAM user with the policy `name` of the page."""
    ram, before = deployment.emulator.ram, dict(deployment.environment)
    ram.call("CreateUser", {"UserName": name})
    ram.call("CreatePolicy", {"PolicyName": name, "PolicyDocument": _policy(name)})
    attached = {"UserName": name, "PolicyName": name, "PolicyType": "Custom"}
    ram.call("AttachPolicyToUser", attached)
    key = ram.call("CreateAccessKey", {"UserName": name})["AccessKey"]
    deployment.environment |= {
        "ALIBABA_CLOUD_ACCESS_KEY_ID": key["AccessKeyId"],
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": key["AccessKeySecret"],
    }
    try:
        yield
    finally:
        deployment.environment = before
        ram.call("DeleteAccessKey", {"UserName": name, "UserAccessKeyId": key["AccessKeyId"]})
        ram.call("DetachPolicyFromUser", attached)
        ram.call("DeletePolicy", {"PolicyName": name})
        ram.call("DeleteUser", {"UserName": name})


@pytest.fixture
def documented_stack(new_cloud_stack: CloudDeployment) -> CloudDeployment:
    """Provide a stack whose bucket has a name that the policies of the page allow."""
    new_cloud_stack.bucket = f"example-registry-{new_cloud_stack.stack}"
    forced = {"protect": False, "force_destroy": True}
    new_cloud_stack.configure(storage={"bucket": new_cloud_stack.bucket, **forced})
    return new_cloud_stack


def test_the_deployer_policy_allows_up_and_destroy_without_reading_images(
    documented_stack: CloudDeployment,
) -> None:
    with _as_user(documented_stack, "deployer"):
        documented_stack.up()
        Api(documented_stack.outputs()["endpoint"]).push("team/app", secrets.token_bytes(1000))
        documented_stack.configure(
            storage={"access_keys": ["a"], "prefix": "b", "versioning": {"noncurrent_days": 3}}
        )
        # ALLOW_LOSS confirms that the key in use is deleted and images stay below the old prefix.
        documented_stack.make_succeeds("up", f"ALLOW_LOSS=2026-11,{documented_stack.bucket}")
        documented_stack.pulumi("preview", "--refresh", "--expect-no-changes")
        documented_stack.pulumi("destroy", "--yes")
    assert documented_stack.bucket not in documented_stack.emulator.oss.buckets
    assert documented_stack.prefix not in documented_stack.emulator.ram.users
    calls = [call for call in documented_stack.emulator.calls if call.user == "deployer"]
    assert not [call for call in calls if call.code == "AccessDenied"]
    assert not [call for call in calls if call.api in ("GetObject", "PutObject", "ListObjectsV2")]


def test_the_policy_for_previews_allows_previews_but_no_changes(
    documented_stack: CloudDeployment,
) -> None:
    with _as_user(documented_stack, "previews"):
        documented_stack.pulumi("preview")
        output = documented_stack.pulumi_fails("up", "--yes", "--skip-preview")
    assert "the deployer's own access key is not allowed to do this: see docs/prod" in output
    assert documented_stack.bucket not in documented_stack.emulator.oss.buckets
    documented_stack.make_succeeds("up")
    with _as_user(documented_stack, "previews"):
        documented_stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_a_wrong_access_key_of_the_deployer_is_reported_with_its_variables(
    documented_stack: CloudDeployment,
) -> None:
    documented_stack.environment["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] = "wrong"
    try:
        output = documented_stack.pulumi_fails("up", "--yes", "--skip-preview")
    finally:
        documented_stack.environment |= documented_stack.emulator.environment
    assert "the deployer's own access key is not right: see ALIBABA_CLOUD_ACCESS_KEY_ID" in output


def test_the_state_can_be_stored_in_a_bucket_as_documented(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.add_bucket("example-states", REGION)
    found = re.search(r"pulumi login '(s3://\S+)'", PAGE)
    assert found
    settings = dict(re.findall(r"(AWS_\w+)=(when_required)", PAGE))
    environment: Mapping[str, str] = {
        **emulator.environment,
        **settings,
        "AWS_ACCESS_KEY_ID": emulator.key_id,
        "AWS_SECRET_ACCESS_KEY": emulator.key_secret,
        "AWS_CA_BUNDLE": str(emulator.ca),
        "PULUMI_BACKEND_URL": found[1],
        "PULUMI_CONFIG_PASSPHRASE": "only for tests",
    }
    (tmp_path / "Pulumi.yaml").write_text("name: oss-registry\nruntime: python\n")

    def pulumi(*words: str) -> str:
        return run_checked(
            "pulumi", "--cwd", tmp_path, "--non-interactive", *words, env=environment
        )

    pulumi("stack", "init", "prod")
    assert json.loads(pulumi("stack", "ls", "--json"))[0]["name"] == "prod"
    names = emulator.oss.buckets["example-states"].names()
    assert ".pulumi/stacks/oss-registry/prod.json" in names
    pulumi("stack", "rm", "prod", "--yes")


def test_clients_are_redirected_to_the_cname_of_the_bucket(
    new_cloud_stack: CloudDeployment,
) -> None:
    cname = f"{new_cloud_stack.bucket}.images.example.com"
    new_cloud_stack.emulator.cnames[cname] = new_cloud_stack.bucket
    new_cloud_stack.configure(storage={"cname": f"https://{cname}"})
    new_cloud_stack.up()
    api, content = Api(new_cloud_stack.outputs()["endpoint"]), secrets.token_bytes(1000)
    digest = api.push_blob("team/app", [content])
    response = api.call("GET", f"/v2/team/app/blobs/{digest}", [307])
    address = response.headers["location"]
    assert address.startswith(f"https://{cname}/registry/docker/registry/v2/blobs/")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": new_cloud_stack.emulator.environment["HTTPS_PROXY"]}),
        urllib.request.HTTPSHandler(
            context=ssl.create_default_context(cafile=str(new_cloud_stack.emulator.ca))
        ),
    )
    with opener.open(address) as layer:
        assert layer.read() == content
