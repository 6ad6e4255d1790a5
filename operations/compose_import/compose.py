"""Read a compose file as Docker Compose does, as far as a registry and its redis need it.

Sources: the Compose specification, and its older form with the services at the top level.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import dotenv
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from operations.errors import CommandError

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"(?P<name>{_NAME})")
_VARIABLE_IN_BRACES = re.compile(
    rf"\{{(?P<name>{_NAME})(?:(?P<operator>:?[-?+])(?P<operand>.*))?\}}", re.DOTALL
)


class Mount(NamedTuple):
    """A mount at the path `target` in the container.

    `source` is the name of a volume if `is_volume` is true, and otherwise a path on this machine.
    If `content` is not empty, the mount is a file with that text.
    """

    source: str
    target: str
    is_volume: bool
    content: str = ""


class Port(NamedTuple):
    """The port `target` of a container, and the `address` and port where it is published.

    `address` is empty if the port is published on all addresses. `published` is None if the engine
    chooses the port.
    """

    target: int
    published: int | None
    address: str


class _Section(BaseModel):
    """A section of a compose file.

    Keys without a value count as missing. Keys that the model does not declare are retained.
    """

    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_keys_without_value(cls, section: Any) -> Any:  # noqa: ANN401
        if not isinstance(section, dict):
            return section
        return {key: value for key, value in section.items() if value is not None}


class _Limits(_Section):
    memory: str = ""
    cpus: float | None = None


class _Resources(_Section):
    limits: _Limits = _Limits()


class _Placement(_Section):
    constraints: Sequence[str] = ()


class Deploy(_Section):
    mode: str = ""
    replicas: int | None = None
    placement: _Placement = _Placement()
    resources: _Resources = _Resources()


class _Declaration(_Section):
    """The top-level declaration of a volume, secret, config or network."""

    name: str = ""
    external: bool | Mapping[str, Any] = False
    file: str = ""
    content: str = ""
    environment: str = ""
    driver: str = ""


class _Reference(_Section):
    """An entry for a volume, secret or config in a service."""

    source: str = ""
    target: str = ""


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _split_words(value: object) -> object:
    return shlex.split(value) if isinstance(value, str) else value


def _as_mapping(value: object) -> object:
    """Return a list of `NAME=VALUE` and `NAME` as a mapping. The value of `NAME` alone is None."""
    if not isinstance(value, list):
        return value
    pairs = (str(entry).partition("=") for entry in value)
    return {name: text if equals else None for name, equals, text in pairs}


def _env_file_path(value: object) -> object:
    return value.get("path") if isinstance(value, dict) else value


def _parse_reference(value: object) -> object:
    """Parse the short form: SOURCE, SOURCE:TARGET or SOURCE:TARGET:MODE."""
    if not isinstance(value, str):
        return value
    source, target, *_ = (*value.split(":"), "")
    return {"source": source, "target": target}


def _parse_port(value: object) -> object:
    """Parse both forms of a port. The short one is [ADDRESS:][PUBLISHED:]TARGET[/PROTOCOL].

    A range is represented by its first port.
    """
    if isinstance(value, dict):
        return (value.get("target"), value.get("published"), value.get("host_ip") or "")
    rest, _, target = str(value).partition("/")[0].rpartition(":")
    if rest.endswith("]"):  # an IPv6 address, without a published port
        address, published = rest, ""
    else:
        address, _, published = rest.rpartition(":")
    return (_first_of_range(target), _first_of_range(published) or None, address.strip("[]"))


def _first_of_range(ports: str) -> str:
    return ports.partition("-")[0]


class Service(_Section):
    """A service of a compose file.

    `variables` is its environment, including that of its env files. `mounts` has its volumes,
    secrets and configs, sorted from the longest target path to the shortest.
    """

    name: str
    image: str = ""
    command: Annotated[Sequence[str], BeforeValidator(_split_words)] = ()
    environment: Annotated[Mapping[str, str | None], BeforeValidator(_as_mapping)] = {}
    env_file: Annotated[
        Sequence[Annotated[str, BeforeValidator(_env_file_path)]], BeforeValidator(_as_list)
    ] = ()
    ports: Sequence[Annotated[Port, BeforeValidator(_parse_port)]] = ()
    volumes: Sequence[Annotated[_Reference, BeforeValidator(_parse_reference)]] = ()
    secrets: Sequence[Annotated[_Reference, BeforeValidator(_parse_reference)]] = ()
    configs: Sequence[Annotated[_Reference, BeforeValidator(_parse_reference)]] = ()
    # Networks are a list of names, or a mapping with the names as its keys.
    networks: Annotated[Sequence[str], BeforeValidator(lambda value: [*value])] = ()
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
        """Return the mount that provides `path` in the container, or None."""
        return next((m for m in self.mounts if Path(path).is_relative_to(m.target)), None)

    def read_file(self, path: str) -> str | None:
        """Return the text of the file at `path` in the container.

        Returns None if no file of this machine is mounted there, or if it cannot be read.
        """
        mount = self.mount(path)
        if mount is None or mount.is_volume:
            return None
        if mount.content:
            return mount.content
        file = Path(mount.source, Path(path).relative_to(mount.target))
        try:
            return file.read_text(errors="replace")
        except OSError:
            return None


class Compose(_Section):
    """The compose file at the path `file`.

    `unset` lists the variables that the file uses without a default and that are set nowhere.
    """

    file: str
    name: str = ""
    services: Mapping[str, Service] = {}
    volumes: Mapping[str, _Declaration | None] = {}
    networks: Mapping[str, _Declaration | None] = {}
    secrets: Mapping[str, _Declaration | None] = {}
    configs: Mapping[str, _Declaration | None] = {}
    unset: Sequence[str] = ()


def read_compose_file(file: Path, shell_variables: Mapping[str, str]) -> Compose:
    """Read `file` with the `shell_variables` and those of the `.env` file beside it.

    Raises CommandError if a file cannot be read, or if `file` is no valid compose file.
    """
    folder = file.parent.resolve()
    variables = {**_read_env_file(folder / ".env"), **shell_variables}
    unset = set[str]()
    try:
        content = _interpolate(yaml.load(file.read_text(), _Loader), variables, unset)
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
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # The text of the error is not shown, because it may quote a password.
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise CommandError(f"{file}{line}: is not YAML") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CommandError(f"{file}: {place}: {first['msg']}") from None
    except (AttributeError, KeyError, TypeError):
        raise CommandError(f"{file} is no compose file: it has no services") from None
    services = {
        name: _complete(service, compose, folder, variables)
        for name, service in compose.services.items()
    }
    return compose.model_copy(update={"services": services})


class _Loader(yaml.SafeLoader):
    """A YAML loader that reads all scalars except null as text, and supports merge keys."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  # as the base class declares it


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^(?:~|null|)$"), None)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("^<<$"), ["<"])


