"""The Docker engine of a stack, the same for Pulumi's Docker provider and for the docker command.

By default the two disagree. The docker command uses DOCKER_HOST, DOCKER_CONTEXT, or the current
context, in this order. The provider (5.2.0, internal/provider/provider.go of its Terraform source)
prefers docker:context and DOCKER_CONTEXT to docker:host and DOCKER_HOST. It reads neither the
current context nor the certificates of a context. So this module sets DOCKER_HOST and
DOCKER_CERT_PATH for both.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LOCAL = "unix:///var/run/docker.sock"  # the default of the docker command and of the provider
HOST, CONTEXT, CERTIFICATES = "docker:host", "docker:context", "docker:certPath"
ENGINE_RECORD = "OSS_REGISTRY_ENGINE"  # a variable with an engine's host and setting
PLUGIN_VARIABLES = ("DOCKER_HOST", "DOCKER_CERT_PATH")
_TLS_VARIABLES = ("DOCKER_CERT_PATH", "DOCKER_TLS", "DOCKER_TLS_VERIFY")
_DEFAULT = "default"  # Docker's context for DOCKER_HOST and the local socket
CURRENT = "the current Docker context"
_REMEDIES = {
    HOST: "change docker:host in the stack file",
    CONTEXT: "change docker:context in the stack file",
    "DOCKER_HOST": "unset DOCKER_HOST",
    "DOCKER_CONTEXT": "unset DOCKER_CONTEXT",
    CURRENT: "run `docker context use default`",
}
NOT_IN_SWARM = "the engine is in no swarm: `docker swarm init` there makes it one"
SWARM_WORKER = (
    "the engine is a worker of its swarm, and only managers take orders: `docker node promote` it "
    "on a manager, or set docker:host to one"
)
_UNREACHABLE = re.compile(
    r"Cannot connect to|error during connect|Failed to initialize|"
    r"[Pp]ermission denied while trying to connect"
)
_WRONG_API_VERSION = re.compile(
    r"client version (\S+) is too (new|old)\. (?:Max|Min)imum supported API version is (\d+\.\d+)"
)


class EngineError(Exception):
    """The settings do not name an engine. The text contains the reason and the fix."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine.

    `host` is its address as in DOCKER_HOST, and `setting` names the setting with that address.
    `certificates` is the folder of its TLS certificates and key. `uses_tls_variables` is False if
    the TLS variables of the environment belong to another engine.
    """

    host: str
    setting: str = ""
    certificates: str = ""
    uses_tls_variables: bool = True

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return a copy of `environment` that makes docker and the provider use this engine."""
        variables = dict(environment)
        variables.pop("DOCKER_CONTEXT", None)
        if not self.uses_tls_variables:
            for name in _TLS_VARIABLES:
                variables.pop(name, None)
        if self.certificates:
            variables["DOCKER_CERT_PATH"] = self.certificates
            variables["DOCKER_TLS_VERIFY"] = "1"
        variables["DOCKER_HOST"] = self.host
        variables[ENGINE_RECORD] = f"{self.host} {self.setting}"
        return variables

    @property
    def description(self) -> str:
        """The host and, if known, the setting that names it."""
        return f"{self.host}, which {self.setting} names," if self.setting else self.host

    @property
    def remedy(self) -> str:
        """The instruction for selecting another engine, as the end of a sentence."""
        for name, remedy in _REMEDIES.items():
            if self.setting.startswith(name):
                return remedy
        return "set DOCKER_HOST"


def select_engine(config: Mapping[str, object], environment: Mapping[str, str]) -> Engine:
    """Return the engine that a stack file's `config` and the variables in `environment` select.

    The stack file takes precedence over the environment, and the environment over Docker's current
    context. Raises EngineError.
    """
    certificates = str(config.get(CERTIFICATES) or "")
    if configured_context := config.get(CONTEXT):
        return _engine_of_context(str(configured_context), CONTEXT, environment, certificates)
    if configured_host := str(config.get(HOST) or ""):
        # With the TLS variables set, the provider would use TLS even for an ssh address.
        is_ssh = configured_host.startswith("ssh:")
        return Engine(configured_host, HOST, certificates, uses_tls_variables=not is_ssh)
    host, context = environment.get("DOCKER_HOST", ""), environment.get("DOCKER_CONTEXT", "")
    if context in ("", _DEFAULT):
        if host:
            return Engine(host, _recorded_setting(host, environment), certificates)
        return _engine_of_context(context, CURRENT, environment, certificates)
    found = _engine_of_context(context, "DOCKER_CONTEXT", environment, certificates)
    if host and host != found.host:
        raise EngineError(
            f"DOCKER_HOST names the Docker engine at {host}, but DOCKER_CONTEXT ({context}) names "
            f"the one at {found.host}. Unset one of them."
        )
    return found


def set_variables(config: Mapping[str, object], environment: MutableMapping[str, str]) -> None:
    """Change `environment` so that docker and the provider use the engine of `select_engine`.

    Raises EngineError.
    """
    variables = select_engine(config, environment).variables(environment)
    for name in environment.keys() - variables.keys():
        del environment[name]
    environment.update(variables)


