"""Report each key of the old services that the stack file does not contain."""

from config.tree import leaves
from operations.compose_import.project import Service
from operations.compose_import.result import ONE_PORT, ImportResult

_OWN_NETWORK = "the stack has its own network. Other containers use the published port"
_OWN_NAMES = "the names come from the stack"
_OWN_REDIS = "the stack configures its own redis"
_OWN_UPDATES = "the stack has its own settings for updates: registry.swarm (docs/settings.md)"
_NEW_ADDRESS = "a proxy that reads labels needs the new address: docs/proxy.md"
_NO_MORE_RIGHTS = "the registry needs no additional rights"
_RESTARTS = "the stack restarts the registry unless it is stopped by hand"
_UNKNOWN = "the stack does not set it. Compare the new container with the old one"
# The reason for each key that is not imported. The longest key that matches counts.
_REASONS = {
    **dict.fromkeys(("cap_add", "privileged"), _NO_MORE_RIGHTS),
    **dict.fromkeys(("container_name", "hostname"), _OWN_NAMES),
    **dict.fromkeys(("expose", "links", "network_mode"), _OWN_NETWORK),
    **dict.fromkeys(("labels", "deploy.labels"), _NEW_ADDRESS),
    **dict.fromkeys(("restart", "deploy.restart_policy"), _RESTARTS),
    **dict.fromkeys(
        ("deploy.endpoint_mode", "deploy.rollback_config", "deploy.update_config"), _OWN_UPDATES
    ),
    "build": "the stack runs an image. To run your own, push it and set registry.image",
    "command": "the image's own command runs with the imported configuration",
    "depends_on": "the stack starts its redis before the registry",
    "deploy.mode": "a stack cannot run one replica on each machine",
    "deploy.placement.preferences": "the stack has constraints only",
    "deploy.replicas": "the runtime container runs one replica",
    "deploy.resources.reservations": "the stack has limits only",
    "entrypoint": "the image's own entrypoint runs",
    "extra_hosts": "the stack uses DNS only",
    "healthcheck": "the stack has its own health check",
    "logging": "the stack keeps three log files of 10 MB",
    "ports": ONE_PORT,
    "profiles": "a stack file describes one registry",
    "stop_grace_period": "the stack computes it from http.draintimeout",
    "user": "the registry runs as the user of its image",
}
# Keys whose values are reported one by one.
_REPORTED_SEPARATELY = ("environment", "env_file", "networks", "secrets", "configs")
# Each mount is reported as a whole. `bind.create_host_path` is Compose's default.
_PARTS_OF_MOUNTS = {
    f"volumes.{key}"
    for key in (
        *("type", "source", "target", "read_only"),
        *("volume.subpath", "bind.create_host_path"),
    )
}


def report_omitted_keys(result: ImportResult, redis: Service | None) -> None:
    """Report the keys that are not imported, and the other services.

    `redis` is the service that is the registry's redis, if there is one.
    """
    _report_service(result, result.service, "")
    imported = {result.service.name}
    if redis:
        imported.add(redis.name)
        _report_service(result, redis, f"{redis.name}.")
        reason = "the stack has its own redis. Stop this one if nothing else uses it"
        result.omit(f"service {redis.name}", reason)
    for name in sorted(result.project.services.keys() - imported):
        result.omit(f"service {name}", "it is not part of the registry. It stays as it is")


def _report_service(result: ImportResult, service: Service, prefix: str) -> None:
    """Report the keys of a service that are not imported. `prefix` is in front of the keys."""
    for path in sorted(_paths(service) - _PARTS_OF_MOUNTS):
        if f"{prefix}{path}" not in result.imported_keys:
            key, reason = _reason(path)
            result.omit(f"{prefix}{key}", _OWN_REDIS if prefix else reason)
    for name, keys in sorted(service.networks.items()):
        is_default = name == "default" and not keys
        if not is_default and f"networks.{name}" not in result.imported_keys:
            result.omit(f"{prefix}networks.{name}", _OWN_NETWORK)
    for mount in sorted(service.mounts, key=lambda mount: mount.target):
        if f"{prefix}mount {mount.target}" not in result.imported_keys:
            reason = _OWN_REDIS if prefix else "the registry's configuration does not name it"
            result.omit(f"{prefix}{mount.target}", reason)
    if prefix:
        for name in sorted(service.environment):
            result.omit(f"{prefix}environment.{name}", _OWN_REDIS)


def _paths(service: Service) -> set[str]:
    """Return the path of each value of a service that is not empty, such as `ports.target`."""
    return {
        ".".join(key for key in place if isinstance(key, str))
        for place, value in leaves(service.keys)
        if not (value is None or value is False or value == "")
        and place[0] not in _REPORTED_SEPARATELY
    }


def _reason(path: str) -> tuple[str, str]:
    """Return the key to report for a path, and the reason."""
    key = path
    while key:
        if key in _REASONS:
            return key, _REASONS[key]
        key = key.rpartition(".")[0]
    return path, _UNKNOWN