def _read_env_file(file: Path) -> dict[str, str]:
    """Return the variables in `file`, or an empty mapping if there is no such file."""
    try:
        return {name: value or "" for name, value in dotenv.dotenv_values(file).items()}
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{file} can't be read") from None


def _complete(
    service: Service, compose: Compose, folder: Path, variables: Mapping[str, str]
) -> Service:
    """Return `service` with its `variables` and `mounts`."""
    entries: dict[str, str | None] = {}
    for path in service.env_file:
        entries |= _read_env_file(folder / path)
    entries |= service.environment
    environment: dict[str, str] = {}
    for name, text in entries.items():
        # An entry without a value takes the value from the shell or the .env file.
        value = variables.get(name) if text is None else text
        if value is not None:
            environment[name] = value
    mounts = [
        *(
            _volume_mount(each, compose, folder, variables)
            for each in service.volumes
            if each.target
        ),
        *_file_mounts(service.secrets, compose.secrets, "/run/secrets", folder, variables),
        *_file_mounts(service.configs, compose.configs, "/", folder, variables),
    ]
    # The container sees the mount with the longest path that matches.
    mounts.sort(key=lambda mount: -len(mount.target))
    return service.model_copy(update={"variables": environment, "mounts": mounts})


def _volume_mount(
    reference: _Reference, compose: Compose, folder: Path, variables: Mapping[str, str]
) -> Mount:
    """Return the mount of a volume, by the name that Docker Compose gives the volume."""
    target = os.path.normpath(reference.target)
    if reference.source.startswith((".", "/", "~")):
        return Mount(_absolute(folder, reference.source), target, is_volume=False)
    declaration = compose.volumes.get(reference.source) or _Declaration()
    if declaration.name:
        return Mount(declaration.name, target, is_volume=True)
    if declaration.external:
        return Mount(reference.source, target, is_volume=True)
    project = variables.get("COMPOSE_PROJECT_NAME") or compose.name or folder.name
    project = re.sub(r"[^a-z0-9_-]", "", project.lower())
    return Mount(f"{project}_{reference.source}", target, is_volume=True)


