"""A registry that speaks TLS and knows its users, and what reaches it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme

from config.releases import USERS_PATH
from tests.integration.api import Api
from tests.integration.deployment import Deployment, free_port

PASSWORD = 'alice\'s own: "päss" \\ $HOME 💙'


class Guarded(Deployment):
    """As strangers would reach it, but on this machine alone.

    `alice` has brought the password PASSWORD, `ci` one that was drawn; the certificate is
    self-signed, unless another one is configured.
    """

    def __init__(self, folder: Path, **settings: Mapping[str, Any]) -> None:
        super().__init__(folder)
        port = free_port()
        self.configure(
            registry={
                "exposure": "tls",
                "port": port,
                "bind": "127.0.0.1",
                "external_url": f"https://127.0.0.1:{port}",
            },
            auth={"users": {"alice": {}, "ci": {}}},
            tls={"self_signed": True},
        )
        self.configure(**settings)
        self.secret("password-alice", PASSWORD)

    def api(self, user: str = "alice", password: str | None = None) -> Api:
        """The API for `user`; "" is nobody."""
        outputs = self.outputs()
        if user and password is None:
            password = PASSWORD if user == "alice" else self.stashed()[f"password-{user}"]
        login = (user, password or "") if user else None
        return Api(outputs["endpoint"], login, outputs.get("certificate", ""))


def bring(
    deployment: Deployment,
    authority: trustme.CA,
    *names: str,
    **more: Any,  # noqa: ANN401
) -> str:
    """Have a new certificate of `authority` in the stack file; gives it as PEM text."""
    made = authority.issue_cert("127.0.0.1", *names, **more)
    pem = "".join(blob.bytes().decode() for blob in made.cert_chain_pems)
    deployment.configure(tls={"certificate": pem})
    deployment.forget("tls", "self_signed")
    deployment.secret("tls-key", made.private_key_pem.bytes().decode())
    return pem


def hashes(deployment: Deployment) -> Mapping[str, str]:
    """The hash of each user, from the running registry's file."""
    file = deployment.folder / "htpasswd"
    deployment.docker("cp", f"{deployment.prefix}-registry:{USERS_PATH}", file)
    lines = file.read_text().splitlines()
    file.unlink()
    return dict(line.split(":", 1) for line in lines)
