"""No secret of a stack appears in outputs, files, logs or command lines.

With `delivery: env`, the secrets that the registry needs appear only in its environment variables.
With `delivery: file`, no environment variable contains them. See docs/security.md.
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
CONFIGURED_SECRETS = {
    "redis-password": 'of redis: "$1\\n" %41',
    "http-secret": "of http: ☂ & more",
    "password-alice": "alice's: <own> + secret",
    "hook": "Bearer of-the-hook/+=",
}
IMAGE_PULL_PASSWORD = "of the puller"
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
    deployment = CloudDeployment(folder, emulator)
    port = deployment.settings["registry"]["port"]
    certificate = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    deployment.configure(
        registry={
            "exposure": "tls",
            "bind": "127.0.0.1",
            "external_url": f"https://127.0.0.1:{port}",
            "config": {"notifications": {"endpoints": [HOOK]}},
        },
        auth={"users": {"alice": {}, "ci": {}}},
        tls={"certificate": certificate.cert_chain_pems[0].bytes().decode()},
    )
    for name, value in {
        **CONFIGURED_SECRETS,
        "tls-key": certificate.private_key_pem.bytes().decode(),
    }.items():
        deployment.set_secret(name, value)
    login = "docker:registryAuth[0]."
    deployment.pulumi("config", "set", "--path", f"{login}address", "images.example.com")
    deployment.pulumi("config", "set", "--path", f"{login}username", "puller")
    deployment.set_secret(f"{login}password", IMAGE_PULL_PASSWORD, "--path")
    try:
        yield deployment
    finally:
        deployment.remove()


class _Recorder:
    """Records outputs, command lines, logs and files of a stack, by their source."""

    def __init__(self, stack: CloudDeployment) -> None:
        self.stack, self.started_at = stack, time.time()
        self.texts: dict[str, str] = {}

    def run(self, *words: str) -> None:
        """Run pulumi, and record its output and the command lines of all processes."""
        output, command_lines = self.stack.watch_pulumi(*words)
        self._record(f"printed by {words[0]}", output)
        self._record(f"command lines during {words[0]}", "\n".join(command_lines))

    def up(self) -> None:
        self.run("up", "--yes", "--diff", "--show-full-output")

    def record_everything(self) -> None:
        """Record containers, logs, images, state, outputs, configuration and written files."""
        for part in PARTS:
            inspected = self.stack.inspect(part, ".")
            image = inspected["Image"]
            self._record(f"variables of {part}", "\n".join(inspected["Config"].pop("Env")))
            self._record(f"inspected {part}", json.dumps(inspected, ensure_ascii=False))
            self._record(f"log of {part}", self.stack.log(part))
            self._record(f"image of {part}", run("docker", "history", "--no-trunc", image).stdout)
        words = (
            ("stack", "export"),
            ("stack", "output", "--json"),
            ("stack", "history", "--json"),
            ("config", "--json"),
        )
        for each in words:
            self._record(" ".join(each), self.stack.pulumi(*each))
        if engine.LOG.exists():
            self._record("the engine's log", engine.LOG.read_text(errors="replace"))
        self._record("command lines", "\n".join(proc_files("cmdline").values()))
        for file in self._files():
            with suppress(OSError):
                self._record(f"the file {file}", file.read_text(errors="replace"))

    def _files(self) -> Iterator[Path]:
        """Yield all files of the stack, and the files of this checkout that have changed since."""
        yield from (file for file in self.stack.folder.rglob("*") if file.is_file())
        for folder, folders, names in os.walk(PROJECT):
            folders[:] = [name for name in folders if name not in (".venv", ".git")]
            for file in (Path(folder, name) for name in names):
                with suppress(OSError):
                    if file.stat().st_mtime >= self.started_at:
                        yield file

    def _record(self, where: str, text: str) -> None:
        self.texts[where] = self.texts.get(where, "") + text

    def found_secrets(self, secrets: Mapping[str, str]) -> Sequence[str]:
        """Return the name and the source of each secret that a recorded text includes."""
        return [
            f"{name} in {where}"
            for where, text in self.texts.items()
            for name, secret in secrets.items()
            if any(form in text for form in encoded_forms(secret))
        ]


def _all_secrets(stack: CloudDeployment) -> dict[str, str]:
    """Return all secrets of the stack by name: configured, generated and created ones."""
    exported = json.loads(stack.pulumi("stack", "export", "--show-secrets"))
    keys = {
        resource["urn"].rpartition("::")[2]: json.loads(resource["outputs"]["secret"]["plaintext"])
        for resource in exported["deployment"]["resources"]
        if resource["type"] == "alicloud:ram/accessKey:AccessKey"
    }
    generated = stack.generated_values()
    # Each line of the key is a secret, and so is the header that a login sends.
    tls_key = stack.pulumi("config", "get", "oss-registry:tls-key").splitlines()[1:-1]
    logins = {
        user: base64.b64encode(f"{user}:{password}".encode()).decode()
        for user, password in (
            ("alice", CONFIGURED_SECRETS["password-alice"]),
            ("ci", generated["password-ci"]),
        )
    }
    return {
        **CONFIGURED_SECRETS,
        **keys,
        **generated,
        "puller": IMAGE_PULL_PASSWORD,
        "deployer": stack.emulator.environment["ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
        **{f"line {number} of tls-key": line for number, line in enumerate(tls_key)},
        **{f"hash of {user}": hashed for user, hashed in password_hashes(stack).items()},
        **{f"login of {user}": login for user, login in logins.items()},
    }


@pytest.mark.parametrize("release", ["2.8.3", "3.1.2"])
def test_no_secret_appears_in_any_output_file_or_command_line(
    stack: CloudDeployment, authority: trustme.CA, release: str
) -> None:
    trusted = authority.cert_pem.bytes().decode()
    login = ("alice", CONFIGURED_SECRETS["password-alice"])
    stack.use_release(release)
    recorder = _Recorder(stack)

    def push_and_pull() -> None:
        endpoint = stack.outputs()["endpoint"]
        alice = Api(endpoint, login, trusted)
        alice.push("team/app", b"layer" * 1000, chunks=2)
        alice.pull("team/app")
        with pytest.raises(RequestError):
            Api(endpoint, ("alice", "wrong"), trusted).pull("team/app")

    recorder.up()
    push_and_pull()
    secrets = _all_secrets(stack)
    recorder.record_everything()
    in_variables = [
        each for each in recorder.found_secrets(secrets) if "in variables of registry" in each
    ]
    assert {each.partition(" in ")[0] for each in in_variables} == {
        *("http-secret", "redis-password", "hook", "access-key-2026-11")
    }
    del recorder.texts["variables of registry"]

    # Change the delivery of the configuration, the access keys and the log level. Remove the hook,
    # because the registry would log its header; the program warns about this.
    stack.configure(
        registry={"delivery": "file", "log_level": "debug", "config": {}},
        storage={"access_keys": ["2026-11", "2027-02"]},
    )
    stack.pulumi("config", "rm", "oss-registry:hook")
    recorder.run("preview", "--diff", "--show-full-output")
    recorder.up()
    push_and_pull()
    # Delete the old key, and redirect clients to the bucket with signed URLs.
    stack.configure(
        registry={
            "config": {"storage": {"redirect": {"disable": False}}},
            "log_level": "warn" if release.startswith("2.") else "debug",  # debug is refused
        },
        storage={"access_keys": ["2027-02"], "internal": False},
    )
    stack.set_secret("redis-password", "another, of redis")
    recorder.up()
    signature = _signature_of_a_layer(Api(stack.outputs()["endpoint"], login, trusted))
    secrets |= {f"{name} later": value for name, value in _all_secrets(stack).items()}
    secrets |= {"redis later": "another, of redis", "signed address": signature}
    recorder.record_everything()
    recorder.run("preview", "--refresh", "--diff", "--expect-no-changes")
    recorder.run("refresh", "--yes", "--diff")
    own = proc_files("environ").get(stack.inspect("registry", ".State.Pid"), "")
    assert not any(form in own for secret in secrets.values() for form in encoded_forms(secret))
    assert registry_variables(stack).keys().isdisjoint({"REGISTRY_HTTP_SECRET"})
    stack.allow_destroy()
    recorder.run("destroy", "--yes", "--diff")
    recorder.texts["the state"] = stack.state()

    assert len(secrets) > 20
    assert all(secrets.values())
    assert recorder.found_secrets(secrets) == []
    # The search works, because it finds values that are not secret.
    assert recorder.found_secrets({"release": release, "bucket": stack.bucket})


def _signature_of_a_layer(api: Api) -> str:
    """Return the signature in the URL to which the registry redirects a client for a layer."""
    digest = api.push_blob("team/app", [b"other layer" * 1000])
    response = api.call("GET", f"/v2/team/app/blobs/{digest}", [307])
    signed = parse_qs(urlsplit(response.headers["location"]).query)
    (signature,) = [values[0] for name, values in signed.items() if "signature" in name.lower()]
    return signature
