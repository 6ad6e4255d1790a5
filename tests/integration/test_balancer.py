"""The load balancer of docs/swarm.md in front of servers that a test stops."""

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from tests.integration.api import LAYER, Api
from tests.integration.balancer import load_balancer
from tests.integration.deployment import free_port, is_listening, wait_until

pytestmark = pytest.mark.swarm
HELD_PATH = "/v2/held"


class _Replica:
    """A test server that simulates a replica and has its certificate.

    It delays the response to HELD_PATH until `released` is set, and responds to other requests at
    once. `holding` is set during the delay. `checks` counts the health checks of the load balancer.
    While `stopping` is set, the server closes the connection of a PUT request without a response,
    as Go's server does, and sets `dropped`.
    """

    def __init__(self, authority: trustme.CA, released: threading.Event) -> None:
        self.holding = holding = threading.Event()
        self.checks = checks = threading.Semaphore(0)
        self.stopping = stopping = threading.Event()
        self.dropped = dropped = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that the base class expects
                if self.path == "/":
                    checks.release()
                if self.path == HELD_PATH:
                    holding.set()
                    released.wait()
                self.send_response(200)
                self.end_headers()

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if stopping.is_set():
                    dropped.set()
                    self.close_connection = True
                    return
                self.send_response(201)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("registry.example.com").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """Stop accepting connections, and finish the responses to accepted ones."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def replicas(authority: trustme.CA, released: threading.Event) -> Iterator[list[_Replica]]:
    with ExitStack() as undo:
        started = []
        for _ in range(3):
            started.append(_Replica(authority, released))
            undo.callback(started[-1].close)
        yield started


@pytest.fixture
def api(authority: trustme.CA, replicas: list[_Replica], tmp_path: Path) -> Iterator[Api]:
    """Run the load balancer in front of the replicas, and provide its API."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    addresses = [replica.address for replica in replicas]
    with load_balancer(tmp_path, tmp_path / "log", authority, address, addresses):
        wait_until(lambda: is_listening(port))
        yield Api(f"https://{address}", authority=authority.cert_pem.bytes().decode())


def test_no_request_fails_when_two_replicas_stop_while_the_third_is_busy(
    api: Api, released: threading.Event, replicas: list[_Replica]
) -> None:
    # Until three checks have succeeded, one failed check marks a replica as down.
    for replica in replicas:
        for _ in range(3):
            assert replica.checks.acquire(timeout=60)
    waiting = threading.Thread(target=api.call, args=("GET", HELD_PATH, [200]))
    waiting.start()
    try:
        wait_until(lambda: any(replica.holding.is_set() for replica in replicas))
        for replica in replicas:
            if not replica.holding.is_set():
                replica.close()
        for _ in range(20):
            api.call("GET", "/v2/", [200])
    finally:
        released.set()
        waiting.join()


def test_a_large_manifest_push_is_retried_on_another_replica(
    api: Api, replicas: list[_Replica]
) -> None:
    replicas[0].stopping.set()
    layer = {"mediaType": LAYER, "size": 50_000_000, "digest": f"sha256:{'0' * 64}"}
    body = json.dumps({"layers": [layer] * 127}).encode()
    for _ in replicas:  # each of them gets one request
        api.call("PUT", "/v2/team/app/manifests/1", [201], body)
    assert replicas[0].dropped.is_set()
