"""Read and validate a stack file before the first resource is registered.

The models in `config.settings` check each key alone, `config.rules` the settings together, and
`config.overlay` the user's own configuration of the registry.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config import docker_engine, overlay, providers, rules
from config.messages import OVERLAY, full_key, invalid, message
from config.plan import password_secret
from config.problems import SET_SECRET, WRONG_KIND, Problem, closest, overlaps, unknown_key, within
from config.releases import RELEASES
from config.rule_evaluation import Context, check
from config.rules import REGISTRY_LOGINS, SECRET_NAMES, Sealed
from config.settings import PROJECT, StackSettings, model_in
from config.stack import REGION, Backends, Stack
from config.tree import Section, dotted, leaves, lookup

# The namespaces of keys that are not settings of this project.
NAMESPACES = (*providers.KEYS, "pulumi")
# The secret keys of the providers, and where else the secret may be (the end of the fix).
PROVIDER_SECRETS = {
    "alicloud:secretKey": ", or leave it to ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "alicloud:securityToken": ", or leave it to ALIBABA_CLOUD_SECURITY_TOKEN",
    "docker:keyMaterial": ", or set docker:certPath",
}
# The variables that the alicloud provider reads if the stack file names no region.
REGION_VARIABLES = ("ALICLOUD_REGION", "ALIBABA_CLOUD_REGION")


def load_stack(
    name: str,
    config: Mapping[str, str],
    secret_keys: Set[str],
    environment: Mapping[str, str],
    backends: Backends,
) -> Stack:
    """Return the stack `name`.

    `config` is its configuration as Pulumi passes it on: JSON text by full key. The `environment`
    of this process may name the region and the Docker engine. Raises SettingsError with all
    problems: key, rule, value (never a secret) and fix.
    """
    stack, problems = validate(name, config, secret_keys, environment, backends)
    if problems:
        raise invalid(name, problems)
    return stack


def validate(
    name: str,
    config: Mapping[str, str],
    secret_keys: Set[str],
    environment: Mapping[str, str],
    backends: Backends,
) -> tuple[Stack, Sequence[Problem]]:
    """Return the stack without its invalid settings, and all problems. See `load_stack`."""
    sections, secrets, problems = _read_sections(config, secret_keys)
    settings, found = _validate_sections(sections)
    problems += found
    region = config.get(REGION) or _first(environment, REGION_VARIABLES)
    engine = config.get(docker_engine.HOST) or environment.get("DOCKER_HOST", "")
    stack = Stack(name, settings, backends, region, secrets, engine=engine)
    refused = _refused(problems)
    stack, found = _read_overlay(stack, refused)
    problems += found
    refused |= _refused(found)
    context = Context(
        {
            **settings.model_dump(),
            REGION: region,
            REGISTRY_LOGINS: _registry_logins(config, secret_keys),
            docker_engine.HOST: config.get(docker_engine.HOST),
            docker_engine.CONTEXT: config.get(docker_engine.CONTEXT),
            rules.NAME: name,
            rules.SECRETS: secrets,
        },
        stack.registry.release,
        stack.registry,
        {path.removeprefix(f"{PROJECT}:") for path in refused},
    )
    for problem in check(rules.RULES, context):
        key = full_key(problem.path, name)
        if not _is_or_contains(key, refused):
            problems.append(problem._replace(path=key))
    return stack, problems


def warnings(stack: Stack) -> Sequence[str]:
    """Return messages about valid settings with effects that a user may not expect."""
    registry = stack.registry
    context = Context(stack.settings.model_dump(), registry.release, registry)
    below_overlay = [problem.below(OVERLAY) for problem in overlay.warnings(registry)]
    found = [*below_overlay, *check(rules.WARNINGS, context)]
    return [message(each._replace(path=full_key(each.path, stack.name))) for each in found]


def upgrade_warnings(stack: Stack, previous_release: str | None) -> Sequence[str]:
    """Return messages about changes for clients after an upgrade from `previous_release`."""
    release, previous = stack.registry.release, RELEASES.get(previous_release or "")
    token = lookup(stack.registry.tree, "auth.token") or {}
    upgraded = previous is not None and previous.major < 3 <= release.major
    if not upgraded or not token or token.get("jwks"):
        return []
    problem = (
        f"release {release.version} refuses tokens with libtrust's key ids, which release "
        f"{previous_release} takes: it looks for x5c or a key id by RFC 7638"
    )
    fix = "change the token server first, or set jwks to its public keys with their ids"
    return [message(Problem(f"{PROJECT}:{OVERLAY}auth.token", problem, fix))]


def _first(environment: Mapping[str, str], names: Iterable[str]) -> str:
    """Return the value of the first of these variables that is set."""
    return next((environment[name] for name in names if environment.get(name)), "")


def _refused(problems: Sequence[Problem]) -> set[str]:
    """Return the paths of `problems`, and the correct paths of misspelled keys.

    A check that reads a value at one of these paths would report the same mistake again.
    """
    return {problem.path for problem in problems} | _correct_paths(problems)


def _correct_paths(problems: Sequence[Problem]) -> set[str]:
    return {problem.correct_path for problem in problems if problem.correct_path}


def _is_or_contains(path: str, others: Iterable[str]) -> bool:
    """Return whether one of the paths `others` is `path` or below it."""
    return any(within(other, path) for other in others)


def _read_sections(
    config: Mapping[str, str], secret_keys: Set[str]
) -> tuple[dict[str, Any], dict[str, str], list[Problem]]:
    """Return the sections and secrets of the stack file by name, and the problems of its keys."""
    sections: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    problems = []
    for key, text in sorted(config.items()):
        namespace, _, name = key.partition(":")
        if key in PROVIDER_SECRETS and key not in secret_keys:
            fix = f"{SET_SECRET} {key}{PROVIDER_SECRETS[key]}"
            problems.append(Problem(key, "is a secret in plain text", fix))
        if namespace in providers.KEYS:
            problems += providers.unknown_keys(key, parse_value(text))
        if namespace in NAMESPACES:
            continue
        if namespace != PROJECT:
            fix = f"known are {', '.join((PROJECT, *NAMESPACES))}"
            problems.append(Problem(key, f"{namespace} is not a namespace here", fix))
        elif name in StackSettings.model_fields:
            if key in secret_keys:
                problem = "holds a secret, which would come out as plain text"
                fix = f"{SET_SECRET} {PROJECT}:NAME, and {{from_secret: NAME}} in its place"
                problems.append(Problem(key, problem, fix))
            else:
                sections[name] = parse_value(text)
                problems += _rewritten_dates(key, sections[name])
        elif key in secret_keys:
            secrets[name] = text
        elif name in SECRET_NAMES or name.startswith(password_secret("")):
            problems.append(Problem(key, "must be a secret", f"{SET_SECRET} {key}"))
        else:
            known = [*StackSettings.model_fields, *SECRET_NAMES]
            problems.append(unknown_key(key, name, _NOT_A_SETTING, known))
    return sections, secrets, problems


def parse_value(text: str) -> object:
    """Return a value that Pulumi passes on: a scalar as it is written, everything else as JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# A date without quotes, as Pulumi passes it on (Go's time.Time.String).
