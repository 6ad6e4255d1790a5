"""Convert the cache of the old registry: the redis that it used, or none."""

import re
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import urlsplit

from config import addresses, plan
from config.tree import lookup
from operations.compose_import.project import Service, Unreadable
from operations.compose_import.result import ImportResult

# For each unit of sizes in redis.conf, the unit in a stack file.
_UNITS = {"": "", "k": "kB", "kb": "KiB", "m": "MB", "mb": "MiB", "g": "GB", "gb": "GiB"}
# Other words may contain a password. For --name=value, only the name is printed.
_OPTION_NAME = re.compile(r"[a-zA-Z-]+")
_OPTION = re.compile(rf"--({_OPTION_NAME.pattern})(?![^=])")
_PORT = 6379
_CHOOSE_REDIS = (
    "add SET=cache.address=HOST:PORT with an address that this machine reaches, "
    "SET=cache.enabled=true for the stack's own redis, or SET=cache.enabled=false"
)
_CACHE_SETTINGS = ("cache.address", "cache.enabled")


def convert_cache(result: ImportResult) -> Service | None:
    """Convert the cache, and return the service that is the registry's redis, if there is one."""
    cache, old = result.section("cache"), result.old_tree
    is_used = lookup(old, "storage.cache.blobdescriptor") == "redis"
    address = _redis_address(result)
    host, port = _host_and_port(address)
    service = _find_service(result, host)
    is_special = address.startswith("rediss:") or lookup(old, "redis.mastername")
    if result.answer("cache.enabled") is False:
        old["storage"]["cache"] = {"blobdescriptor": "inmemory"}
        old.pop("redis", None)
        return None
    if not address or not (is_used or service):
        cache["enabled"] = False
        if old.pop("redis", None):
            result.omit("redis", "the registry did not use it. Its cache was in its own memory")
        return None
    if is_special or not host:
        problem = "it is a sentinel, uses TLS, or has no readable host and port"
        result.ask("redis", problem, _CHOOSE_REDIS, _CACHE_SETTINGS)
        return None
    _drop_single_tls_file(result)
    if db := lookup(old, "redis.db"):
        cache["db"] = db
    if password := lookup(old, "redis.password"):
        result.secrets[plan.REDIS_PASSWORD.label] = str(password)
    if service is None:
        _keep_address(result, host, port)
    elif memory := _max_memory(result, service):
        cache["max_memory"] = memory
    return service


def _redis_address(result: ImportResult) -> str:
    """Return the first address of the old registry's redis as it is written, or an empty text."""
    several = lookup(result.old_tree, "redis.addrs") or []
    if isinstance(several, str):
        several = [several]
    texts = [str(text) for text in several if text]
    texts = texts or [str(lookup(result.old_tree, "redis.addr") or "")]
    for other in texts[1:]:
        host, port = _host_and_port(other)
        reason = "a stack connects to one address of redis"
        result.omit(f"redis.addrs: {addresses.join(host, port)}", reason)
    if "://" in texts[0] or "@" in texts[0]:
        reason = "the registry can't use a URL. Only its host and port are imported"
        result.omit("redis.addr", reason)
    return texts[0]


def _host_and_port(text: str) -> tuple[str, int]:
    """Return the host and port of an address or URL. The host is empty if it cannot be read."""
    try:
        url = urlsplit(text if "://" in text else f"redis://{text}")
        return url.hostname or "", url.port or _PORT
    except ValueError:
        return "", _PORT


def _find_service(result: ImportResult, host: str) -> Service | None:
    """Return the service of the Compose file that the registry reaches as `host`, or None."""
    services = result.project.services
    for link in result.service.keys.get("links") or []:
        name, _, alias = link.partition(":")
        if host == (alias or name) and name in services:
            return services[name]
    for service in services.values():
        if service.name != result.service.name and host in _host_names(result, service):
            return service
    return None


def _host_names(result: ImportResult, service: Service) -> Iterator[str]:
    """Yield the names of a service in the networks that it shares with the registry."""
    yield from (service.name, f"tasks.{service.name}")
    if container := service.keys.get("container_name"):
        yield str(container)
    if result.project.stack:
        yield f"{result.project.stack}_{service.name}"
    for name, keys in service.networks.items():
        if name in result.service.networks:
            yield from keys.get("aliases") or []


def _keep_address(result: ImportResult, host: str, port: int) -> None:
    """Keep the address of a redis outside of the Compose file, if the stack can reach it."""
    for entry in result.service.keys.get("extra_hosts") or []:
        name, _, target = re.sub("[:=]", " ", entry, count=1).partition(" ")
        if name == host and addresses.ip_address(target.strip("[]")):
            host = target.strip("[]")
            result.imported_keys.add("extra_hosts")
    is_reachable = addresses.ip_address(host) is not None or "." in host
    if not is_reachable or addresses.is_loopback_or_unspecified(host) or host.startswith("tasks."):
        problem = f"the stack does not join the old network, in which {host} is a name or address"
        result.ask("redis", problem, _CHOOSE_REDIS, _CACHE_SETTINGS)
        return
    result.section("cache")["address"] = addresses.join(host, port)


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


def _max_memory(result: ImportResult, redis: Service) -> str | None:
    """Return the memory limit of redis in the form of a stack file, or None.

    An option in the command line takes precedence over the configuration file. Reports the options
    that the stack's redis does not have.
    """
    result.imported_keys.add(f"{redis.name}.command")
    # A shell's argument is one word, so all words are split again.
    words = " ".join(map(str, redis.keys.get("command") or [])).split()
    options: dict[str, str] = {}
    for word in words:
        if word.endswith(".conf"):
            options |= _options_in_file(result, redis, word)
    for word, value in pairwise([*words, ""]):
        if match := _OPTION.match(word):
            options[match[1].lower()] = value
    for name in sorted(options.keys() - {"maxmemory", "requirepass"}):
        result.omit(f"{redis.name}.command: {name}", "the stack configures its own redis")
    text = options.get("maxmemory", "").strip("\"'").lower()
    match = re.fullmatch(r"(\d+)([a-z]*)", text)
    if match and match[2] in _UNITS and int(match[1]):  # 0 is no limit
        return f"{match[1]}{_UNITS[match[2]]}"
    return None


def _options_in_file(result: ImportResult, redis: Service, path: str) -> dict[str, str]:
    """Return the options in a configuration file of redis, by name."""
    if mount := redis.mount(path):
        result.imported_keys.add(f"{redis.name}.mount {mount.target}")
    try:
        lines = [line.split() for line in redis.read_file(path).splitlines()]
    except Unreadable as error:
        result.omit(f"{redis.name}: {path}", f"the file {error}")
        return {}
    options = [words for words in lines if len(words) > 1 and _OPTION_NAME.fullmatch(words[0])]
    return {words[0].lower(): words[-1] for words in options}
