"""Read a Compose file with the loader of Docker Compose.

The loader resolves variables, `.env`, `env_file`, overrides, `include`, `extends`, short forms and
names. Its output is the Compose specification's JSON: https://compose-spec.io.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from operations.errors import CommandError

# Compose looks for these files in this order (compose-go, cli.DefaultFileNames).
_DEFAULT_FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_UNSET_VARIABLE = re.compile(r'The \\?"(\w+)\\?" variable is not set')
# Compose quotes the text in which it finds no valid variable, and that may be a password.
_QUOTED_TEXT = re.compile(r"(invalid interpolation format for \S+?)[.:]?\s.*", re.DOTALL)
_SERVICE_FOLDERS = {"secrets": "/run/secrets", "configs": "/"}


class Unreadable(Exception):
    """A file in a container cannot be read here. The text begins with `is`: where the file is."""


@dataclass(frozen=True)
class Mount:
    """A mount at the path `target` in a container.

    Depending on `kind`, `source` is the name of a volume, a path on this machine, the name of a
    secret or config that Swarm stores, the text of a file, the name of a variable with the text, or
    the name of an image. `folder` is a folder in the volume.
    """

    kind: Literal["volume", "file", "external", "text", "variable", "tmpfs", "image"]
    source: str
    target: str
    folder: str = ""
    read_only: bool = False


@dataclass(frozen=True)
class Service:
    """A service with its `keys` as Compose resolves them.

    `mounts` has its volumes, secrets and configs, from the longest target path to the shortest.
    `provided` are files that the user copied from the container, by their path in it.
    """

    name: str
    keys: Mapping[str, Any]
    mounts: Sequence[Mount]
    provided: Mapping[str, Path]

    @property
    def image(self) -> str:
        return str(self.keys.get("image") or "")

    @property
    def environment(self) -> Mapping[str, str]:
        given = self.keys.get("environment") or {}
        return {name: str(text) for name, text in given.items() if text is not None}

    @property
    def networks(self) -> Mapping[str, Mapping[str, Any]]:
        return {name: keys or {} for name, keys in (self.keys.get("networks") or {}).items()}

    @property
    def deploy(self) -> Mapping[str, Any]:
        deploy: Mapping[str, Any] = self.keys.get("deploy") or {}
        return deploy

    def absolute(self, path: str) -> str:
        """Return the absolute form of a path that a process of the service uses."""
        return os.path.normpath(Path("/", self.keys.get("working_dir") or "", path))

    def mount(self, path: str) -> Mount | None:
        """Return the mount that provides `path` in the container, or None."""
        path = self.absolute(path)
        return next((m for m in self.mounts if Path(path).is_relative_to(m.target)), None)

    def read_file(self, path: str) -> str:
        """Return the text of the file at `path` in the container. Raises Unreadable."""
        path = self.absolute(path)
        if path in self.provided:
            return _read(self.provided[path])
        mount = self.mount(path)
        if mount is None:
            raise Unreadable(f"is in the image {self.image or self.name}, not in a mount")
        match mount.kind:
            case "text":
                return mount.source
            case "file":
                return _read(Path(mount.source, Path(path).relative_to(mount.target)))
            case "external":
                raise Unreadable(f"is {mount.source}, which the swarm stores")
            case kind:
                raise Unreadable(f"is in the {kind} {mount.source or mount.target}")


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError as error:
        raise Unreadable(f"is {file} on this machine: {error.strerror}") from None


@dataclass(frozen=True)
class Project:
    """The Compose file `file` as Compose resolves it, with all profiles enabled.

    `unset` lists the variables that the file uses without a default and that are set nowhere.
    `stack` is the name that `docker stack deploy` was given, or empty for `docker compose`.
    """

    file: Path
    name: str
    services: Mapping[str, Service]
    volumes: Mapping[str, Mapping[str, Any]]
    networks: Mapping[str, Mapping[str, Any]]
    unset: Sequence[str]
    stack: str

    @property
    def has_env_file(self) -> bool:
        """Whether an `.env` file is beside the Compose file."""
        folder = self.file if self.file.is_dir() else self.file.parent
        return (folder / ".env").exists()


def load_project(
    loader: Sequence[str], path: Path, stack: str = "", provided: Mapping[str, Path] | None = None
) -> Project:
    """Resolve the Compose file `path`, or the one in the folder `path`, with all profiles.

    `loader` is the command that prints it after `config --format json`. `provided` are files that
    the user copied from the registry's container, by their path in it. Raises CommandError with
    Compose's message if Compose refuses the file.
    """
    text, warnings = _run_loader(loader, path, stack, "--profile=*")
    content = json.loads(text)
    services = {
        name: Service(
            name, keys, sorted(_mounts(keys, content), key=lambda m: -len(m.target)), provided or {}
        )
        for name, keys in (content.get("services") or {}).items()
    }
    return Project(
        file=path,
        name=content["name"],
        services=services,
        volumes=content.get("volumes") or {},
        networks=content.get("networks") or {},
        unset=sorted({*_UNSET_VARIABLE.findall(warnings)}),
        stack=stack,
    )


def enabled_services(loader: Sequence[str], path: Path, stack: str) -> Sequence[str]:
    """Return the services whose profiles are enabled. Raises CommandError."""
    text, _ = _run_loader(loader, path, stack)
    return list(json.loads(text).get("services") or {})


def _run_loader(loader: Sequence[str], path: Path, stack: str, *options: str) -> tuple[str, str]:
    """Return the loader's output, and its warnings."""
    if not path.exists():
        raise CommandError(f"{path} does not exist.")
    folder = path if path.is_dir() else path.parent
    default = next((name for name in _DEFAULT_FILES if (folder / name).exists()), "")
    name = default if path.is_dir() else path.name
    # An explicit file name would keep Compose from merging the override file beside it.
    # `docker stack deploy` reads one file, and no .env.
    selection = [] if name == default and not stack else [f"--file={name}"]
    if stack:
        selection += [f"--env-file={os.devnull}", f"--project-name={stack}"]
    command = [*loader, *selection, *options, "config", "--format", "json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if " level=warning " not in line]
        reason = _QUOTED_TEXT.sub(r"\1: write a literal $ as $$", "\n".join(lines))
        raise CommandError(f"Docker Compose can't load {path}: {reason.strip()}")
    # The output is a Compose file again, so each $ is doubled.
    return done.stdout.replace("$$", "$"), done.stderr


def _mounts(keys: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[Mount]:
    """Yield the mounts of the service with these keys."""
    for volume in keys.get("volumes") or []:
        target, source = os.path.normpath(volume["target"]), volume.get("source") or ""
        read_only = bool(volume.get("read_only"))
        match volume["type"]:
            case "volume":
                name = content["volumes"][source]["name"] if source else ""
                folder = (volume.get("volume") or {}).get("subpath") or ""
                yield Mount("volume", name, target, folder, read_only)
            case "bind":
                yield Mount("file", source, target, read_only=read_only)
            case kind:
                yield Mount("image" if kind == "image" else "tmpfs", source, target)
    for section, folder in _SERVICE_FOLDERS.items():
        for reference in keys.get(section) or []:
            target = reference.get("target") or reference["source"]
            path = os.path.normpath(Path(folder, target))
            yield _file_mount(path, content[section][reference["source"]])


def _file_mount(target: str, declaration: Mapping[str, Any]) -> Mount:
    """Return the mount of a secret or config with this declaration."""
    if file := declaration.get("file"):
        return Mount("file", file, target)
    variable = declaration.get("environment")
    # Docker Compose does not print the values of secrets.
    content = declaration.get("content", os.environ.get(variable or ""))
    if content is not None:
        return Mount("text", content, target)
    if variable:
        return Mount("variable", variable, target)
    return Mount("external", declaration["name"], target)
