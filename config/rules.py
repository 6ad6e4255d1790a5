"""The table of rules between settings of a stack file, and the table of warnings.

Rules about the keys of `registry.config` are in `config.overlay`.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from config import addresses, certificates, docker_engine, plan, sizes
from config.overlay import named_files
from config.problems import (
    INVALID_PORT,
    SET_SECRET,
    WRITE_SECRET,
    missing_secret,
    overlaps,
    suggestion,
)
from config.releases import RELEASES
from config.rule_evaluation import Context, Details, Rule
from config.secrecy import plain_secret
from config.settings import PROJECT
from config.stack import CA_CERTIFICATES_PATH, REGION
from config.tree import Placeholder, leaves, lookup

REGISTRY_LOGINS = "docker:registryAuth"  # for pulling images
NAME, SECRETS = "stack name", "secrets"  # keys beside the settings in the tree of `load.validate`
HTTPS = 443
EXPIRES_SOON_DAYS = 30
_EXPOSURES_WITH_LOGIN = ("tls", "proxy")  # registries that everyone can reach need a login
_RAM_USER_LENGTH = 64
_SWARM_PREFIX_LENGTH = 64 - len("-registry-01234567-00")  # Docker's limit for names of secrets
_BCRYPT_BYTES = 72
_CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # in the official images
_REGION = r"(?!.*internal)[a-z]{2}(-[a-z]{2,}|-\d{1,2})+"
_REGISTRY_HOST = re.compile(addresses.HOST_WITH_OPTIONAL_PORT)
# As Go's resolver accepts it (net/dnsclient.go: isDomainName).
_DNS_LABEL = re.compile(r"\w([\w-]{0,61}\w)?", re.ASCII)
_TLS_KEY = plan.TLS_KEY.label
# The secrets that a user may provide, beside those for passwords and in `from_secret`.
SECRET_NAMES = (plan.HTTP_SECRET.label, plan.REDIS_PASSWORD.label, _TLS_KEY)
_RESERVED_FOLDERS = (
    plan.OWN_FILES,
    *(f"{path}/" for path in (plan.DATA_PATH, plan.LETSENCRYPT_PATH)),
    *("/tmp/", "/dev/", "/proc/", "/sys/"),
)
_RESERVED_FILES = {CA_CERTIFICATES_PATH, *(release.config_path for release in RELEASES.values())}
# The checks of files that `registry.config` names, by key. Other files must be certificates.
_FILE_CHECKS: Mapping[str, Callable[[str], tuple[str, str] | None]] = {
    "auth.token.jwks": certificates.key_set_problem,
    "redis.tls.key": lambda _: None,  # the settings refuse private keys
}


class Sealed(str):
    """A secret that is encrypted in the stack file, so its value is unknown."""


def _external_host(context: Context) -> str | None:
    return urlsplit(context.lookup("registry.external_url") or "").hostname


def _is_on_443(context: Context) -> bool:
    url = urlsplit(context.lookup("registry.external_url") or "https:")
    return context.lookup("registry.exposure") in ("tls", "open") and url.port in (None, HTTPS)


def _is_new_bucket_with_v1(context: Context) -> bool:
    if context.lookup("storage.kind") != "oss" or context.lookup("storage.adopt"):
        return False
    return context.release.major < 3 and not context.lookup("storage.signature_v1")


def _oss_settings(storage: Mapping[str, Any], context: Context) -> Sequence[Details]:
    if context.lookup("storage.kind") != "filesystem":
        return []
    given = context.registry.stack.settings.storage.model_fields_set
    return [{"path": f"storage.{key}"} for key in sorted(given - {"kind", "volume"})]


def _stack_redis_settings(_: object, context: Context) -> Sequence[Details]:
    if not context.lookup("cache.address"):
        return []
    given = context.registry.stack.settings.cache.model_fields_set
    return [{"path": f"cache.{key}"} for key in sorted(given & {"image", "max_memory"})]


def _is_image_without_release(_: object, context: Context) -> bool:
    settings = context.registry.settings
    return settings.image is not None and "release" not in settings.model_fields_set


def _not_a_region(region: str, _: Context) -> bool | Details:
    if not region or re.fullmatch(_REGION, region):
        return False
    found = re.search(_REGION, re.sub(r"oss-|-internal|\.aliyuncs.*", "", region.lower()))
    return {"example": found[0] if found else "cn-hangzhou"}


def _variables(_: object, context: Context) -> Iterator[Details]:
    settings = context.registry.settings
    on_swarm = settings.runtime == "swarm"
    for name, value in sorted(settings.environment.items()):
        path = f"registry.environment.{name}"
        if name.startswith("REGISTRY_"):
            yield _problem_at(path, ("would go past all checks", "say it in registry.config"))
        elif isinstance(value, Placeholder):
            if value.label not in context.registry.stack.secrets:
                yield _problem_at(path, missing_secret(value.label))
            if on_swarm:
                problem = "can't come from a secret on swarm, which shows a service's variables"
                yield _problem_at(path, (problem, "write a value that is no secret, or remove it"))
        elif problem := plain_secret(("environment", name), value) or "":
            yield _problem_at(path, (problem, WRITE_SECRET))


def _problem_at(path: str, texts: tuple[str, str]) -> Details:
    """Return the details of a problem at `path`, for a rule without texts of its own."""
    problem, fix = texts
    return {"path": path, "problem": problem, "fix": fix}


def _not_a_registry_host(login: Mapping[str, Any], _: Context) -> bool | Details:
    address = login["address"]
    if isinstance(address, Sealed) or _REGISTRY_HOST.fullmatch(address):
        return False
    problem = "must be the registry's host alone, without scheme and path"
    host = re.sub(r"^\w*://|/.*", "", address)
    if addresses.has_wrong_port(host):
        problem, _fix = INVALID_PORT
        host, _port = addresses.split(host)
    example = host if _REGISTRY_HOST.fullmatch(host) else "registry.example.com"
    return {"path": f"{login['path']}.address", "problem": problem, "example": example}


def _plain_login_secrets(login: Mapping[str, Any], _: Context) -> Sequence[Details]:
    secrets = ("password", "configFileContent")
    plain = [key for key in secrets if login[key] and not isinstance(login[key], Sealed)]
    return [{"path": f"{login['path']}.{key}"} for key in plain]


def _is_open_without_host(url: str | None, context: Context) -> bool:
    is_open = context.lookup("registry.exposure") == "open"
    return bool(
        url is None
        and is_open
        and context.lookup(docker_engine.CONTEXT)
        and not addresses.is_loopback(context.registry.address)
    )


def _without_login(exposure: str, context: Context) -> bool | Details:
    if exposure not in _EXPOSURES_WITH_LOGIN or context.registry.requires_login:
        return False
    return {"path": "auth", "exposure": exposure}


def _reserved_files(files: Mapping[str, str], _: Context) -> Sequence[Details]:
    reserved = [
        path
        for path in files
        if path in _RESERVED_FILES
        or path.startswith(_RESERVED_FOLDERS)
        or f"{path}/" in _RESERVED_FOLDERS
    ]
    return [{"path": f"registry.files.{path}"} for path in reserved]


def _unreadable_files(files: Mapping[str, str], context: Context) -> Iterator[Details]:
    """Yield the files that would keep the registry from starting."""
    texts = {path: (f"files.{path}", text) for path, text in files.items()}
    if bundle := context.registry.settings.ca_certificates:
        texts[CA_CERTIFICATES_PATH] = ("ca_certificates", bundle)
    for path, file in named_files(context.registry.tree):
        if file not in texts:
            continue
        key, text = texts[file]
        if broken := _FILE_CHECKS.get(path, certificates.bundle_problem)(text):
            problem, fix = broken
            yield _problem_at(
                f"registry.{key}", (f"{problem}, as registry.config.{path} needs", fix)
            )


def _wrong_passwords(users: Mapping[str, Any] | None, context: Context) -> Iterator[Details]:
    for user, settings in (users or {}).items():
        secret = plan.password_secret(user)
        password = context.registry.stack.secrets.get(secret)
        if settings["hash"] and password is not None:
            texts = (f"is there beside the secret {secret}", "keep one of them")
            yield _problem_at(f"auth.users.{user}.hash", texts)
        if password is None or isinstance(password, Sealed):
            continue
        fix = "set another one"
        if len(password.encode(errors="surrogatepass")) > _BCRYPT_BYTES:
            problem = f"is longer than the {_BCRYPT_BYTES} bytes that bcrypt takes"
            yield _problem_at(f"{SECRETS}.{secret}", (problem, fix))
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", password):
            yield _problem_at(
                f"{SECRETS}.{secret}", ("holds characters that clients can't send", fix)
            )


def _wrong_certificate(pem: str | None, context: Context) -> Iterator[Details]:
    if not pem:
        return
    reads = ("registry.exposure", "registry.external_url")
    host_is_known = not any(overlaps(path, context.refused) for path in reads)
    host = context.registry.tls_host if host_is_known else None
    for texts in certificates.problems(pem, host, certificates.now()):
        yield _problem_at("tls.certificate", texts)
    key = context.registry.stack.secrets.get(_TLS_KEY)
    path = f"{SECRETS}.{_TLS_KEY}"
    if key is None:
        fix = f"{SET_SECRET} {PROJECT}:{_TLS_KEY} < its file"
        yield _problem_at(path, ("is required with tls.certificate", fix))
    elif not isinstance(key, Sealed) and (broken := certificates.key_problem(key, pem)):
        yield _problem_at(path, broken)


def _unused_secrets(secrets: Mapping[str, str], context: Context) -> Iterator[Details]:
    settings, registry = context.registry.stack.settings, context.registry.settings
    users = settings.auth.users if settings.auth else {}
    used = {*SECRET_NAMES, *map(plan.password_secret, users)}
    if settings.tls is None or settings.tls.certificate is None:
        used.remove(_TLS_KEY)
    used |= named_secrets(registry.config)
    used |= {
        value.label for value in registry.environment.values() if isinstance(value, Placeholder)
    }
    for name, value in secrets.items():
        path = f"{SECRETS}.{name}"
        if overlaps(_section_that_uses(name), context.refused):
            continue
        if name not in used:
            fix = f"{suggestion(name, used)}, or name it in from_secret"
            yield _problem_at(path, ("is a secret that nothing uses", fix))
        elif not value:
            yield _problem_at(path, ("is empty", f"{SET_SECRET} {PROJECT}:{name}"))


def _section_that_uses(secret: str) -> str:
    """Return the section whose settings decide whether `secret` is used."""
    if secret == _TLS_KEY:
        return "tls"
    return "auth" if secret.startswith(plan.password_secret("")) else "registry.config"


def named_secrets(config: object) -> set[str]:
    """Return the NAME of each `{from_secret: NAME}` in `config`."""
    found = ((place, value) for place, value in leaves(config) if isinstance(value, str))
    return {name for place, name in found if place[-1:] == ("from_secret",)}


def _too_long_for_ram(_: object, context: Context) -> bool | Details:
    user = context.registry.stack.prefix
    if context.lookup("storage.kind") != "oss" or len(user) <= _RAM_USER_LENGTH:
        return False
    return {"user": user}


def _too_long_for_swarm(_: object, context: Context) -> bool:
    on_swarm = context.lookup("registry.runtime") == "swarm"
    return on_swarm and len(context.registry.stack.prefix) > _SWARM_PREFIX_LENGTH


def _not_a_service_name(name: str, context: Context) -> bool:
    on_swarm = context.lookup("registry.runtime") == "swarm"
    return on_swarm and not re.fullmatch(r"[\w-]+", name, re.ASCII)


def _not_a_host_name(name: str, context: Context) -> bool | Details:
    stack, host = context.registry.stack, context.registry.stack.redis_host
    if not stack.runs_redis or context.lookup("registry.runtime") == "swarm":
        return False
    if all(map(_DNS_LABEL.fullmatch, host.split("."))):
        return False
    return {"host": host, "longest": 63 - len(host) + len(name)}


def _less_than_uploads_need(memory: int | None, context: Context) -> bool | Details:
    """Compare the limit with the chunks of concurrent uploads.

    A registry that exceeds its limit is killed during a push.
    """
    chunks = plan.chunk_size(context.registry.tree)
    if memory is None or chunks is None:
        return False
    path, size = chunks
    at_once = plan.UPLOADS_PER_CLIENT * plan.CHUNKS_PER_UPLOAD
    if at_once * size <= memory:
        return False
    smaller = max(memory // at_once, plan.SMALLEST_CHUNK_SIZE)
    return {
        "memory": _mebibytes(memory),
        "size": _mebibytes(size),
        "needed": _mebibytes(at_once * size),
        "enough": _mebibytes(max(memory, at_once * smaller)),
        "chunk_path": f"registry.config.{path}",
        "smaller": smaller,
    }


def _mebibytes(size: int) -> str:
    return f"{math.ceil(size / 2**20)}MiB"


def _too_large(_: object, context: Context) -> Iterator[Details]:
    stack = context.registry.stack
    known = {name: text for name, text in stack.secrets.items() if not isinstance(text, Sealed)}
    for path, problem, fix in sizes.problems(context.registry, known):
        yield _problem_at(path, (problem, fix))


RULES = (
    Rule(
        "storage.bucket",
        lambda bucket, context: context.lookup("storage.kind") == "oss" and bucket is None,
        "is required with kind: oss",
        "choose a name that no one else has",
    ),
    Rule(
        "storage.signature_v1",
        lambda _, context: _is_new_bucket_with_v1(context),
        "must be true for a new bucket: release 2.8 signs with V1, which OSS is withdrawing",
        'set registry.release: "3.1.2", or say signature_v1: true',
    ),
    Rule(
        "storage.cname",
        lambda cname, context: cname is not None and not context.release.supports_redirect_endpoint,
        "needs release 3.1: an earlier one sends clients to the address that it uses itself",
        'set registry.release: "3.1.2", or remove it',
    ),
    Rule(
        "storage.cname",
        lambda cname, context: (
            cname and not cname.startswith(f"https://{context.lookup('storage.bucket')}.")
        ),
        "must begin with the bucket's name, which the registry puts before the address",
        "bind such as https://BUCKET.images.example.com to the bucket",
    ),
    Rule(
        "storage.prefix",
        lambda prefix, context: not prefix and not context.lookup("storage.adopt"),
        "can't be empty for a new bucket",
        "remove it, or write such as registry",
    ),
    Rule(
        "storage.volume",
        lambda volume, context: volume is not None and context.lookup("storage.kind") == "oss",
        "belongs to kind: filesystem",
        "remove it",
    ),
    Rule(
        "storage.versioning",
        lambda on, context: on is not None and context.lookup("storage.adopt"),
        "belongs to a bucket that the stack makes: one that is adopted stays as it is",
        "remove it, and set it on the bucket",
    ),
    Rule(
        "storage.force_destroy",
        lambda force, context: (
            force and (context.lookup("storage.protect") or context.lookup("storage.adopt"))
        ),
        "can't be true with protect (the default) or adopt",
        "remove it, or set protect: false",
    ),
    Rule(
        "registry.bind",
        lambda bind, context: (
            bind is not None
            and context.lookup("registry.exposure") == "loopback"
            and not addresses.is_loopback(bind)
        ),
        "must be a loopback address with exposure: loopback",
        "remove it, or write such as 127.0.0.2",
    ),
    Rule(
        "cache.address",
        lambda address, _: (
            address is not None
            and addresses.is_loopback_or_unspecified(addresses.split(address)[0])
        ),
        "must be an address that the registry reaches: this one is its own container",
        "write the machine's name or address",
    ),
    Rule(
        "cache.address",
        lambda address, context: address is not None and not context.lookup("cache.enabled"),
        "can't be set with enabled: false",
        "remove one of them",
    ),
    Rule(
        "registry.config.redis.tls",
        lambda _, context: context.lookup("cache.address") is None,
        "needs a redis of your own: the stack's is reached on its own network, without TLS",
        "set cache.address, or remove it",
    ),
    Rule(
        "registry.config.redis.username",
        lambda name, context: context.lookup("cache.address") is None and name != "default",
        "needs a redis of your own: the stack's has no users",
        "set cache.address, or remove it",
    ),
    Rule(
        "registry.exposure",
        lambda exposure, context: (
            exposure == "loopback" and context.lookup("registry.runtime") == "swarm"
        ),
        "can't be loopback on swarm, whose ports listen on every address",
        "set tls, proxy or open",
    ),
    Rule(
        "registry.bind",
        lambda bind, context: bind is not None and context.lookup("registry.runtime") == "swarm",
        "can't be on swarm, whose ports listen on every address",
        "remove it, and let a firewall say who comes",
    ),
    Rule(
        "registry.delivery",
        lambda delivery, context: (
            delivery == "env" and context.lookup("registry.runtime") == "swarm"
        ),
        "can't be env on swarm: what is secret is a Docker secret there, and that is a file",
        "remove it, or write file",
    ),
    Rule(
        "registry.replicas",
        lambda replicas, context: (
            replicas > 1 and context.lookup("registry.runtime") == "container"
        ),
        "needs runtime: swarm: a container runs once",
        "set registry.runtime: swarm, or leave it at 1",
    ),
    Rule(
        "registry.replicas",
        lambda replicas, context: replicas > 1 and context.lookup("storage.kind") == "filesystem",
        "needs kind: oss: a volume is on one machine, and the others would see none of it",
        "set storage.kind: oss, or leave it at 1",
    ),
    Rule(
        "registry.swarm",
        lambda swarm, context: (
            swarm is not None and context.lookup("registry.runtime") == "container"
        ),
        "belongs to runtime: swarm",
        "remove it, or set registry.runtime: swarm",
    ),
    Rule(
        "registry.swarm.endpoint_mode",
        lambda mode, context: (
            mode == "dnsrr" and context.lookup("registry.swarm.publish_mode") == "ingress"
        ),
        "can't be dnsrr with publish_mode: ingress, which passes on to the virtual address",
        "remove it, or set publish_mode: host",
    ),
    Rule(
        "tls.letsencrypt",
        lambda acme, context: acme and context.lookup("registry.replicas") > 1,
        "needs replicas: 1: the authority would ask any of them for what one has asked it",
        "set a certificate of your own, or leave registry.replicas at 1",
    ),
    Rule(
        "registry.external_url",
        lambda url, context: (
            url is None and context.lookup("registry.exposure") in _EXPOSURES_WITH_LOGIN
        ),
        "is required with exposure tls and proxy",
        "write the address that clients use, such as https://registry.example.com",
    ),
    Rule(
        "registry.external_url",
        lambda url, context: url is not None and context.lookup("registry.exposure") == "loopback",
        "can't be with exposure: loopback, where others do not come",
        "set registry.exposure to tls or proxy, or remove it",
    ),
    Rule(
        "tls",
        lambda tls, context: tls is None and context.lookup("registry.exposure") == "tls",
        "is required with exposure: tls",
        "set one of certificate, self_signed and letsencrypt",
    ),
    Rule(
        "tls.letsencrypt",
        lambda acme, context: acme and not _is_on_443(context),
        "needs exposure: tls and an external_url on port 443, where the authority comes to look",
        "set them, or another certificate",
    ),
    Rule(
        "tls.letsencrypt.hosts",
        lambda hosts, context: _external_host(context) not in (None, *hosts),
        "must name the host of registry.external_url",
        "add it",
    ),
    Rule(
        "tls",
        lambda tls, _: tls is not None and sum(map(bool, tls.values())) != 1,
        "needs exactly one of certificate, self_signed and letsencrypt",
        "keep one of them",
    ),
    Rule(
        "tls.letsencrypt",
        lambda on, context: on and context.release.major < 3,
        "needs release 3: release 2.8 speaks a protocol that was switched off",
        'set registry.release: "3.1.2"',
    ),
    Rule(
        "maintenance.delete_untagged",
        lambda on, context: on and context.release.major < 3,
        "takes the parts of multi-architecture images in release 2.8 (distribution issue 3178)",
        'remove it, or set registry.release: "3.1.2"',
    ),
    Rule(
        "registry.release",
        _is_image_without_release,
        "is required with registry.image: it says which rules the image follows",
        "add the release that it was built from",
        reads=("registry.image",),
    ),
    Rule(
        "cache", _stack_redis_settings, "belongs to a redis of the stack", "remove it, or address"
    ),
    Rule("storage", _oss_settings, "belongs to kind: oss", "remove it"),
    Rule(
        REGION,
        lambda region, context: not region and context.lookup("storage.kind") == "oss",
        "is required with kind: oss",
        f"pulumi config set {REGION} cn-hangzhou",
    ),
    Rule(REGION, _not_a_region, "must be a region's id alone", "write {example}"),
    Rule("registry.environment", _variables),
    Rule(f"{REGISTRY_LOGINS}.*", _not_a_registry_host, fix="write {example}"),
    Rule(
        f"{REGISTRY_LOGINS}.*",
        _plain_login_secrets,
        "is a secret in plain text",
        f"{SET_SECRET} --path '{{path}}'",
    ),
    Rule(
        "registry.external_url",
        _is_open_without_host,
        "is required with exposure: open and docker:context, which names no machine",
        "write the address that clients use, or set docker:host in place of docker:context",
        reads=("registry.bind", "registry.runtime"),
    ),
    Rule(
        docker_engine.CONTEXT,
        lambda name, context: bool(name and context.lookup(docker_engine.HOST)),
        f"can't be set with {docker_engine.HOST}, which the docker plugin then ignores",
        "keep one of them",
    ),
    *(
        Rule(
            setting,
            lambda value, _: isinstance(value, Sealed),
            "can't be a secret: the docker command needs it",
            "write it plainly",
        )
        for setting in (docker_engine.HOST, docker_engine.CONTEXT)
    ),
    Rule(
        "registry.exposure",
        _without_login,
        "is required with exposure: {exposure}: else anyone may push, pull and delete",
        "name users, or set token or htpasswd in registry.config.auth",
        reads=("auth", "registry.config.auth"),
    ),
    Rule(
        "registry.files",
        _reserved_files,
        "is where this program, the registry or the kernel has something of its own",
        "choose another path",
    ),
    Rule("registry.files", _unreadable_files),
    Rule("auth.users", _wrong_passwords),
    Rule("tls.certificate", _wrong_certificate),
    Rule(SECRETS, _unused_secrets),
    Rule(
        NAME,
        _too_long_for_ram,
        f"makes the RAM user {{user}} longer than the {_RAM_USER_LENGTH} that RAM allows",
        "choose a shorter one",
    ),
    Rule(
        NAME,
        _too_long_for_swarm,
        "makes names of Docker secrets longer than the 64 that they may have",
        "choose a shorter one",
    ),
    Rule(
        NAME,
        _not_a_service_name,
        "is a part of names of services, which may have only letters, digits, - and _",
        "choose another one",
    ),
    Rule(
        NAME,
        _not_a_host_name,
        "makes {host} the host name of redis, which DNS does not allow: it must have at most 63 "
        "characters before, between and after dots, and no - beside a dot",
        "choose one of at most {longest} letters, digits, - and _, or set cache.enabled: false",
        reads=("cache",),
    ),
    Rule(
        "registry.limits.memory",
        _less_than_uploads_need,
        f"is {{memory}}, and {plan.UPLOADS_PER_CLIENT} uploads at once, each with "
        f"{plan.CHUNKS_PER_UPLOAD} chunks of {{size}} in memory, take {{needed}}",
        "set it to {needed} or more, or to {enough} with {chunk_path}: {smaller}",
        reads=("storage.kind", "registry.config.storage"),
    ),
    Rule("registry", _too_large, reads=("registry.runtime", "registry.delivery")),
)


def _missing_files(_: object, context: Context) -> Sequence[Details]:
    if context.registry.settings.image:
        return []
    known = (*context.registry.files, _CA_BUNDLE)
    named = named_files(context.registry.tree)
    return [
        {"path": f"registry.config.{path}", "file": file}
        for path, file in named
        if file not in known
    ]


def _is_unprotected(exposure: str, context: Context) -> bool | Details:
    registry = context.registry
    if exposure != "open" or (registry.requires_login and registry.stack.settings.tls):
        return False
    what = (
        "takes passwords in clear text"
        if registry.requires_login
        else "lets anyone push and delete"
    )
    return {"what": what, "published": registry.published}


def _bypasses_proxy(_: object, context: Context) -> bool | Details:
    registry = context.registry
    behind_proxy = registry.settings.exposure == "proxy" and registry.stack.settings.tls is None
    if not behind_proxy or addresses.is_loopback(registry.address):
        return False
    return {"published": registry.published}


def _on_another_port(_: object, context: Context) -> bool | Details:
    registry = context.registry
    port = urlsplit(registry.endpoint).port or HTTPS
    if registry.settings.exposure != "tls" or port == registry.settings.port:
        return False
    return {"port": registry.settings.port}


def _expires_soon(pem: str | None, _: Context) -> bool | Details:
    if not pem:
        return False
    day, days = certificates.expiry(pem, certificates.now())
    return {"day": day, "days": days} if days < EXPIRES_SOON_DAYS else False


def _replicas_with_own_caches(replicas: int, context: Context) -> bool:
    cache = lookup(context.registry.tree, "storage.cache.blobdescriptor")
    return replicas > 1 and cache == "inmemory"


def _unpinned_volumes(_: object, context: Context) -> bool | Details:
    registry = context.registry
    on_swarm = registry.settings.runtime == "swarm"
    if not on_swarm or not registry.volumes or registry.stack.swarm_settings.constraints:
        return False
    return {"path": "registry.swarm.constraints", "volumes": ", ".join(registry.volumes)}


def _unsent_traces(environment: Mapping[str, object], context: Context) -> Iterator[Details]:
    release = context.release
    exporter = context.registry.process_environment.get("OTEL_TRACES_EXPORTER")
    if exporter == "otlp":
        return
    if release.major < 3:
        problem = f"is not used: release {release.version} sends no traces"
        fix = 'set registry.release: "3.1.2", or remove it'
    else:
        problem = f"is not used: OTEL_TRACES_EXPORTER is {exporter}"
        fix = "set OTEL_EXPORTER_OTLP_ENDPOINT, and no other exporter"
    for name in sorted(environment):
        if name.startswith("OTEL_EXPORTER_OTLP_"):
            yield _problem_at(f"registry.environment.{name}", (problem, fix))


def _unpurged_bucket(adopt: bool, context: Context) -> bool | Details:
    if not adopt or context.release.purges_object_storage:
        return False
    prefix = context.lookup("storage.prefix")
    return {"version": context.release.version, "below": f" below {prefix}/" if prefix else ""}


# Valid settings with effects that a user may not expect.
WARNINGS = (
    Rule(
        "registry",
        _missing_files,
        "names {file}, which is not in the official image",
        "add it to registry.files, or set registry.image to one that has it",
    ),
    Rule(
        "registry.exposure",
        _is_unprotected,
        "{what} who reaches {published}",
        "write tls or proxy, and name users",
    ),
    Rule(
        "registry.bind",
        _bypasses_proxy,
        "lets others past the proxy, without TLS, on {published}",
        "let a firewall admit the proxy alone",
    ),
    Rule(
        "registry.external_url",
        _on_another_port,
        "is not on the port {port} that the registry listens on",
        "see that something forwards it",
    ),
    Rule(
        "registry.bind",
        lambda _, context: (
            context.registry.login_server.startswith("[")
            and {"server": context.registry.login_server}
        ),
        "makes {server} the login server, which Docker 20.10 does not accept",
        "write an IPv4 address, or set registry.exposure to tls or proxy with an external_url",
    ),
    Rule(
        "cache.address",
        lambda address, _: bool(address) and address.startswith("[") and {"address": address},
        "names the IPv6 address {address}, and Docker's networks have only IPv4 by default",
        "write a name or an IPv4 address, or enable IPv6 for new networks in the engine",
    ),
    Rule("tls.certificate", _expires_soon, "expires on {day}, in {days} days", "renew it"),
    Rule(
        "registry.replicas",
        _replicas_with_own_caches,
        "each replica remembers for itself, and goes on with what another one has deleted",
        "let them share a redis",
    ),
    Rule(
        "registry",
        _unpinned_volumes,
        "lets it move away from {volumes}, which is on one machine alone",
        "name that machine, such as [node.hostname==one]",
    ),
    Rule("registry.environment", _unsent_traces),
    Rule(
        "storage.adopt",
        _unpurged_bucket,
        "with release {version} nobody clears unfinished uploads",
        "add a lifecycle rule to the bucket that aborts them{below}",
    ),
    Rule(
        "storage.endpoint",
        # Some hosts of OSS do not contain the region, so this setting may be correct.
        lambda host, context: bool(host) and context.registry.stack.region not in host,
        f"names another region than {REGION}, which requests are signed for",
        "remove it, unless you know better",
    ),
)
