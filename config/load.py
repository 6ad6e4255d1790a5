"""Read and validate a stack file."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config import docker_engine, overlay, providers, sizes, stack_rules
from config.messages import invalid, line
from config.problems import SET_SECRET, WRONG_KIND, Problem, closest, overlaps, suggestion, within
from config.releases import RELEASES, password_of
from config.settings import PROJECT, StackSettings, model_in
from config.stack import REGION, Stack
from config.stack_rules import LOGINS, SECRETS, Sealed, in_config, parsed
from config.tree import Section

PROVIDERS = (*providers.KEYS, "pulumi")  # whose own keys a stack file may have
# Secrets among the providers' keys, and another place for each.
PROVIDERSECRETS = {
    "alicloud:secretKey": ", or leave it to ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "alicloud:securityToken": ", or leave it to ALIBABA_CLOUD_SECURITY_TOKEN",
    "docker:keyMaterial": ", or set docker:certPath",
}
# What the alicloud provider heeds when the stack file names no region.
REGION_VARIABLES = ("ALICLOUD_REGION", "ALIBABA_CLOUD_REGION")


def warnings(stack: Stack) -> Sequence[str]:
    """What works, but not as the user may think."""
    found = overlay.warnings(stack.release, stack.tree, stack.files.keys())
    return [line(problem) for problem in (*map(in_config, found), *stack_rules.remarks(stack))]


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
        *stack_rules.logins(config.get(LOGINS, ""), LOGINS in secret_keys),
        *stack_rules.engines(config, stack),
        *stack_rules.contradictions(stack, refused),
        *stack_rules.certificate(stack, refused),
    ]
    problems += [problem for problem in found if not _has_wrong(problem.path, refused)]
    problems += stack_rules.unused(stack, refused)
    problems += stack_rules.reserved_files(stack)
    problems += stack_rules.passwords(stack)
    user, found = _configured(stack, refused)
    problems += found
    refused |= _refused(found)
    stack = replace(stack, user=user)
    problems += stack_rules.file_contents(stack)
    decrypted = {n: value for n, value in secrets.items() if not isinstance(value, Sealed)}
    checks: Sequence[tuple[Iterator[Problem], Sequence[str]]] = (
        (stack_rules.unguarded(stack), ("registry.exposure", "auth", "registry.config.auth")),
        (stack_rules.stack_name(stack), ("registry.runtime", "storage.kind", "cache")),
        (sizes.problems(stack, decrypted), ("registry.runtime", "registry.delivery")),
        (
            stack_rules.too_large_chunks(stack),
            ("storage.kind", "registry.limits", "registry.config.storage"),
        ),
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


def _divided(
    config: Mapping[str, str], secret_keys: Set[str]
) -> tuple[dict[str, Any], dict[str, str], list[Problem]]:
    """The sections, and the secrets, by name."""
    sections: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    problems = []
    set_secret = SET_SECRET
    for key, text in sorted(config.items()):
        namespace, _, name = key.partition(":")
        if key in PROVIDERSECRETS and key not in secret_keys:
            fix = f"{set_secret} {key}{PROVIDERSECRETS[key]}"
            problems.append(Problem(key, "is a secret in plain text", fix))
        if namespace in providers.KEYS:
            problems += providers.unknown_keys(key, parsed(text))
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
                sections[name] = parsed(text)
                problems += _dates(key, sections[name])
        elif key in secret_keys:
            secrets[name] = text
        elif name in SECRETS or name.startswith(password_of("")):
            problems.append(Problem(key, "must be a secret", f"{set_secret} {key}"))
        else:
            fix = suggestion(name, [*StackSettings.model_fields, *SECRETS])
            problems.append(Problem(key, "is not a setting", fix))
    return sections, secrets, problems


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
    "bool_type": WRONG_KIND["bool"],
    "dict_type": WRONG_KIND["section"],
    "int_type": WRONG_KIND["int"],
    "list_type": WRONG_KIND["list"],
    "mapping_type": WRONG_KIND["section"],
    "model_type": WRONG_KIND["section"],
    "sequence_str": WRONG_KIND["list"],
    "sequence_type": WRONG_KIND["list"],
    "string_type": WRONG_KIND["string"],
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
        fix = suggestion(str(place[-1]), _known_at(place[:-1]))
    elif kind == "string_type" and isinstance(value, list | dict):
        fix = "write a single value"
    elif kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        found = closest(str(value), allowed)
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
    candidates = [*RELEASES.values()] if unknown else [stack.release]
    unplanned = [
        section
        for section, settings in _PLANNED_FROM.items()
        if any(overlaps(f"{PROJECT}:{path}", refused) for path in settings)
    ]
    found: list[list[Problem]] = []
    user: Section = {}
    for release in candidates:
        user, problems = overlay.read(release, stack.settings.registry.config, stack.secrets.keys())
        broken = {problem.path for problem in problems}
        more = overlay.problems(release, stack.planned(release, {}), user)
        found.append(
            problems
            + [
                problem
                for problem in more
                if not _has_wrong(problem.path, broken) and not overlaps(problem.path, unplanned)
            ]
        )
    common = set.intersection(*({problem.path for problem in problems} for problems in found))
    return user, [in_config(problem) for problem in found[-1] if problem.path in common]
