"""The Docker engine of a stack: one answer for Pulumi's docker plugin and for our own commands.

On their own the two disagree. The docker command takes DOCKER_HOST, DOCKER_CONTEXT, or the current
context, in this order. The plugin (5.2.0, internal/provider/provider.go of the Terraform provider)
takes docker:context or DOCKER_CONTEXT before docker:host and DOCKER_HOST. It does not read the
current context, nor the certificates of any context. So both get DOCKER_HOST and DOCKER_CERT_PATH.
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

LOCAL = "unix:///var/run/docker.sock"  # without any setting, for both
HOST, CONTEXT, CERTIFICATES = "docker:host", "docker:context", "docker:certPath"
ENGINE_RECORD = "OSS_REGISTRY_ENGINE"  # an engine's host, and the setting that names it
PLUGIN_VARIABLES = ("DOCKER_HOST", "DOCKER_CERT_PATH")  # what the docker plugin reads
_TLS = ("DOCKER_CERT_PATH", "DOCKER_TLS", "DOCKER_TLS_VERIFY")
_DEFAULT = "default"  # Docker's context for DOCKER_HOST and the local socket
CURRENT = "the current Docker context"
_REMEDIES = {
    HOST: "change docker:host in the stack file",
    CONTEXT: "change docker:context in the stack file",
    "DOCKER_HOST": "unset DOCKER_HOST",
    "DOCKER_CONTEXT": "unset DOCKER_CONTEXT",
    CURRENT: "run `docker context use default`",
}


class EngineError(Exception):
    """The settings do not name an engine; the text says why, and what to change."""


@dataclass(frozen=True)
class Engine:
    """The engine at `host`, as DOCKER_HOST has it, and the setting that names it.

    `certificates` is the folder of its TLS material. `own_tls` is false if the TLS variables of the
    environment belong to another engine.
    """

    host: str
    setting: str = ""
    certificates: str = ""
    own_tls: bool = True

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """`environment`, changed so that docker and the plugin mean this engine."""
        others = ("DOCKER_CONTEXT", *(() if self.own_tls else _TLS))
        variables = {key: value for key, value in environment.items() if key not in others}
        if self.certificates:
            variables |= {"DOCKER_CERT_PATH": self.certificates, "DOCKER_TLS_VERIFY": "1"}
        return {**variables, "DOCKER_HOST": self.host, ENGINE_RECORD: f"{self.host} {self.setting}"}

    @property
    def description(self) -> str:
        return f"{self.host}, which {self.setting} names," if self.setting else self.host

    @property
    def remedy(self) -> str:
        """How to mean another engine, as the end of a sentence."""
        found = (remedy for name, remedy in _REMEDIES.items() if self.setting.startswith(name))
        return next(found, "set DOCKER_HOST")


def engine(config: Mapping[str, object], environment: Mapping[str, str]) -> Engine:
    """The engine that a stack file's `config` and this process's `environment` name.

    The stack file wins over the environment, which wins over Docker's current context. Raises
    EngineError.
    """
    certificates = str(config.get(CERTIFICATES) or "")
    if context := config.get(CONTEXT):
        return _of_context(str(context), CONTEXT, environment, certificates)
    if host := str(config.get(HOST) or ""):
        # The plugin would speak TLS to an ssh address, too.
        return Engine(host, HOST, certificates, own_tls=not host.startswith("ssh:"))
    host, context = environment.get("DOCKER_HOST", ""), environment.get("DOCKER_CONTEXT", "")
    if context in ("", _DEFAULT):
        if host:
            return Engine(host, _setting(host, environment), certificates)
        return _of_context(context, CURRENT, environment, certificates)
    found = _of_context(context, "DOCKER_CONTEXT", environment, certificates)
    if host and host != found.host:
        raise EngineError(
            f"DOCKER_HOST names the Docker engine at {host}, but DOCKER_CONTEXT ({context}) names "
            f"the one at {found.host}. Unset one of them."
        )
    return found


def set_variables(config: Mapping[str, object], environment: MutableMapping[str, str]) -> None:
    """Change `environment` so that docker and the plugin mean the same engine.

    Raises EngineError.
    """
    variables = engine(config, environment).variables(environment)
    for name in environment.keys() - variables.keys():
        del environment[name]
    environment.update(variables)


def recorded_engine(environment: Mapping[str, str]) -> Engine:
    """The engine that DOCKER_HOST names in an environment that `use` or `variables` has changed."""
    host = environment.get("DOCKER_HOST", LOCAL)
    return Engine(host, _setting(host, environment))


def machine(host: str) -> str | None:
    """The name of the machine whose engine is at `host`, or None for a socket of this machine."""
    try:
        url = urlsplit(host)
        return url.hostname if url.scheme in ("ssh", "tcp", "http", "https") else None
    except ValueError:  # no address, which Docker reports
        return None


def _setting(host: str, environment: Mapping[str, str]) -> str:
    known, _, setting = environment.get(ENGINE_RECORD, "").partition(" ")
    return setting if known == host else "DOCKER_HOST"


def _of_context(
    name: str, setting: str, environment: Mapping[str, str], certificates: str
) -> Engine:
    """The engine of the Docker context `name`, or of the current one."""
    if name == _DEFAULT and setting == CONTEXT:
        raise EngineError(
            "docker:context can't be default, which the docker plugin does not find. Remove it."
        )
    found = _inspected(name, setting, environment)
    if not found or found["Name"] == _DEFAULT:
        return Engine(LOCAL, "", certificates)
    endpoint = found["Endpoints"].get("docker", {}).get("Host")
    named_by = f"{setting} {found['Name']}"
    if not endpoint:
        raise EngineError(
            f"The Docker context {found['Name']} has no Docker endpoint. {_change(named_by)}"
        )
    folder = Path(found["Storage"]["MetadataPath"]).parents[2]
    if setting == CONTEXT and folder != Path.home() / ".docker":
        raise EngineError(
            f"The docker plugin looks for the context {name} in ~/.docker, but Docker has it in "
            f"{folder}. Set docker:host: {endpoint} in place of docker:context."
        )
    if not certificates and found["TLSMaterial"].get("docker"):
        certificates = str(Path(found["Storage"]["TLSPath"], "docker"))
    return Engine(endpoint, named_by, certificates, own_tls=False)


def _inspected(name: str, setting: str, environment: Mapping[str, str]) -> Any:  # noqa: ANN401
    """What Docker has of a context, or None if none is named and Docker has no current one."""
    if not shutil.which("docker", path=environment.get("PATH")):
        if not name:
            return None
        raise EngineError(
            f"{setting} names the Docker context {name}. Install the docker command to use it "
            "(https://docs.docker.com/engine/install)."
        )
    asked = {k: v for k, v in environment.items() if k not in ("DOCKER_HOST", "DOCKER_CONTEXT")}
    words = ["docker", "context", "inspect", *([name] if name else []), "--format", "{{json .}}"]
    done = subprocess.run(words, env=asked, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    missing = re.search(r'context "([^"]+)"', done.stderr)
    if not (name or missing):
        return None  # a docker command without contexts
    name = missing[1] if missing else name
    raise EngineError(
        f"The Docker context {name}, which {setting} names, does not exist. Create it with "
        f"`docker context create {name}`, or {_REMEDIES[setting]}."
    )


def _change(setting: str) -> str:
    remedy = Engine("", setting).remedy
    return f"{remedy[0].upper()}{remedy[1:]}."


def error_hint(error: str, engine: Engine, environment: Mapping[str, str]) -> str | None:
    """What docker's `error` means, if `engine` refuses the docker command or does not answer."""
    if _UNREACHABLE.search(error):
        return unreachable_hint(error, engine)
    return api_version_hint(error, engine, environment)


