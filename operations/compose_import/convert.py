"""Convert a service of a compose file to the settings of a stack file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.storage import BACKENDS
from components.storage.filesystem import FilesystemBackend
from config import certificates, plan
from config.releases import RELEASES, Release
from config.render import BESIDE_DRIVER
from config.settings import BCRYPT, StackSettings
from config.stack import REGION, Stack
from config.tree import lookup
from operations.compose_import.compose import Compose, Service
from operations.compose_import.effective import effective_configuration
from operations.compose_import.overlay import add_overlay, extract_secrets
from operations.compose_import.result import ImportResult
from operations.errors import CommandError

_OFFICIAL_IMAGE = re.compile(
    r"(docker\.io/)?((library/)?registry|distribution/distribution)|ghcr\.io/distribution/.*"
)
# The release for each tag of the official image, or the closest one. The first match counts.
_RELEASE_OF_TAG = (
    (r"v?2(\.\d+)*(-.*)?", "2.8.3"),
    (r"v?3\.0(\.\d+)?(-.*)?", "3.0.0"),
    (r"v?3(\.\d+)*(-.*)?", "3.1.2"),
)
_OSS_ENDPOINT = re.compile(
    r"(?:https?://)?(?:[a-z0-9-]+\.)??(?:s3\.)?"
    r"(?P<host>oss-(?P<region>[a-z0-9-]+?)(?P<internal>-internal)?\.aliyuncs\.com)/?"
)
# A process in Go trusts the certificates in the file that this variable names, and in this folder.
_CA_FILE_VARIABLE, _CA_FOLDER = "SSL_CERT_FILE", "/etc/ssl/certs"
# Variables other than REGISTRY_* that a registry reads.
_PROCESS_VARIABLE = re.compile(r"(?i:(https?|all|no)_proxy)|TZ|GO[A-Z]+|OTEL_\w+")
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# Keys of a service that are not imported, with the reason.
_NOT_IMPORTED = {
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
_IMPORTED_KEYS = Service.model_fields.keys() - _NOT_IMPORTED.keys()
# For each unit of sizes in redis.conf or in a compose file, the unit in a stack file.
_REDIS_UNITS = {"": "", "k": "kB", "kb": "KiB", "m": "MB", "mb": "MiB", "g": "GB", "gb": "GiB"}
_COMPOSE_UNITS = {
    **dict.fromkeys(("", "b"), ""),
    **dict.fromkeys(("k", "kb"), "KiB"),
    **dict.fromkeys(("m", "mb"), "MiB"),
    **dict.fromkeys(("g", "gb"), "GiB"),
}


def choose_service(compose: Compose, name: str) -> Service:
    """Return the service called `name`, or the only one that runs a registry if `name` is empty.

    Raises CommandError if there is no such service, or more than one.
    """
    services = compose.services.values()
    if name:
        found = [service for service in services if service.name == name]
    else:
        found = [service for service in services if _is_registry(service)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(service.name for service in found or services)
    if found:
        raise CommandError(f"there are several registries: say SERVICE=, one of {names}")
    raise CommandError(f"there is no registry among {names}: say SERVICE=")


def _is_registry(service: Service) -> bool:
    repository, _ = _repository_and_tag(service)
    if repository.rpartition("/")[2] in ("registry", "distribution"):
        return True
    return any(name.startswith("REGISTRY_STORAGE") for name in service.variables)


def _repository_and_tag(service: Service) -> tuple[str, str]:
    """Return the repository and the tag of the service's image. The tag may be empty."""
    match = re.fullmatch(r"(.*?)(?::([^:/@]+))?(?:@.*)?", service.image)
    return (match[1], match[2] or "") if match else (service.image, "")


def import_service(compose: Compose, service: Service, stack_name: str) -> ImportResult:
    """Convert `service` to a stack. Raises CommandError if that is not possible."""
    release, old_tree, ignored = _detect_release(service)
    result = ImportResult(
        stack_name=stack_name,
        service=service,
        compose=compose,
        old_tree=old_tree,
        used_paths={_config_path(service, each) for each in RELEASES.values()},
        not_imported=ignored,
    )
    for name in compose.unset:
        result.omit(f"${name}", "is set nowhere, and empty")
    if lookup(old_tree, "proxy.remoteurl"):
        reason = "is a mirror (proxy.remoteurl), which takes no pushes: run it on its own"
        raise CommandError(f"{service.name} {reason}")
    _convert_image(result, release)
    _convert_storage(result)
    _convert_cache(result)
    _convert_users(result)
    _convert_tls(result)
    _convert_runtime(result)
    _convert_exposure(result)
    _convert_environment(result)
    add_overlay(result, release)
    _list_unused_parts(result)
    return result


