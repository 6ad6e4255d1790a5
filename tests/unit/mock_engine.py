"""A program run without an engine: the SDK's mock monitor, with the gaps that hide mistakes closed.

It sees exports, component outputs and resource options, makes outputs secret where an option says
so, and refuses duplicate URNs. The names that the SDK keeps to itself are used only here.
"""

import asyncio
import json
import runpy
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from google.protobuf import json_format
from pulumi.runtime import mocks, resource, rpc, settings
from pulumi.runtime.proto import resource_pb2, source_pb2

PROJECT = Path(__file__).parent.parent.parent
Config = Mapping[str, Any]


class _OnThisThread(ThreadPoolExecutor):
    """Runs each call at once where it is made: threads with event loops of their own flake."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # the future carries it
            future.set_exception(error)
        return future


class Provider(mocks.Mocks):
    """Gives each resource its inputs back, and the outputs that our program reads."""

    COMPUTED: Mapping[str, Mapping[str, str]] = {
        "docker:index/remoteImage:RemoteImage": {"imageId": "sha256:0123", "repoDigest": ""}
    }

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        outputs = {**args.inputs, **self.COMPUTED.get(args.typ, {})}
        if args.typ == "pulumi:index:Stash":
            outputs["output"] = rpc.unwrap_rpc_secret(args.inputs["input"])
        return f"{args.name}-id", outputs

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise AssertionError(f"the program calls {args.token}")


class Engine(mocks.MockMonitor):
    """Records what a program registers: each request by URN, and the outputs of what has some."""

    def __init__(self, provider: Provider | None = None) -> None:
        super().__init__(provider or Provider())
        self.requests: dict[str, resource_pb2.RegisterResourceRequest] = {}
        self.outputs: dict[str, Mapping[str, Any]] = {}

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)
        if response.urn in self.requests and request.type != "pulumi:pulumi:Stack":
            raise RuntimeError(f"duplicate URN {response.urn}")
        self.requests[response.urn] = request
        for name in set(request.additionalSecretOutputs):
            value = json_format.MessageToDict(response.object.fields[name])
            if not is_secret(value):
                boxed = {rpc._special_sig_key: rpc._special_secret_sig, "value": value}
                response.object[name] = boxed
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:
        self.outputs[request.urn] = rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)

    @property
    def exports(self) -> Mapping[str, Any]:
        """The stack's outputs; a secret one is a box, see `is_secret`."""
        return next(value for urn, value in self.outputs.items() if "pulumi:Stack::" in urn)

    def inputs(self, kind: str, name: str) -> Any:
        """What the resource of type `kind` called `name` was given; secrets are in boxes."""
        return rpc.deserialize_properties(self.request(kind, name).object, keep_unknowns=True)

    def request(self, kind: str, name: str) -> resource_pb2.RegisterResourceRequest:
        """How the resource was registered, options included."""
        return next(r for r in self.requests.values() if (r.type, r.name) == (kind, name))


def trigger(request: resource_pb2.RegisterResourceRequest) -> object:
    """What replaces the resource when it is another one."""
    return plain(json_format.MessageToDict(request.replacement_trigger))


def is_secret(value: object) -> bool:
    return rpc.is_rpc_secret(value)


def plain(value: Any) -> Any:
    """`value` without its secret box, as the provider gets it."""
    return rpc.unwrap_rpc_secret(value)


def stack_file(name: str) -> Config:
    """The configuration in `stacks/Pulumi.<name>.yaml`."""
    config: Config = yaml.safe_load((PROJECT / "stacks" / f"Pulumi.{name}.yaml").read_text())[
        "config"
    ]
    return config


def _program() -> None:
    runpy.run_path(str(PROJECT / "__main__.py"))


def run(
    config: Config,
    stack: str = "dev",
    engine: Engine | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Engine:
    """Run the real `__main__.py` as Pulumi would with this stack file. Raises what it raises."""
    engine = engine or Engine()
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in config.items()}
    secrets = secrets or {}
    texts |= secrets
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_OnThisThread())
    asyncio.set_event_loop(loop)
    before = settings.SETTINGS
    environment = pytest.MonkeyPatch()
    # As the language host hands the configuration over.
    environment.setenv("PULUMI_CONFIG", json.dumps(texts))
    environment.setenv("PULUMI_CONFIG_SECRET_KEYS", json.dumps([*secrets]))
    # Where in the program a resource is made is a sixth of a run, and nothing that is asked.
    environment.setattr(resource, "_get_stack_trace", source_pb2.StackTrace)
    try:
        mocks.set_mocks(
            engine.mocks, project="oss-registry", stack=stack, preview=False, monitor=engine
        )
        settings.set_root_resource(None)  # type: ignore[arg-type]  # how the SDK forgets the last one
        settings.SETTINGS.rpc_manager.clear()
        settings.SETTINGS.outputs.clear()
        loop.run_until_complete(pulumi.runtime.run_in_stack(_program))
        return engine
    finally:
        environment.undo()
        settings.configure(before)
        asyncio.set_event_loop(None)
        loop.close()
