"""A stack with every secret there is, through all that is done to one: none shows anywhere.

With `delivery: env` the registry's own variables hold what it needs to know; with `file` no
variable of any process does. See docs/security.md.
"""

import base64
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from tests.emulator.emulator import Emulator
from tests.integration.api import Api, RequestError
from tests.integration.clients import registry_variables
from tests.integration.cloud import CloudDeployment
from tests.integration.deployment import PROJECT, proc_files, run
from tests.integration.encodings import encoded_forms
from tests.integration.secured import password_hashes
from toolchain import engine

pytestmark = pytest.mark.secure
PARTS = ("registry", "redis")
BROUGHT = {
    "redis-password": 'of redis: "$1\\n" %41',
    "http-secret": "of http: ☂ & more",
    "password-alice": "alice's: <own> + secret",
    "hook": "Bearer of-the-hook/+=",
}
PULLS = "of the puller"
HOOK = {
    "name": "hook",
    "url": "http://127.0.0.1:9/",
    "headers": {"Authorization": [{"from_secret": "hook"}]},
    "timeout": "1s",
    "threshold": 1,
    "backoff": "1h",
}


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def stack(emulator: Emulator, authority: trustme.CA, tmp_path: Path) -> Iterator[CloudDeployment]:
    folder = tmp_path / "project"
    folder.mkdir()
    made = CloudDeployment(folder, emulator)
    port = made.settings["registry"]["port"]
    certificate = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    made.configure(
        registry={
            "exposure": "tls",
            "bind": "127.0.0.1",
            "external_url": f"https://127.0.0.1:{port}",
            "config": {"notifications": {"endpoints": [HOOK]}},
        },
        auth={"users": {"alice": {}, "ci": {}}},
        tls={"certificate": certificate.cert_chain_pems[0].bytes().decode()},
    )
    for name, value in {**BROUGHT, "tls-key": certificate.private_key_pem.bytes().decode()}.items():
        made.set_secret(name, value)
    login = "docker:registryAuth[0]."
    made.pulumi("config", "set", "--path", f"{login}address", "images.example.com")
    made.pulumi("config", "set", "--path", f"{login}username", "puller")
    made.set_secret(f"{login}password", PULLS, "--path")
    try:
        yield made
    finally:
        made.remove()


class _Hunt:
    """All that was printed, and each command line, while something was done to the stack."""

    def __init__(self, stack: CloudDeployment) -> None:
        self.stack, self.begun = stack, time.time()
        self.texts: dict[str, str] = {}

    def run(self, *words: str) -> None:
        printed, command_lines = self.stack.watch_pulumi(*words)
        self._keep(f"printed by {words[0]}", printed)
        self._keep(f"command lines during {words[0]}", "\n".join(command_lines))

    def up(self) -> None:
        self.run("up", "--yes", "--diff", "--show-full-output")

    def look(self) -> None:
        """At all that is left of it, but the variables of the registry itself."""
        for part in PARTS:
            inspected = self.stack.inspect(part, ".")
            image = inspected["Image"]
            self._keep(f"variables of {part}", "\n".join(inspected["Config"].pop("Env")))
            self._keep(f"inspected {part}", json.dumps(inspected, ensure_ascii=False))
            self._keep(f"log of {part}", self.stack.log(part))
            self._keep(f"image of {part}", run("docker", "history", "--no-trunc", image).stdout)
        words = (
            ("stack", "export"),
            ("stack", "output", "--json"),
            ("stack", "history", "--json"),
            ("config", "--json"),
        )
        for each in words:
            self._keep(" ".join(each), self.stack.pulumi(*each))
        if engine.LOG.exists():
            self._keep("the engine's log", engine.LOG.read_text(errors="replace"))
        self._keep("command lines", "\n".join(proc_files("cmdline").values()))
        for file in self._written():
            with suppress(OSError):
                self._keep(f"the file {file}", file.read_text(errors="replace"))

    def _written(self) -> Iterator[Path]:
        """The stack's folder, and what changed in this checkout since it began."""
        yield from (file for file in self.stack.folder.rglob("*") if file.is_file())
        for folder, folders, names in os.walk(PROJECT):
            folders[:] = [name for name in folders if name not in (".venv", ".git")]
            for file in (Path(folder, name) for name in names):
                with suppress(OSError):
                    if file.stat().st_mtime >= self.begun:
                        yield file

    def _keep(self, where: str, text: str) -> None:
        self.texts[where] = self.texts.get(where, "") + text

    def found(self, secrets: Mapping[str, str]) -> Sequence[str]:
        """Which secret is where."""
        return [
            f"{name} in {where}"
            for where, text in self.texts.items()
            for name, secret in secrets.items()
            if any(form in text for form in encoded_forms(secret))
        ]


