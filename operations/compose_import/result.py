"""The result of an import, what it leaves out, and what the user must decide."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from components.storage import BACKENDS
from config.load import validate
from config.overlay import MANAGED_KEYS
from config.problems import Problem, overlaps
from config.settings import PROJECT
from config.stack import Stack
from config.tree import Placeholder, Section, lookup, merge, walk
from operations import stack_file
from operations.compose_import.project import Project, Service, Unreadable

ONE_PORT = "the stack publishes one port, on which clients push and pull"
_OWN_KEY = "the stack creates a RAM user with its own key. Delete the old key when this one works"
_OWN_REDIS = "the stack has its own redis, which starts empty"
# The reasons for differences at single paths. config.overlay has those at other managed keys.
_REASONS = {
    "storage.oss.accesskeyid": _OWN_KEY,
    "storage.oss.accesskeysecret": _OWN_KEY,
    "storage.s3.accesskey": _OWN_KEY,
    "storage.s3.secretkey": _OWN_KEY,
    "http.secret": "the stack generates it once, not at each start",
}
_OWN_REDIS_REASONS = {
    "redis.addr": _OWN_REDIS,
    "redis.addrs": _OWN_REDIS,
    "redis.password": "the stack's own redis has a generated password",
}


class Question(NamedTuple):
    """Something that import cannot decide. One of `settings` in the stack file answers it."""

    part: str
    problem: str
    fix: str
    settings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The user's decisions: settings of the stack file by full key, and a path in the container.

    `config_path` is the path of the configuration file that the registry reads, or empty.
    """

    settings: Section = field(default_factory=dict)
    config_path: str = ""


