"""A stack file is read, checked and made a `Stack` before the first resource is registered.

The models of settings.py say what is wrong with a key alone; `_RULES` and what follows it, what is
wrong between them.
"""

import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, get_origin
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from components import (
    addresses,
    certificates,
    configuration,
    distribution,
    docker_engine,
    providers,
    sizes,
)
from components.configuration import Context, Problem, Rule, overlaps, within
from components.distribution import password_of
from components.environment import Hole, Section
from components.secrecy import plain_secret
from components.settings import PROJECT, StackSettings, is_public, model_in
from components.stack import CERTIFICATES, Stack

PROVIDERS = (*providers.KEYS, "pulumi")  # whose own keys a stack file may have
REGION = "alicloud:region"
# Secrets among the providers' keys, and another place for each.
PROVIDER_SECRETS = {
    "alicloud:secretKey": ", or leave it to ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "alicloud:securityToken": ", or leave it to ALIBABA_CLOUD_SECURITY_TOKEN",
    "docker:keyMaterial": ", or set docker:certPath",
}
USER_NAME = 64  # characters, RAM's limit
FILE_NAME = 64 - len("-registry-01234567-00")  # Docker's limit for the name of a secret
LOGINS = "docker:registryAuth"  # for pulling images
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # in each official image
GUARDED = ("tls", "proxy")  # strangers come to these, so there must be a login
HTTPS = 443
PASSWORD_BYTES = 72  # all that bcrypt looks at
SOON = 30  # days
# What the alicloud provider heeds when the stack file names no region.
REGION_VARIABLES = ("ALICLOUD_REGION", "ALIBABA_CLOUD_REGION")


class Sealed(str):
    """A secret as it stands in the stack file, encrypted: what it holds can't be looked at."""


class SettingsError(Exception):
    """A stack file is invalid; the text lists all problems, one a line."""


def warnings(stack: Stack) -> Sequence[str]:
    """What works, but not as the user may think."""
    found = configuration.warnings(stack.release, stack.tree, stack.files.keys())
    return [line(problem) for problem in (*map(_in_config, found), *_remarks(stack))]


def _remarks(stack: Stack) -> Iterator[Problem]:
    storage, registry, tls = stack.settings.storage, stack.settings.registry, stack.settings.tls
    for path, file in configuration.named_files(stack.tree):
        if file not in (*stack.files, BUNDLE) and not registry.image:
            rule = f"names {file}, which is not in the official image"
            fix = "add it to registry.files, or set registry.image to one that has it"
            yield _in_config(Problem(path, rule, fix))
    if registry.exposure == "open" and not (stack.guarded and tls):
        what = "takes passwords in clear text" if stack.guarded else "lets anyone push and delete"
        rule = f"{what} who reaches {stack.published}"
        yield Problem(f"{PROJECT}:registry.exposure", rule, "write tls or proxy, and name users")
    if registry.exposure == "proxy" and not tls and not _loopback(stack.address):
        rule = f"lets others past the proxy, without TLS, on {stack.published}"
        yield Problem(f"{PROJECT}:registry.bind", rule, "let a firewall admit the proxy alone")
    if registry.exposure == "tls" and (urlsplit(stack.endpoint).port or HTTPS) != registry.port:
        rule = f"is not on the port {registry.port} that the registry listens on"
        yield Problem(f"{PROJECT}:registry.external_url", rule, "see that something forwards it")
    if stack.login_server.startswith("["):
        rule = f"makes {stack.login_server} the login server, which Docker 20.10 does not accept"
        fix = "write an IPv4 address, or set registry.exposure to tls or proxy with an external_url"
        yield Problem(f"{PROJECT}:registry.bind", rule, fix)
    cache = stack.settings.cache.address or ""
    if cache.startswith("["):
        rule = f"names the IPv6 address {cache}, and Docker's networks have only IPv4 by default"
        fix = "write a name or an IPv4 address, or enable IPv6 for new networks in the engine"
        yield Problem(f"{PROJECT}:cache.address", rule, fix)
    if tls and tls.certificate:
        day, days = certificates.left(tls.certificate, certificates.now())
        if days < SOON:
            yield Problem(
                f"{PROJECT}:tls.certificate", f"expires on {day}, in {days} days", "renew it"
            )
    if (
        registry.replicas > 1
        and distribution.at(stack.tree, "storage.cache.blobdescriptor") == "inmemory"
    ):
        rule = "each replica remembers for itself, and goes on with what another one has deleted"
        yield Problem(f"{PROJECT}:registry.replicas", rule, "let them share a redis")
    if registry.runtime == "swarm" and stack.volumes and not stack.swarm.constraints:
        rule = f"lets it move away from {', '.join(stack.volumes)}, which is on one machine alone"
        fix = "name that machine, such as [node.hostname==one]"
        yield Problem(f"{PROJECT}:registry.swarm.constraints", rule, fix)
    if stack.process.get("OTEL_TRACES_EXPORTER") != "otlp":
        for name in sorted(registry.environment):
            if name.startswith("OTEL_EXPORTER_OTLP_"):
                yield Problem(f"{PROJECT}:registry.environment.{name}", *_no_traces(stack))
    if storage.adopt and not stack.release.purges_oss:
        rule = f"with release {stack.release.version} nobody clears unfinished uploads"
        below = f" below {stack.oss.below}" if stack.oss.below else ""
        fix = f"add a lifecycle rule to the bucket that aborts them{below}"
        yield Problem(f"{PROJECT}:storage.adopt", rule, fix)
    if storage.endpoint and stack.region not in storage.endpoint:
        # It may be right: some of OSS's hosts are named otherwise.
        rule = f"names another region than {REGION}, which requests are signed for"
        yield Problem(f"{PROJECT}:storage.endpoint", rule, "remove it, unless you know better")