def _secrets(stack: CloudDeployment) -> dict[str, str]:
    """Every secret of the stack by its name, also those that were made for it."""
    exported = json.loads(stack.pulumi("stack", "export", "--show-secrets"))
    keys = {
        resource["urn"].rpartition("::")[2]: json.loads(resource["outputs"]["secret"]["plaintext"])
        for resource in exported["deployment"]["resources"]
        if resource["type"] == "alicloud:ram/accessKey:AccessKey"
    }
    drawn = stack.generated_values()
    # Each line of the key is one, and so is what a login sends.
    tls_key = stack.pulumi("config", "get", "oss-registry:tls-key").splitlines()[1:-1]
    logins = {
        user: base64.b64encode(f"{user}:{password}".encode()).decode()
        for user, password in (("alice", BROUGHT["password-alice"]), ("ci", drawn["password-ci"]))
    }
    return {
        **BROUGHT,
        **keys,
        **drawn,
        "puller": PULLS,
        "deployer": stack.emulator.environment["ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
        **{f"line {number} of tls-key": line for number, line in enumerate(tls_key)},
        **{f"hash of {user}": hashed for user, hashed in password_hashes(stack).items()},
        **{f"login of {user}": login for user, login in logins.items()},
    }


@pytest.mark.parametrize("release", ["2.8.3", "3.1.2"])
def test_no_secret_shows_in_anything_that_is_done_to_a_stack(
    stack: CloudDeployment, authority: trustme.CA, release: str
) -> None:
    trusted = authority.cert_pem.bytes().decode()
    login = ("alice", BROUGHT["password-alice"])
    stack.use_release(release)
    hunt = _Hunt(stack)

    def use() -> None:
        endpoint = stack.outputs()["endpoint"]
        alice = Api(endpoint, login, trusted)
        alice.push("team/app", b"layer" * 1000, chunks=2)
        alice.pull("team/app")
        with pytest.raises(RequestError):
            Api(endpoint, ("alice", "wrong"), trusted).pull("team/app")

    hunt.up()
    use()
    secrets = _secrets(stack)
    hunt.look()
    in_variables = [each for each in hunt.found(secrets) if "in variables of registry" in each]
    assert {each.partition(" in ")[0] for each in in_variables} == {
        *("http-secret", "redis-password", "hook", "access-key-2026-11")
    }
    del hunt.texts["variables of registry"]

    # Everything changes: how it is configured, the access key, a password. And it logs all it can,
    # without the hook, whose header it would log: a warning says so.
    stack.configure(
        registry={"delivery": "file", "log_level": "debug", "config": {}},
        storage={"access_keys": ["2026-11", "2027-02"]},
    )
    stack.pulumi("config", "rm", "oss-registry:hook")
    hunt.run("preview", "--diff", "--show-full-output")
    hunt.up()
    use()
    # The old key goes, and clients are sent to the bucket for layers, by signed addresses.
    stack.configure(
        registry={
            "config": {"storage": {"redirect": {"disable": False}}},
            "log_level": "warn" if release.startswith("2.") else "debug",  # refused else
        },
        storage={"access_keys": ["2027-02"], "internal": False},
    )
    stack.set_secret("redis-password", "another, of redis")
    hunt.up()
    signature = _signature_of_a_layer(Api(stack.outputs()["endpoint"], login, trusted))
    secrets |= {f"{name} later": value for name, value in _secrets(stack).items()}
    secrets |= {"redis later": "another, of redis", "signed address": signature}
    hunt.look()
    hunt.run("preview", "--refresh", "--diff", "--expect-no-changes")
    hunt.run("refresh", "--yes", "--diff")
    own = proc_files("environ").get(stack.inspect("registry", ".State.Pid"), "")
    assert not any(form in own for secret in secrets.values() for form in encoded_forms(secret))
    assert registry_variables(stack).keys().isdisjoint({"REGISTRY_HTTP_SECRET"})
    stack.allow_destroy()
    hunt.run("destroy", "--yes", "--diff")
    hunt.texts["the state"] = stack.state()

    assert len(secrets) > 20
    assert all(secrets.values())
    assert hunt.found(secrets) == []
    # That it would have been found.
    assert hunt.found({"release": release, "bucket": stack.bucket})


def _signature_of_a_layer(api: Api) -> str:
    """What would let others get at a layer, from the address that a client is sent to."""
    digest = api.push_blob("team/app", [b"other layer" * 1000])
    response = api.call("GET", f"/v2/team/app/blobs/{digest}", [307])
    signed = parse_qs(urlsplit(response.headers["location"]).query)
    (signature,) = [values[0] for name, values in signed.items() if "signature" in name.lower()]
    return signature