@dataclass(kw_only=True)
class ImportResult:
    """A service of a Compose file, converted to a stack.

    `config` is the section `config` of the stack file, and `secrets` has its secrets by name. The
    user runs the commands in `copy_steps` before the old registry stops, and those in
    `steps_before_up` after that.

    `old_tree` is the configuration that the registry had. `imported_keys` has keys of the registry
    (`ports.target`), its mounts (`mount /data`), and those of redis (`redis.mount /data`).
    `omitted` has the parts that the stack file does not contain, each with the reason. `refused`
    has the problems of the parts of `old_tree` that were dropped because the validation refuses
    them.
    """

    stack_name: str
    service: Service
    project: Project
    answers: Answers
    old_tree: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    imported_keys: set[str] = field(default_factory=set)
    omitted: list[tuple[str, str]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    copy_steps: list[str] = field(default_factory=list)
    steps_before_up: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of the stack file for changes. It is created if it does not exist."""
        section: dict[str, Any] = self.config.setdefault(f"{PROJECT}:{name}", {})
        return section

    @property
    def on_swarm(self) -> bool:
        return bool(self.section("registry").get("runtime") == "swarm")

    def read_file(self, path: str, purpose: str, setting: str = "") -> str:
        """Return the text of the file at `path` in the container.

        If it cannot be read, returns an empty text and asks for the file, which has this purpose.
        The setting, if there is one, can replace the file.
        """
        self.mark_mount(path)
        try:
            return self.service.read_file(path)
        except Unreadable as error:
            settings = [setting] if setting else []
            self.ask(purpose, f"the file {path} {error}", self.copy_command(path), settings)
            return ""

    def mark_mount(self, path: str) -> None:
        """Note that the stack file contains what is mounted at `path`."""
        if mount := self.service.mount(path):
            self.imported_keys.add(f"mount {mount.target}")

    def omit(self, part: str, reason: str) -> None:
        """Report a part of the Compose file that the stack file does not contain."""
        if (part, reason) not in self.omitted:
            self.omitted.append((part, reason))

    def ask(self, part: str, problem: str, fix: str, settings: Sequence[str] = ()) -> None:
        """Ask the user for a decision, unless one of `settings` has been given."""
        question = Question(part, problem, fix, settings)
        is_answered = any(map(self.has_answer, settings))
        if not is_answered and question not in self.questions:
            self.questions.append(question)

    def has_answer(self, setting: str) -> bool:
        """Return whether the user has set this setting, also to null."""
        found = next(walk(f"{PROJECT}:{setting}", self.answers.settings), None)
        return found is not None

    def answer(self, setting: str) -> Any:  # noqa: ANN401
        """Return the user's value of a setting such as `registry.port`, or None."""
        return lookup(self.answers.settings, f"{PROJECT}:{setting}")

    def apply_answers(self) -> None:
        """Add the user's settings to the stack file. They take precedence."""
        self.config = dict(merge(self.config, self.answers.settings))

    @property
    def container(self) -> str:
        """A word of a shell command that expands to the ID of the old container."""
        name = self.service.name
        if self.on_swarm:
            labels = [f"com.docker.swarm.service.name={self._swarm_service}"]
        else:
            project = f"com.docker.compose.project={self.project.name}"
            labels = [project, f"com.docker.compose.service={name}"]
        filters = " ".join(f"--filter {shlex.quote(f'label={label}')}" for label in labels)
        # On Swarm, --all would also list the containers of earlier tasks.
        show = "" if self.on_swarm else "--all "
        return f'"$(docker ps {show}--quiet {filters})"'

    @property
    def _swarm_service(self) -> str:
        return f"{self.project.stack or 'STACK'}_{self.service.name}"

    def copy_command(self, path: str) -> str:
        """Return how to copy a file out of the container and name the copy."""
        path = self.service.absolute(path)
        copy = path.rpartition("/")[2]
        mount = self.service.mount(path)
        if mount and mount.kind == "external":  # `docker cp` does not see files of Swarm
            command = f"docker exec {self.container} cat {shlex.quote(path)} > {shlex.quote(copy)}"
        else:
            source = f"{self.container}:{shlex.quote(path)}"
            command = f"docker cp {source} {shlex.quote(copy)}"
        return f"copy it with `{command}` and add FILES={shlex.quote(f'{path}={copy}')}"

    @property
    def stop_command(self) -> str:
        """The command that stops the old registry, and does not delete its data."""
        if not self.on_swarm:
            return f"docker stop {self.container}"
        name = shlex.quote(self._swarm_service)
        if self.service.deploy.get("mode") == "global":
            return f"docker service rm {name}  # a global service cannot be scaled to 0"
        hint = "" if self.project.stack else "  # for STACK, see `docker stack ls`"
        return f"docker service scale {name}=0{hint}"

    def validated(self) -> tuple[Stack, Sequence[Problem]]:
        """Return the stack that `config` and `secrets` describe, and their problems."""
        config = {key: value for key, value in self.config.items() if value != {}}
        texts, _ = stack_file.as_configuration(config)
        secrets = {f"{PROJECT}:{name}": value for name, value in self.secrets.items()}
        return validate(self.stack_name, {**texts, **secrets}, secrets.keys(), {}, BACKENDS)

    def new_tree(self) -> Any:  # noqa: ANN401
        """Return the configuration of the stack's registry, with the secrets that are known."""
        stack, _ = self.validated()
        return _resolved(stack.registry.tree, self.secrets)

    def changes(self) -> Iterator[tuple[str, str]]:
        """Yield each path where the new configuration differs from `old_tree`, and the reason."""
        stack, _ = self.validated()
        reasons = [
            *((problem.path, f"{problem.rule}; {problem.fix}") for problem in self.refused),
            *_REASONS.items(),
            *(_OWN_REDIS_REASONS.items() if stack.runs_redis else ()),
            *((path, f"{setting} sets it") for path, setting in MANAGED_KEYS.items()),
        ]
        for path in differences(self.old_tree, self.new_tree()):
            found = (reason for other, reason in reasons if overlaps(path, [other]))
            yield path, next(found, "this program sets it")


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
