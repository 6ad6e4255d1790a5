"""Find the release of a registry, and the configuration with which it ran."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from config import plan
from config.releases import RELEASES, Release
from config.schema import Kinds
from config.tree import lookup
from operations.compose_import.effective import effective_configuration
from operations.compose_import.guards import changed_guards
from operations.compose_import.project import Service, Unreadable
from operations.compose_import.result import ImportResult
from operations.errors import CommandError

OFFICIAL_IMAGE = re.compile(
    r"(docker\.io/)?((library/)?registry|distribution/distribution)|ghcr\.io/distribution/.*"
)
# A mirror of Docker Hub has the official image under the same name.
_MIRRORED_IMAGE = re.compile(r"[^/]+[.:][^/]+/(.+/)?library/registry")
# The release for each tag of the official image, or the closest one. The first match counts.
_RELEASE_OF_TAG = (
    (r"v?2(\.\d+)*(-.*)?", "2.8.3"),
    (r"v?3\.0(\.\d+)?(-.*)?", "3.0.0"),
    (r"v?3(\.\d+)*(-.*)?", "3.1.2"),
)
_PATH_VARIABLE = "REGISTRY_CONFIGURATION_PATH"  # used by `registry serve` without a path
_COLLECT = "garbage-collect"


def repository_and_tag(service: Service) -> tuple[str, str]:
    """Return the repository and the tag of the service's image. The tag may be empty."""
    match = re.fullmatch(r"(.*?)(?::([^:/@]+))?(?:@.*)?", service.image)
    return (match[1], match[2] or "") if match else (service.image, "")


def read_configuration(result: ImportResult) -> Release | None:
    """Set `old_tree` to the configuration of the old registry, and return its release.

    If the tag names no release, the one that ignores the least is chosen, the newest of several.
    Returns None and asks the user if the configuration cannot be read. Raises CommandError if the
    registry would not start.
    """
    service = result.service
    for entry in service.keys.get("env_file") or []:
        file = Path(entry["path"] if isinstance(entry, dict) else entry)
        if not file.exists():
            problem = f"{file} does not exist, and may configure the registry"
            result.ask("env_file", problem, "copy the file there, or create an empty one")
    variables = {
        name: text for name, text in service.environment.items() if name.startswith("REGISTRY_")
    }
    variables.pop(_PATH_VARIABLE, None)
    found = []
    for release, path in _candidates(result):
        try:
            text = _file_text(service, release, path)
        except Unreadable as error:
            _ask_for_file(result, path, error)
            continue
        tree, ignored = effective_configuration(release, text, variables)
        drivers: Any = release.schema.keys["storage"]
        unknown_drivers = (lookup(tree, "storage") or {}).keys() - drivers.keys()
        others = [*_other_configurations(service, path)]
        count = len(ignored) + len(unknown_drivers) + len(others)
        found.append((count, release, path, tree, ignored, others))
    if result.questions or not found:
        return None
    _, release, path, tree, ignored, others = min(found, key=lambda each: each[0])
    result.old_tree.update(tree)
    result.carry_mount(path)
    for name in dict.fromkeys(ignored):
        result.omit(name, f"release {release.version} ignores it")
    for other, text in others:
        other_tree, _ = effective_configuration(release, text, variables)
        _report_unused(result, release, path, other, [*changed_guards(other_tree, tree)])
    _rename_deprecated_keys(result.old_tree)
    _read_switches(result, release)
    return release


def _candidates(result: ImportResult) -> Sequence[tuple[Release, str]]:
    """Return the possible releases, newest first, each with the path of its configuration file."""
    service, path = result.service, result.answers.config_path
    if not path:
        arguments = _arguments(service)
        if arguments is None:
            program = _words(service)[0]
            result.ask(
                "command",
                f"it starts the registry through {Path(program).name}, which may change "
                "the configuration and its files before",
                "add CONFIG_PATH=PATH, where PATH is the configuration file in the container",
            )
            return []
        if _COLLECT in arguments[:1]:
            raise CommandError(
                f"The service {service.name} collects garbage and serves nothing. `make gc` does "
                "that for a stack."
            )
        path = next((word for word in arguments[1:] if not word.startswith("-")), "")
        if arguments and not path:
            path = service.environment.get(_PATH_VARIABLE, "")
    releases = [*_possible_releases(service)]
    paths = [(release, service.absolute(path or release.config_path)) for release in releases]
    provided = [(release, path) for release, path in paths if path in service.provided]
    return provided or paths


def _arguments(service: Service) -> Sequence[str] | None:
    """Return the arguments of the program `registry`. They are empty for those of the image.

    Returns None if another program starts the registry.
    """
    entrypoint, words = service.keys.get("entrypoint"), _words(service)
    if words and Path(words[0]).name == "entrypoint.sh":  # of the official image
        words, entrypoint = words[1:], None
    if not words:
        return []
    if Path(words[0]).name == "registry":
        return words[1:]
    # The image's entrypoint.sh adds `registry`, or `registry serve`.
    if not entrypoint and words[0].endswith((".yml", ".yaml")):
        return ["serve", *words]
    if not entrypoint and words[0] in ("serve", _COLLECT):
        return words
    return None


