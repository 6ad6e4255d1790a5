#!/usr/bin/env -S python3 -P
"""pulumi-language-python for a CLI that was built from modules and so came without one.

The engine starts it as `pulumi-language-python [flags] ENGINE_ADDRESS`, reads a port from its first
line of output and calls it over gRPC; the Python SDK's own server for inline programs does the
rest. The Python of the first `python3` on PATH runs the program, so it must be the project's.
"""

import gc

# A program runs for seconds. Python's collector would take a seventh of its CPU time, most of it
# during the imports below, and free next to nothing.
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
        # Where the vendor's host puts the configuration; the SDK's server keeps it to itself.
        os.environ["PULUMI_CONFIG"] = json.dumps(dict(request.config))
        os.environ["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(list(request.configSecretKeys))
        request.args.insert(0, self._engine_address)
        result = super().Run(request, context)
        if result.error:
            # The server has logged it already; `bail` keeps the engine from printing it again.
            return language_pb2.RunResponse(bail=True)
        return result


def serve() -> None:
    engine = os.getppid()
    options = (
        ("grpc.so_reuseport", 0),  # two hosts started at once must not come to share a port
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
    # An engine that was killed can't say so; without it there is nothing to host.
    while os.getppid() == engine:
        time.sleep(1)


if __name__ == "__main__":
    serve()
