"""A mock of Pulumi's engine that runs the program and records the resources that it registers.

The SDK's own mock monitor hides some mistakes, so this one adds to it: it records stack outputs,
component outputs and resource options, marks the outputs in `additional_secret_outputs` as secret,
and refuses duplicate URNs. Only this module uses private names of the SDK.
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


class _SynchronousExecutor(ThreadPoolExecutor):
    """Runs each call in the thread of its caller: event loops in other threads are flaky."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # raised again by future.result()
            future.set_exception(error)
        return future


class Provider(mocks.Mocks):
    """Returns each resource's inputs as its outputs, with the computed outputs that we read."""

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
    """Records, by URN, the requests of resources, and the outputs of stack and components."""

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
                wrapped = {rpc._special_sig_key: rpc._special_secret_sig, "value": value}
                response.object[name] = wrapped
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:
        self.outputs[request.urn] = rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)

    @property
    def exports(self) -> Mapping[str, Any]:
        """The stack's outputs. A secret one is wrapped, see `is_secret` and `plain`."""
        return next(value for urn, value in self.outputs.items() if "pulumi:Stack::" in urn)

    def inputs(self, kind: str, name: str) -> Any:
        """Return the inputs of the resource `name` of type `kind`. Secrets are wrapped."""
        return rpc.deserialize_properties(self.request(kind, name).object, keep_unknowns=True)

    def request(self, kind: str, name: str) -> resource_pb2.RegisterResourceRequest:
        """Return the request that registered the resource `name` of type `kind`."""
        return next(r for r in self.requests.values() if (r.type, r.name) == (kind, name))


def replacement_trigger(request: resource_pb2.RegisterResourceRequest) -> object:
    """Return the value whose change makes Pulumi replace the resource."""
    return plain(json_format.MessageToDict(request.replacement_trigger))


def is_secret(value: object) -> bool:
    """Whether `value` is wrapped as a secret."""
    return rpc.is_rpc_secret(value)


def plain(value: Any) -> Any:
    """Return `value` as the provider gets it, without the wrapper that marks a secret."""
    return rpc.unwrap_rpc_secret(value)


def stack_file(name: str) -> Config:
    """Return the section `config` of `stacks/Pulumi.<name>.yaml`."""
    config: Config = yaml.safe_load((PROJECT / "stacks" / f"Pulumi.{name}.yaml").read_text())[
        "config"
    ]
    return config


def _run_program() -> None:
    runpy.run_path(str(PROJECT / "__main__.py"))


def run(
    config: Config,
    stack: str = "dev",
    engine: Engine | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Engine:
    """Run the real `__main__.py` with this stack file, as Pulumi would, and raise its errors.

    `secrets` are encrypted settings, by key. Returns the engine, which recorded the resources.
    """
    engine = engine or Engine()
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in config.items()}
    secrets = secrets or {}
    texts |= secrets
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_SynchronousExecutor())
    asyncio.set_event_loop(loop)
    before = settings.SETTINGS
    environment = pytest.MonkeyPatch()
    # The language host hands the configuration over in these variables.
    environment.setenv("PULUMI_CONFIG", json.dumps(texts))
    environment.setenv("PULUMI_CONFIG_SECRET_KEYS", json.dumps([*secrets]))
    # No test reads stack traces, and collecting them takes a sixth of a run.
    environment.setattr(resource, "_get_stack_trace", source_pb2.StackTrace)
    try:
        mocks.set_mocks(
            engine.mocks, project="oss-registry", stack=stack, preview=False, monitor=engine
        )
        settings.set_root_resource(None)  # type: ignore[arg-type]  # as the SDK resets it
        settings.SETTINGS.rpc_manager.clear()
        settings.SETTINGS.outputs.clear()
        loop.run_until_complete(pulumi.runtime.run_in_stack(_run_program))
        return engine
    finally:
        environment.undo()
        settings.configure(before)
        asyncio.set_event_loop(None)
        loop.close()
