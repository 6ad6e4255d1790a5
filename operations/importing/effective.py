"""The configuration that a registry has from its file and its REGISTRY_* variables.

The reverse of components/environment.py, by the rules of distribution's configuration/parser.go;
tests/reference compares it with the registry's own reader.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from config.releases import Release
from config.render import BESIDE_DRIVER
from config.schema import Kinds
from config.tree import ANY, Section
from operations.errors import CommandError

# What the official images' own files say of storage: the rest is in the releases' rows.
_STORAGE: Section = {
    "cache": {"blobdescriptor": "inmemory"},
    "filesystem": {"rootdirectory": "/var/lib/registry"},
}
_OWN_STORAGE: Mapping[int, Section] = {
    2: _STORAGE,
    3: {**_STORAGE, "delete": {"enabled": True}, "tag": {"concurrencylimit": 5}},
}
_BOOLS = {
    **dict.fromkeys(("y", "yes", "on", "true"), True),
    **dict.fromkeys(("n", "no", "off", "false"), False),
}
_NOTHING = ("", "~", "null")


def of_image(release: Release) -> Section:
    """What the official image's own file says."""
    return {**release.image_defaults, "storage": _OWN_STORAGE[release.major]}


def effective(
    release: Release, file: str | None, variables: Mapping[str, str]
) -> tuple[dict[str, Any], Sequence[str]]:
    """The tree that `release` has from `file`, its image's own where it is None, and `variables`.

    With it the keys and variables that the release does not heed. Raises CommandError where it
    would not start.
    """
    reader = _Reader(release)
    tree = of_image(release) if file is None else reader.parsed("the file", file, reader.top)
    result: dict[str, Any] = _copied(tree)
    result.pop("version", None)
    for name in sorted(name for name in variables if name.startswith("REGISTRY_")):
        rest = name.upper().removeprefix("REGISTRY_")
        if not reader.put(result, "", reader.top, rest, (name, variables[name])):
            reader.unheeded.append(name)
    return result, reader.unheeded


def _copied(tree: Any) -> Any:  # noqa: ANN401
    return {k: _copied(v) for k, v in tree.items()} if isinstance(tree, Mapping) else tree


class _Reader:
    def __init__(self, release: Release) -> None:
        self.unheeded: list[str] = []
        self._schema, self._major = release.schema, release.major
        self.top: Kinds = release.schema.keys

    def put(
        self, section: dict[str, Any], path: str, kinds: Kinds, rest: str, given: tuple[str, str]
    ) -> bool:
        """Whether there is a place for what is `given` at `rest`, a part of a variable's name."""
        if not isinstance(kinds, Mapping):
            return False  # nothing is read below a value
        found = self._key(path, kinds, rest)
        if not found:
            return False
        key, below = found
        place = f"{path}.{key}" if path else key
        inner = kinds.get(key, kinds.get(ANY, {ANY: "any"} if path in BESIDE_DRIVER else "any"))
        if below:
            under = section.get(key)
            if not isinstance(under, dict):
                under = {}
            if inner == "any":
                inner = {ANY: "any"}
            if not self.put(under, place, inner, below, given):
                return False
            section[key] = under
            return True
        name, text = given
        if key in BESIDE_DRIVER and not path and (driver := text.strip()).isalnum():
            section[key] = {driver: {}}  # its name alone takes the whole section's place
            return True
        value = self.parsed(name, text, inner, place)
        if value is None:
            section.pop(key, None)
        else:
            section[key] = value
        return True

    def _key(self, path: str, kinds: Mapping[str, Kinds], rest: str) -> tuple[str, str] | None:
        """The key that `rest` begins with, and what is left of it."""
        names = {
            self._schema.names.get(f"{path}.{key}" if path else key, key.upper()): key
            for key in kinds
            if key != ANY
        }
        if path == "redis" and self._major > 2:  # from 3.1 on by either name
            names |= {f"OPTIONS_{key.upper()}": key for key in kinds if key != ANY}
        for name in sorted(names, key=len, reverse=True):
            if rest == name or rest.startswith(f"{name}_"):
                return names[name], rest[len(name) + 1 :]
        if ANY in kinds or path.partition(".")[0] in BESIDE_DRIVER:
            part, _, below = rest.partition("_")
            return part.lower(), below
        return None

    def parsed(self, name: str, text: str, kinds: Kinds, path: str = "") -> Any:  # noqa: ANN401
        try:
            node = yaml.compose(text, yaml.SafeLoader)
        except yaml.YAMLError:
            raise CommandError(f"{name} does not hold YAML: the registry would not start") from None
        return self._value(node, kinds, path) if node else None

    def _value(self, node: yaml.Node, kinds: Kinds, path: str) -> Any:  # noqa: ANN401
        if isinstance(node, yaml.MappingNode):
            found = {}
            for key_node, below in node.value:
                key = str(key_node.value)
                place = f"{path}.{key}" if path else key
                if isinstance(kinds, Mapping):
                    inner = kinds.get(key, kinds.get(ANY))
                    if inner is None and place.partition(".")[0] not in (*BESIDE_DRIVER, "version"):
                        self.unheeded.append(place)
                        continue
                else:
                    inner = "any"
                value = self._value(below, "any" if inner is None else inner, place)
                if value is not None:
                    found[key] = value
            return found
        if isinstance(node, yaml.SequenceNode):
            item = kinds[0] if not isinstance(kinds, str | Mapping) and kinds else "any"
            return [self._value(below, item, path) for below in node.value]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, kinds, path)

    def _scalar(self, node: yaml.ScalarNode, kinds: Kinds, path: str) -> Any:  # noqa: ANN401
        plain, text = node.style is None, str(node.value)
        if plain and text.lower() in _NOTHING:
            return None
        if not isinstance(kinds, str) or not plain:
            return text
        kind = kinds.partition(" ")[0]
        if kind == "bool" and text.lower() in _BOOLS:
            return _BOOLS[text.lower()]
        if kind not in ("int", "any") and path.partition(".")[0] not in BESIDE_DRIVER:
            return text
        # Drivers get what YAML makes of it, and print that (1e5 and the like aside).
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):  # what looks like a date, and is none
            return text
        if kind in ("int", "any"):
            return value if isinstance(value, str | bool | int | float) else text
        return str(value).lower() if isinstance(value, bool) else str(value)
