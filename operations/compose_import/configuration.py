"""Determine the release and the configuration of the old registry."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from config import plan
from config.releases import RELEASES, Release
from config.schema import kinds_at
from config.tree import dotted, leaves, lookup
from operations.compose_import.effective import effective_configuration
from operations.compose_import.project import Service, Unreadable
from operations.compose_import.result import ImportResult
from operations.compose_import.security_settings import changed_security_settings, security_settings
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
# The programs of the official image.
_ENTRYPOINT = "/entrypoint.sh"
_PROGRAMS = (_ENTRYPOINT, "/bin/registry")


class _Candidate(NamedTuple):
    """A release that the old registry may be, with the configuration that it reads from `path`.

    `ignored` has the keys and variables that the release ignores.
    """

    release: Release
    path: str
    tree: dict[str, Any]
    ignored: Sequence[str]

    def count_ignored(self, service: Service) -> int:
        """Return how many keys, storage drivers and configuration files the release ignores."""
        drivers: Any = self.release.schema.keys["storage"]
        unknown_drivers = (lookup(self.tree, "storage") or {}).keys() - drivers.keys()
        others = [*_other_configurations(service, self.path)]
        return len(self.ignored) + len(unknown_drivers) + len(others)


def repository_and_tag(service: Service) -> tuple[str, str]:
    """Return the repository and the tag of the service's image. The tag may be empty."""
    match = re.fullmatch(r"(.*?)(?::([^:/@]+))?(?:@.*)?", service.image)
    return (match[1], match[2] or "") if match else (service.image, "")


def read_configuration(result: ImportResult) -> Release | None:
    """Set `old_tree` to the configuration of the old registry, and return its release.

    If the tag names no release, the newest of those that ignore the fewest keys is chosen.
    Returns None and asks the user if the configuration cannot be read. Raises CommandError if the
    registry would not start.
    """
    service = result.service
    for entry in service.keys.get("env_file") or []:
        file = Path(entry["path"] if isinstance(entry, dict) else entry)
        if not file.exists():
            problem = f"{file} does not exist, and may configure the registry"
            result.ask("env_file", problem, "copy the file there, or create an empty one")
    for name, text in (service.keys.get("environment") or {}).items():
        if name.startswith("REGISTRY_") and text is None:
            fix = f"set it for make import, or set it to nothing: `{name}= make import …`"
            result.ask(name, "its value comes from a shell variable, which is not set", fix)
    variables = {
        name: text for name, text in service.environment.items() if name.startswith("REGISTRY_")
    }
    variables.pop(_PATH_VARIABLE, None)
    candidates = []
    for release, path in _candidates(result):
        try:
            text = _file_text(service, release, path)
        except Unreadable as error:
            _ask_for_file(result, path, error)
            continue
        tree, ignored = effective_configuration(release, text, variables)
        candidates.append(_Candidate(release, path, tree, ignored))
    if result.questions or not candidates:
        return None
    counts = [candidate.count_ignored(service) for candidate in candidates]
    likely = [each for each, count in zip(candidates, counts, strict=True) if count == min(counts)]
    chosen, *_ = likely
    release = chosen.release
    result.old_tree.update(chosen.tree)
    result.mark_mount(chosen.path)
    _refuse_uncertain_deletes(result, likely)
    for name in dict.fromkeys(chosen.ignored):
        result.omit(name, f"release {release.version} ignores it")
    for path, text in _other_configurations(service, chosen.path):
        tree, _ = effective_configuration(release, text, variables)
        result.mark_mount(path)
        problem = f"release {release.version} reads {chosen.path} only"
        changed = ", ".join(changed_security_settings(tree, chosen.tree))
        if changed and not result.answers.config_path:
            fix = (
                f"add CONFIG_PATH={chosen.path} to import what was in force, or CONFIG_PATH={path} "
                "to import this file"
            )
            result.ask(path, f"{problem}. This file has other values for {changed}", fix)
        else:
            result.omit(path, problem)
    _rename_deprecated_keys(result.old_tree)
    _drop_odd_switches(result, release)
    return release


