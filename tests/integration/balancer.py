"""The load balancer of docs/swarm.md: Debian's HAProxy with the configuration of that page."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.integration.servers import docs_example, running_server

PACKAGES = ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")


@contextmanager
def load_balancer(
    folder: Path, log: Path, authority: trustme.CA, address: str, replicas: Sequence[str]
) -> Iterator[None]:
    """Run a load balancer on `address` for three `replicas`, until the end of the block.

    Addresses have the form host:port. `authority` signs the certificates of HAProxy and of the
    replicas. HAProxy's files are written to `folder`, and its output to `log`.
    """
    certificate = authority.issue_cert(address.rpartition(":")[0])
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "registry.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    replacements = {
        "maxconn 4096": "log stdout format raw local0 info",
        "mode http": "mode http\n    log global\n    option httplog",
        "bind :443": f"bind {address}",
        "/etc/haproxy/": f"{folder}/",
        "/etc/ssl/certs/ca-certificates.crt": f"{folder}/ca.pem",
    } | {f"10.0.0.{number}:5000": replica for number, replica in enumerate(replicas, start=1)}
    (folder / "haproxy.cfg").write_text(docs_example("swarm.md", "haproxy", replacements))
    with running_server("haproxy", PACKAGES, log, "-f", folder / "haproxy.cfg"):
        yield