def _no_traces(stack: Stack) -> tuple[str, str]:
    """Why the registry sends no traces, and how to have it send them."""
    if stack.release.major < 3:
        rule = f"is not used: release {stack.release.version} sends no traces"
        return rule, 'set registry.release: "3.1.2", or remove it'
    exporter = stack.process["OTEL_TRACES_EXPORTER"]
    fix = "set OTEL_EXPORTER_OTLP_ENDPOINT, and no other exporter"
    return f"is not used: OTEL_TRACES_EXPORTER is {exporter}", fix


def _loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _host(its: Context) -> str | None:
    return urlsplit(its.at("registry.external_url") or "").hostname


def _comes_to_443(its: Context) -> bool:
    url = urlsplit(its.at("registry.external_url") or "https:")
    return its.at("registry.exposure") in ("tls", "open") and url.port in (None, HTTPS)


def _new_and_v1(_: object, its: Context) -> bool:
    kind, old, adopted = its.at("storage.kind"), its.release.major < 3, its.at("storage.adopt")
    return kind == "oss" and old and not adopted and not its.at("storage.signature_v1")


# What is wrong between settings that are right one by one.
_RULES = (
    Rule(
        "storage.bucket",
        lambda bucket, its: its.at("storage.kind") == "oss" and bucket is None,
        "is required with kind: oss",
        "choose a name that no one else has",
    ),
    Rule(
        "storage.signature_v1",
        _new_and_v1,
        "must be true for a new bucket: release 2.8 signs with V1, which OSS is withdrawing",
        'set registry.release: "3.1.2", or say signature_v1: true',
    ),
    Rule(
        "storage.cname",
        lambda cname, its: cname is not None and not its.release.redirects,
        "needs release 3.1: an earlier one sends clients to the address that it uses itself",
        'set registry.release: "3.1.2", or remove it',
    ),
    Rule(
        "storage.cname",
        lambda cname, its: cname and not cname.startswith(f"https://{its.at('storage.bucket')}."),
        "must begin with the bucket's name, which the registry puts before the address",
        "bind such as https://BUCKET.images.example.com to the bucket",
    ),
    Rule(
        "storage.prefix",
        lambda prefix, its: not prefix and not its.at("storage.adopt"),
        "can't be empty for a new bucket",
        "remove it, or write such as registry",
    ),
    Rule(
        "storage.volume",
        lambda volume, its: volume is not None and its.at("storage.kind") == "oss",
        "belongs to kind: filesystem",
        "remove it",
    ),
    Rule(
        "storage.versioning",
        lambda on, its: on is not None and its.at("storage.adopt"),
        "belongs to a bucket that the stack makes: one that is adopted stays as it is",
        "remove it, and set it on the bucket",
    ),
    Rule(
        "storage.force_destroy",
        lambda force, its: force and (its.at("storage.protect") or its.at("storage.adopt")),
        "can't be true with protect (the default) or adopt",
        "remove it, or set protect: false",
    ),
    Rule(
        "registry.bind",
        lambda bind, its: (
            bind is not None and its.at("registry.exposure") == "loopback" and not _loopback(bind)
        ),
        "must be a loopback address with exposure: loopback",
        "remove it, or write such as 127.0.0.2",
    ),
    Rule(
        "cache.address",
        lambda address, _: (
            address is not None and addresses.is_own_host(addresses.split(address)[0])
        ),
        "must be an address that the registry reaches: this one is its own container",
        "write the machine's name or address",
    ),
    Rule(
        "cache.address",
        lambda address, its: address is not None and not its.at("cache.enabled"),
        "can't be set with enabled: false",
        "remove one of them",
    ),
    Rule(
        "registry.config.redis.tls",
        lambda _, its: its.at("cache.address") is None,
        "needs a redis of your own: the stack's is reached on its own network, without TLS",
        "set cache.address, or remove it",
    ),
    Rule(
        "registry.config.redis.username",
        lambda name, its: its.at("cache.address") is None and name != "default",
        "needs a redis of your own: the stack's has no users",
        "set cache.address, or remove it",
    ),
    Rule(
        "registry.exposure",
        lambda exposure, its: exposure == "loopback" and its.at("registry.runtime") == "swarm",
        "can't be loopback on swarm, whose ports listen on every address",
        "set tls, proxy or open",
    ),
    Rule(
        "registry.bind",
        lambda bind, its: bind is not None and its.at("registry.runtime") == "swarm",
        "can't be on swarm, whose ports listen on every address",
        "remove it, and let a firewall say who comes",
    ),
    Rule(
        "registry.delivery",
        lambda way, its: way == "env" and its.at("registry.runtime") == "swarm",
        "can't be env on swarm: what is secret is a Docker secret there, and that is a file",
        "remove it, or write file",
    ),
    Rule(
        "registry.replicas",
        lambda replicas, its: replicas > 1 and its.at("registry.runtime") == "container",
        "needs runtime: swarm: a container runs once",
        "set registry.runtime: swarm, or leave it at 1",
    ),
    Rule(
        "registry.replicas",
        lambda replicas, its: replicas > 1 and its.at("storage.kind") == "filesystem",
        "needs kind: oss: a volume is on one machine, and the others would see none of it",
        "set storage.kind: oss, or leave it at 1",
    ),
    Rule(
        "registry.swarm",
        lambda swarm, its: swarm is not None and its.at("registry.runtime") == "container",
        "belongs to runtime: swarm",
        "remove it, or set registry.runtime: swarm",
    ),
    Rule(
        "registry.swarm.endpoint_mode",
        lambda mode, its: mode == "dnsrr" and its.at("registry.swarm.publish_mode") == "ingress",
        "can't be dnsrr with publish_mode: ingress, which passes on to the virtual address",
        "remove it, or set publish_mode: host",
    ),
    Rule(
        "tls.letsencrypt",
        lambda acme, its: acme and its.at("registry.replicas") > 1,
        "needs replicas: 1: the authority would ask any of them for what one has asked it",
        "set a certificate of your own, or leave registry.replicas at 1",
    ),
    Rule(
        "registry.external_url",
        lambda url, its: url is None and its.at("registry.exposure") in GUARDED,
        "is required with exposure tls and proxy",
        "write the address that clients use, such as https://registry.example.com",
    ),
    Rule(
        "registry.external_url",
        lambda url, its: url is not None and its.at("registry.exposure") == "loopback",
        "can't be with exposure: loopback, where others do not come",
        "set registry.exposure to tls or proxy, or remove it",
    ),
    Rule(
        "tls",
        lambda tls, its: tls is None and its.at("registry.exposure") == "tls",
        "is required with exposure: tls",
        "set one of certificate, self_signed and letsencrypt",
    ),
    Rule(
        "tls.letsencrypt",
        lambda acme, its: acme and not _comes_to_443(its),
        "needs exposure: tls and an external_url on port 443, where the authority comes to look",
        "set them, or another certificate",
    ),
    Rule(
        "tls.letsencrypt.hosts",
        lambda hosts, its: _host(its) not in (None, *hosts),
        "must name the host of registry.external_url",
        "add it",
    ),
    Rule(
        "tls",
        lambda tls, _: tls is not None and len([*filter(None, tls.values())]) != 1,
        "needs exactly one of certificate, self_signed and letsencrypt",
        "keep one of them",
    ),
    Rule(
        "tls.letsencrypt",
        lambda on, its: on and its.release.major < 3,
        "needs release 3: release 2.8 speaks a protocol that was switched off",
        'set registry.release: "3.1.2"',
    ),
    Rule(
        "maintenance.delete_untagged",
        lambda on, its: on and its.release.major < 3,
        "takes the parts of multi-architecture images in release 2.8 (distribution issue 3178)",
        'remove it, or set registry.release: "3.1.2"',
    ),
)


