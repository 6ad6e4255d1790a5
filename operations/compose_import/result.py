"""The result of an import, and its differences from the old registry."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.storage import BACKENDS
from config.load import validate
from config.overlay import MANAGED_KEYS
from config.problems import Problem
from config.settings import PROJECT
from config.stack import Stack
from config.tree import Placeholder
from operations import stack_file
from operations.compose_import.compose import Compose, Service

_OWN_KEY = "the stack's RAM user has a key of its own: when it works, delete the old one"
# The reason for a difference at a managed key, if the name of the setting does not explain it.
_CHANGE_REASONS = {
    "storage.oss.accesskeyid": _OWN_KEY,
    "storage.oss.accesskeysecret": _OWN_KEY,
    "storage.s3.accesskey": _OWN_KEY,
    "storage.s3.secretkey": _OWN_KEY,
    "http.secret": "is drawn once, no longer at each start",
    "redis.addr": "the stack's own redis, which starts empty",
    "redis.addrs": "the stack's own redis, which starts empty",
    "redis.password": "the stack's own redis has one that is drawn",
}


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """A service of a compose file, converted to a stack. It grows during the conversion.

    `config` is the section `config` of the stack file, and `secrets` has its secrets by name. The
    user runs the commands in `steps_before_up` before `make up`, and `steps_after_up` after it.

    `old_tree` is the configuration that the registry had, and `used_paths` has the paths in its
    container that the conversion considered. `not_imported` lists the parts that the stack does not
    have, each with the reason. `refused` has the problems of the parts of `old_tree` that were
    dropped because the validation refuses them.
    """

    stack_name: str
    service: Service
    compose: Compose
    old_tree: dict[str, Any]
    used_paths: set[str]
    not_imported: list[tuple[str, str]]
    config: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    refused: list[Problem] = field(default_factory=list)
    steps_before_up: list[str] = field(default_factory=list)
    steps_after_up: list[str] = field(default_factory=list)

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of the stack file for changes. It is created if it does not exist."""
        section: dict[str, Any] = self.config.setdefault(f"{PROJECT}:{name}", {})
        return section

    def read_file(self, path: str) -> str:
        """Return the text of the file at `path` in the container.

        Returns an empty text and adds the path to `not_imported` if the file cannot be read here.
        """
        self.used_paths.add(path)
        text = self.service.read_file(path)
        if not text:
            self.omit(path, "is no file of this machine that is mounted")
        return text or ""

    def omit(self, part: str, reason: str) -> None:
        """Add a part of the compose file to `not_imported`."""
        self.not_imported.append((part, reason))

    @property
    def stop_command(self) -> str:
        """The command that stops the old registry, and does not delete its data."""
        if self.service.deploy.mode or self.service.deploy.replicas is not None:
            return f"docker service scale NAME_{self.service.name}=0  # NAME: see docker stack ls"
        return f"{self.compose_command} stop {self.service.name}"

    @property
    def compose_command(self) -> str:
        return f"docker compose --file {shlex.quote(self.compose.file)}"

    def validated(self) -> tuple[Stack, Sequence[Problem]]:
        """Return the stack that `config` and `secrets` describe, and their problems."""
        config = {key: value for key, value in self.config.items() if value != {}}
        texts, _ = stack_file.as_configuration(config)
        secrets = {f"{PROJECT}:{name}": value for name, value in self.secrets.items()}
        return validate(self.stack_name, {**texts, **secrets}, secrets.keys(), {}, BACKENDS)

    def changes(self) -> Iterator[tuple[str, str]]:
        """Yield each path where the new configuration differs from `old_tree`, and the reason."""
        stack, _ = self.validated()
        for path in differences(self.old_tree, _resolved(stack.registry.tree, self.secrets)):
            yield path, self._reason(path)

    def _reason(self, path: str) -> str:
        """Return why the configuration differs at `path`."""
        parts = path.split(".")
        sections = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        refused = {problem.path: f"{problem.rule}; {problem.fix}" for problem in self.refused}
        for section in sections:
            if section in refused:
                return refused[section]
        if path in _CHANGE_REASONS:
            return _CHANGE_REASONS[path]
        for section in sections:
            if section in MANAGED_KEYS:
                return f"is set by {MANAGED_KEYS[section]}"
        return "is set by this program"


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401
    """Yield the paths at which two configurations differ. An empty value equals a missing one."""
    if isinstance(old, Mapping) and not new:
        new = {}
    if isinstance(new, Mapping) and not old:
        old = {}
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            place = f"{path}.{key}" if path else str(key)
            yield from differences(old.get(key), new.get(key), place)
    elif old != new and (old or new):
        yield path


def _resolved(tree: Any, secrets: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Return `tree` with the secrets that are known in place of their placeholders."""
    if isinstance(tree, Mapping):
        return {key: _resolved(value, secrets) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_resolved(item, secrets) for item in tree]
    return secrets.get(tree.label, tree) if isinstance(tree, Placeholder) else tree
