"""What a service of a compose file becomes: settings, secrets, and what is lost on the way."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.storage import BACKENDS
from components.storage.filesystem import FilesystemBackend
from config import certificates, overlay, plan
from config.load import validate
from config.overlay import MANAGED_KEYS
from config.problems import Problem
from config.releases import RELEASES, Release
from config.render import BESIDE_DRIVER
from config.rules import named_secrets
from config.secrecy import Place, plain_secret
from config.settings import BCRYPT, PROJECT, StackSettings
from config.stack import REGION, Stack
from config.tree import ANY, Placeholder, Section, lookup
from operations import stack_file
from operations.errors import CommandError
from operations.importing.compose import Compose, Service
from operations.importing.effective import effective

_OFFICIAL = re.compile(
    r"(docker\.io/)?((library/)?registry|distribution/distribution)|ghcr\.io/distribution/.*"
)
# Which release a tag of the official image is, or comes closest to; else the newest that fits.
_TAGS = (
    (r"v?2(\.\d+)*(-.*)?", "2.8.3"),
    (r"v?3\.0(\.\d+)?(-.*)?", "3.0.0"),
    (r"v?3(\.\d+)*(-.*)?", "3.1.2"),
)
_OSS_HOST = re.compile(
    r"(?:https?://)?(?:[a-z0-9-]+\.)??(?:s3\.)?(oss-([a-z0-9-]+?)(-internal)?\.aliyuncs\.com)/?"
)
# Whom a process in Go trusts: this variable's file, and whatever is in the folder.
_TRUST, _TRUSTED = "SSL_CERT_FILE", "/etc/ssl/certs"
# Variables that a registry heeds beside its own.
_OF_A_PROCESS = re.compile(r"(?i:(https?|all|no)_proxy)|TZ|GO[A-Z]+|OTEL_\w+")
_REGISTRY = f"{PROJECT}:registry.config."
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_OWN_KEY = "the stack's RAM user has a key of its own: when it works, delete the old one"
# Why what MANAGED is set by another setting is not as it was, where that is not enough.
_WHY = {
    "storage.oss.accesskeyid": _OWN_KEY,
    "storage.oss.accesskeysecret": _OWN_KEY,
    "storage.s3.accesskey": _OWN_KEY,
    "storage.s3.secretkey": _OWN_KEY,
    "http.secret": "is drawn once, no longer at each start",
    "redis.addr": "the stack's own redis, which starts empty",
    "redis.addrs": "the stack's own redis, which starts empty",
    "redis.password": "the stack's own redis has one that is drawn",
}
# Keys of a service that have no place here, and why; those that are not here nor in _TAKEN: "".
_NO_PLACE = {
    "build": "push what you build, and write registry.image",
    "command": "the image's own is run, with the config.yml that it named",
    "container_name": "names come from the stack",
    "depends_on": "the order is the program's",
    "entrypoint": "the image's own is run",
    "healthcheck": "the program has its own",
    "hostname": "names come from the stack",
    "labels": "a proxy that goes by labels is to be told the address: docs/proxy.md",
    "links": "the stack has a network of its own",
    "logging": "the program keeps three files of 10 MB",
    "network_mode": "the stack has a network of its own",
    "networks": "the stack has a network of its own: others come by the published port",
    "privileged": "it gets no rights that it does not need",
    "restart": "it is started again unless it was stopped by hand",
    "user": "it runs as the image says, without rights over others' files",
}
_TAKEN = Service.model_fields.keys() - _NO_PLACE.keys()
_REDIS_BYTES = {"": "", "k": "kB", "kb": "KiB", "m": "MB", "mb": "MiB", "g": "GB", "gb": "GiB"}
_BYTES = {"": "", "b": ""} | {f"{u}{b}": f"{u.upper()}iB" for u in "kmg" for b in ("", "b")}


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What becomes of a service: a stack file's `config`, and its `secrets` by name.

    `old` is what its registry was told, `used` the paths in its container that were looked at.
    `lost` has no place, each with the reason; `refused` are problems of the registry's own
    configuration as it was, which gave way. `steps` come before `make up`, and `last` after it.
    """

    stack: str
    service: Service
    compose: Compose
    old: dict[str, Any]
    used: set[str]
    lost: list[tuple[str, str]]
    config: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    refused: list[Problem] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)

    def section(self, name: str) -> dict[str, Any]:
        """The section of the stack file, which may be written into."""
        section: dict[str, Any] = self.config.setdefault(f"{PROJECT}:{name}", {})
        return section

    def text(self, path: str) -> str:
        """What is in the file at `path` of the container; empty, and lost, where none is seen."""
        self.used.add(path)
        if text := self.service.text(path):
            return text
        self.lost.append((path, "is no file of this machine that is mounted"))
        return ""

    @property
    def stop(self) -> str:
        """The command that ends the old one, and leaves its data."""
        if self.service.deploy.mode or self.service.deploy.replicas is not None:
            return f"docker service scale NAME_{self.service.name}=0  # NAME: see docker stack ls"
        return f"{self.compose_command} stop {self.service.name}"

    @property
    def compose_command(self) -> str:
        return f"docker compose --file {shlex.quote(self.compose.file)}"

    def checked(self) -> tuple[Stack, Sequence[Problem]]:
        """The stack that it is so far, and what is wrong with it."""
        given = {key: value for key, value in self.config.items() if value != {}}
        texts, _ = stack_file.handed_over(given)
        secrets = {f"{PROJECT}:{name}": value for name, value in self.secrets.items()}
        return validate(self.stack, {**texts, **secrets}, secrets.keys(), {}, BACKENDS)

    def changed(self) -> Iterator[tuple[str, str]]:
        """Each path of the registry's configuration that is not as it was, and why."""
        stack, _ = self.checked()
        refused = {problem.path: f"{problem.rule}; {problem.fix}" for problem in self.refused}
        for path in differences(self.old, _filled(stack.registry.tree, self.secrets)):
            above = [path[: end.start()] for end in re.finditer(r"\.|$", path)]
            why = next((refused[part] for part in above if part in refused), None)
            setting = next(
                (MANAGED_KEYS[part] for part in above if part in MANAGED_KEYS), "this program"
            )
            yield path, why or _WHY.get(path) or f"is set by {setting}"


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401
    """The paths at which two configurations differ; a key that is empty counts as one not there."""
    if isinstance(old, Mapping) and isinstance(new or {}, Mapping):
        for key in sorted({*old, *(new or {})}):
            place = f"{path}.{key}" if path else str(key)
            yield from differences(old.get(key), (new or {}).get(key), place)
    elif isinstance(new, Mapping) and not old:
        yield from differences({}, new, path)
    elif old != new and (old or new):
        yield path


