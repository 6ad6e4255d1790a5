"""Certificates that the user does not provide: self-signed, or from Let's Encrypt."""

from collections.abc import Sequence

from pulumi import ComponentResource, Output, ResourceOptions

from components.generated_secrets import persist
from components.runtime.shared import create_volume
from components.runtime.workload import Bindings, Mount
from config import certificates
from config.plan import LETSENCRYPT_PATH, SELF_SIGNED, TLS_KEY
from config.resource_names import COMPONENTS
from config.stack import RegistryConfig

BEGIN_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
# Root runs this on the machine of a client. Docker and other clients read this folder.
TRUST_COMMAND = """\
install -D -m 644 /dev/stdin '/etc/docker/certs.d/{server}/ca.crt' <<'END'
{certificate}END
"""


class SelfSigned(ComponentResource):
    """A key and a certificate for trials, which are replaced when they must be renewed.

    `hosts` are the names and addresses by which clients connect. `login_server` is the registry in
    an image reference.
    """

    bindings: Bindings

    def __init__(
        self,
        name: str,
        hosts: Sequence[str],
        login_server: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__(f"{COMPONENTS}SelfSigned", name, None, opts)
        now = certificates.now()
        since = persist("self-signed-since", now.isoformat(), parent=self)
        trigger = since.apply(
            lambda first: f"{','.join(hosts)} {certificates.renewals_due(first, now)}"
        )
        generated = certificates.self_signed_pair(hosts, now)
        pair = persist("self-signed", generated, parent=self, trigger=trigger)
        key = pair.apply(lambda text: text.partition(BEGIN_CERTIFICATE)[0])
        certificate = Output.unsecret(
            pair.apply(lambda text: BEGIN_CERTIFICATE + text.partition(BEGIN_CERTIFICATE)[2])
        )
        trust = certificate.apply(
            lambda text: TRUST_COMMAND.format(server=login_server, certificate=text)
        )
        self.bindings = Bindings(
            values={TLS_KEY.label: key, SELF_SIGNED.label: certificate},
            outputs={"certificate": certificate, "trust": trust},
        )
        self.register_outputs({"certificate": certificate})


class LetsEncrypt(ComponentResource):
    """A `volume` for the ACME account and its certificates, whose number per week is limited."""

    bindings: Bindings

    def __init__(
        self, name: str, volume: str, stack: str, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__(f"{COMPONENTS}LetsEncrypt", name, None, opts)
        created = create_volume("letsencrypt", volume, stack, parent=self)
        self.bindings = Bindings(mounts=[Mount(volume=created, path=LETSENCRYPT_PATH)])
        self.register_outputs({})


def create_certificate(name: str, registry: RegistryConfig) -> Bindings:
    """Create the self-signed certificate or the volume for Let's Encrypt, if configured."""
    tls = registry.stack.settings.tls
    if tls and tls.self_signed:
        return SelfSigned(name, registry.self_signed_hosts, registry.login_server).bindings
    if tls and tls.letsencrypt:
        return LetsEncrypt(name, registry.letsencrypt_volume, registry.stack.name).bindings
    return Bindings()
