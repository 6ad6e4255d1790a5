"""The registry itself: the one place where Outputs meet the text of its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pulumi import ComponentResource, Input, Output, ResourceOptions

from components import distribution, runtime
from components.environment import Hole, Text, quote
from components.stash import secret


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """`environment` and `files` (by path) are filled from `brought` and `provisions`, by label.

    `address` is where `port` is published; `memory` is in bytes; `drain_seconds` is as in the
    configuration.
    """

    stack: str
    name: str
    image: str
    address: str
    port: int
    memory: int | None
    cpus: float | None
    drain_seconds: int
    environment: Mapping[str, Text]
    files: Mapping[str, Text]
    brought: Mapping[str, Input[str]]
    provisions: Sequence[runtime.Provision]
    network: Input[str]


class Registry(ComponentResource):
    """A running registry that answers on a loopback address."""

    endpoint: Output[str]
    login_server: Output[str]

    def __init__(self, name: str, args: RegistryArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("oss-registry:index:Registry", name, None, opts)
        label = distribution.HTTP_SECRET.label
        holes = {**args.brought, label: secret(label, args.brought, parent=self)}
        for provision in args.provisions:
            holes.update(provision.holes)
        runtime.run(
            "registry",
            runtime.Workload(
                stack=args.stack,
                name=args.name,
                image=args.image,
                network=args.network,
                environment={key: fill(text, holes) for key, text in args.environment.items()},
                files=[
                    runtime.File(path=path, content=fill(text, holes))
                    for path, text in args.files.items()
                ],
                mounts=[mount for provision in args.provisions for mount in provision.mounts],
                ports=[
                    runtime.Port(address=args.address, host=args.port, container=distribution.PORT)
                ],
                memory=args.memory,
                cpus=args.cpus,
                # `/` answers without a login, whatever the registry's own access rules are.
                health=["wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{distribution.PORT}/"],
                stop_seconds=args.drain_seconds + 5,
            ),
            parent=self,
        )
        host = f"[{args.address}]" if ":" in args.address else args.address
        self.endpoint = Output.from_input(f"http://{host}:{args.port}")
        # Docker takes no IPv6 address in a reference.
        named = {"127.0.0.1": "localhost", "::1": "localhost"}
        self.login_server = Output.from_input(f"{named.get(args.address, host)}:{args.port}")
        self.register_outputs({"endpoint": self.endpoint, "login_server": self.login_server})


def fill(text: Text, holes: Mapping[str, Input[str]]) -> Input[str]:
    """`text` with a quoted value in each hole: secret if one is; a string without holes."""
    if not any(isinstance(piece, Hole) for piece in text):
        return "".join(str(piece) for piece in text)
    return Output.concat(*(_filled(piece, holes) for piece in text))


def _filled(piece: str | Hole, holes: Mapping[str, Input[str]]) -> Input[str]:
    if isinstance(piece, str):
        return piece
    value = Output.from_input(holes[piece.label]).apply(quote)
    return Output.secret(value) if piece.secret else value
