"""The registry. Only this module replaces placeholders by their values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pulumi import ComponentResource, Input, Output, ResourceOptions

from components.generated_secrets import provided_or_generated
from components.runtime.workload import Bindings, File, Port, Runtime, Workload
from config.plan import HTTP_SECRET, PORT
from config.render import Text, holds_secret, quote
from config.resource_names import COMPONENTS
from config.tree import Placeholder

# The registry answers requests for `/` without a login.
HTTP_CHECK = ["wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{PORT}/"]
# With TLS, the check does not connect. Go 1.25 and later refuse the handshake of the image's wget,
# which has no signature algorithms, and the registry logs each connection without TLS. The registry
# listens on the port only after everything else works.
LISTEN_CHECK = [
    "sh",
    "-c",
    "for sockets in /proc/net/tcp /proc/net/tcp6; do while read -r _ address _ state _; do "
    f'case "$address $state" in *:{PORT:04X}\\ 0A) exit 0 ;; esac; '
    "done < $sockets; done; exit 1",
]
NOBODY = "65532:65532"  # a user that owns no files in the images


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """`environment` and `files` (by path) may contain placeholders.

    Their values come from `provided` secrets and from `bindings`. The port is published on
    `address`:`port`. `memory` is in bytes. `drain_seconds` is the registry's own setting. With
    `tls`, the registry accepts TLS only. `labels` are those of its container or service.
    """

    name: str
    image: str
    address: str
    port: int
    memory: int | None
    cpus: float | None
    replicas: int
    drain_seconds: int
    tls: bool
    labels: Mapping[str, str]
    environment: Mapping[str, Text]
    files: Mapping[str, Text]
    provided: Mapping[str, Input[str]]
    bindings: Sequence[Bindings]
    runtime: Runtime


class Registry(ComponentResource):
    """The container or service of a registry, and the secret that signs its upload URLs."""

    def __init__(self, name: str, args: RegistryArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(f"{COMPONENTS}Registry", name, None, opts)
        http_secret = provided_or_generated(HTTP_SECRET.label, args.provided, parent=self)
        values = {**args.provided, HTTP_SECRET.label: http_secret}
        for bindings in args.bindings:
            values.update(bindings.values)
        mounts = [mount for bindings in args.bindings for mount in bindings.mounts]
        args.runtime.run(
            name,
            Workload(
                name=args.name,
                image=args.image,
                environment={key: resolve(text, values) for key, text in args.environment.items()},
                files=[
                    File(path=path, content=resolve(text, values), secret=holds_secret(text))
                    for path, text in args.files.items()
                ],
                mounts=mounts,
                # Only root can write to a new volume. The process gets no capabilities.
                user=None if mounts else NOBODY,
                ports=[Port(address=args.address, host=args.port, container=PORT)],
                memory=args.memory,
                cpus=args.cpus,
                replicas=args.replicas,
                health=LISTEN_CHECK if args.tls else HTTP_CHECK,
                stop_seconds=args.drain_seconds + 5,
                labels=args.labels,
            ),
            parent=self,
        )
        self.register_outputs({})


def resolve(text: Text, values: Mapping[str, Input[str]]) -> Input[str]:
    """Replace the placeholders in `text` by `values`, which are by label.

    The result is a string if there are no placeholders, and a secret if one of them is secret.
    """
    if not any(isinstance(piece, Placeholder) for piece in text):
        return "".join(str(piece) for piece in text)
    return Output.concat(*(_resolved(piece, values) for piece in text))


def _resolved(piece: str | Placeholder, values: Mapping[str, Input[str]]) -> Input[str]:
    if isinstance(piece, str):
        return piece
    value = Output.from_input(values[piece.label])
    if piece.quoted:
        value = value.apply(quote)
    return Output.secret(value) if piece.secret else value