def _refuse_uncertain_deletes(result: ImportResult, likely: Sequence[_Candidate]) -> None:
    """Switch deletes off if only some of the releases that the image may be accept them."""
    path = "storage.delete.enabled"
    refusing = [each for each in likely if not security_settings(each.tree)[path]]
    if refusing and security_settings(result.old_tree)[path]:
        result.old_tree["storage"]["delete"] = {"enabled": False}
        version = refusing[0].release.version
        result.omit(
            path,
            f"the image names no release, and release {version} refuses deletes. The stack refuses "
            f"them too, unless you add SET=registry.config.{path}=true",
        )


def _candidates(result: ImportResult) -> Sequence[tuple[Release, str]]:
    """Return the possible releases, newest first, each with the path of its configuration file."""
    service, path = result.service, result.answers.config_path
    if service.keys.get("build") and not path:
        result.ask(
            "build",
            "a Dockerfile may set variables and the command of the registry",
            "add its REGISTRY_* variables to the Compose file, and CONFIG_PATH=PATH, where PATH is "
            "the configuration file in the container",
        )
    if not path:
        arguments = _arguments(service)
        if arguments is None:
            program, *_ = (*_words(service), _ENTRYPOINT)
            result.ask(
                "command",
                f"it runs {Path(program).name}, which may change the configuration before the "
                "registry starts",
                "add CONFIG_PATH=PATH, where PATH is the configuration file in the container",
            )
            return []
        if _COLLECT in arguments[:1]:
            raise CommandError(
                f"The service {service.name} runs `registry garbage-collect`, and serves no "
                "clients. For a stack, run `make gc`."
            )
        path = next((word for word in arguments[1:] if not word.startswith("-")), "")
        if arguments and not path:
            path = service.environment.get(_PATH_VARIABLE, "")
    answered = result.answer("registry.release")
    releases = [RELEASES[answered]] if answered in RELEASES else [*_possible_releases(service)]
    paths = [(release, service.absolute(path or release.config_path)) for release in releases]
    provided = [(release, path) for release, path in paths if path in service.provided]
    return provided or paths


def _arguments(service: Service) -> Sequence[str] | None:
    """Return the arguments of the program `registry`. They are empty for those of the image.

    Returns None if another program starts the registry.
    """
    entrypoint, words = service.keys.get("entrypoint"), _words(service)
    if any(service.mount(program) for program in _PROGRAMS):
        return None
    if words and words[0] == _ENTRYPOINT:
        words, entrypoint = words[1:], None
    if not words:
        return []
    if words[0] in ("registry", *_PROGRAMS):
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


def _rename_deprecated_keys(config: dict[str, Any]) -> None:
    """Replace keys by their current names, as the registry does."""
    if level := config.pop("loglevel", None):
        config["log"] = {"level": level, **(config.get("log") or {})}
    cache = lookup(config, "storage.cache")
    if isinstance(cache, dict) and "layerinfo" in cache:
        cache.setdefault("blobdescriptor", cache.pop("layerinfo"))


def _drop_odd_switches(result: ImportResult, release: Release) -> None:
    """Remove values other than true and false from switches, and report them.

    For storage.delete.enabled, such a value means false. With another switch of this kind the
    registry does not start, so the default is a safe choice.
    """
    for place, text in [*leaves(result.old_tree)]:
        path = dotted(place)[1:]
        is_switch = kinds_at(release.schema.keys, path) == "bool" and isinstance(text, str)
        # The driver s3 reads texts such as "true" as well.
        if not is_switch or path.startswith("storage.s3."):
            continue
        section: Any = result.old_tree
        for part in place[:-1]:
            section = section[part]
        del section[place[-1]]
        problem = f"the text {text!r} is neither true nor false"
        if path == "storage.delete.enabled":
            result.omit(path, f"{problem}, so the registry refused deletes. It still does")
        elif path == "storage.maintenance.readonly.enabled":
            setting = f"registry.config.{path}"
            result.ask(path, problem, f"add SET={setting}=true or false", [setting])
        else:
            result.omit(path, f"{problem}. The registry does not start with it")
