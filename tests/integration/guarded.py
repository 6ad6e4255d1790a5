"""A registry that speaks TLS and knows its users, and what reaches it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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

    def drawn(self, name: str) -> str:
        """What the stash `name` holds, from the state."""
        exported = json.loads(self.pulumi("stack", "export", "--show-secrets"))
        (found,) = [
            each["outputs"]["output"]
            for each in exported["deployment"]["resources"]
            if each["urn"].endswith(f"::{name}") and "Stash" in each["type"]
        ]
        return str(json.loads(found["plaintext"]))

    def api(self, user: str = "alice", password: str | None = None) -> Api:
        """The API for `user`; "" is nobody."""
        outputs = self.outputs()
        if user and password is None:
            password = PASSWORD if user == "alice" else self.drawn(f"password-{user}")
        login = (user, password or "") if user else None
        return Api(outputs["endpoint"], login, outputs.get("certificate", ""))