_REWRITTEN_DATE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4} \S+", re.ASCII)


def _rewritten_dates(key: str, section: object) -> Iterator[Problem]:
    """Yield a problem for each date that Pulumi has rewritten.

    `make` finds such dates earlier, in the stack file itself.
    """
    for place, value in leaves(section):
        if isinstance(value, str) and _REWRITTEN_DATE.fullmatch(value):
            yield Problem(
                f"{key}{dotted(place)}", "is a date, which Pulumi rewrites", "put it in quotes"
            )


def _registry_logins(config: Mapping[str, str], secret_keys: Set[str]) -> Sequence[Section]:
    """Return the logins for pulling images, with an instance of Sealed for each secret.

    Pulumi marks the whole list as secret if one value in it is. Only the text of the stack file
    shows which one, so `make` finds a plain password beside a secret, and `pulumi up` does not.
    """
    text = config.get(REGISTRY_LOGINS, "")
    entries = parse_value(text)
    logins = []
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        login: dict[str, Any] = {"path": f"{REGISTRY_LOGINS}[{number}]"}
        for key in ("address", "password", "configFileContent"):
            value = entry.get(key, "") if isinstance(entry, Mapping) else ""
            is_encrypted = isinstance(value, Mapping) and value.keys() == {"secure"}
            is_marked = REGISTRY_LOGINS in secret_keys and not isinstance(text, Sealed)
            is_secret = is_encrypted or (is_marked and key != "address")
            login[key] = Sealed(value) if is_secret else str(value or "")
        logins.append(login)
    return logins


