"""Convert a service of a Compose file to the settings of a stack file."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from config import plan
from config.messages import message
from config.problems import overlaps
from config.releases import Release
from config.rules import SECRET_NAMES, named_secrets
from config.settings import BCRYPT, PROJECT
from config.tree import lookup
from operations.compose_import.cache import convert_cache
from operations.compose_import.configuration import (
    OFFICIAL_IMAGE,
    read_configuration,
    repository_and_tag,
)
from operations.compose_import.exposure import convert_exposure
from operations.compose_import.omitted_keys import report_omitted_keys
from operations.compose_import.project import Project, Service
from operations.compose_import.registry_config import (
    add_registry_config,
    certificates_in,
    extract_secrets,
)
from operations.compose_import.result import Answers, ImportResult
from operations.compose_import.security_settings import changed_security_settings
from operations.compose_import.storage import convert_storage
from operations.errors import CommandError

# A process in Go trusts the certificates in the file that this variable names, and in this folder.
_CA_FILE_VARIABLE, _CA_FOLDER = "SSL_CERT_FILE", "/etc/ssl/certs"
_IMAGE_BUNDLE = f"{_CA_FOLDER}/ca-certificates.crt"
_ADD_CERTIFICATES = "add the certificates that the registry needs to registry.ca_certificates"
# Variables other than REGISTRY_* that a registry reads.
_PROCESS_VARIABLE = re.compile(r"(?i:(https?|all|no)_proxy)|TZ|GO[A-Z]+|OTEL_\w+")
# The setting of registry.swarm for each key of `deploy`.
_SWARM_SETTINGS = {
    "placement.constraints": "constraints",
    "endpoint_mode": "endpoint_mode",
    "update_config.order": "order",
}
_UNITS = {2**30: "GiB", 2**20: "MiB", 2**10: "KiB", 1: ""}


def choose_service(
    project: Project, name: str, enabled_services: Callable[[], Sequence[str]]
) -> Service:
    """Return the service called `name`, or the only one that runs a registry if `name` is empty.

    Of several registries, the one whose profile is enabled is chosen. Raises CommandError if there
    is no such service, or more than one.
    """
    services = project.services
    if name:
        if name in services:
            return services[name]
        raise CommandError(f"There is no service {name}. {_choose_one(services.values())}")
    found = [service for service in services.values() if _is_registry(service)]
    if len(found) > 1:
        enabled = enabled_services()
        found = [service for service in found if service.name in enabled] or found
    if len(found) == 1:
        return found[0]
    problem = "There are several registries." if found else "No service runs a registry image."
    raise CommandError(f"{problem} {_choose_one(found or services.values())}")


def _choose_one(services: Iterable[Service]) -> str:
    names = []
    for service in services:
        profiles = ", ".join(service.keys.get("profiles") or [])
        names.append(f"{service.name} (profile {profiles})" if profiles else service.name)
    return f"Add SERVICE=NAME, where NAME is one of {', '.join(names)}."


def _is_registry(service: Service) -> bool:
    repository, _ = repository_and_tag(service)
    if repository.rpartition("/")[2] in ("registry", "distribution"):
        return True
    return any(name.startswith("REGISTRY_STORAGE") for name in service.environment)


def import_service(
    project: Project, service: Service, stack_name: str, answers: Answers
) -> ImportResult:
    """Convert `service` to a stack. Raises CommandError if that is not possible.

    If the result has questions, it is incomplete.
    """
    result = ImportResult(stack_name=stack_name, service=service, project=project, answers=answers)
    _convert_runtime(result)
    release = read_configuration(result)
    if release is None:
        return result
    if lookup(result.old_tree, "proxy.remoteurl"):
        raise CommandError(
            f"The service {service.name} is a pull-through cache (proxy.remoteurl), which "
            "accepts no pushes. A stack cannot run it."
        )
    for name in project.unset:
        result.omit(f"${name}", "the variable is not set, so it is empty")
    _convert_image(result, release)
    convert_storage(result, release)
    redis = convert_cache(result)
    _convert_users(result)
    _convert_tls(result)
    convert_exposure(result)
    _convert_limits(result)
    _convert_environment(result, release)
    # The configuration of the registry is compared with the plan for the user's settings.
    result.apply_answers()
    add_registry_config(result, release)
    result.apply_answers()
    for secret in result.secrets.keys() - named_secrets(result.config) - {*SECRET_NAMES}:
        del result.secrets[secret]  # an answer has replaced it
    _ask_about_security_settings(result)
    _ask_about_problems(result)
    report_omitted_keys(result, redis)
    return result


def _ask_about_security_settings(result: ImportResult) -> None:
    """Ask about each security setting that would change."""
    refused = {problem.path: f"{problem.rule}; {problem.fix}" for problem in result.refused}
    for path in changed_security_settings(result.old_tree, result.new_tree()):
        in_config = f"registry.config.{path}"
        section = path.removeprefix("http.")  # the settings auth and tls, unless it is in storage
        if not overlaps(section, _asked_settings(result)):
            fix = f"choose the value with SET={in_config}=VALUE"
            problem = refused.get(path, "the stack would differ from the old registry")
            result.ask(path, problem, fix, [in_config, section])


def _ask_about_problems(result: ImportResult) -> None:
    """Ask about what the validation of the stack file refuses."""
    _, problems = result.validated()
    for problem in problems:
        setting = problem.path.removeprefix(f"{PROJECT}:")
        if not overlaps(setting, _asked_settings(result)):
            _, _, text = message(problem).partition(": ")
            rule, _, fix = text.rpartition("; ")
            result.ask(setting, rule, f"{fix} (SET={setting}=VALUE)")


def _asked_settings(result: ImportResult) -> Sequence[str]:
    return [setting for question in result.questions for setting in question.settings]


def _convert_image(result: ImportResult, release: Release) -> None:
    registry, image = result.section("registry"), result.service.image
    repository, tag = repository_and_tag(result.service)
    registry["release"] = release.version
    result.imported_keys.add("image")
    if result.service.keys.get("build") or not image:
        return  # only the engine that built it has the image
    if not OFFICIAL_IMAGE.fullmatch(repository):
        registry["image"] = image
    elif tag != release.version or "@" in image:
        result.omit(f"image {image}", f"the stack runs {release.image}")


def _convert_users(result: ImportResult) -> None:
    htpasswd = lookup(result.old_tree, "auth.htpasswd")
    if not htpasswd:
        return
    text = result.read_file(str(htpasswd.get("path") or ""), "auth.htpasswd", "auth.users")
    users = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, password_hash = line.strip().partition(":")
        if not name or name.startswith("#"):
            continue
        if not colon:
            result.omit(f"auth.htpasswd, line {number}", "it is not NAME:HASH")
        elif not re.match(r"\$2[aby]\$", password_hash):
            result.omit(f"user {name}", "the password has no bcrypt hash, so the user can't log in")
        elif not re.fullmatch(BCRYPT, password_hash) or re.search(r"\s", name):
            reason = "a stack accepts names without blanks, and hashes of cost 4 to 14"
            result.ask(
                f"user {name}", reason, "change the user, or remove the line", ["auth.users"]
            )
        else:
            users[name] = {"hash": password_hash}
    realm = str(htpasswd.get("realm") or "Registry")
    result.section("auth").update(realm=realm, users=users)
    if text and not users and not result.questions:
        fix = "add SET='auth.users.NAME={}'. `make up` generates the password"
        result.ask("auth.htpasswd", "no user in the file can log in", fix, ["auth.users"])


def _convert_tls(result: ImportResult) -> None:
    old, tls = lookup(result.old_tree, "http.tls") or {}, result.section("tls")
    if acme := old.get("letsencrypt"):
        settings = {"hosts": "hosts", "email": "email", "directoryurl": "directory_url"}
        tls["letsencrypt"] = {
            setting: acme[key] for key, setting in settings.items() if acme.get(key)
        }
        result.mark_mount(str(acme.get("cachefile") or ""))
    if path := old.get("certificate"):
        # The file may contain the private key as well, and a stack file is not secret.
        text = result.read_file(str(path), "http.tls.certificate", "tls")
        tls["certificate"] = certificates_in(text)
        result.notes.append(
            "The stack file has a copy of the certificate. After a renewal, for example by "
            "certbot, update tls.certificate and the secret tls-key, and run `make up`."
        )
    if old.get("certificate") and not old.get("key"):
        fix = "name the key in the Compose file"
        result.ask("http.tls.key", "the registry does not start without it", fix, ["tls"])
    if path := old.get("key"):
        key = result.read_file(str(path), "http.tls.key", "tls")
        if key:
            result.secrets[plan.TLS_KEY.label] = key


def _convert_runtime(result: ImportResult) -> None:
    """Set the runtime: Swarm if the user names a stack, or if only Swarm uses keys of the file."""
    registry, deploy, stack = (
        result.section("registry"),
        result.service.deploy,
        result.project.stack,
    )
    keys = [*_swarm_keys(result)]
    if result.answer("registry.runtime") == "container" or not (keys or stack):
        return
    ports = result.service.keys.get("ports") or []
    doubt = ""
    if any(port.get("host_ip") for port in ports):
        doubt = "publishes no port on a single address"
    elif result.project.has_env_file:
        doubt = "reads no .env file"
    if doubt and not stack:
        result.ask(
            keys[0],
            f"only `docker stack deploy` uses this key, but it {doubt}",
            "add SWARM_STACK=NAME for a stack on Swarm, or SET=registry.runtime=container",
            ["registry.runtime"],
        )
        return
    registry["runtime"] = "swarm"
    registry["replicas"] = deploy.get("replicas") or 1
    result.imported_keys.add("deploy.replicas")
    for key, setting in _SWARM_SETTINGS.items():
        value = lookup(deploy, key)
        if value:
            registry.setdefault("swarm", {})[setting] = value
            result.imported_keys.add(f"deploy.{key}")


def _swarm_keys(result: ImportResult) -> Iterator[str]:
    """Yield the keys of the service that have an effect only on Swarm."""
    service, deploy = result.service, result.service.deploy
    for key in ("labels", "placement", "update_config", "rollback_config", "endpoint_mode"):
        if deploy.get(key):
            yield f"deploy.{key}"
    if deploy.get("mode") == "global" or (deploy.get("replicas") or 1) > 1:
        yield "deploy"
    if any(mount.kind == "external" for mount in service.mounts):
        yield "secrets"
    # Compose can use an overlay network as well, and only Compose reads .env.
    for name in service.networks if not result.project.has_env_file else ():
        if (result.project.networks.get(name) or {}).get("driver") == "overlay":
            yield f"networks.{name}"


def _convert_limits(result: ImportResult) -> None:
    keys = result.service.keys
    limits: dict[str, object] = {}
    memory = lookup(keys, "deploy.resources.limits.memory") or keys.get("mem_limit")
    if memory and int(memory) > 0:
        limits["memory"] = _size(int(memory))
    if cpus := lookup(keys, "deploy.resources.limits.cpus") or keys.get("cpus"):
        limits["cpus"] = float(cpus)
    result.imported_keys.update(("deploy.resources.limits.memory", "deploy.resources.limits.cpus"))
    result.imported_keys.update(("mem_limit", "cpus"))
    if limits:
        result.section("registry")["limits"] = limits


def _size(size: int) -> str:
    """Return a size in bytes with the largest unit that divides it."""
    unit = next(unit for unit in _UNITS if size % unit == 0)
    return f"{size // unit}{_UNITS[unit]}"


def _convert_environment(result: ImportResult, release: Release) -> None:
    """Convert variables other than REGISTRY_*, and the certificates that the registry trusts."""
    registry, service = result.section("registry"), result.service
    environment: dict[str, object] = {}
    for name, text in sorted(service.environment.items()):
        if name.startswith("REGISTRY_") or name == _CA_FILE_VARIABLE:
            continue
        if name == "SSL_CERT_DIR":
            result.omit(f"environment.{name}", _ADD_CERTIFICATES)
        elif not _PROCESS_VARIABLE.fullmatch(name):
            result.omit(f"environment.{name}", "the registry does not read it")
        elif name.startswith("OTEL_") and release.major < 3:
            result.omit(f"environment.{name}", f"release {release.version} sends no traces")
        else:
            place = ("environment", name)
            environment[name] = extract_secrets(text, name, place, result.secrets)
    if environment:
        registry["environment"] = environment
    paths = []
    for mount in service.mounts:
        if not Path(mount.target).is_relative_to(_CA_FOLDER):
            continue
        if mount.kind == "file" and Path(mount.source).is_dir():
            result.mark_mount(mount.target)
            result.omit(mount.target, _ADD_CERTIFICATES)
        else:
            paths.append(mount.target)
    file = service.environment.get(_CA_FILE_VARIABLE)
    if file and (file != _IMAGE_BUNDLE or service.mount(file)):
        paths.insert(0, file)
    texts = (result.read_file(path, "certificates that the registry trusts") for path in paths)
    if trusted := "".join(map(certificates_in, texts)):
        registry["ca_certificates"] = trusted