def load(
    name: str,
    config: Mapping[str, str],
    secret_keys: Set[str],
    variables: Mapping[str, str] | None = None,
) -> Stack:
    """The stack `name` from its configuration as Pulumi hands it over: JSON text by full key.

    `variables` are this process's own, which may name the region. Raises SettingsError with every
    problem: config key, rule, value and fix, but no secret value.
    """
    stack, problems = checked(name, config, secret_keys, variables)
    if problems:
        raise invalid(name, problems)
    return stack


def invalid(name: str, problems: Iterable[Problem]) -> SettingsError:
    """The error that lists `problems` of the stack `name`'s file."""
    lines = "".join(f"\n  - {line(problem)}" for problem in problems)
    return SettingsError(f"stacks/Pulumi.{name}.yaml can't be used:{lines}")


def checked(
    name: str,
    config: Mapping[str, str],
    secret_keys: Set[str],
    variables: Mapping[str, str] | None = None,
) -> tuple[Stack, Sequence[Problem]]:
    """The stack as `load` gives it, without what is wrong with its file, and that."""
    sections, secrets, problems = _divided(config, secret_keys)
    settings, found = _validated(sections)
    meant = _meant(found)
    problems += [p for p in found if not (p.path in meant and p.rule == "is required")]
    named = (variables or {}).get
    region = config.get(REGION) or next(filter(None, map(named, REGION_VARIABLES)), "")
    engine = config.get(docker_engine.HOST) or named("DOCKER_HOST") or ""
    stack = Stack(name, settings, region, secrets, engine=engine)
    refused = _refused(problems)
    found = [
        *_logins(config.get(LOGINS, ""), LOGINS in secret_keys),
        *_engines(config, stack),
        *_contradictions(stack, refused),
        *_certificate(stack, refused),
    ]
    problems += [problem for problem in found if not _has_wrong(problem.path, refused)]
    problems += _unused(stack, refused)
    problems += _files(stack)
    problems += _passwords(stack)
    user, found = _configured(stack, refused)
    problems += found
    refused |= _refused(found)
    stack = replace(stack, user=user)
    problems += _contents(stack)
    decrypted = {n: value for n, value in secrets.items() if not isinstance(value, Sealed)}
    checks: Sequence[tuple[Iterator[Problem], Sequence[str]]] = (
        (_unguarded(stack), ("registry.exposure", "auth", "registry.config.auth")),
        (_name(stack), ("registry.runtime", "storage.kind", "cache")),
        (sizes.problems(stack, decrypted), ("registry.runtime", "registry.delivery")),
        (_too_large_chunks(stack), ("storage.kind", "registry.limits", "registry.config.storage")),
    )
    for check, reads in checks:
        if not any(overlaps(f"{PROJECT}:{path}", refused) for path in reads):
            problems += check
    return stack, problems