_NOT_A_SETTING = "is not a setting"
# The problem and fix for each type of error that pydantic reports.
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
    "extra_forbidden": (_NOT_A_SETTING, ""),
    "missing": ("is required", "add it"),
    "string_too_short": ("can't be empty", "write a value, or remove it"),
    "too_long": ("can have two entries at most", "drop the oldest"),
    "too_short": ("can't be empty", "add an entry"),
}
# The fixes for single settings. They are more specific than those in _ERRORS.
_FIXES = {
    "cache.policy": "remove it: redis always drops the oldest entries, as any other policy ends in "
    "refused pushes",
    "cache.tls": 'write registry.config.redis.tls, which needs release "3.1.2"',
    "storage.region": "set alicloud:region, from which all else follows",
    "storage.versioning": "write {noncurrent_days: 30}: without an end, old versions cost for ever",
    "storage.versioning.noncurrent_days": "write such as 30: old versions cost until then",
}


def _validate_sections(sections: dict[str, Any]) -> tuple[StackSettings, list[Problem]]:
    """Return the valid settings, and the problems of the others."""
    problems: list[Problem] | None = None
    while True:
        try:
            return StackSettings.model_validate(sections), problems or []
        except ValidationError as error:
            details = error.errors(include_url=False)
            if problems is None:  # later errors only follow from the removals below
                problems = _problems(details)
            for detail in details:
                place = _place(detail)
                _remove(sections, place[:-1] if detail["type"] == "missing" else place)


def _place(detail: ErrorDetails) -> list[str | int]:
    *place, last = detail["loc"]
    # pydantic appends this word if the key itself is invalid.
    return place if last == "[key]" else [*place, last]


def _problems(details: Sequence[ErrorDetails]) -> list[Problem]:
    """Return the problem for each error. A misspelled key is not reported as missing as well."""
    problems = [(detail["type"], _problem(detail)) for detail in details]
    correct_paths = _correct_paths([problem for _, problem in problems])
    return [
        problem
        for kind, problem in problems
        if not (kind == "missing" and problem.path in correct_paths)
    ]


def _problem(detail: ErrorDetails) -> Problem:
    place = _place(detail)
    path = dotted(place)[1:]
    kind, value = detail["type"], detail["input"]
    if kind in _ERRORS:
        rule, fix = _ERRORS[kind]
    else:
        text = detail["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        rule, _, fix = text.partition("; ")
        fix = fix or "write one that is"
    if kind == "extra_forbidden" and path not in _FIXES:
        known = _known_keys(place[:-1])
        return unknown_key(f"{PROJECT}:{path}", str(place[-1]), rule, known)
    if kind == "string_type" and isinstance(value, list | dict):
        fix = "write a single value"
    elif kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        suggested = closest(str(value), allowed)
        if suggested:
            fix = f"write {suggested}"
    return Problem(f"{PROJECT}:{path}", rule, _FIXES.get(path, fix), value)


def _known_keys(place: Sequence[str | int]) -> Sequence[str]:
    """Return the names of the settings that the section at `place` may have."""
    model: Any = StackSettings
    parts = iter(place)
    for part in parts:
        annotation = model.model_fields[part].annotation
        model = model_in(annotation)
        if get_origin(annotation) is Mapping:
            next(parts, None)  # a name that the user chooses
    return list(model.model_fields)


def _remove(tree: dict[str, Any], place: Sequence[Any]) -> None:
    """Remove the value at `place`, or the whole list that contains it."""
    part, *below = place
    if below and isinstance(tree.get(part), dict):
        _remove(tree[part], below)
    else:
        tree.pop(part, None)


# The settings that determine the planned configuration, by section of `registry.config`. If one of
# them is invalid, the section cannot be compared with the plan.
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


def _read_overlay(stack: Stack, refused: Set[str]) -> tuple[Stack, list[Problem]]:
    """Return the stack with the valid part of `registry.config`, and the problems of the rest.

    If the release is invalid, these are the problems that all releases have.
    """
    registry = stack.registry
    release_is_known = f"{PROJECT}:registry.release" not in refused
    candidates = [registry.release] if release_is_known else [*RELEASES.values()]
    unchecked = [
        section
        for section, settings in _PLANNED_FROM.items()
        if any(overlaps(f"{PROJECT}:{path}", refused) for path in settings)
    ]
    by_release: list[list[Problem]] = []
    tree: Section = {}
    for release in candidates:
        tree, problems = overlay.read(release, registry.settings.config, stack.secrets.keys())
        invalid_paths = {problem.path for problem in problems}
        problems += [
            problem
            for problem in overlay.problems(release, registry, tree)
            if not _is_or_contains(problem.path, invalid_paths)
            and not overlaps(problem.path, unchecked)
        ]
        by_release.append(problems)
    common = set.intersection(*({each.path for each in problems} for problems in by_release))
    found = [
        problem.below(f"{PROJECT}:{OVERLAY}")
        for problem in by_release[-1]
        if problem.path in common
    ]
    return replace(stack, overlay=tree), found