def _words(service: Service) -> Sequence[str]:
    return [*(service.keys.get("entrypoint") or ()), *(service.keys.get("command") or ())]


def _possible_releases(service: Service) -> Iterator[Release]:
    _, tag = repository_and_tag(service)
    for pattern, version in _RELEASE_OF_TAG:
        if re.fullmatch(pattern, tag):
            yield RELEASES[version]
            return
    yield from reversed(RELEASES.values())


def _file_text(service: Service, release: Release, path: str) -> str | None:
    """Return the text of the configuration file, or None for that of the official image.

    Raises Unreadable.
    """
    if path in service.provided or service.mount(path):
        return service.read_file(path)
    if service.keys.get("build"):
        raise Unreadable("is in an image that is built from a Dockerfile")
    repository, _ = repository_and_tag(service)
    if not OFFICIAL_IMAGE.fullmatch(repository) and not _MIRRORED_IMAGE.fullmatch(repository):
        raise Unreadable(f"is in the image {service.image}, which is not the official one")
    if path != release.config_path:
        raise Unreadable("is neither mounted nor in the official image")
    return None


def _ask_for_file(result: ImportResult, path: str, error: Unreadable) -> None:
    fix = result.copy_command(path)
    others = [
        mount.target
        for mount in result.service.mounts
        if mount.kind in ("volume", "external")
        and mount.target != plan.DATA_PATH
        and mount != result.service.mount(path)
    ]
    if others:
        fix += f". Also copy the files that it names in {', '.join(sorted(others))}"
    result.ask("configuration", f"the file {path} {error}", fix)


def _other_configurations(service: Service, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path and text of each mounted configuration file other than `path`."""
    for mount in service.mounts:
        if mount.kind not in ("file", "text"):
            continue
        source = Path(mount.source)
        targets = [mount.target]
        if mount.kind == "file" and source.is_dir():
            targets = [f"{mount.target}/{file.name}" for file in sorted(source.glob("*.y*ml"))]
        for target in targets:
            try:
                text = service.read_file(target)
            except Unreadable:
                continue
            if target != path and _is_configuration(text):
                yield target, text


def _is_configuration(text: str) -> bool:
    """Return whether `text` is YAML with the one section that each registry needs."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return False
    return isinstance(content, dict) and "storage" in content


def _report_unused(
    result: ImportResult, release: Release, path: str, other: str, guards: Sequence[str]
) -> None:
    """Report the configuration file `other`, which the registry did not read.

    The user decides if it has other guards than the one at `path`.
    """
    result.carry_mount(other)
    problem = f"release {release.version} reads {path} only"
    if not guards or result.answers.config_path:
        result.omit(other, problem)
        return
    result.ask(
        other,
        f"{problem}, and this file differs in {', '.join(guards)}",
        f"add CONFIG_PATH={path} to import what was in force, or CONFIG_PATH={other} to import "
        "this file",
    )


def _rename_deprecated_keys(config: dict[str, Any]) -> None:
    """Replace keys by their current names, as the registry does."""
    if level := config.pop("loglevel", None):
        config["log"] = {"level": level, **(config.get("log") or {})}
    cache = lookup(config, "storage.cache")
    if isinstance(cache, dict) and "layerinfo" in cache:
        cache.setdefault("blobdescriptor", cache.pop("layerinfo"))


def _read_switches(result: ImportResult, release: Release) -> None:
    """Remove values other than true and false from switches, and report them.

    The registry then does not delete images. With another switch of this kind it does not start, so
    that the default is a safe choice.
    """
    for path, section, key in [*_odd_switches(result.old_tree, release.schema.keys)]:
        text = section.pop(key)
        problem = f"the text {text!r} is neither true nor false"
        if path == "storage.delete.enabled":
            result.omit(path, f"{problem}, so the registry refused deletes. It still does")
        elif path == "storage.maintenance.readonly.enabled":
            setting = f"registry.config.{path}"
            result.ask(path, problem, f"add SET={setting}=true or false", [setting])
        else:
            result.omit(path, f"{problem}. The registry does not start with it")


def _odd_switches(
    section: dict[str, Any], kinds: Mapping[str, Kinds], path: str = ""
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the path, the section and the key of each switch that has a text as its value."""
    for key, value in section.items():
        kind = kinds.get(key)
        place = f"{path}.{key}" if path else key
        if isinstance(value, dict) and isinstance(kind, Mapping):
            yield from _odd_switches(value, kind, place)
        # The driver s3 reads texts such as "true" as well.
        elif kind == "bool" and isinstance(value, str) and not place.startswith("storage.s3."):
            yield place, section, key
