"""Convert the storage of the old registry: adopt its bucket, or keep its volume."""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.storage import BACKENDS
from components.storage.filesystem import FilesystemBackend
from config import plan
from config.releases import Release
from config.render import BESIDE_DRIVER
from config.settings import StackSettings
from config.stack import REGION, Stack
from config.tree import lookup
from operations.compose_import.project import Mount
from operations.compose_import.result import ImportResult
from operations.errors import CommandError

_OSS_ENDPOINT = re.compile(
    r"(?:https?://)?(?:[a-z0-9-]+\.)??(?:s3\.)?"
    r"(?P<host>oss-(?P<region>[a-z0-9-]+?)(?P<internal>-internal)?\.aliyuncs\.com)(?::\d+)?/?"
)
# Parameters that the drivers oss and s3 have in common, beside those that settings manage.
_COMMON_PARAMETERS = ("chunksize", "encrypt")
# Parameters that settings of the stack determine.
_MANAGED_PARAMETERS = frozenset(
    {"region", "regionendpoint", "endpoint", "internal", "bucket", "rootdirectory"}
    | {"accesskey", "secretkey", "accesskeyid", "accesskeysecret"}
)
# Text that Go's strconv.ParseBool accepts, which the driver s3 uses.
_SWITCHES = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_INSECURE = (
    "requests to OSS were not encrypted or not verified. The stack uses HTTPS and verifies it"
)


def convert_storage(result: ImportResult, release: Release) -> None:
    """Convert the storage driver. Raises CommandError if the stack cannot use its storage."""
    name = result.service.name
    drivers = (lookup(result.old_tree, "storage") or {}).keys() - BESIDE_DRIVER["storage"]
    if len(drivers) != 1:
        raise CommandError(
            f"The service {name} has {len(drivers)} storage drivers. A registry needs exactly one."
        )
    (driver,) = drivers
    parameters = lookup(result.old_tree, f"storage.{driver}") or {}
    endpoint = str(parameters.get("endpoint") or parameters.get("regionendpoint") or "").lower()
    if driver == "filesystem":
        _convert_volume(result, str(parameters.get("rootdirectory") or plan.DATA_PATH))
    elif driver == "oss" or (driver == "s3" and _OSS_ENDPOINT.fullmatch(endpoint)):
        _convert_bucket(result, parameters, endpoint)
        _convert_parameters(result, release, driver)
    else:
        raise CommandError(
            f"The images of the service {name} are in {driver} {endpoint}".rstrip()
            + ". A stack keeps them in a volume or in OSS. Copy them to a new stack's registry."
        )


def _convert_bucket(result: ImportResult, parameters: Mapping[str, Any], endpoint: str) -> None:
    """Adopt the bucket that the driver's `parameters` name."""
    match = _OSS_ENDPOINT.fullmatch(endpoint)
    region = str(parameters.get("region") or "")
    region = re.sub(r"^oss-|-internal$|\.aliyuncs\.com$", "", region)
    if match and not match["region"].startswith("accelerate"):
        region = match["region"]  # clients of the S3 API may name any region
    result.config[REGION] = region
    storage = result.section("storage")
    storage.update(
        kind="oss",
        bucket=str(parameters.get("bucket") or ""),
        adopt=True,
        prefix=str(parameters.get("rootdirectory") or "").strip("/"),
    )
    if endpoint and match is None:
        problem = "it is not an endpoint of OSS"
        fix = (
            "add SET=storage.endpoint=HOST, SET=storage.internal=true or SET=storage.internal=false"
        )
        result.ask("storage.oss.endpoint", problem, fix, ["storage.endpoint", "storage.internal"])
    if match is None:
        storage["internal"] = parameters.get("internal") is True
    elif match["region"] == region:
        storage["internal"] = bool(match["internal"])
    else:  # an endpoint without a region, such as oss-accelerate
        storage["endpoint"] = match["host"]
    if endpoint.startswith("http://"):
        result.omit("storage endpoint", _INSECURE)


def _convert_parameters(result: ImportResult, release: Release, driver: str) -> None:
    """Replace the driver by the one that the release uses for OSS, and drop insecure parameters."""
    storage = result.old_tree["storage"]
    parameters: dict[str, Any] = storage.pop(driver) or {}
    parameters.pop("sessiontoken", None)  # a part of the old key
    for key, is_safe in (("secure", True), ("skipverify", False)):
        if _SWITCHES.get(str(parameters.get(key)).lower()) is (not is_safe):
            del parameters[key]
            result.omit(f"storage.{driver}.{key}", _INSECURE)
    new_driver = release.oss_driver
    if driver != new_driver:
        reason = f"a stack uses the driver {new_driver} of release {release.version}"
        for key in sorted(parameters.keys() - _MANAGED_PARAMETERS - {*_COMMON_PARAMETERS}):
            result.omit(f"storage.{driver}.{key}", reason)
        parameters = {key: parameters[key] for key in _COMMON_PARAMETERS if key in parameters}
    kinds: Any = release.schema.keys["storage"]
    storage[new_driver] = {
        key: _parse(value, kinds[new_driver].get(key, "string"))
        for key, value in parameters.items()
    }


