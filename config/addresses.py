"""Read and write hosts, ports and IP addresses as text."""

import ipaddress
import re

# Parts of regular expressions. PORT matches 1 to 65535. HOST matches a host name, an IPv4 address,
# or an IPv6 address in brackets.
PORT = r"([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
HOST = r"([a-zA-Z0-9_.-]+|\[[0-9a-fA-F:.]+\])"
HOST_WITH_OPTIONAL_PORT = f"{HOST}(:{PORT})?"
_NUMERIC_PORT = re.compile(r"(?:\w[\w+.-]*://)?[^/?#\s]*:(\d+)(?:[/?#].*)?", re.ASCII)


def split(address: str) -> tuple[str, str]:
    """Split `host:port` into host and port. An IPv6 address is returned without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), port


def join(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def has_wrong_port(address: str) -> bool:
    """Return whether the port in a URL or `host:port` is a number outside of 1 to 65535."""
    found = _NUMERIC_PORT.fullmatch(address)
    return found is not None and not re.fullmatch(PORT, found[1])


def ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse `host` as an IP address. Return None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address. A host name is not."""
    address = ip_address(host)
    return address is not None and address.is_loopback


def is_loopback_or_unspecified(host: str) -> bool:
    """Return whether `host` is the machine or container itself: localhost, 127.0.0.1, 0.0.0.0 …"""
    address = ip_address(host)
    if address is None:
        return host.lower().rstrip(".") == "localhost"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified
