"""Keep the configuration of an imported registry as it was, with `registry.config`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from config import overlay, plan
from config.overlay import MANAGED_KEYS
from config.problems import Problem
from config.releases import Release
from config.rules import named_secrets
from config.secrecy import plain_secret
from config.settings import PROJECT
from config.tree import ANY, Place, Section, lookup
from operations.compose_import.result import ImportResult

_OVERLAY = f"{PROJECT}:registry.config."
# Placeholders of templates. The registry does not replace them.
_PLACEHOLDER = re.compile(r"\$\{\w+.*?\}|\{\{.*?\}\}")
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def add_registry_config(result: ImportResult, release: Release) -> None:
    """Add `registry.config` to the stack file, and the settings and files that go with it.

    It has every value of the old configuration that the planned one lacks or sets differently.
    """
    registry = result.section("registry")
    if level := lookup(result.old_tree, "log.level"):
        # The registry reads it in upper and lower case.
        registry["log_level"] = result.old_tree["log"]["level"] = str(level).lower()
    _add_http_secret(result)
    _add_files(result)
    stack, _ = result.validated()
    changes = _changes(stack.registry.planned(release, {}), result.old_tree, "")
    _drop_answered_sections(result, changes)
    found: dict[str, str] = {}
    registry["config"] = extract_secrets(changes, "", ("config",), found)
    result.secrets |= found
    _drop_refused(result)
    for name in found.keys() - named_secrets(result.config):
        del result.secrets[name]
    for name in sorted(found.keys() & result.secrets.keys()):
        if _PLACEHOLDER.search(found[name]):
            result.omit(
                f"secret {name}",
                "the registry used a placeholder such as ${NAME} as it is written. Set the secret "
                f"with `pulumi config set --secret {PROJECT}:{name}`",
            )


def _drop_answered_sections(result: ImportResult, changes: dict[str, Any]) -> None:
    """Remove the sections that the user has decided on with settings, and the old one lacks."""
    for setting, section in (("auth", "auth"), ("cache", "redis")):
        if result.has_answer(setting) and section not in result.old_tree:
            changes.pop(section, None)
    if result.has_answer("tls") and not lookup(result.old_tree, "http.tls"):
        changes.get("http", {}).pop("tls", None)


def _add_http_secret(result: ImportResult) -> None:
    secret = lookup(result.old_tree, "http.secret")
    if not secret:
        return
    if _PLACEHOLDER.search(str(secret)):
        reason = "it is an unresolved placeholder. The stack generates a secret"
        result.omit("http.secret", reason)
    else:
        result.secrets[plan.HTTP_SECRET.label] = str(secret)


def _add_files(result: ImportResult) -> None:
    """Add the files that the configuration names to `registry.files`."""
    for path, name in [*overlay.named_files(result.old_tree)]:
        text = result.read_file(name, path)
        if "PRIVATE KEY" in text:
            text = certificates_in(text)
            if not text:
                fix = "add SET=cache.enabled=false, or remove the key from the configuration"
                result.ask(path, "a private key must not be in a stack file", fix, ["cache"])
        if text:
            file = result.service.absolute(name)
            result.section("registry").setdefault("files", {})[file] = text
            _set(result.old_tree, _parts(path), file)


def _parts(path: str) -> Sequence[str]:
    """Split a path such as `http.tls.clientcas[0]`."""
    return re.findall(r"[^.\[\]]+", path)


def _set(tree: Any, parts: Sequence[str], value: str) -> None:  # noqa: ANN401
    """Set the value at the path `parts`, whose keys and items exist."""
    part, *below = parts
    key = int(part) if isinstance(tree, list) else part
    if below:
        _set(tree[key], below, value)
    else:
        tree[key] = value


def _changes(planned: Section, old: Section, path: str) -> dict[str, Any]:
    """Return the `registry.config` that turns the section `planned` into `old`.

    Keys that other settings manage are left out. The value None removes a key or a section.
    """
    changes: dict[str, Any] = {}
    for key in sorted({*planned, *old}):
        place = f"{path}.{key}" if path else key
        new_value, old_value = planned.get(key), old.get(key)
        is_managed = place in MANAGED_KEYS and new_value is not None
        if is_managed or new_value == old_value or place == "http.secret":
            continue
        if not isinstance(new_value, Mapping) or not isinstance(old_value, Mapping | None):
            changes[key] = old_value
            continue
        below = _changes(new_value, old_value or {}, place)
        if not below:
            continue
        only_removes = all(value is None for value in below.values())
        is_removed = only_removes and below.keys() == new_value.keys()
        changes[key] = None if is_removed else below
    return changes


def extract_secrets(tree: Any, path: str, place: Place, secrets: dict[str, str]) -> Any:  # noqa: ANN401
    """Return `tree` with references in place of its secrets, and add these to `secrets`.

    A secret is named after its `path`, whose parts are joined by hyphens. `place` is the same path
    for `config.secrecy`.
    """
    if isinstance(tree, dict):
        return {
            key: extract_secrets(value, f"{path}-{key}", (*place, key), secrets)
            for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [
            extract_secrets(item, f"{path}-{number}", (*place, ANY), secrets)
            for number, item in enumerate(tree)
        ]
    if plain_secret(place, tree) is None:
        return tree
    base = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")
    name, number = base, 1
    while secrets.get(name, tree) != tree:  # for example, for both http_proxy and HTTP_PROXY
        number += 1
        name = f"{base}-{number}"
    secrets[name] = str(tree)
    return {"from_secret": name}


def _drop_refused(result: ImportResult) -> None:
    """Remove the parts of `registry.config` that the validation refuses.

    The planned configuration applies there.
    """
    config = result.section("registry")["config"]
    while True:
        refused = _refused(result)
        result.refused.extend(refused)
        removed = [_remove(config, _parts(problem.path)) for problem in refused]
        if "log.level" in [problem.path for problem in refused]:
            removed.append(result.section("registry").pop("log_level", None) is not None)
        if not any(removed):
            return


def _refused(result: ImportResult) -> Sequence[Problem]:
    """Return the problems of `registry.config`, with paths that are relative to it."""
    _, problems = result.validated()
    return [
        problem._replace(path=problem.path.removeprefix(_OVERLAY))
        for problem in problems
        if problem.path.startswith(_OVERLAY)
    ]


def _remove(tree: dict[str, Any], parts: Sequence[str]) -> bool:
    """Remove the value at the path `parts`, or the whole list that contains it.

    Sections that become empty are removed as well. Returns whether there was a value.
    """
    part, *below = parts
    inner = tree.get(part)
    if not below or not isinstance(inner, dict):
        return tree.pop(part, None) is not None
    removed = _remove(inner, below)
    if not inner:
        del tree[part]
    return removed


def certificates_in(text: str) -> str:
    """Return the PEM certificates in `text`."""
    return "".join(f"{certificate}\n" for certificate in _CERTIFICATE.findall(text))
