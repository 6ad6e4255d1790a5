"""Compute the configuration that a registry has from its file and its REGISTRY_* variables.

This is the reverse of `config.render`, by the rules of distribution's configuration/parser.go.
`tests/reference` compares it with the registry's own reader.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import yaml

from config.releases import Release
from config.render import BESIDE_DRIVER
from config.schema import Kinds
from config.tree import ANY, Section
from operations.errors import CommandError

# The section `storage` of the file in the official images. The table of releases has the rest.
_STORAGE: Section = {
    "cache": {"blobdescriptor": "inmemory"},
    "filesystem": {"rootdirectory": "/var/lib/registry"},
}
_IMAGE_STORAGE: Mapping[int, Section] = {
    2: _STORAGE,
    3: {**_STORAGE, "delete": {"enabled": True}, "tag": {"concurrencylimit": 5}},
}
_BOOLS = {
    **dict.fromkeys(("y", "yes", "on", "true"), True),
    **dict.fromkeys(("n", "no", "off", "false"), False),
}
_NULL = ("", "~", "null")


def image_configuration(release: Release) -> Section:
    """Return the configuration in the file of the official image."""
    return {**release.image_defaults, "storage": _IMAGE_STORAGE[release.major]}


def effective_configuration(
    release: Release, file: str | None, variables: Mapping[str, str]
) -> tuple[dict[str, Any], Sequence[str]]:
    """Return the configuration, and the keys and variables that `release` ignores.

    `file` is the text of the configuration file, or None for that of the official image. Raises
    CommandError if the registry would not start.
    """
    reader = _Reader(release)
    if file is None:
        tree = image_configuration(release)
    else:
        tree = reader.parse("the file", file, reader.keys)
    result: dict[str, Any] = deepcopy(dict(tree))
    result.pop("version", None)
    for name in sorted(name for name in variables if name.startswith("REGISTRY_")):
        path = name.upper().removeprefix("REGISTRY_")
        if not reader.apply(result, "", reader.keys, path, (name, variables[name])):
            reader.ignored.append(name)
    return result, reader.ignored


class _Reader:
    """Reads a configuration as `release` does. `ignored` collects keys that the release ignores."""

    def __init__(self, release: Release) -> None:
        self.ignored: list[str] = []
        self._schema, self._major = release.schema, release.major
        self.keys: Kinds = release.schema.keys

    def apply(
        self, section: dict[str, Any], path: str, kinds: Kinds, rest: str, variable: tuple[str, str]
    ) -> bool:
        """Set the value of `variable` in `section`. Return False if the release ignores it.

        `path` is the path of `section`, and `kinds` has its keys with the kinds of their values.
        `variable` is a name and a text, and `rest` is the part of that name below `section`.
        """
        if not isinstance(kinds, Mapping):
            return False  # the registry reads no keys below a single value
        found = self._split(path, kinds, rest)
        if not found:
            return False
        key, below = found
        place = f"{path}.{key}" if path else key
        inner = _kinds_below(path, kinds, key)
        if below:
            subsection = section.get(key)
            if not isinstance(subsection, dict):
                subsection = {}
            if inner == "any":
                inner = {ANY: "any"}
            if not self.apply(subsection, place, inner, below, variable):
                return False
            section[key] = subsection
            return True
        name, text = variable
        driver = text.strip()
        if key in BESIDE_DRIVER and not path and driver.isalnum():
            section[key] = {driver: {}}  # the name of a driver replaces the whole section
            return True
        value = self.parse(name, text, inner, place)
        if value is None:
            section.pop(key, None)
        else:
            section[key] = value
        return True

    def _split(self, path: str, kinds: Mapping[str, Kinds], rest: str) -> tuple[str, str] | None:
        """Return the key at the start of `rest` and the remainder, or None for an unknown key."""
        keys = [key for key in kinds if key != ANY]
        names = {
            self._schema.names.get(f"{path}.{key}" if path else key, key.upper()): key
            for key in keys
        }
        if path == "redis" and self._major > 2:  # release 3.1 reads both names
            names |= {f"OPTIONS_{key.upper()}": key for key in keys}
        for name in sorted(names, key=len, reverse=True):
            if rest == name or rest.startswith(f"{name}_"):
                return names[name], rest[len(name) + 1 :]
        if ANY in kinds or _is_in_driver_section(path):
            part, _, below = rest.partition("_")
            return part.lower(), below
        return None

    def parse(self, name: str, text: str, kinds: Kinds, path: str = "") -> Any:  # noqa: ANN401
        """Return the value of the YAML `text`.

        Raises CommandError with the `name` of the text if it is malformed.
        """
        try:
            node = yaml.compose(text, yaml.SafeLoader)
        except yaml.YAMLError:
            raise CommandError(
                f"{name} is not valid YAML, so the registry would not start"
            ) from None
        return self._value(node, kinds, path) if node else None

    def _value(self, node: yaml.Node, kinds: Kinds, path: str) -> Any:  # noqa: ANN401
        if isinstance(node, yaml.MappingNode):
            return self._section(node, kinds, path)
        if isinstance(node, yaml.SequenceNode):
            item_kinds = kinds[0] if isinstance(kinds, list) and kinds else "any"
            return [self._value(item, item_kinds, path) for item in node.value]
        assert isinstance(node, yaml.ScalarNode)
        value = _scalar(node, kinds, path)
        if isinstance(kinds, Mapping) and path and value is not None:
            if path in BESIDE_DRIVER:
                return {value: {}}  # the name of a driver alone
            raise CommandError(f"{path} must be a section. The registry would not start.")
        return value

    def _section(self, node: yaml.MappingNode, kinds: Kinds, path: str) -> dict[str, Any]:
        """Return the values of a mapping by key. Null and keys that are ignored are left out."""
        section = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            place = f"{path}.{key}" if path else key
            inner: Kinds | None = "any"
            if isinstance(kinds, Mapping):
                inner = kinds.get(key, kinds.get(ANY))
            if inner is None:
                if not _is_in_driver_section(place) and place.partition(".")[0] != "version":
                    self.ignored.append(place)
                    continue
                inner = "any"
            value = self._value(value_node, inner, place)
            if value is not None:
                section[key] = value
        return section


def _kinds_below(path: str, kinds: Mapping[str, Kinds], key: str) -> Kinds:
    """Return the kinds of `key` in the section at `path`."""
    for known in (key, ANY):
        if known in kinds:
            return kinds[known]
    # Another key in one of these sections is a driver, which has parameters.
    return {ANY: "any"} if path in BESIDE_DRIVER else "any"


def _is_in_driver_section(path: str) -> bool:
    return path.partition(".")[0] in BESIDE_DRIVER


def _scalar(node: yaml.ScalarNode, kinds: Kinds, path: str) -> Any:  # noqa: ANN401
    """Return the value that the registry reads from a scalar at `path`."""
    is_plain, text = node.style is None, str(node.value)
    if is_plain and text.lower() in _NULL:
        return None
    if not isinstance(kinds, str) or not is_plain:
        return text
    kind = kinds.partition(" ")[0]
    if kind == "bool" and text.lower() in _BOOLS:
        return _BOOLS[text.lower()]
    if kind not in ("int", "any") and not _is_in_driver_section(path):
        return text
    # Drivers convert the value that YAML resolves to text. Numbers such as 1e5 are not covered.
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # for example, text that resembles a date
        return text
    if kind in ("int", "any"):
        return value if isinstance(value, str | bool | int | float) else text
    return str(value).lower() if isinstance(value, bool) else str(value)
