"""Convert the cache of the old registry: the redis that it used, or none."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from config import addresses, plan
from config.tree import lookup
from operations.compose_import.project import Service, Unreadable
from operations.compose_import.result import ImportResult

# For each unit of sizes in redis.conf, the unit in a stack file.
_UNITS = {"": "", "k": "kB", "kb": "KiB", "m": "MB", "mb": "MiB", "g": "GB", "gb": "GiB"}
_PORT = "6379"


def convert_cache(result: ImportResult) -> Service | None:
    """Convert the cache, and return the service that is the registry's redis, if there is one."""
    cache, old = result.section("cache"), result.old_tree
    is_used = lookup(old, "storage.cache.blobdescriptor") == "redis"
    address = _redis_address(result)
    host, port = addresses.split(address)
    service = _find_service(result, host)
    if not host or not (is_used or service):
        cache["enabled"] = False
        if old.pop("redis", None):
            result.omit("redis", "the registry did not use it: its cache is in its own memory")
        return None
    _drop_single_tls_file(result)
    if db := lookup(old, "redis.db"):
        cache["db"] = db
    password = lookup(old, "redis.password")
    if service:
        if memory := _size(_options(result, service).get("maxmemory")):
            cache["max_memory"] = memory
    else:
        _keep_address(result, host, port)
    if password:
        result.secrets[plan.REDIS_PASSWORD.label] = str(password)
    return service


def _drop_single_tls_file(result: ImportResult) -> None:
    """Remove a client certificate without a key, or the reverse. The registry ignores it."""
    tls = lookup(result.old_tree, "redis.tls") or {}
    pair = {"certificate", "key"} & tls.keys()
    if len(pair) == 1:
        (key,) = pair
        del result.old_tree["redis"]["tls"][key]
        if not tls:
            del result.old_tree["redis"]["tls"]
        result.omit(f"redis.tls.{key}", "the registry ignores a certificate or key alone")


def _redis_address(result: ImportResult) -> str:
    """Return the first `host:port` of the old registry's redis, or an empty text."""
    several = lookup(result.old_tree, "redis.addrs") or []
    texts = [str(text) for text in several if text] if isinstance(several, list) else []
    texts = texts or [str(lookup(result.old_tree, "redis.addr") or "")]
    for other in texts[1:]:
        result.omit(f"redis.addrs: {_host_and_port(other)}", "a stack uses one address of redis")
    if "://" in texts[0] or "@" in texts[0]:
        result.omit(
            "redis.addr", "the registry can't use a URL. Only its host and port are imported"
        )
    return _host_and_port(texts[0])


def _host_and_port(text: str) -> str:
    """Return the `host:port` of an address or URL, without a user and a password."""
    if not text:
        return ""
    try:
        url = urlsplit(text if "://" in text else f"redis://{text}")
        host, port = url.hostname or "", url.port or int(_PORT)
    except ValueError:
        return text.rpartition("@")[2]
    return addresses.join(host, port)


def _find_service(result: ImportResult, host: str) -> Service | None:
    """Return the service of the Compose file that the registry reaches as `host`, or None."""
    for name, alias in _links(result.service):
        if host == alias and name in result.project.services:
            return result.project.services[name]
    for service in result.project.services.values():
        if service.name != result.service.name and host in _host_names(result, service):
            return service
    return None


def _links(service: Service) -> Iterator[tuple[str, str]]:
    """Yield the service and the alias of each link."""
    for link in service.keys.get("links") or []:
        name, _, alias = link.partition(":")
        yield name, alias or name


def _host_names(result: ImportResult, service: Service) -> Iterator[str]:
    """Yield the names by which the registry reaches the service in a network of both."""
    yield from (service.name, str(service.keys.get("container_name") or ""))
    yield f"tasks.{service.name}"
    if result.project.stack:
        yield f"{result.project.stack}_{service.name}"
    for name, keys in service.networks.items():
        if name in result.service.networks:
            yield from keys.get("aliases") or []


def _keep_address(result: ImportResult, host: str, port: str) -> None:
    """Keep the address of a redis outside of the Compose file, if the stack can reach it."""
    for entry in result.service.keys.get("extra_hosts") or []:
        name, _, target = re.sub(r"[:=]", " ", entry, count=1).partition(" ")
        if name == host and addresses.ip_address(target.strip("[]")):
            host = target.strip("[]")
            result.carried.add("extra_hosts")
    is_reachable = addresses.ip_address(host) is not None or "." in host
    if not is_reachable or addresses.is_loopback_or_unspecified(host) or host.startswith("tasks."):
        result.ask(
            "redis",
            f"{host} is a name in the old registry's network, which the stack does not join",
            "add SET=cache.address=HOST:PORT with an address that this machine reaches, "
            "SET=cache.enabled=true for the stack's own redis, or SET=cache.enabled=false",
            ["cache.address", "cache.enabled"],
        )
        return
    result.section("cache")["address"] = addresses.join(host, int(port or _PORT))


def _options(result: ImportResult, redis: Service) -> Mapping[str, str]:
    """Return the options in the service's configuration file and its command line, by name.

    The command line takes precedence. Reports the options that the stack's redis does not have.
    """
    lines: list[str] = []
    words: list[Any] = redis.keys.get("command") or []
    for word in map(str, words):
        if not word.endswith(".conf"):
            continue
        if mount := redis.mount(word):
            result.carried.add(f"{redis.name}.mount {mount.target}")
        try:
            lines += redis.read_file(word).splitlines()
        except Unreadable as error:
            result.omit(f"{redis.name}: {word}", f"the file {error}")
    # The command line is split as one text, because it may be an argument of a shell.
    lines += " ".join(map(str, words)).split("--")[1:]
    pairs = [line.strip().partition(" ") for line in lines if line.strip()]
    options = {
        name.lower(): value.strip().strip("\"'")
        for name, _, value in pairs
        if not name.startswith("#")
    }
    result.carried.add(f"{redis.name}.command")
    for name in sorted(options.keys() - {"maxmemory", "requirepass"}):
        result.omit(f"{redis.name}.command: {name}", "the stack configures its own redis")
    return options


def _size(text: object) -> str | None:
    """Return a size of redis in the form of a stack file, or None."""
    match = re.fullmatch(r"(\d+)([a-z]*)", str(text or "").strip().lower())
    if not match or match[2] not in _UNITS:
        return None
    return f"{match[1]}{_UNITS[match[2]]}"
