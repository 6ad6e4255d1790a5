"""The load balancer of docs/swarm.md: Debian's HAProxy, by the recipe of that page."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.integration.servers import recipe, serving

PACKAGES = ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")


@contextmanager
def balancer(
    folder: Path, log: Path, authority: trustme.CA, address: str, replicas: Sequence[str]
) -> Iterator[None]:
    """It listens on `address` for three `replicas` (host:port each), until the end of the block."""
    own = authority.issue_cert(address.rpartition(":")[0])
    own.private_key_and_cert_chain_pem.write_to_path(folder / "registry.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    here = {
        "maxconn 4096": "log stdout format raw local0 info",
        "mode http": "mode http\n    log global\n    option httplog",
        "bind :443": f"bind {address}",
        "/etc/haproxy/": f"{folder}/",
        "/etc/ssl/certs/ca-certificates.crt": f"{folder}/ca.pem",
    } | {f"10.0.0.{number}:5000": replica for number, replica in enumerate(replicas, start=1)}
    (folder / "haproxy.cfg").write_text(recipe("swarm.md", "haproxy", here))
    with serving("haproxy", PACKAGES, log, "-f", folder / "haproxy.cfg"):
        yield
