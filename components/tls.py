"""The registry's certificate, where it is not the user's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from pulumi import ComponentResource, Output, ResourceOptions

from components import runtime
from components.persisted import kept
from config import certificates, releases
from config.stack import Stack

BEGIN = "-----BEGIN CERTIFICATE-----"
# For the machine of a client, as root: `docker` and its relatives look there.
TRUST = """\
install -D -m 644 /dev/stdin '/etc/docker/certs.d/{server}/ca.crt' <<'END'
{certificate}END
"""


@dataclass(frozen=True, kw_only=True)
class SelfSignedArgs:
    """`hosts` are the names and addresses that clients come to, `login_server` as they write it."""

    hosts: Sequence[str]
    login_server: str


class SelfSigned(ComponentResource):
    """A key and a certificate for trials: the same at each `up` until they are due."""

    certificate: Output[str]
    provision: runtime.Provision

    def __init__(
        self, name: str, args: SelfSignedArgs, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("oss-registry:index:SelfSigned", name, None, opts)
        now, hosts = certificates.now(), ",".join(args.hosts)
        since = kept("self-signed-since", now.isoformat(), parent=self)
        due = since.apply(lambda first: f"{hosts} {certificates.renewals_due(first, now)}")
        made = certificates.self_signed_pair(args.hosts, now)
        pair = kept("self-signed", made, parent=self, trigger=due)
        key = pair.apply(lambda text: text.partition(BEGIN)[0])
        self.certificate = Output.unsecret(
            pair.apply(lambda text: BEGIN + text.partition(BEGIN)[2])
        )
        trust = self.certificate.apply(
            lambda text: TRUST.format(server=args.login_server, certificate=text)
        )
        self.provision = runtime.Provision(
            holes={releases.TLS_KEY.label: key, releases.SELF_SIGNED.label: self.certificate},
            outputs={"certificate": self.certificate, "trust": trust},
        )
        self.register_outputs({"certificate": self.certificate})


@dataclass(frozen=True, kw_only=True)
class LetsEncryptArgs:
    """`volume` is the name of the one that keeps the account and its certificates."""

    stack: str
    volume: str


class LetsEncrypt(ComponentResource):
    """A place for what the registry fetches: the authority gives out few certificates a week."""

    provision: runtime.Provision

    def __init__(
        self, name: str, args: LetsEncryptArgs, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("oss-registry:index:LetsEncrypt", name, None, opts)
        volume = runtime.volume("letsencrypt", args.volume, args.stack, parent=self)
        mount = runtime.Mount(volume=volume, path=releases.LETSENCRYPT_PATH)
        self.provision = runtime.Provision(mounts=[mount])
        self.register_outputs({})


def tls(name: str, stack: Stack) -> runtime.Provision:
    """What the stack's kind of certificate takes beside the stack file."""
    settings = stack.settings.tls
    if settings and settings.self_signed:
        args = SelfSignedArgs(hosts=stack.hosts, login_server=stack.login_server)
        return SelfSigned(name, args).provision
    if settings and settings.letsencrypt:
        letsencrypt = LetsEncryptArgs(stack=stack.name, volume=stack.letsencrypt_volume)
        return LetsEncrypt(name, letsencrypt).provision
    return runtime.Provision()