def _detect_release(service: Service) -> tuple[Release, dict[str, Any], list[tuple[str, str]]]:
    """Return the service's release, its configuration, and what the release ignores.

    If the tag names no release, the one that ignores the least is chosen, the newest of several.
    """
    variables = {
        name: text for name, text in service.variables.items() if name.startswith("REGISTRY_")
    }
    paths = {_config_path(service, release) for release in RELEASES.values()}
    found = []
    for release in _possible_releases(service):
        path = _config_path(service, release)
        tree, ignored_keys = effective_configuration(release, service.read_file(path), variables)
        drivers: Any = release.schema.keys["storage"]
        unknown_drivers = (lookup(tree, "storage") or {}).keys() - drivers.keys()
        reason = f"release {release.version} does not heed it"
        ignored = [(name, reason) for name in dict.fromkeys(ignored_keys)]
        reason = f"release {release.version} reads {path} only"
        ignored += [(other, reason) for other in sorted(paths - {path}) if service.read_file(other)]
        found.append((len(ignored) + len(unknown_drivers), release, tree, ignored))
    _, release, tree, ignored = min(found, key=lambda each: each[0])
    return release, tree, ignored


def _possible_releases(service: Service) -> Sequence[Release]:
    """Return the releases that the service's image may be, from the newest to the oldest."""
    _, tag = _repository_and_tag(service)
    for pattern, version in _RELEASE_OF_TAG:
        if re.fullmatch(pattern, tag):
            return [RELEASES[version]]
    return [*reversed(RELEASES.values())]


def _config_path(service: Service, release: Release) -> str:
    """Return the path of the configuration file: from the service's command, or the default."""
    named = (word for word in service.command if word.endswith((".yml", ".yaml")))
    return next(named, release.config_path)


def _convert_image(result: ImportResult, release: Release) -> None:
    registry, image = result.section("registry"), result.service.image
    repository, tag = _repository_and_tag(result.service)
    registry["release"] = release.version
    if not _OFFICIAL_IMAGE.fullmatch(repository):
        registry["image"] = image
    elif tag != release.version:
        result.omit(image, f"becomes {release.image}, which is kept up")


def _convert_storage(result: ImportResult) -> None:
    name = result.service.name
    drivers = (lookup(result.old_tree, "storage") or {}).keys() - BESIDE_DRIVER["storage"]
    if len(drivers) != 1:
        raise CommandError(f"{name} has {len(drivers)} storage drivers: it does not start")
    (driver,) = drivers
    parameters = lookup(result.old_tree, f"storage.{driver}") or {}
    endpoint = str(parameters.get("endpoint") or parameters.get("regionendpoint") or "")
    oss_endpoint = _OSS_ENDPOINT.fullmatch(endpoint)
    if driver == "filesystem":
        _convert_volume(result, str(parameters.get("rootdirectory") or plan.DATA_PATH))
    elif driver == "oss" or oss_endpoint:
        _convert_bucket(result, parameters, oss_endpoint)
    else:
        raise CommandError(
            f"the images of {name} are in {driver} {endpoint}".rstrip()
            + ", and here they are in a volume or in OSS: copy them into another registry's"
        )


def _convert_bucket(
    result: ImportResult, parameters: Mapping[str, Any], endpoint: re.Match[str] | None
) -> None:
    """Adopt the bucket that the driver's `parameters` name.

    `endpoint` is a match of _OSS_ENDPOINT, or None if the parameters name no endpoint.
    """
    region = str(parameters.get("region") or "")
    region = re.sub(r"^oss-|-internal$|\.aliyuncs\.com$", "", region)
    if endpoint and not region:
        region = endpoint["region"]
    result.config[REGION] = region
    storage = result.section("storage")
    storage.update(
        kind="oss",
        bucket=str(parameters.get("bucket") or ""),
        adopt=True,
        prefix=str(parameters.get("rootdirectory") or "").strip("/"),
    )
    if endpoint is None:
        storage["internal"] = parameters.get("internal") is True
    elif endpoint["region"] == region:
        storage["internal"] = bool(endpoint["internal"])
    else:  # an endpoint that names no region, such as oss-accelerate
        storage["endpoint"] = endpoint["host"]


