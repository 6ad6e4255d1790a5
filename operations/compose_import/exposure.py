"""Convert the addresses on which clients connect to the old registry."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from config import addresses, certificates, plan
from config.tree import lookup
from operations.compose_import.project import Service
from operations.compose_import.result import ONE_PORT, ImportResult

_EVERYONE = ("", "0.0.0.0")
_LOOPBACK = "127.0.0.1"
_EXTERNAL_URL = re.compile(r"https://[a-zA-Z0-9.-]+(:\d+)?/?")
# Labels with which a proxy asks for a login, or refers to a middleware that may do so.
_LOGIN_LABEL = re.compile(
    r"(?i)traefik\..*middlewares.*|caddy.*(authorize|import).*|.*(auth(?!or)|htpasswd|users).*"
)
_LAN_DRIVERS = ("macvlan", "ipvlan")


class _Address(NamedTuple):
    """The address and port on which clients connect. An empty address means all addresses.

    `port` is None if the engine chose the port, or if no port is published.
    """

    address: str
    port: int | None


def convert_exposure(result: ImportResult) -> None:
    """Set the exposure, address and port. Ask the user for what the stack cannot keep exactly."""
    registry, tls, old = result.section("registry"), result.section("tls"), result.old_tree
    found = _address(result)
    if found.port:
        registry["port"] = found.port
    is_local = addresses.is_loopback(found.address)
    requires_login = bool(lookup(old, "auth.htpasswd") or lookup(old, "auth.token"))
    url = _external_url(result, requires_login and not is_local)
    if is_local and requires_login and url:
        registry["exposure"] = "proxy"
    elif is_local:
        registry["exposure"] = "loopback"
        url = ""  # http.host stays in registry.config
    elif requires_login and tls:
        registry["exposure"] = "tls"
    else:
        registry["exposure"] = "open"
    if url:
        registry["external_url"] = url
    if found.address not in (*_EVERYONE, _LOOPBACK) and not result.on_swarm:
        registry["bind"] = found.address
    if not requires_login:
        _ask_about_proxy(result)


def _external_url(result: ImportResult, use_certificate: bool) -> str:
    """Return the URL for clients: `http.host`, or else the first name in the certificate."""
    host = str(lookup(result.old_tree, "http.host") or "")
    if host and not re.fullmatch(r"https?://[^/]+.*", host):
        result.old_tree["http"].pop("host")
        result.omit("http.host", f"{host!r} names no host")
    if _EXTERNAL_URL.fullmatch(host):
        return host
    names = certificates.names(result.section("tls").get("certificate") or "")
    if not use_certificate or not names:
        return ""
    return f"https://{names[0]}:{result.section('registry').get('port', plan.PORT)}"


def _address(result: ImportResult) -> _Address:
    """Return where clients reach the old registry. Ask the user if the file does not show it."""
    if (lookup(result.old_tree, "http.net") or "tcp") != "tcp":
        return _ask_for_exposure(result, "http.net", "it listens on a Unix socket")
    service = result.service
    host, _, port_text = str(lookup(result.old_tree, "http.addr") or "").rpartition(":")
    host = _LOOPBACK if host == "localhost" else host.strip("[]")
    if port_text and not port_text.isdigit():
        return _ask_for_exposure(result, "http.addr", f"the port {port_text} is not a number")
    target = int(port_text or plan.PORT)
    mode = str(service.keys.get("network_mode") or "")
    names = result.project.networks
    networks = {mode, *((names.get(key) or {}).get("name") for key in service.networks)}
    if "host" in networks:
        result.imported_keys.add("network_mode")
        result.imported_keys.update(f"networks.{name}" for name in service.networks)
        if host and addresses.ip_address(host) is None:
            return _ask_for_exposure(result, "http.addr", f"{host} is not an IP address")
        # On the host's network, [::] is all addresses. Docker publishes on IPv6 only there.
        return _Address("" if host == "::" else host, target)
    if mode == "none":
        return _ask_for_exposure(result, "network_mode", "the registry has no network")
    if mode and mode not in ("bridge", "default"):
        return _ask_for_exposure(
            result, "network_mode", f"the registry shares the network of {mode}"
        )
    ports: Sequence[Mapping[str, Any]] = service.keys.get("ports") or []
    if addresses.is_loopback(host):
        reason = f"the registry listened on {host} in its container, where no published port leads"
        result.omit("http.addr", reason)
        ports = []
    return _published(result, target, ports)


def _published(result: ImportResult, target: int, ports: Sequence[Mapping[str, Any]]) -> _Address:
    """Return where the port `target` of the container is published."""
    matching = [
        port for port in ports if port["target"] == target and port.get("protocol", "tcp") == "tcp"
    ]
    for port in result.service.keys.get("ports") or []:
        if port not in matching[:1]:
            result.omit(f"port {port.get('published') or port['target']}", ONE_PORT)
    if not matching:
        return _unpublished(result, target)
    keys = ("target", "published", "host_ip", "protocol", "mode")
    result.imported_keys.update(f"ports.{key}" for key in keys)
    port, *_ = matching
    hosts = {str(each.get("host_ip") or "0.0.0.0") for each in matching}
    if len(hosts) > 1:
        result.ask(
            "ports",
            f"the port is published on {', '.join(sorted(hosts))}, and a stack has one address",
            "choose with SET='registry.bind=ADDRESS registry.exposure=EXPOSURE'",
            ["registry.bind", "registry.exposure"],
        )
    address = "" if result.on_swarm else str(port.get("host_ip") or "")
    if result.on_swarm and port.get("mode") == "host":
        result.section("registry").setdefault("swarm", {})["publish_mode"] = "host"
    published = str(port.get("published") or "").lstrip("0")
    who = "everyone who reaches this machine" if address in _EVERYONE else address
    if not published:
        number = result.answer("registry.port") or plan.PORT
        reason = f"Docker chose a port, open to {who}. The stack uses port {number}"
        result.omit("port", reason)
        return _Address(address, None)
    if not published.isdigit():
        problem = f"the port is published on one of {published}, for {who}"
        result.ask("ports", problem, "choose one with SET=registry.port=PORT", ["registry.port"])
        return _Address(address, None)
    return _Address(address, int(published))


def _unpublished(result: ImportResult, target: int) -> _Address:
    """Return where a registry without a published port is reached in the stack."""
    networks = result.project.networks
    for name, keys in result.service.networks.items():
        if (networks.get(name) or {}).get("driver") not in _LAN_DRIVERS:
            continue
        address = keys.get("ipv4_address") or "its own address"
        reason = f"clients reached it at {address}, port {target}. Now they use this machine's"
        result.omit(f"networks.{name}", f"{reason} address and that port")
        result.imported_keys.add(f"networks.{name}")
        if not (result.old_tree.get("auth") and result.section("tls")):
            problem = f"everyone in the network {name} reached it, at {address}"
            return _ask_for_exposure(result, f"networks.{name}", problem)
        return _Address("", target)
    if result.on_swarm:
        problem = "no port is published, and a stack on Swarm always publishes one"
        return _ask_for_exposure(result, "ports", problem)
    reason = "no port is published, so only containers on its networks could connect. Now this "
    result.omit("ports", f"{reason}machine can, on 127.0.0.1")
    return _Address(_LOOPBACK, None)


def _ask_for_exposure(result: ImportResult, part: str, problem: str) -> _Address:
    fix = "decide with SET='registry.exposure=EXPOSURE registry.port=PORT' (docs/settings.md)"
    result.ask(
        part,
        f"{problem}, so import cannot determine which clients can connect",
        fix,
        ["registry.exposure"],
    )
    return _Address(_LOOPBACK, None)


def _ask_about_proxy(result: ImportResult) -> None:
    """Ask what replaces a login that a proxy requires, if labels name one."""
    labels = [*_login_labels(result.service)]
    if not labels:
        return
    result.ask(
        labels[0],
        "a proxy may require a login, and the registry itself requires none",
        "add a login to the registry with SET='auth.users.NAME={}', or decide who reaches it with "
        "SET=registry.exposure=EXPOSURE (docs/settings.md)",
        ["registry.exposure", "auth"],
    )


def _login_labels(service: Service) -> Iterator[str]:
    """Yield the labels and variables of a service with which a proxy may require a login."""
    for section, labels in (
        ("labels", service.keys.get("labels")),
        ("deploy.labels", service.deploy.get("labels")),
    ):
        for name in sorted(labels or {}):
            if _LOGIN_LABEL.fullmatch(name):
                yield f"{section}.{name}"
    if "VIRTUAL_HOST" in service.environment:  # nginx-proxy reads htpasswd files by that name
        yield "environment.VIRTUAL_HOST"
