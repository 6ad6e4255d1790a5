"""The registry itself: the one place where Outputs meet the text of its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pulumi import ComponentResource, Input, Output, ResourceOptions

from components import runtime
from components.persisted import secret
from config import releases
from config.render import Text, holds_secret, quote
from config.tree import Placeholder

# `/` answers without a login, whatever the registry's own access rules are.
ANSWERS = ["wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{releases.PORT}/"]
# The images' wget speaks a TLS that Go from 1.25 on refuses (no signature algorithms), and each
# connection that is no TLS is a line in the registry's log. It listens once all else is in order.
LISTENS = [
    "sh",
    "-c",
    "for sockets in /proc/net/tcp /proc/net/tcp6; do while read -r _ address _ state _; do "
    f'case "$address $state" in *:{releases.PORT:04X}\\ 0A) exit 0 ;; esac; '
    "done < $sockets; done; exit 1",
]
NOBODY = "65532:65532"  # a user that no image has, and that owns nothing


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """`environment` and `files` (by path) are filled from `brought` and `provisions`, by label.

    `address` is where `port` is published; `memory` is in bytes; `drain_seconds` is as in the
    configuration. With `tls` it speaks nothing else; `labels` are written on it.
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
    brought: Mapping[str, Input[str]]
    provisions: Sequence[runtime.Provision]
    runtime: runtime.Runtime


class Registry(ComponentResource):
    """A running registry."""

    def __init__(self, name: str, args: RegistryArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("oss-registry:index:Registry", name, None, opts)
        label = releases.HTTP_SECRET.label
        holes = {**args.brought, label: secret(label, args.brought, parent=self)}
        for provision in args.provisions:
            holes.update(provision.holes)
        mounts = [mount for provision in args.provisions for mount in provision.mounts]
        args.runtime.run(
            "registry",
            runtime.Workload(
                name=args.name,
                image=args.image,
                environment={key: fill(text, holes) for key, text in args.environment.items()},
                files=[
                    runtime.File(path=path, content=fill(text, holes), secret=holds_secret(text))
                    for path, text in args.files.items()
                ],
                mounts=mounts,
                # A new volume is root's, and a root without capabilities is the least that can
                # write there.
                user=None if mounts else NOBODY,
                ports=[runtime.Port(address=args.address, host=args.port, container=releases.PORT)],
                memory=args.memory,
                cpus=args.cpus,
                replicas=args.replicas,
                health=LISTENS if args.tls else ANSWERS,
                stop_seconds=args.drain_seconds + 5,
                labels=args.labels,
            ),
            parent=self,
        )
        self.register_outputs({})


def fill(text: Text, holes: Mapping[str, Input[str]]) -> Input[str]:
    """`text` with a value in each hole: secret if one is; a string without holes."""
    if not any(isinstance(piece, Placeholder) for piece in text):
        return "".join(str(piece) for piece in text)
    return Output.concat(*(_filled(piece, holes) for piece in text))


def _filled(piece: str | Placeholder, holes: Mapping[str, Input[str]]) -> Input[str]:
    if isinstance(piece, str):
        return piece
    value = Output.from_input(holes[piece.label])
    value = value.apply(quote) if piece.quoted else value
    return Output.secret(value) if piece.secret else value