def recorded_engine(environment: Mapping[str, str]) -> Engine:
    """Return the engine that `set_variables` or `Engine.variables` wrote to `environment`."""
    host = environment.get("DOCKER_HOST", LOCAL)
    return Engine(host, _recorded_setting(host, environment))


def machine(host: str) -> str | None:
    """Return the name of the machine in an engine's address, or None for a local socket."""
    try:
        url = urlsplit(host)
        return url.hostname if url.scheme in ("ssh", "tcp", "http", "https") else None
    except ValueError:  # Docker reports the malformed address
        return None


def _recorded_setting(host: str, environment: Mapping[str, str]) -> str:
    """Return the setting that named `host`, or DOCKER_HOST if it has changed since."""
    recorded_host, _, setting = environment.get(ENGINE_RECORD, "").partition(" ")
    return setting if recorded_host == host else "DOCKER_HOST"


def _engine_of_context(
    name: str, setting: str, environment: Mapping[str, str], certificates: str
) -> Engine:
    """Return the engine of the Docker context `name`, or of the current one if `name` is "".

    `setting` is the setting that names the context. `certificates` takes precedence over the
    certificates of the context. Raises EngineError.
    """
    if name == _DEFAULT and setting == CONTEXT:
        raise EngineError(
            "docker:context can't be default, which the docker plugin does not find. Remove it."
        )
    context = _inspect_context(name, setting, environment)
    if not context or context["Name"] == _DEFAULT:
        return Engine(LOCAL, "", certificates)
    endpoint = context["Endpoints"].get("docker", {}).get("Host")
    full_setting = f"{setting} {context['Name']}"
    if not endpoint:
        remedy = Engine("", full_setting).remedy
        raise EngineError(
            f"The Docker context {context['Name']} has no Docker endpoint. "
            f"{remedy[0].upper()}{remedy[1:]}."
        )
    folder = Path(context["Storage"]["MetadataPath"]).parents[2]
    if setting == CONTEXT and folder != Path.home() / ".docker":
        raise EngineError(
            f"The docker plugin looks for the context {name} in ~/.docker, but Docker has it in "
            f"{folder}. Set docker:host: {endpoint} in place of docker:context."
        )
    if not certificates and context["TLSMaterial"].get("docker"):
        certificates = str(Path(context["Storage"]["TLSPath"], "docker"))
    return Engine(endpoint, full_setting, certificates, uses_tls_variables=False)


def _inspect_context(name: str, setting: str, environment: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Return what `docker context inspect` prints for `name`, or for the current context.

    Returns None if `name` is empty and there is no docker command with contexts. Raises
    EngineError.
    """
    if not shutil.which("docker", path=environment.get("PATH")):
        if not name:
            return None
        raise EngineError(
            f"{setting} names the Docker context {name}. Install the docker command to use it "
            "(https://docs.docker.com/engine/install)."
        )
    variables = dict(environment)
    variables.pop("DOCKER_HOST", None)
    variables.pop("DOCKER_CONTEXT", None)
    command = ["docker", "context", "inspect"]
    if name:
        command.append(name)
    command += ["--format", "{{json .}}"]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return json.loads(result.stdout)
    missing = re.search(r'context "([^"]+)"', result.stderr)
    if missing:
        name = missing[1]
    if not name:
        return None  # this docker command does not support contexts
    raise EngineError(
        f"The Docker context {name}, which {setting} names, does not exist. Create it with "
        f"`docker context create {name}`, or {_REMEDIES[setting]}."
    )


def error_hint(error: str, engine: Engine, environment: Mapping[str, str]) -> str | None:
    """Return the hint for docker's `error`, or None.

    There are hints for an `engine` that does not answer or refuses docker's API version.
    """
    if _UNREACHABLE.search(error):
        return unreachable_hint(error, engine)
    return api_version_hint(error, engine, environment)


def unreachable_hint(error: str, engine: Engine) -> str:
    """Return the hint for an `engine` that does not answer. `error` is docker's error text."""
    last = error.strip().rpartition("\n")[2].removesuffix(" Is the docker daemon running?")
    last = last.rstrip(".") or "docker fails without a message"
    setting = f" {engine.setting} names it." if engine.setting else ""
    remedy = "Join the docker group" if "ermission denied" in error else "Start it"
    return (
        f"The Docker engine at {engine.host} does not answer: {last}.{setting} {remedy}, or "
        f"{engine.remedy}."
    )


def api_version_hint(error: str, engine: Engine, environment: Mapping[str, str]) -> str | None:
    """Return the hint for an `engine` that refuses the API version of the docker command, or None.

    `error` is docker's error text.
    """
    found = _WRONG_API_VERSION.search(error)
    if not found:
        return None
    version, direction, limit = found.groups()
    if direction == "new":
        bound, outdated = "at most", "Docker engine"
    else:
        bound, outdated = "at least", "docker command"
    remedy = f"Update the {outdated}, or {engine.remedy}."
    if environment.get("DOCKER_API_VERSION"):
        remedy = "Unset DOCKER_API_VERSION."
    return (
        f"The docker command asks for API version {version}, but the Docker engine at "
        f"{engine.description} takes {limit} {bound}. {remedy}"
    )