def _filled(tree: Any, secrets: Mapping[str, str]) -> Any:  # noqa: ANN401
    if isinstance(tree, Mapping):
        return {key: _filled(below, secrets) for key, below in tree.items()}
    if isinstance(tree, Placeholder):
        return secrets.get(tree.label, tree)
    return [_filled(item, secrets) for item in tree] if isinstance(tree, list) else tree


def chosen(compose: Compose, name: str) -> Service:
    """The service that runs a registry, or the one of that name. Raises CommandError."""
    found = [
        service
        for service in compose.services.values()
        if service.name == name
        or (
            not name
            and (
                _repository(service)[0].rpartition("/")[2] in ("registry", "distribution")
                or any(key.startswith("REGISTRY_STORAGE") for key in service.variables)
            )
        )
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(service.name for service in found or compose.services.values())
    raise CommandError(
        f"there are several registries: say SERVICE=, one of {names}"
        if found
        else f"there is no registry among {names}: say SERVICE="
    )


def _repository(service: Service) -> tuple[str, str]:
    """The repository and the tag of its image."""
    match = re.fullmatch(r"(.*?)(?::([^:/@]+))?(?:@.*)?", service.image)
    return (match[1], match[2] or "") if match else (service.image, "")


def moved(compose: Compose, service: Service, stack: str) -> Moved:
    """What `service` is as a stack of that name. Raises CommandError where it can't move in."""
    release, old, lost = _told(service)
    used = {_config_path(service, each) for each in RELEASES.values()}
    its = Moved(stack=stack, service=service, compose=compose, old=old, used=used, lost=lost)
    its.lost.extend((f"${name}", "is set nowhere, and empty") for name in compose.unset)
    if lookup(old, "proxy.remoteurl"):
        why = "is a mirror (proxy.remoteurl), which takes no pushes: run it on its own"
        raise CommandError(f"{service.name} {why}")
    its.section("registry")["release"] = release.version
    if not _OFFICIAL.fullmatch(_repository(service)[0]):
        its.section("registry")["image"] = service.image
    elif _repository(service)[1] != release.version:
        its.lost.append((service.image, f"becomes {release.image}, which is kept up"))
    for take in (_storage, _cache, _users, _tls, _runtime, _reach, _process):
        take(its)
    _configure(its, release)
    unused = {*service.mounts} - {service.mount(path) for path in its.used}
    its.lost.extend(
        (mount.target, "the registry is told nothing of it") for mount in sorted(unused)
    )
    for key in sorted((service.deploy.model_extra or {}).keys()):
        its.lost.append((f"deploy.{key}", "the program has its own"))
    for key in sorted(service.model_fields_set | (service.model_extra or {}).keys()):
        if key not in _TAKEN:
            its.lost.append((key, _NO_PLACE.get(key, "has no place here")))
    others = sorted(compose.services.keys() - {service.name})
    redis = _redis(its)
    idle = "the registry asks it no longer: stop it, if nobody else does"
    its.lost.extend(
        (f"the service {name}", idle if redis and name == redis.name else "stays where it is")
        for name in others
    )
    return its


def _told(service: Service) -> tuple[Release, dict[str, Any], list[tuple[str, str]]]:
    """Its release, what that is told, and what of that it does not heed."""
    tag = _repository(service)[1]
    named = [version for pattern, version in _TAGS if re.fullmatch(pattern, tag)]
    variables = {k: v for k, v in service.variables.items() if k.startswith("REGISTRY_")}
    found = []
    paths = {_config_path(service, release) for release in RELEASES.values()}
    for version in named[:1] or [*RELEASES][::-1]:
        release = RELEASES[version]
        path = _config_path(service, release)
        tree, unheeded = effective(release, service.text(path), variables)
        drivers: Any = release.schema.keys["storage"]
        unknown = (lookup(tree, "storage") or {}).keys() - drivers.keys()
        why = f"release {version} does not heed it"
        lost = [(name, why) for name in dict.fromkeys(unheeded)]
        why = f"release {version} reads {path} only"
        lost += [(other, why) for other in sorted(paths - {path}) if service.text(other)]
        found.append((len(lost) + len(unknown), release, tree, lost))
    _, release, tree, lost = min(found, key=lambda each: each[0])
    return release, tree, lost


def _config_path(service: Service, release: Release) -> str:
    """Where the registry looks for its configuration: as it is told, or where the image has it."""
    told = (word for word in service.command if word.endswith((".yml", ".yaml")))
    return next(told, release.config_path)


def _storage(its: Moved) -> None:
    drivers = (lookup(its.old, "storage") or {}).keys() - BESIDE_DRIVER["storage"]
    if len(drivers) != 1:
        raise CommandError(
            f"{its.service.name} has {len(drivers)} storage drivers: it does not start"
        )
    (driver,) = drivers
    keys = lookup(its.old, f"storage.{driver}") or {}
    endpoint = str(keys.get("endpoint") or keys.get("regionendpoint") or "")
    host = _OSS_HOST.fullmatch(endpoint)
    if driver == "filesystem":
        _volume(its, str(keys.get("rootdirectory") or plan.DATA_PATH))
    elif driver == "oss" or host:
        told = re.sub(r"^oss-|-internal$|\.aliyuncs\.com$", "", str(keys.get("region") or ""))
        region = told or (host[2] if host else "")
        its.config[REGION] = region
        its.section("storage").update(
            kind="oss",
            bucket=str(keys.get("bucket") or ""),
            adopt=True,
            prefix=str(keys.get("rootdirectory") or "").strip("/"),
        )
        if host and host[2] != region:  # such as oss-accelerate
            its.section("storage")["endpoint"] = host[1]
        else:
            inside = bool(host[3]) if host else keys.get("internal") is True
            its.section("storage")["internal"] = inside
    else:
        raise CommandError(
            f"the images of {its.service.name} are in {driver} {endpoint}".rstrip()
            + ", and here they are in a volume or in OSS: copy them into another registry's"
        )


def _volume(its: Moved, root: str) -> None:
    its.section("storage")["kind"] = "filesystem"
    its.used.add(root)
    mount, stack = its.service.mount(root), Stack(its.stack, StackSettings(), BACKENDS)
    if mount is None:
        container = f'"$({its.compose_command} ps --all --quiet {its.service.name})"'
        there = f"{stack.prefix}-registry:{plan.DATA_PATH}"
        its.last.append(f"docker cp {container}:{root}/. - | docker cp - {there}")
        return
    volume, inner = (
        FilesystemBackend(stack.registry).volume,
        str(Path(root).relative_to(mount.target)),
    )
    if mount.volume and inner == ".":
        its.section("storage")["volume"] = volume = mount.source
    else:
        at_engine = f"$(docker volume inspect --format '{{{{.Mountpoint}}}}' {mount.source})"
        device = str(Path(at_engine if mount.volume else mount.source, inner))
        options = f'--opt type=none --opt o=bind --opt device="{device}"'
        its.steps.append(f"docker volume create {options} {volume}")
    if its.service.user.partition(":")[0] not in ("", "0", "root"):
        its.steps.append(f"docker run --rm --volume {volume}:/v busybox chown -R 0:0 /v")


def _redis_address(its: Moved) -> str:
    return str((lookup(its.old, "redis.addrs") or [lookup(its.old, "redis.addr")])[0] or "")


def _redis(its: Moved) -> Service | None:
    """The service that is its redis, if that is one of the same file."""
    host = _redis_address(its).partition(":")[0]
    known = its.compose.services.values()
    named = (each for each in known if host in (each.name, each.container_name, each.hostname))
    return next(named, None) if host else None


def _cache(its: Moved) -> None:
    cache = its.section("cache")
    host, _, port = _redis_address(its).partition(":")
    if not host:
        cache["enabled"] = False
        return
    redis = _redis(its)
    told = _redis_told(redis) if redis else {}
    if redis is None:
        cache["address"] = f"{host}:{port or 6379}"
    if db := lookup(its.old, "redis.db"):
        cache["db"] = db
    if memory := _size(told.get("maxmemory"), _REDIS_BYTES):
        cache["max_memory"] = memory
    if password := lookup(its.old, "redis.password"):
        its.secrets[plan.REDIS_PASSWORD.label] = str(password)


def _redis_told(redis: Service) -> Mapping[str, str]:
    """What its file and its command line, which counts for more, set."""
    lines = [
        text
        for word in redis.command
        if word.endswith(".conf")
        for text in (redis.text(word) or "").splitlines()
    ]
    options = " ".join(redis.command).split("--")[1:]  # also those that a shell is told
    pairs = (text.strip().partition(" ") for text in (*lines, *options))
    return {key.lower(): value.strip().strip("\"'") for key, _, value in pairs}


def _size(text: object, units: Mapping[str, str]) -> str | None:
    match = re.fullmatch(r"(\d+)([a-z]*)", str(text or "").strip().lower())
    return f"{match[1]}{units[match[2]]}" if match and match[2] in units else None


def _users(its: Moved) -> None:
    if not (htpasswd := lookup(its.old, "auth.htpasswd")):
        return
    users = {}
    for text in its.text(str(htpasswd.get("path") or "")).splitlines():
        name, _, hashed = text.strip().partition(":")
        if re.fullmatch(BCRYPT, hashed):
            users[name] = {"hash": hashed}
        elif name and not name.startswith("#"):
            its.lost.append((f"the user {name}", "has no bcrypt hash, and can't log in"))
    its.section("auth").update(realm=str(htpasswd.get("realm") or "Registry"), users=users)


def _tls(its: Moved) -> None:
    told, tls = lookup(its.old, "http.tls") or {}, its.section("tls")
    if acme := told.get("letsencrypt"):
        names = {"hosts": "hosts", "email": "email", "directoryurl": "directory_url"}
        tls["letsencrypt"] = {names[key]: acme[key] for key in names if acme.get(key)}
    if path := told.get("certificate"):
        # Some have the key in the same file, and a stack file is read by many.
        tls["certificate"] = _certificates(its.text(str(path)))
    if (path := told.get("key")) and (key := its.text(str(path))):
        its.secrets[plan.TLS_KEY.label] = key


def _certificates(text: str) -> str:
    return "".join(f"{found}\n" for found in _CERTIFICATE.findall(text))


def _runtime(its: Moved) -> None:
    registry, service, deploy = its.section("registry"), its.service, its.service.deploy
    networks = map(its.compose.networks.get, service.networks)
    overlaid = any(network and network.driver == "overlay" for network in networks)
    if overlaid or deploy.mode or deploy.replicas or deploy.placement.constraints:
        registry["runtime"] = "swarm"
        registry["replicas"] = deploy.replicas or 1
        if deploy.placement.constraints:
            registry["swarm"] = {"constraints": [*deploy.placement.constraints]}
    limits = deploy.resources.limits
    memory, cpus = _size(limits.memory or service.mem_limit, _BYTES), limits.cpus or service.cpus
    limited = {"memory": memory, "cpus": cpus}
    if limited := {key: value for key, value in limited.items() if value}:
        registry["limits"] = limited


def _reach(its: Moved) -> None:
    """Where the registry is reached, and what guards it."""
    registry = its.section("registry")
    inside = str(lookup(its.old, "http.addr") or "").rpartition(":")[2]
    target = int(inside) if inside.isdigit() else plan.PORT
    ports = [port for port in its.service.ports if port.target == target]
    its.lost.extend(
        (f"port {port.published or port.target}", "a registry has one, for its clients")
        for port in its.service.ports
        if port not in ports[:1]
    )
    on_host = its.service.network_mode == "host"
    address = ports[0].address if ports else "" if on_host else "127.0.0.1"
    if ports and ports[0].published:
        registry["port"] = ports[0].published
    elif on_host:
        registry["port"] = target
    else:
        its.lost.append(("its port", "was not published: it is now, for this machine alone"))
    guarded = lookup(its.old, "auth.htpasswd") or lookup(its.old, "auth.token")
    host, tls = str(lookup(its.old, "http.host") or ""), its.section("tls")
    names = certificates.names(tls.get("certificate") or "")
    local = address == "::1" or address.startswith("127.")
    if host.startswith("https://"):
        registry["external_url"] = host
    elif guarded and tls and names and not local:
        registry["external_url"] = f"https://{names[0]}:{registry.get('port', 5000)}"
    if local:
        behind = guarded and "external_url" in registry
        registry["exposure"] = "proxy" if behind else "loopback"
    else:
        registry["exposure"] = "tls" if guarded and tls else "open"
    if address not in ("", "0.0.0.0", "::", "127.0.0.1") and registry.get("runtime") != "swarm":
        registry["bind"] = address


def _process(its: Moved) -> None:
    """Its environment beside REGISTRY_*."""
    kept: dict[str, object] = {}
    for name, value in sorted(its.service.variables.items()):
        if name.startswith("REGISTRY_") or name == _TRUST:
            continue
        if not _OF_A_PROCESS.fullmatch(name):
            its.lost.append((f"${name}", "a registry has no use for it"))
        else:
            kept[name] = _sealed(value, name, ("environment", name), its.secrets)
    if kept:
        its.section("registry")["environment"] = kept
    mounted = [m.target for m in its.service.mounts if Path(m.target).is_relative_to(_TRUSTED)]
    paths = [path for path in (its.service.variables.get(_TRUST), *mounted) if path]
    if trusted := "".join(_certificates(its.text(path)) for path in paths):
        its.section("registry")["ca_certificates"] = trusted


def _configure(its: Moved, release: Release) -> None:
    """Lay over the program's own configuration what makes it what it was."""
    registry = its.section("registry")
    if old_name := its.old.pop("loglevel", None):  # the registry moves it, too
        its.old["log"] = {"level": old_name, **(its.old.get("log") or {})}
    cache = lookup(its.old, "storage.cache")
    if isinstance(cache, dict) and "layerinfo" in cache:  # an older name
        cache.setdefault("blobdescriptor", cache.pop("layerinfo"))
    if level := lookup(its.old, "log.level"):
        registry["log_level"] = level
    if secret := lookup(its.old, "http.secret"):
        its.secrets[plan.HTTP_SECRET.label] = str(secret)
    for path, name in overlay.named_files(its.old):
        if path.startswith("http.tls.c") or not (text := its.text(name)):
            continue
        if "PRIVATE KEY" in text:
            its.lost.append((name, "holds a private key, which has no place in a stack file"))
        else:
            registry.setdefault("files", {})[name] = text
    stack, _ = its.checked()
    planned = stack.registry.planned(release, {})
    overlaid, given = _laid_over(planned, its.old, ""), {*its.secrets}
    registry["config"] = _sealed(overlaid, "", ("config",), its.secrets)
    # What the program refuses gives way to its own.
    while refused := [p for p in its.checked()[1] if p.path.startswith(_REGISTRY)]:
        told = [problem._replace(path=problem.path.removeprefix(_REGISTRY)) for problem in refused]
        its.refused.extend(told)
        dropped = [_dropped(registry["config"], re.split(r"[.\[]", p.path)) for p in told]
        if True not in dropped:
            break
    for name in its.secrets.keys() - given - named_secrets(registry["config"]):
        del its.secrets[name]


def _laid_over(ours: Section, theirs: Section, path: str) -> dict[str, Any]:
    """What makes `theirs` of `ours`, but for what other settings decide."""
    found: dict[str, Any] = {}
    for key in sorted({*ours, *theirs}):
        place = f"{path}.{key}" if path else key
        mine, other = ours.get(key), theirs.get(key)
        if (place in MANAGED_KEYS and mine is not None) or mine == other or place == "http.secret":
            continue
        if isinstance(mine, Mapping) and isinstance(other, Mapping | None):
            below = _laid_over(mine, other or {}, place)
            gone = below.keys() == mine.keys() and {*map(type, below.values())} == {type(None)}
            if below:
                found[key] = None if gone else below
        else:
            found[key] = other
    return found


def _sealed(tree: Any, path: str, place: Place, secrets: dict[str, str]) -> Any:  # noqa: ANN401
    """`tree` with its secrets among `secrets`, by names that say where they stood."""
    if isinstance(tree, dict):
        return {
            key: _sealed(below, f"{path}-{key}", (*place, key), secrets)
            for key, below in tree.items()
        }
    if isinstance(tree, list):
        return [
            _sealed(item, f"{path}-{number}", (*place, ANY), secrets)
            for number, item in enumerate(tree)
        ]
    if plain_secret(place, tree) is None:
        return tree
    name = base = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")
    number = 1
    while secrets.get(name, tree) != tree:  # such as of http_proxy and HTTP_PROXY
        number += 1
        name = f"{base}-{number}"
    secrets[name] = str(tree)
    return {"from_secret": name}


def _dropped(tree: dict[str, Any], parts: Sequence[str]) -> bool:
    """Whether something was there to be dropped; of a list, all of it is."""
    part, *below = parts
    inner = tree.get(part)
    if not below or not isinstance(inner, dict):
        return tree.pop(part, None) is not None
    dropped = _dropped(inner, below)
    if not inner:
        del tree[part]
    return dropped