def _convert_volume(result: ImportResult, root: str) -> None:
    """Use the volume whose content is the folder `root`, which has the images.

    For any other folder, add commands with which the user makes it a volume or copies it to one.
    """
    result.section("storage")["kind"] = "filesystem"
    result.used_paths.add(root)
    mount = result.service.mount(root)
    stack = Stack(result.stack_name, StackSettings(), BACKENDS)
    if mount is None:
        service = result.service.name
        container = f'"$({result.compose_command} ps --all --quiet {service})"'
        target = f"{stack.prefix}-registry:{plan.DATA_PATH}"
        command = f"docker cp {container}:{root}/. - | docker cp - {target}"
        result.steps_after_up.append(command)
        return
    volume = FilesystemBackend(stack.registry).volume
    folder = str(Path(root).relative_to(mount.target))
    if mount.is_volume and folder == ".":
        volume = mount.source
        result.section("storage")["volume"] = volume
    else:
        source = mount.source
        if mount.is_volume:
            source = f"$(docker volume inspect --format '{{{{.Mountpoint}}}}' {mount.source})"
        options = f'--opt type=none --opt o=bind --opt device="{Path(source, folder)}"'
        result.steps_before_up.append(f"docker volume create {options} {volume}")
    if result.service.user.partition(":")[0] not in ("", "0", "root"):
        command = f"docker run --rm --volume {volume}:/v busybox chown -R 0:0 /v"
        result.steps_before_up.append(command)


def _redis_address(result: ImportResult) -> str:
    """Return the `host:port` of the old registry's redis, or an empty text."""
    if addresses := lookup(result.old_tree, "redis.addrs"):
        return str(addresses[0] or "")
    return str(lookup(result.old_tree, "redis.addr") or "")


def _redis_service(result: ImportResult) -> Service | None:
    """Return the service of the compose file that is the registry's redis, or None."""
    host = _redis_address(result).partition(":")[0]
    if not host:
        return None
    for service in result.compose.services.values():
        if host in (service.name, service.container_name, service.hostname):
            return service
    return None


def _convert_cache(result: ImportResult) -> None:
    cache = result.section("cache")
    host, _, port = _redis_address(result).partition(":")
    if not host:
        cache["enabled"] = False
        return
    redis = _redis_service(result)
    options = _redis_options(redis) if redis else {}
    if redis is None:
        cache["address"] = f"{host}:{port or 6379}"
    if db := lookup(result.old_tree, "redis.db"):
        cache["db"] = db
    if memory := _size(options.get("maxmemory"), _REDIS_UNITS):
        cache["max_memory"] = memory
    if password := lookup(result.old_tree, "redis.password"):
        result.secrets[plan.REDIS_PASSWORD.label] = str(password)


def _redis_options(redis: Service) -> Mapping[str, str]:
    """Return the options in the service's configuration file and its command line, by name.

    The command line takes precedence.
    """
    lines: list[str] = []
    for word in redis.command:
        if word.endswith(".conf"):
            lines += (redis.read_file(word) or "").splitlines()
    # The command line is split as one text, because it may be an argument of a shell.
    lines += " ".join(redis.command).split("--")[1:]
    pairs = (line.strip().partition(" ") for line in lines)
    return {name.lower(): value.strip().strip("\"'") for name, _, value in pairs}


def _size(text: object, units: Mapping[str, str]) -> str | None:
    """Return a size in the form of a stack file, or None if its unit is not one of `units`."""
    match = re.fullmatch(r"(\d+)([a-z]*)", str(text or "").strip().lower())
    return f"{match[1]}{units[match[2]]}" if match and match[2] in units else None


def _convert_users(result: ImportResult) -> None:
    htpasswd = lookup(result.old_tree, "auth.htpasswd")
    if not htpasswd:
        return
    users = {}
    for line in result.read_file(str(htpasswd.get("path") or "")).splitlines():
        name, _, password_hash = line.strip().partition(":")
        if re.fullmatch(BCRYPT, password_hash):
            users[name] = {"hash": password_hash}
        elif name and not name.startswith("#"):
            result.omit(f"the user {name}", "has no bcrypt hash, and can't log in")
    realm = str(htpasswd.get("realm") or "Registry")
    result.section("auth").update(realm=realm, users=users)


def _convert_tls(result: ImportResult) -> None:
    old, tls = lookup(result.old_tree, "http.tls") or {}, result.section("tls")
    if acme := old.get("letsencrypt"):
        settings = {"hosts": "hosts", "email": "email", "directoryurl": "directory_url"}
        tls["letsencrypt"] = {
            setting: acme[key] for key, setting in settings.items() if acme.get(key)
        }
    if path := old.get("certificate"):
        # The file may contain the private key as well, and a stack file is not secret.
        tls["certificate"] = _certificates_in(result.read_file(str(path)))
    if path := old.get("key"):
        key = result.read_file(str(path))
        if key:
            result.secrets[plan.TLS_KEY.label] = key


def _certificates_in(text: str) -> str:
    """Return the PEM certificates in `text`, and nothing else of it."""
    return "".join(f"{certificate}\n" for certificate in _CERTIFICATE.findall(text))


