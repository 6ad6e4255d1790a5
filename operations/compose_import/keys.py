"""Account for each key of the old services: a key is carried over, or listed with the reason."""

from collections.abc import Iterator, Mapping
from typing import Any

from operations.compose_import.project import Service
from operations.compose_import.result import ImportResult

_OWN_NETWORK = "the stack has its own network. Other containers use the published port"
_OWN_NAMES = "the names come from the stack"
_FEWER_RIGHTS = "the stack does not set it, so compare the new container with the old one"
_OWN_UPDATES = "the stack has its own settings for updates: registry.swarm (docs/settings.md)"
# The reason for each key that is not carried over. The longest key that matches counts.
_REASONS = {
    "build": "push the image, and set registry.image",
    "cap_add": "the registry needs no additional rights",
    "cap_drop": _FEWER_RIGHTS,
    "command": "the image's own command runs with the imported configuration",
    "container_name": _OWN_NAMES,
    "cpus": "set registry.limits.cpus",
    "depends_on": "the stack starts its redis before the registry",
    "deploy.endpoint_mode": _OWN_UPDATES,
    "deploy.labels": "a proxy that reads labels needs the new address: docs/proxy.md",
    "deploy.mode": "the stack runs a number of replicas, and none for each machine",
    "deploy.placement.preferences": "the stack has constraints only",
    "deploy.replicas": "a container runs once",
    "deploy.resources.limits.pids": _FEWER_RIGHTS,
    "deploy.resources.reservations": "the stack has limits only",
    "deploy.restart_policy": "the stack restarts the registry unless it is stopped by hand",
    "deploy.rollback_config": _OWN_UPDATES,
    "deploy.update_config": _OWN_UPDATES,
    "entrypoint": "the image's own entrypoint runs",
    "expose": _OWN_NETWORK,
    "extra_hosts": "the stack uses DNS only",
    "healthcheck": "the stack has its own health check",
    "hostname": _OWN_NAMES,
    "image": "the stack runs its own image",
    "labels": "a proxy that reads labels needs the new address: docs/proxy.md",
    "links": _OWN_NETWORK,
    "logging": "the stack keeps three log files of 10 MB",
    "network_mode": _OWN_NETWORK,
    "pids_limit": _FEWER_RIGHTS,
    "ports": "the stack publishes one port, on which clients push and pull",
    "privileged": "the registry needs no additional rights",
    "profiles": "a stack file describes one registry",
    "read_only": _FEWER_RIGHTS,
    "restart": "the stack restarts the registry unless it is stopped by hand",
    "security_opt": _FEWER_RIGHTS,
    "stop_grace_period": "the stack computes it from http.draintimeout",
    "tmpfs": _FEWER_RIGHTS,
    "user": "the registry runs as the user of its image",
}
_OWN_REDIS = "the stack configures its own redis"
_UNKNOWN = "the stack does not set it"
# Keys whose values are reported one by one, or that Compose only fills in.
_REPORTED_ELSEWHERE = ("environment", "env_file", "networks", "volumes", "secrets", "configs")


def leaf_keys(keys: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401
    """Yield the path of each value of a service, such as `ports.target`. Empty values are none."""
    if isinstance(keys, Mapping):
        for key, value in keys.items():
            yield from leaf_keys(value, f"{path}.{key}" if path else key)
    elif isinstance(keys, list) and any(isinstance(item, Mapping) for item in keys):
        for item in keys:
            yield from leaf_keys(item, path)
    elif keys not in (None, "", [], False):
        yield path


def report_keys(result: ImportResult, redis: Service | None) -> None:
    """Report all keys that are not carried over, and the services that stay as they are."""
    _report_service(result, result.service, "")
    if redis:
        _report_service(result, redis, f"{redis.name}.")
        result.omit(
            f"service {redis.name}",
            "the stack has its own redis. Stop this one if nothing else uses it",
        )
    imported = {result.service.name, redis and redis.name}
    for name in sorted(result.project.services.keys() - imported):
        result.omit(f"service {name}", "it stays as it is")


def _report_service(result: ImportResult, service: Service, prefix: str) -> None:
    for path in sorted({*leaf_keys(service.keys)}):
        if path.partition(".")[0] in _REPORTED_ELSEWHERE or f"{prefix}{path}" in result.carried:
            continue
        key, reason = _reason(path)
        result.omit(f"{prefix}{key}", reason)
    for name in sorted(service.networks):
        if name != "default" and f"networks.{name}" not in result.carried:
            result.omit(f"{prefix}networks.{name}", _OWN_NETWORK)
    for mount in sorted(service.mounts, key=lambda mount: mount.target):
        if f"{prefix}mount {mount.target}" not in result.carried:
            reason = _OWN_REDIS if prefix else "the registry's configuration does not name it"
            result.omit(f"{prefix}{mount.target}", reason)
    if prefix:
        for name in sorted(service.environment):
            result.omit(f"{prefix}environment.{name}", _OWN_REDIS)


def _reason(path: str) -> tuple[str, str]:
    """Return the key to report for a path, and the reason."""
    key = path
    while key:
        if key in _REASONS:
            return key, _REASONS[key]
        key = key.rpartition(".")[0]
    return path, _UNKNOWN