def _refused(problems: Sequence[Problem]) -> set[str]:
    """Return the paths of `problems`, and those of the keys that misspelled ones stand for.

    A check that reads a value at one of these would report the same mistake once more.
    """
    return {problem.path for problem in problems} | _meant(problems)


def _meant(problems: Sequence[Problem]) -> set[str]:
    """Return the paths of the keys that misspelled ones stand for."""
    unknown = (problem for problem in problems if problem.rule.startswith("is not a"))
    suggested = ((each.path, re.fullmatch(r"write (\S+)", each.fix)) for each in unknown)
    return {re.sub(r"[^.:]+$", found[1], path) for path, found in suggested if found}


def _has_wrong(path: str, refused: Iterable[str]) -> bool:
    """Whether what is at `path` was refused, or a part of it."""
    return any(within(other, path) for other in refused)


def _name(stack: Stack) -> Iterator[Problem]:
    """What RAM, Swarm or DNS refuses in the names that a stack's name is a part of."""
    path, swarm = f"the stack name {stack.name}", stack.settings.registry.runtime == "swarm"
    if stack.settings.storage.kind == "oss" and len(stack.prefix) > USER_NAME:
        rule = f"makes the RAM user {stack.prefix} longer than the {USER_NAME} that RAM allows"
        yield Problem(path, rule, "choose a shorter one")
    if swarm and len(stack.prefix) > FILE_NAME:
        rule = "makes names of Docker secrets longer than the 64 that they may have"
        yield Problem(path, rule, "choose a shorter one")
    if swarm and not re.fullmatch(r"[\w-]+", stack.name, re.ASCII):
        rule = "is a part of names of services, which may have only letters, digits, - and _"
        yield Problem(path, rule, "choose another one")
    labels = stack.redis_host.split(".")
    if stack.runs_redis and not swarm and not all(map(_DNS_LABEL.fullmatch, labels)):
        rule = (
            f"makes {stack.redis_host} the host name of redis, which DNS does not allow: it must "
            "have at most 63 characters before, between and after dots, and no - beside a dot"
        )
        longest = 63 - len(stack.redis_host) + len(stack.name)
        fix = f"choose one of at most {longest} letters, digits, - and _, or set cache.enabled"
        yield Problem(path, rule, f"{fix}: false")