def _convert_runtime(result: ImportResult) -> None:
    registry, service = result.section("registry"), result.service
    deploy, networks = service.deploy, result.compose.networks
    constraints = [*deploy.placement.constraints]
    declarations = [networks.get(name) for name in service.networks]
    on_overlay = any(network and network.driver == "overlay" for network in declarations)
    if on_overlay or deploy.mode or deploy.replicas or constraints:
        registry["runtime"] = "swarm"
        registry["replicas"] = deploy.replicas or 1
        if constraints:
            registry["swarm"] = {"constraints": constraints}
    limits: dict[str, object] = {}
    if memory := _size(deploy.resources.limits.memory or service.mem_limit, _COMPOSE_UNITS):
        limits["memory"] = memory
    if cpus := deploy.resources.limits.cpus or service.cpus:
        limits["cpus"] = cpus
    if limits:
        registry["limits"] = limits


def _convert_exposure(result: ImportResult) -> None:
    """Convert the published port, and the address and protection of the registry."""
    registry, tls, old = result.section("registry"), result.section("tls"), result.old_tree
    address = _convert_port(result)
    is_local = address == "::1" or address.startswith("127.")
    requires_login = lookup(old, "auth.htpasswd") or lookup(old, "auth.token")
    host = str(lookup(old, "http.host") or "")
    names = certificates.names(tls.get("certificate") or "")
    if host.startswith("https://"):
        registry["external_url"] = host
    elif requires_login and tls and names and not is_local:
        registry["external_url"] = f"https://{names[0]}:{registry.get('port', 5000)}"
    if is_local:
        behind_proxy = requires_login and "external_url" in registry
        registry["exposure"] = "proxy" if behind_proxy else "loopback"
    else:
        registry["exposure"] = "tls" if requires_login and tls else "open"
    if address not in ("", "0.0.0.0", "::", "127.0.0.1") and registry.get("runtime") != "swarm":
        registry["bind"] = address


def _convert_port(result: ImportResult) -> str:
    """Set `registry.port`, and return the address on which the old registry is published.

    The address is empty if the registry is published on all addresses.
    """
    registry, service = result.section("registry"), result.service
    port_text = str(lookup(result.old_tree, "http.addr") or "").rpartition(":")[2]
    target = int(port_text) if port_text.isdigit() else plan.PORT
    matching = [port for port in service.ports if port.target == target]
    for port in service.ports:
        if port not in matching[:1]:
            name = f"port {port.published or port.target}"
            result.omit(name, "a registry has one, for its clients")
    on_host_network = service.network_mode == "host"
    if matching and matching[0].published:
        registry["port"] = matching[0].published
    elif on_host_network:
        registry["port"] = target
    else:
        result.omit("its port", "was not published: it is now, for this machine alone")
    if matching:
        return matching[0].address
    return "" if on_host_network else "127.0.0.1"


def _convert_environment(result: ImportResult) -> None:
    """Convert variables other than REGISTRY_*, and the certificates that the registry trusts."""
    registry, service = result.section("registry"), result.service
    environment: dict[str, object] = {}
    for name, text in sorted(service.variables.items()):
        if name.startswith("REGISTRY_") or name == _CA_FILE_VARIABLE:
            continue
        if _PROCESS_VARIABLE.fullmatch(name):
            place = ("environment", name)
            environment[name] = extract_secrets(text, name, place, result.secrets)
        else:
            result.omit(f"${name}", "a registry has no use for it")
    if environment:
        registry["environment"] = environment
    paths = [m.target for m in service.mounts if Path(m.target).is_relative_to(_CA_FOLDER)]
    if file := service.variables.get(_CA_FILE_VARIABLE):
        paths.insert(0, file)
    if trusted := "".join(_certificates_in(result.read_file(path)) for path in paths):
        registry["ca_certificates"] = trusted


def _list_unused_parts(result: ImportResult) -> None:
    """Add the rest of the compose file to `not_imported`."""
    service = result.service
    unused = {*service.mounts} - {service.mount(path) for path in result.used_paths}
    for mount in sorted(unused):
        result.omit(mount.target, "the registry is told nothing of it")
    for key in sorted(service.deploy.model_extra or {}):
        result.omit(f"deploy.{key}", "the program has its own")
    for key in sorted({*service.model_fields_set, *(service.model_extra or {})}):
        if key not in _IMPORTED_KEYS:
            result.omit(key, _NOT_IMPORTED.get(key, "has no place here"))
    redis = _redis_service(result)
    for name in sorted(result.compose.services.keys() - {service.name}):
        reason = "stays where it is"
        if redis and name == redis.name:
            reason = "the registry asks it no longer: stop it, if nobody else does"
        result.omit(f"the service {name}", reason)