def _parse(value: object, kind: str) -> object:
    """Return a driver's parameter, which may be given as text, as a value of this kind."""
    if kind.startswith("int") and re.fullmatch(r"\d+", str(value)):
        return int(str(value))
    if kind == "bool" and str(value).lower() in _SWITCHES:
        return _SWITCHES[str(value).lower()]
    return value


def _convert_volume(result: ImportResult, root: str) -> None:
    """Use the volume whose content is the folder `root`, which has the images.

    For any other folder, add commands with which the user makes it a volume, or copies it to one.
    """
    result.section("storage")["kind"] = "filesystem"
    root = result.service.absolute(root)
    result.mark_mount(root)
    mount = result.service.mount(root)
    if mount and mount.read_only:
        setting = "registry.config.storage.maintenance.readonly.enabled"
        problem = "its volume is mounted read-only, so the registry accepted no pushes"
        result.ask(root, problem, f"add SET={setting}=true or false", [setting])
    stack = Stack(result.stack_name, StackSettings(), BACKENDS)
    volume = FilesystemBackend(stack.registry).volume
    match mount:
        case Mount("volume", source) if source and _folder(mount, root) == ".":
            volume = source
            result.section("storage")["volume"] = volume
            _report_volume_options(result, source)
            if result.on_swarm and not result.project.stack and not _has_fixed_name(result, mount):
                result.ask(
                    f"volumes.{source}",
                    "the name of the volume begins with that of the stack on Swarm",
                    "add SWARM_STACK=NAME (`docker stack ls` lists the names)",
                    ["storage.volume"],
                )
        case Mount("volume", source) if source:
            path = f"$(docker volume inspect --format '{{{{.Mountpoint}}}}' {shlex.quote(source)})"
            device = f'"{path}"/{shlex.quote(_folder(mount, root))}'
            result.steps_before_up.append(_bind_command(device, volume))
        case Mount("file", source):
            folder = os.path.normpath(Path(source, _folder(mount, root)))
            result.steps_before_up.append(_bind_command(shlex.quote(folder), volume))
        case _:
            _copy_to_volume(result, root, volume)
    if mount and str(result.service.keys.get("user") or "0").partition(":")[0] not in ("0", "root"):
        result.steps_before_up.append(
            f"docker run --rm --volume {shlex.quote(volume)}:/v busybox chown -R 0:0 /v"
        )


def _folder(mount: Mount, path: str) -> str:
    """Return the path in the mount's source at which `path` in the container is."""
    return str(Path(mount.folder, Path(path).relative_to(mount.target)))


def _report_volume_options(result: ImportResult, volume: str) -> None:
    for name, keys in result.project.volumes.items():
        for key in ("driver", "driver_opts"):
            if keys["name"] == volume and keys.get(key):
                result.omit(f"volumes.{name}.{key}", "the existing volume keeps its driver")


def _has_fixed_name(result: ImportResult, mount: Mount) -> bool:
    """Return whether the file names the volume, so that it is the same in each stack."""
    prefix = f"{result.project.name}_"
    declared = [keys for keys in result.project.volumes.values() if keys["name"] == mount.source]
    return not mount.source.startswith(prefix) or bool(declared and declared[0].get("external"))


def _bind_command(device: str, volume: str) -> str:
    """Return the command that creates a volume for the folder `device`, a word of a shell."""
    options = f"--opt type=none --opt o=bind --opt device={device}"
    return f"docker volume create {options} {shlex.quote(volume)}"


def _copy_to_volume(result: ImportResult, root: str, volume: str) -> None:
    """Add commands that copy images out of the container, before it stops."""
    result.omit(
        root,
        "the folder is no named volume. Docker may delete the images with the container, so "
        "copy them before it stops. Later pushes are lost",
    )
    helper = f"{volume}-copy"
    image = shlex.quote(result.service.image)
    path = shlex.quote(root)
    copy = f"docker cp {result.container}:{path}/. -"
    for mount in result.service.mounts:
        if Path(mount.target).is_relative_to(root):
            result.mark_mount(mount.target)
    if root in map(str, result.service.keys.get("tmpfs") or []):  # invisible to `docker cp`
        copy = f"docker exec {result.container} tar -C {path} -c ."
    result.copy_steps += [
        f"docker create --name {helper} --volume {volume}:/copy {image}",
        f"{copy} | docker cp - {helper}:/copy",
        f"docker rm --volumes {helper}",
    ]
