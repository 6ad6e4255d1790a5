#!/usr/bin/env -S python3 -P
"""The program pulumi-language-python, for a Pulumi CLI that was built from Go modules.

The engine starts it as `pulumi-language-python [flags] ENGINE_ADDRESS`, reads a port from its first
line of output, and calls it over gRPC. The server of the Python SDK for inline programs runs the
Pulumi program. The first `python3` on PATH must be the project's, because it runs this file.
"""

import gc

# A Pulumi program runs for seconds. Garbage collection would take a seventh of its CPU time, mostly
# during the imports below, and free almost no memory.
gc.disable()

import json
import os
import runpy
import signal
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2, language_pb2_grpc


class LanguageHost(LanguageServer):
    """Runs `__main__.py` of the project when the engine calls `Run`."""

    def __init__(self, engine_address: str) -> None:
        super().__init__(lambda: None)
        self._engine_address = engine_address

    def Handshake(self, request: Any, context: Any) -> Any:
        return language_pb2.LanguageHandshakeResponse()

    def Run(self, request: Any, context: Any) -> Any:
        program = request.info.program_directory

        def main() -> None:
            os.chdir(program)
            sys.path.insert(0, program)
            runpy.run_path(os.path.join(program, "__main__.py"), run_name="__main__")

        self.program = main
        # The vendor's host sets these variables too, and the program reads them. The SDK's server
        # does not set them.
        os.environ["PULUMI_CONFIG"] = json.dumps(dict(request.config))
        os.environ["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(list(request.configSecretKeys))
        request.args.insert(0, self._engine_address)
        result = super().Run(request, context)
        if result.error:
            # The server has logged the error. With `bail`, the engine does not print it again.
            return language_pb2.RunResponse(bail=True)
        return result


def serve() -> None:
    """Serve until a signal arrives or the engine ends."""
    engine = os.getppid()
    options = (
        ("grpc.so_reuseport", 0),  # hosts that start at once must not share a port
        ("grpc.max_receive_message_length", -1),
    )
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=options)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageHost(sys.argv[-1]), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)

    def leave(_signal: int, _frame: types.FrameType | None) -> None:
        os._exit(0)

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    # A killed engine sends no signal, but this process then has another parent.
    while os.getppid() == engine:
        time.sleep(1)


if __name__ == "__main__":
    serve()