def _file_mounts(
    references: Sequence[_Reference],
    declarations: Mapping[str, _Declaration | None],
    target_folder: str,
    folder: Path,
    variables: Mapping[str, str],
) -> Iterator[Mount]:
    """Yield the mounts of a service's secrets or configs."""
    for reference in references:
        if declaration := declarations.get(reference.source):
            yield Mount(
                _absolute(folder, declaration.file) if declaration.file else "",
                str(Path(target_folder, reference.target or reference.source)),
                is_volume=False,
                content=declaration.content or variables.get(declaration.environment, ""),
            )


def _absolute(folder: Path, path: str) -> str:
    return os.path.normpath(folder / Path(path).expanduser())


def _interpolate(tree: Any, variables: Mapping[str, str], unset: set[str]) -> Any:  # noqa: ANN401
    """Return `tree` with variables replaced by their values.

    Adds variables that have neither a value nor a default to `unset`.
    """
    if isinstance(tree, dict):
        return {key: _interpolate(value, variables, unset) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_interpolate(item, variables, unset) for item in tree]
    return _interpolate_text(tree, variables, unset) if isinstance(tree, str) else tree


def _interpolate_text(text: str, variables: Mapping[str, str], unset: set[str]) -> str:
    result, rest = "", text
    while "$" in rest:
        before, _, rest = rest.partition("$")
        result += before
        if rest.startswith("$"):
            result, rest = f"{result}$", rest[1:]
            continue
        match = _VARIABLE.match(rest) or _match_braces(rest)
        if not match:
            raise CommandError("a $ that is no variable's is written $$")
        result += _substitute(match.groupdict(), variables, unset)
        rest = rest[match.end() :]
    return result + rest


def _match_braces(text: str) -> re.Match[str] | None:
    """Match a variable in braces at the start of `text`. Its operand may contain other variables.

    The forms are {NAME} and {NAME OPERATOR OPERAND} without the blanks, such as {NAME:-default}.
    """
    depth = 0
    for end, character in enumerate(text, 1):
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        if depth == 0:
            return _VARIABLE_IN_BRACES.fullmatch(text, 0, end)
    return None


def _substitute(
    parts: Mapping[str, str | None], variables: Mapping[str, str], unset: set[str]
) -> str:
    """Return the value of a variable. `parts` are its name, operator and operand."""
    name, operator = parts["name"] or "", parts.get("operator") or ""
    operand = parts.get("operand") or ""
    value = variables.get(name)
    # With a colon, an empty variable counts as not set.
    is_set = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("+"):
        return _interpolate_text(operand, variables, unset) if is_set else ""
    if is_set:
        return value or ""
    if operator.endswith("-"):
        return _interpolate_text(operand, variables, unset)
    if operator.endswith("?"):
        raise CommandError(f"the variable {name} must be set, in the shell or in .env: {operand}")
    unset.add(name)
    return ""