def _too_large_chunks(stack: Stack) -> Iterator[Problem]:
    """A registry that needs more memory than its limit is killed in the middle of a push."""
    memory, chunks = stack.settings.registry.limits.memory, distribution.chunk_size(stack.tree)
    if memory is None or chunks is None:
        return
    path, size = chunks
    at_once = distribution.UPLOADS_OF_CLIENT * distribution.CHUNKS_OF_UPLOAD
    if at_once * size <= memory:
        return
    rule = (
        f"is {_mebibytes(memory)}, and {distribution.UPLOADS_OF_CLIENT} uploads at once, each with "
        f"{distribution.CHUNKS_OF_UPLOAD} chunks of {_mebibytes(size)} in memory, take "
        f"{_mebibytes(at_once * size)}"
    )
    smaller = max(memory // at_once, distribution.SMALLEST_CHUNK_SIZE)
    fix = (
        f"set it to {_mebibytes(at_once * size)} or more, or to "
        f"{_mebibytes(max(memory, at_once * smaller))} with registry.config.{path}: {smaller}"
    )
    yield Problem(f"{PROJECT}:registry.limits.memory", rule, fix)


def _mebibytes(size: int) -> str:
    return f"{math.ceil(size / 2**20)}MiB"


def line(problem: Problem) -> str:
    """`problem` on one line, with the value that was refused if everyone may read it."""
    value = ""
    if problem.rule.startswith("must") and _is_public(problem.path):
        value = _repeated(problem.shown)
    return f"{problem.path}: {problem.rule}{value}; {problem.fix}"


def _is_public(path: str) -> bool:
    """Whether a message may repeat a value that was refused at `path`."""
    setting = path.removeprefix(f"{PROJECT}:")
    config = setting.removeprefix(_CONFIG)
    if config != setting:
        return configuration.is_public(config)
    return path == REGION or is_public(re.split(r"[.\[]", setting))


def _repeated(value: object) -> str:
    """A single value as a message repeats it: short, on one line, without a user of an address."""
    if not isinstance(value, str | int | float):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return "" if len(text) > 60 or "@" in text or "\\n" in text else f", not {text}"


def _divided(
    config: Mapping[str, str], secret_keys: Set[str]
) -> tuple[dict[str, Any], dict[str, str], list[Problem]]:
    """The sections, and the secrets, by name."""
    sections: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    problems = []
    set_secret = configuration.SET_SECRET
    for key, text in sorted(config.items()):
        namespace, _, name = key.partition(":")
        if key in PROVIDER_SECRETS and key not in secret_keys:
            fix = f"{set_secret} {key}{PROVIDER_SECRETS[key]}"
            problems.append(Problem(key, "is a secret in plain text", fix))
        if namespace in providers.KEYS:
            problems += providers.unknown(key, _parsed(text))
        if namespace in PROVIDERS:
            continue
        if namespace != PROJECT:
            fix = f"known are {', '.join((PROJECT, *PROVIDERS))}"
            problems.append(Problem(key, f"{namespace} is not a namespace here", fix))
        elif name in StackSettings.model_fields:
            if key in secret_keys:
                rule = "holds a secret, which would come out as plain text"
                fix = f"{set_secret} {PROJECT}:NAME, and {{from_secret: NAME}} in its place"
                problems.append(Problem(key, rule, fix))
            else:
                sections[name] = _parsed(text)
                problems += _dates(key, sections[name])
        elif key in secret_keys:
            secrets[name] = text
        elif name in _SECRETS or name.startswith(password_of("")):
            problems.append(Problem(key, "must be a secret", f"{set_secret} {key}"))
        else:
            fix = configuration.nearest(name, [*StackSettings.model_fields, *_SECRETS])
            problems.append(Problem(key, "is not a setting", fix))
    return sections, secrets, problems


def _parsed(text: str) -> object:
    """Pulumi hands over a scalar as it is written, and a map as JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# A date without quotes, as Pulumi hands it over (Go's time.Time.String).
_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4} \S+", re.ASCII)


def _dates(path: str, value: object) -> Iterator[Problem]:
    """Dates that Pulumi has rewritten, for `pulumi up` without `make`, which reads the file."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _dates(f"{path}.{key}", below)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _dates(f"{path}[{number}]", item)
    elif isinstance(value, str) and _DATE.fullmatch(value):
        yield Problem(path, "is a date, which Pulumi rewrites", "put it in quotes")


# How to say each kind of error that pydantic finds, by its own name for it: rule and fix.
_ERRORS = {
    "bool_type": configuration.MUST["bool"],
    "dict_type": configuration.MUST["section"],
    "int_type": configuration.MUST["int"],
    "list_type": configuration.MUST["list"],
    "mapping_type": configuration.MUST["section"],
    "model_type": configuration.MUST["section"],
    "sequence_str": configuration.MUST["list"],
    "sequence_type": configuration.MUST["list"],
    "string_type": configuration.MUST["string"],
    "extra_forbidden": ("is not a setting", ""),
    "missing": ("is required", "add it"),
    "string_too_short": ("can't be empty", "write a value, or remove it"),
    "too_long": ("can have two entries at most", "drop the oldest"),
    "too_short": ("can't be empty", "add an entry"),
}


def _validated(sections: dict[str, Any]) -> tuple[StackSettings, list[Problem]]:
    """The settings without what is wrong with them, and that."""
    problems: list[Problem] | None = None
    while True:
        try:
            return StackSettings.model_validate(sections), problems or []
        except ValidationError as error:
            details = error.errors(include_url=False)
            if problems is None:  # what is wrong later is wrong for want of what was dropped
                problems = [_problem(detail) for detail in details]
            for detail in details:
                place = _place(detail)
                _drop(sections, place[:-1] if detail["type"] == "missing" else place)


def _place(detail: ErrorDetails) -> list[str | int]:
    *place, last = detail["loc"]
    # What is wrong with a key itself is at the key and this word.
    return place if last == "[key]" else [*place, last]


def _problem(detail: ErrorDetails) -> Problem:
    place = _place(detail)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    kind, value = detail["type"], detail["input"]
    message = detail["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
    rule, fix = _ERRORS.get(kind) or (*message.split("; ", 1), "write one that is")[:2]
    if kind == "extra_forbidden":
        fix = configuration.nearest(str(place[-1]), _known_at(place[:-1]))
    elif kind == "string_type" and isinstance(value, list | dict):
        fix = "write a single value"
    elif kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        found = configuration.near(str(value), allowed)
        fix = f"write {found}" if found else fix
    return Problem(f"{PROJECT}:{path[1:]}", rule, _HINTS.get(path[1:], fix), value)


# Better than a general fix for what users look for.
_HINTS = {
    "cache.policy": "remove it: redis always drops the oldest entries, as any other policy ends in "
    "refused pushes",
    "cache.tls": 'write registry.config.redis.tls, which needs release "3.1.2"',
    "storage.region": "set alicloud:region, from which all else follows",
    "storage.versioning": "write {noncurrent_days: 30}: without an end, old versions cost for ever",
    "storage.versioning.noncurrent_days": "write such as 30: old versions cost until then",
}


def _known_at(place: Sequence[str | int]) -> Iterable[str]:
    """The settings of the section at `place`."""
    model: Any = StackSettings
    parts = iter(place)
    for part in parts:
        annotation = model.model_fields[part].annotation
        model = model_in(annotation)
        if get_origin(annotation) is Mapping:
            next(parts, None)  # a name, such as a user's
    return list(model.model_fields)


def _drop(tree: dict[str, Any], place: Sequence[Any]) -> None:
    """Remove what is at `place`; of a list, all of it."""
    part, *below = place
    if below and isinstance(tree.get(part), dict):
        _drop(tree[part], below)
    else:
        tree.pop(part, None)


def _contradictions(stack: Stack, refused: Set[str]) -> Iterator[Problem]:
    """What is wrong between settings that are right one by one."""
    registry, storage = stack.settings.registry, stack.settings.storage
    wrong = frozenset(path.removeprefix(f"{PROJECT}:") for path in refused)
    context = Context(stack.release, stack.settings.model_dump(), refused=wrong)
    for problem in configuration.broken(_RULES, context):
        yield problem._replace(path=f"{PROJECT}:{problem.path}")
    if registry.image and "release" not in registry.model_fields_set:
        rule = "must be given with registry.image: it says which rules the image follows"
        yield Problem(f"{PROJECT}:registry.release", rule, "add the release that it was built from")
    if stack.settings.cache.address:
        for key in sorted(stack.settings.cache.model_fields_set & {"image", "max_memory"}):
            rule = "belongs to a redis of the stack"
            yield Problem(f"{PROJECT}:cache.{key}", rule, "remove it, or address")
    kind_is_known = not overlaps("storage.kind", wrong)
    if kind_is_known and storage.kind == "filesystem":
        for key in sorted(storage.model_fields_set - {"kind", "volume"}):
            yield Problem(f"{PROJECT}:storage.{key}", "belongs to kind: oss", "remove it")
    if storage.kind == "oss" and not stack.region:
        yield Problem(
            REGION, "is required with kind: oss", f"pulumi config set {REGION} cn-hangzhou"
        )
    if stack.region and not re.fullmatch(_REGION, stack.region):
        near = re.search(_REGION, re.sub(r"oss-|-internal|\.aliyuncs.*", "", stack.region.lower()))
        example = near[0] if near else "cn-hangzhou"
        yield Problem(REGION, "must be a region's id alone", f"write {example}", stack.region)
    for name, value in sorted(registry.environment.items()):
        key = f"{PROJECT}:registry.environment.{name}"
        if name.startswith("REGISTRY_"):
            yield Problem(key, "would go past all checks", "say it in registry.config")
        elif isinstance(value, Hole):
            if value.label not in stack.secrets:
                yield Problem(key, *configuration.missing_secret(value.label))
            if registry.runtime == "swarm":
                rule = "can't come from a secret on swarm, which shows a service's variables"
                yield Problem(key, rule, "write a value that is no secret, or remove it")
        elif against := plain_secret(("environment", name), value):
            yield Problem(key, against, configuration.WRITE_SECRET)


def _logins(text: str, secret: bool) -> Iterator[Problem]:
    """What the docker plugin would take, and then not use, or write down as plain text.

    Pulumi marks the whole list as `secret` if one value in it is. Only the text of the stack file
    shows which one, so `make` finds a plain password beside a secret, and `pulumi up` does not.
    """
    entries = _parsed(text)
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        key, entry = f"{LOGINS}[{number}]", entry if isinstance(entry, dict) else {}
        address = entry.get("address", "")
        if not _is_sealed(address) and not _REGISTRY_HOST.fullmatch(str(address)):
            rule = "must be the registry's host alone, without scheme and path"
            host = re.sub(r"^\w*://|/.*", "", str(address))
            if addresses.has_wrong_port(host):
                rule, _ = configuration.PORT
                host, _ = addresses.split(host)
            known = _REGISTRY_HOST.fullmatch(host)
            yield Problem(f"{key}.address", rule, f"write {host if known else _REGISTRY_EXAMPLE}")
        for name in ("password", "configFileContent"):
            value = entry.get(name)
            sealed = _is_sealed(value) if isinstance(text, Sealed) else secret
            if value and not sealed:
                fix = f"{configuration.SET_SECRET} --path '{key}.{name}'"
                yield Problem(f"{key}.{name}", "is a secret in plain text", fix)


def _is_sealed(value: object) -> bool:
    """Whether `value` is a secret as it stands in the stack file."""
    return isinstance(value, Mapping) and value.keys() == {"secure"}


def _engines(config: Mapping[str, str], stack: Stack) -> Iterator[Problem]:
    """Settings that leave open which Docker engine is meant, or on which machine it is."""
    registry = stack.settings.registry
    exposed = registry.exposure == "open" and not _loopback(stack.address)
    if exposed and config.get(docker_engine.CONTEXT) and not registry.external_url:
        rule = "is required with exposure: open and docker:context, which names no machine"
        fix = "write the address that clients use, or set docker:host in place of docker:context"
        yield Problem(f"{PROJECT}:registry.external_url", rule, fix)
    if config.get(docker_engine.HOST) and config.get(docker_engine.CONTEXT):
        rule = f"can't be set with {docker_engine.HOST}, which the docker plugin then ignores"
        yield Problem(docker_engine.CONTEXT, rule, "keep one of them")
    for key in (docker_engine.HOST, docker_engine.CONTEXT):
        if isinstance(config.get(key), Sealed):
            yield Problem(key, "can't be a secret: the docker command needs it", "write it plainly")


def _unguarded(stack: Stack) -> Iterator[Problem]:
    exposure = stack.settings.registry.exposure
    if exposure in GUARDED and not stack.guarded:
        rule = f"is required with exposure: {exposure}: else anyone may push, pull and delete"
        fix = "name users, or set token or htpasswd in registry.config.auth"
        yield Problem(f"{PROJECT}:auth", rule, fix)


def _files(stack: Stack) -> Iterator[Problem]:
    own = {CERTIFICATES, *(release.config_path for release in distribution.RELEASES.values())}
    mounted = (
        distribution.DATA_PATH,
        distribution.LETSENCRYPT_PATH,
        "/tmp",
        "/dev",
        "/proc",
        "/sys",
    )
    folders = (distribution.OURS, *(f"{path}/" for path in mounted))
    for path in stack.settings.registry.files:
        if path in own or path.startswith(folders) or f"{path}/" in folders:
            rule = "is where this program, the registry or the kernel has something of its own"
            yield Problem(f"{PROJECT}:registry.files.{path}", rule, "choose another path")


# The checks of files that `registry.config` names. Files at other paths must be certificates.
_FILE_CHECKS: Mapping[str, Callable[[str], tuple[str, str] | None]] = {
    "auth.token.jwks": certificates.broken_key_set,
    "redis.tls.key": lambda _: None,  # PublicText refuses private keys
}


def _contents(stack: Stack) -> Iterator[Problem]:
    """Files of the stack file with which the registry does not start."""
    registry = stack.settings.registry
    texts = {file: (f"files.{file}", text) for file, text in registry.files.items()}
    if registry.ca_certificates:
        texts[CERTIFICATES] = ("ca_certificates", registry.ca_certificates)
    for path, file in configuration.named_files(stack.tree):
        key, text = texts.get(file, ("", None))
        check = _FILE_CHECKS.get(path, certificates.broken_bundle)
        if text is not None and (broken := check(text)):
            rule, fix = broken
            rule = f"{rule}, as registry.config.{path} needs"
            yield Problem(f"{PROJECT}:registry.{key}", rule, fix)


def release_warnings(stack: Stack, before: str | None) -> Sequence[str]:
    """What changes for clients if the registry runs the release `before` now."""
    now, earlier = stack.release, distribution.RELEASES.get(before or "")
    token = distribution.at(stack.tree, "auth.token") or {}
    upgraded = earlier is not None and earlier.major < 3 <= now.major
    if not upgraded or not token or token.get("jwks"):
        return []
    rule = (
        f"release {now.version} refuses tokens with libtrust's key ids, which release {before} "
        "takes: it looks for x5c or a key id by RFC 7638"
    )
    fix = "change the token server first, or set jwks to its public keys with their ids"
    return [line(_in_config(Problem("auth.token", rule, fix)))]


def _passwords(stack: Stack) -> Iterator[Problem]:
    for user, settings in (stack.settings.auth.users if stack.settings.auth else {}).items():
        secret = password_of(user)
        password = stack.secrets.get(secret)
        if settings.hash and password is not None:
            rule = f"is there beside the secret {secret}"
            yield Problem(f"{PROJECT}:auth.users.{user}.hash", rule, "keep one of them")
        if password is None or isinstance(password, Sealed):
            continue
        key, fix = f"{PROJECT}:{secret}", "set another one"
        if len(password.encode(errors="surrogatepass")) > PASSWORD_BYTES:
            yield Problem(key, f"is longer than the {PASSWORD_BYTES} bytes that bcrypt takes", fix)
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", password):
            yield Problem(key, "holds characters that clients can't send", fix)


def _certificate(stack: Stack, refused: Set[str]) -> Iterator[Problem]:
    pem = stack.settings.tls and stack.settings.tls.certificate
    key = stack.secrets.get(TLS_KEY)
    if not pem:
        return
    reads = (f"{PROJECT}:registry.exposure", f"{PROJECT}:registry.external_url")
    host = None if any(overlaps(path, refused) for path in reads) else stack.host
    found = [*certificates.broken(pem, host, certificates.now())]
    yield from (Problem(f"{PROJECT}:tls.certificate", *each) for each in found)
    if key is None:
        fix = f"{configuration.SET_SECRET} {PROJECT}:{TLS_KEY} < its file"
        yield Problem(f"{PROJECT}:{TLS_KEY}", "is required with tls.certificate", fix)
    elif not isinstance(key, Sealed) and (broken := certificates.broken_key(key, pem)):
        yield Problem(f"{PROJECT}:{TLS_KEY}", *broken)


# As Go's resolver takes it (net/dnsclient.go: isDomainName).
_DNS_LABEL = re.compile(r"\w([\w-]{0,61}\w)?", re.ASCII)
_REGISTRY_HOST = re.compile(addresses.HOST_WITH_OPTIONAL_PORT)
_REGISTRY_EXAMPLE = "registry.example.com"
_REGION = r"(?!.*internal)[a-z]{2}(-[a-z]{2,}|-\d{1,2})+"
# What each secret that the user may bring is for; besides, `password-USER`.
TLS_KEY = distribution.TLS_KEY.label
_SECRETS = ("http-secret", "redis-password", TLS_KEY)


def _unused(stack: Stack, refused: Set[str]) -> Iterator[Problem]:
    """Secrets that nothing uses, or that hold nothing."""
    users, tls = stack.settings.auth.users if stack.settings.auth else {}, stack.settings.tls
    used = {*_SECRETS, *map(password_of, users)}
    used -= {TLS_KEY} if not (tls and tls.certificate) else set()
    registry = stack.settings.registry
    used |= named_secrets(registry.config)
    used |= {value.label for value in registry.environment.values() if isinstance(value, Hole)}
    for name, value in stack.secrets.items():
        key = f"{PROJECT}:{name}"
        if overlaps(f"{PROJECT}:{_section_with(name)}", refused):
            continue
        if name not in used:
            fix = configuration.nearest(name, used)
            yield Problem(key, "is a secret that nothing uses", f"{fix}, or name it in from_secret")
        elif not value:
            yield Problem(key, "is empty", f"{configuration.SET_SECRET} {key}")


def _section_with(secret: str) -> str:
    """Return the section whose settings decide whether `secret` is used."""
    if secret == TLS_KEY:
        return "tls"
    return "auth" if secret.startswith(password_of("")) else "registry.config"


def named_secrets(config: object) -> set[str]:
    """The names in each `{from_secret: NAME}` of `config`."""
    if isinstance(config, Mapping):
        named = {name for key, name in config.items() if (key, type(name)) == ("from_secret", str)}
        return named.union(*map(named_secrets, config.values()))
    return set().union(*map(named_secrets, config)) if isinstance(config, list) else set()


# The settings that decide what the sections of the registry's configuration are checked against.
_PLANNED_FROM = {
    "auth": ("auth",),
    "http.tls": ("tls",),
    "log": ("storage.kind",),
    "redis": ("cache",),
    "storage": (
        "storage.kind",
        "storage.internal",
        "storage.endpoint",
        "storage.cname",
        "cache.enabled",
    ),
}


def _configured(stack: Stack, refused: Set[str]) -> tuple[Section, list[Problem]]:
    """The user's own tree; and what is wrong with it, for each release if that is not known."""
    unknown = f"{PROJECT}:registry.release" in refused
    releases = [*distribution.RELEASES.values()] if unknown else [stack.release]
    unplanned = [
        section
        for section, settings in _PLANNED_FROM.items()
        if any(overlaps(f"{PROJECT}:{path}", refused) for path in settings)
    ]
    found: list[list[Problem]] = []
    user: Section = {}
    for release in releases:
        user, problems = configuration.read(
            release, stack.settings.registry.config, stack.secrets.keys()
        )
        broken = {problem.path for problem in problems}
        more = configuration.problems(release, stack.planned(release, {}), user)
        found.append(
            problems
            + [
                problem
                for problem in more
                if not _has_wrong(problem.path, broken) and not overlaps(problem.path, unplanned)
            ]
        )
    common = set.intersection(*({problem.path for problem in problems} for problems in found))
    return user, [_in_config(problem) for problem in found[-1] if problem.path in common]


_CONFIG = "registry.config."


def _in_config(problem: Problem) -> Problem:
    return problem._replace(path=f"{PROJECT}:{_CONFIG}{problem.path}")