_UNREACHABLE = re.compile(
    r"Cannot connect to|error during connect|Failed to initialize|"
    r"[Pp]ermission denied while trying to connect"
)
_REFUSED = re.compile(
    r"client version (\S+) is too (new|old)\. (?:Max|Min)imum supported API version is (\d+\.\d+)"
)


def unreachable_hint(error: str, engine: Engine) -> str:
    """The sentence for an `engine` that does not answer; `error` is docker's."""
    last = error.strip().rpartition("\n")[2].removesuffix(" Is the docker daemon running?")
    last = last.rstrip(".") or "docker fails without a message"
    named_by = f" {engine.setting} names it." if engine.setting else ""
    remedy = "Join the docker group" if "ermission denied" in error else "Start it"
    return (
        f"The Docker engine at {engine.host} does not answer: {last}.{named_by} {remedy}, or "
        f"{engine.remedy}."
    )


def api_version_hint(error: str, engine: Engine, environment: Mapping[str, str]) -> str | None:
    """The sentence for an `engine` that does not take the API version of the docker command."""
    found = _REFUSED.search(error)
    if not found:
        return None
    asked, kind, limit = found.groups()
    bound = "at most" if kind == "new" else "at least"
    remedy = f"Update the {_OUTDATED[kind]}, or {engine.remedy}."
    if environment.get("DOCKER_API_VERSION"):
        remedy = "Unset DOCKER_API_VERSION."
    return (
        f"The docker command asks for API version {asked}, but the Docker engine at "
        f"{engine.description} takes {limit} {bound}. {remedy}"
    )


_OUTDATED = {"new": "Docker engine", "old": "docker command"}  # by what the client is
