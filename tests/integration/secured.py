"""A deployment with TLS and users."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme

from config.plan import USERS_PATH
from tests.integration.api import Api
from tests.integration.deployment import Deployment, free_port

PASSWORD = 'alice\'s own: "päss" \\ $HOME 💙'


class SecuredDeployment(Deployment):
    """A registry with the settings for exposure to a network, but listening only on 127.0.0.1.

    The user `alice` has the configured password PASSWORD, the user `ci` has a generated one. The
    certificate is self-signed, unless another one is configured.
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
        self.set_secret("password-alice", PASSWORD)

    def api(self, user: str = "alice", password: str | None = None) -> Api:
        """Return the API with the login of `user`, or without a login if `user` is empty.

        `password` replaces the user's password.
        """
        outputs = self.outputs()
        if user and password is None:
            password = PASSWORD if user == "alice" else self.generated_values()[f"password-{user}"]
        login = (user, password or "") if user else None
        return Api(outputs["endpoint"], login, outputs.get("certificate", ""))


def configure_certificate(
    deployment: Deployment,
    authority: trustme.CA,
    *names: str,
    **options: Any,  # noqa: ANN401
) -> str:
    """Issue a certificate, set it and its key in the stack file, and return it as PEM text.

    The certificate is for 127.0.0.1 and `names`. `options` are those of `trustme.CA.issue_cert`.
    """
    issued = authority.issue_cert("127.0.0.1", *names, **options)
    pem = "".join(blob.bytes().decode() for blob in issued.cert_chain_pems)
    deployment.configure(tls={"certificate": pem})
    deployment.remove_setting("tls", "self_signed")
    deployment.set_secret("tls-key", issued.private_key_pem.bytes().decode())
    return pem


def password_hashes(deployment: Deployment) -> Mapping[str, str]:
    """Return the password hash of each user, from the file in the registry's container."""
    file = deployment.folder / "htpasswd"
    deployment.docker("cp", f"{deployment.prefix}-registry:{USERS_PATH}", file)
    lines = file.read_text().splitlines()
    file.unlink()
    return dict(line.split(":", 1) for line in lines)
