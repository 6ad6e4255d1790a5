"""A compose file as `docker compose` reads it, as far as a registry and its redis go.

Source: the Compose specification, and its older form whose services stand at the top.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import dotenv
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from operations.errors import CommandError

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


class Mount(NamedTuple):
    """What stands at `target` in the container: a volume, a path of this machine, or a text."""

    source: str
    target: str
    volume: bool
    content: str = ""


class Port(NamedTuple):
    """A port of the container, and where it is published: on each address where none is said."""

    target: int
    published: int | None
    address: str


class _Keys(BaseModel):
    """Keys of a compose file; others are kept as they are, and one without a value is not there."""

    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _there(cls, given: Any) -> Any:  # noqa: ANN401
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value is not None}


class _Limits(_Keys):
    memory: str = ""
    cpus: float | None = None


class _Resources(_Keys):
    limits: _Limits = _Limits()


class _Placement(_Keys):
    constraints: Sequence[str] = ()


class Deploy(_Keys):
    mode: str = ""
    replicas: int | None = None
    placement: _Placement = _Placement()
    resources: _Resources = _Resources()


class _Named(_Keys):
    """A volume, secret, config or network as the top of the file declares it."""

    name: str = ""
    external: bool | Mapping[str, Any] = False
    file: str = ""
    content: str = ""
    environment: str = ""
    driver: str = ""


class _Placed(_Keys):
    """A volume, secret or config as a service has it."""

    source: str = ""
    target: str = ""


def _listed(given: object) -> object:
    return given if isinstance(given, list) else [given]


def _words(given: object) -> object:
    return shlex.split(given) if isinstance(given, str) else given


def _pairs(given: object) -> object:
    if not isinstance(given, list):
        return given
    pairs = (str(entry).partition("=") for entry in given)
    return {name: value if equals else None for name, equals, value in pairs}


def _path(given: object) -> object:
    return given.get("path") if isinstance(given, dict) else given


def _placed(given: object) -> object:
    """The short form: SOURCE, SOURCE:TARGET or SOURCE:TARGET:MODE."""
    if not isinstance(given, str):
        return given
    source, target, *_ = (*given.split(":"), "")
    return {"source": source, "target": target}


def _port(given: object) -> object:
    """The short form, [ADDRESS:][PUBLISHED:]TARGET[/PROTOCOL]; of a range, its first port."""
    if isinstance(given, dict):
        return (given.get("target"), given.get("published"), given.get("host_ip") or "")
    rest, _, target = str(given).partition("/")[0].rpartition(":")
    address, _, published = rest.rpartition(":") if not rest.endswith("]") else (rest, "", "")
    first = [text.partition("-")[0] for text in (target, published)]
    return (first[0], first[1] or None, address.strip("[]"))


class Service(_Keys):
    """One service. `variables` and `mounts` are what it has in all, also from other places."""

    name: str
    image: str = ""
    command: Annotated[Sequence[str], BeforeValidator(_words)] = ()
    environment: Annotated[Mapping[str, str | None], BeforeValidator(_pairs)] = {}
    env_file: Annotated[
        Sequence[Annotated[str, BeforeValidator(_path)]], BeforeValidator(_listed)
    ] = ()
    ports: Sequence[Annotated[Port, BeforeValidator(_port)]] = ()
    volumes: Sequence[Annotated[_Placed, BeforeValidator(_placed)]] = ()
    secrets: Sequence[Annotated[_Placed, BeforeValidator(_placed)]] = ()
    configs: Sequence[Annotated[_Placed, BeforeValidator(_placed)]] = ()
    networks: Annotated[Sequence[str], BeforeValidator(lambda given: [*given])] = ()
    container_name: str = ""
    hostname: str = ""
    user: str = ""
    network_mode: str = ""
    mem_limit: str = ""
    cpus: float | None = None
    deploy: Deploy = Deploy()
    variables: Mapping[str, str] = {}
    mounts: Sequence[Mount] = ()

    def mount(self, path: str) -> Mount | None:
        """The one that `path` in the container is in, or is."""
        return next((m for m in self.mounts if Path(path).is_relative_to(m.target)), None)

    def text(self, path: str) -> str | None:
        """What is in the file that stands at `path` in the container, if it can be seen here."""
        mount = self.mount(path)
        if mount is None or mount.volume or mount.content:
            return mount and (mount.content or None)
        found = Path(mount.source, Path(path).relative_to(mount.target))
        try:
            return found.read_text(errors="replace")
        except OSError:
            return None


class Compose(_Keys):
    """A compose file, `file`; `unset` are the variables that it names and nobody has set."""

    file: str
    name: str = ""
    services: Mapping[str, Service] = {}
    volumes: Mapping[str, _Named | None] = {}
    networks: Mapping[str, _Named | None] = {}
    secrets: Mapping[str, _Named | None] = {}
    configs: Mapping[str, _Named | None] = {}
    unset: Sequence[str] = ()


def read(file: Path, variables: Mapping[str, str]) -> Compose:
    """What `file` says, with `variables` and those of the .env beside it. Raises CommandError."""
    folder = file.parent.resolve()
    known = {**_env(folder / ".env"), **variables}
    unset = set[str]()
    try:
        content = _resolved(yaml.load(file.read_text(), _Loader), known, unset)
        if isinstance(content, dict) and "services" not in content:
            content = {"services": content}
        for name, keys in content["services"].items():
            if "extends" in keys or "include" in content:
                raise CommandError(
                    f"{file} takes parts from other files: `docker compose --file {file} config > "
                    "whole.yml`, and import that"
                )
            keys["name"] = name
        compose = Compose.model_validate({**content, "file": str(file), "unset": sorted(unset)})
    except OSError as why:
        raise CommandError(f"{file}: {why.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as why:
        mark = getattr(why, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""  # its words may quote a password
        raise CommandError(f"{file}{where}: is not YAML") from None
    except ValidationError as why:
        first = why.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CommandError(f"{file}: {place}: {first['msg']}") from None
    except (AttributeError, KeyError, TypeError):
        raise CommandError(f"{file} is no compose file: it has no services") from None
    services = {name: _whole(s, compose, folder, known) for name, s in compose.services.items()}
    return compose.model_copy(update={"services": services})


class _Loader(yaml.SafeLoader):
    """Scalars as they are written, but null; and merge keys."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  # as the base class has it


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^(?:~|null|)$"), None)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("^<<$"), ["<"])


def _env(file: Path) -> dict[str, str]:
    try:
        return {name: value or "" for name, value in dotenv.dotenv_values(file).items()}
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{file} can't be read") from None


def _whole(
    service: Service, compose: Compose, folder: Path, variables: Mapping[str, str]
) -> Service:
    """`service` with what it takes from other places."""
    given: dict[str, str | None] = {}
    for path in service.env_file:
        given |= _env(folder / path)
    given |= service.environment
    # One without a value is the shell's own.
    found = {name: variables.get(name) if v is None else v for name, v in given.items()}
    present = {name: value for name, value in found.items() if value is not None}
    mounts = [_mount(each, compose, folder, variables) for each in service.volumes if each.target]
    for each, declared, at in (
        *((each, compose.secrets, "/run/secrets") for each in service.secrets),
        *((each, compose.configs, "/") for each in service.configs),
    ):
        if named := declared.get(each.source):
            target = str(Path(at, each.target or each.source))
            source = _here(folder, named.file) if named.file else ""
            content = named.content or variables.get(named.environment, "")
            mounts.append(Mount(source, target, volume=False, content=content))
    mounts.sort(key=lambda mount: -len(mount.target))  # the closest is what the container sees
    return service.model_copy(update={"variables": present, "mounts": mounts})


def _mount(each: _Placed, compose: Compose, folder: Path, variables: Mapping[str, str]) -> Mount:
    target = os.path.normpath(each.target)
    if each.source.startswith((".", "/", "~")):
        return Mount(_here(folder, each.source), target, volume=False)
    declared = compose.volumes.get(each.source) or _Named()
    named = variables.get("COMPOSE_PROJECT_NAME") or compose.name or folder.name
    project = re.sub(r"[^a-z0-9_-]", "", named.lower())
    own = each.source if declared.external else f"{project}_{each.source}"
    return Mount(declared.name or own, target, volume=True)


def _here(folder: Path, path: str) -> str:
    return os.path.normpath(folder / Path(path).expanduser())


def _resolved(value: Any, variables: Mapping[str, str], unset: set[str]) -> Any:  # noqa: ANN401
    """`value` with what its variables hold; those that nobody has set are added to `unset`."""
    if isinstance(value, dict):
        return {key: _resolved(below, variables, unset) for key, below in value.items()}
    if isinstance(value, list):
        return [_resolved(item, variables, unset) for item in value]
    if not isinstance(value, str):
        return value
    text, rest = "", value
    while "$" in rest:
        before, _, rest = rest.partition("$")
        text += before
        if rest.startswith("$"):
            text, rest = f"{text}$", rest[1:]
        elif match := re.match(rf"({_NAME})()()", rest) or _braced(rest):
            text += _held(match, variables, unset)
            rest = rest[match.end() :]
        else:
            raise CommandError("a $ that is no variable's is written $$")
    return text + rest


def _braced(text: str) -> re.Match[str] | None:
    """{NAME}, {NAME:-other} and the like at the start of `text`; `other` may hold such, too."""
    depth = 0
    for end, character in enumerate(text, 1):
        depth += (character == "{") - (character == "}")
        if not depth:
            return re.compile(rf"\{{({_NAME})(?:(:?[-?+])(.*))?\}}", re.DOTALL).fullmatch(
                text, 0, end
            )
    return None


def _held(match: re.Match[str], variables: Mapping[str, str], unset: set[str]) -> str:
    name, how, other = match[1], match[2] or "", match[3] or ""
    value = variables.get(name)
    there = bool(value) if how.startswith(":") else value is not None
    if there and not how.endswith("+"):
        return value or ""
    if how.endswith("-") or (there and how.endswith("+")):
        return str(_resolved(other, variables, unset))
    if how.endswith("?"):
        raise CommandError(f"the variable {name} must be set, in the shell or in .env: {other}")
    if not how:
        unset.add(name)
    return ""
