"""Read a stack file's YAML in the same way as the Pulumi CLI.

The CLI decodes the file with gopkg.in/yaml.v3 (pulumi/sdk/go/common/encoding/marshal.go), encodes
the result again, and passes the values to the program as JSON. `read` follows the rules of that
decoder (resolve.go, decode.go). It refuses YAML that the CLI refuses, and text that the CLI would
change. tests/integration/test_stack_yaml.py compares both readers.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, TypeAlias

import yaml

from config.problems import Problem
from config.tree import dotted

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"


class Unreadable(Exception):
    """The stack file cannot be read. The message contains the line, if it is known."""


def file_name(stack: str) -> str:
    """Return the name of a stack's file.

    Raises Unreadable if Pulumi does not accept `stack` as the name of a stack.
    """
    if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,100}", stack):
        raise Unreadable(
            f"{stack!r} is not a stack's name: write letters, digits, hyphens, underscores and "
            "dots, such as STACK=prod"
        )
    return f"Pulumi.{stack}.yaml"


def read(text: str, project: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return a stack file's content, and a problem for each value that Pulumi changes or refuses.

    Keys in the section `config` are returned with their namespace, which is `project` by default.
    Raises Unreadable.
    """
    problems: list[Problem] = []
    if re.search(r"^%YAML (?!1\.1\b)", text, re.MULTILINE):
        raise Unreadable("Pulumi reads YAML 1.1 only; remove the line that begins with %YAML")
    try:
        documents = [*islice(yaml.compose_all(text.removeprefix("\ufeff"), _Loader), 2)]
        if len(documents) > 1:
            raise _unreadable(documents[1], "Pulumi reads the first document only; remove the rest")
        content = _Reader(project, problems).value(documents[0], ()) if documents else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        tab = "there is a tab between words; write spaces" if "\\t" in str(error.problem) else ""
        raise Unreadable(f"line {line}: {tab or error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an escape beyond Unicode
        raise Unreadable(f"the file is not YAML: {error}") from None
    except RecursionError:
        raise Unreadable("the file is nested too deep") from None
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(config, dict):
        raise Unreadable("the file needs a section config:")
    return {**content, "config": _full_keys(config, project)}, problems


def _full_keys(config: Mapping[str, Value], project: str) -> dict[str, Value]:
    """Return `config` with NAMESPACE:NAME as keys, as in Pulumi's `ParseKey`.

    See sdk/go/common/resource/config. Raises Unreadable.
    """
    full: dict[str, Value] = {}
    for key, value in config.items():
        namespace, *middle, name = key.split(":") if ":" in key else (project, key)
        if middle not in ([], ["config"]):
            raise Unreadable(f"the key {key} is not of the form namespace:name")
        if f"{namespace}:{name}" in full:
            raise Unreadable(f"the key {namespace}:{name} is there twice, in two forms")
        full[f"{namespace}:{name}"] = value
    return full


_PLAIN = "plain"  # the tag of a scalar without quotes and without a tag of its own
_TEXT = "tag:yaml.org,2002:str"
_MERGE = "<<"
_MAX_NODES = 100_000  # aliases can expand a small file to a very large one


class _Loader(yaml.SafeLoader):
    """A loader that composes nodes. `_Reader` resolves the plain scalars."""

    # All escapes but \/, which the CLI refuses. The stub is wrong: this is a plain dict.
    ESCAPE_REPLACEMENTS = {  # type: ignore[misc]  # noqa: RUF012
        escape: text
        for escape, text in yaml.SafeLoader.ESCAPE_REPLACEMENTS.items()
        if escape != "/"
    }

    def resolve(
        self, kind: type[yaml.Node], value: str | None, implicit: bool | tuple[bool, bool]
    ) -> str:
        """Return the tag for a node without a tag of its own."""
        if kind is yaml.ScalarNode and isinstance(implicit, tuple) and implicit[0]:
            return _PLAIN
        return {yaml.ScalarNode: _TEXT, yaml.SequenceNode: "seq", yaml.MappingNode: "map"}[kind]


Path: TypeAlias = tuple[str | int, ...]


class _Reader:
    """Convert nodes to values and collect the problems."""

    def __init__(self, project: str, problems: list[Problem]) -> None:
        self._project = project
        self._problems = problems
        self._ancestors: list[yaml.Node] = []
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Value:
        """Return the value of `node` as Pulumi passes it on. Raises Unreadable."""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _unreadable(node, "aliases make the file too large")
        if any(node is ancestor for ancestor in self._ancestors):
            raise _unreadable(node, "an anchor contains itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in ("seq", "map"):
            self._refuse(node, path, f"has the tag {_short(node.tag)}", "remove the tag")
        self._ancestors.append(node)
        value: Value
        if isinstance(node, yaml.SequenceNode):
            value = [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            value = self._mapping(node, path)
        self._ancestors.pop()
        return value

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Value]:
        """Return the values by key. The mapping's own keys take precedence over merged ones."""
        seen: set[str] = set()
        values: dict[str, Value] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(key, path, "has a list or a section for a key", "write a text")
                continue
            if key.value in seen:
                raise _unreadable(key, f"the key {key.value} is there twice")
            seen.add(key.value)
            # A quoted << merges, too, because the CLI drops the quotes when it encodes again.
            if key.value == _MERGE:
                merged = list(_merged_mappings(value))
            elif isinstance(self._key(key, path), str):
                values[key.value] = self.value(value, (*path, key.value))
        for mapping in merged:
            defaults = self.value(mapping, path)
            assert isinstance(defaults, dict)
            values = {**defaults, **values}
        return values

    def _key(self, node: yaml.ScalarNode, path: Path) -> Value:
        """Return the value of a key. Refuse it if it is not text."""
        problems_before = len(self._problems)
        key = self._scalar(node, path)
        if not isinstance(key, str) and len(self._problems) == problems_before:
            rule = f"has the key {node.value}, which is read as {_kind(key)}"
            self._refuse(node, path, rule, "put the key in quotes")
        return key

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Value:
        """Return the value of a scalar. A refused scalar is returned as text."""
        text = str(node.value)
        if node.tag not in (_PLAIN, _TEXT):
            self._refuse(node, path, f"has the tag {_short(node.tag)}", "remove the tag")
        elif re.search("[\ud800-\udfff]", text):
            self._refuse(node, path, "has half of a character", "write it in UTF-8")
        elif _CHANGED_TEXT.match(text):
            rule = "begins with an empty line or a tab, which Pulumi loses"
            self._refuse(node, path, rule, "remove it")
        elif node.tag == _PLAIN and _DATE.fullmatch(text):
            self._refuse(node, path, "has a date, which Pulumi rewrites", "put it in quotes")
        elif node.tag == _PLAIN and _NOT_FINITE.fullmatch(text):
            self._refuse(node, path, "has no number that Pulumi takes", "put it in quotes")
        elif node.tag == _PLAIN:
            value = _plain_value(text)
            is_number = not isinstance(value, str | bool | None)
            is_rewritten = is_number and str(value) != text
            if is_rewritten and _TEXT_OR_NUMBER.search(self._full_path(path)):
                rule = f"has a number, which Pulumi rewrites as {value}"
                self._refuse(node, path, rule, f"put it in quotes, or write {value}")
            return value
        return text

    def _refuse(self, node: yaml.Node, path: Path, rule: str, fix: str) -> None:
        """Add a problem, unless `path` is outside of the section `config`."""
        if path[:1] != ("config",):
            return
        line = f"line {node.start_mark.line + 1}: "
        self._problems.append(Problem(self._full_path(path), f"{line}{rule}", fix))

    def _full_path(self, path: Path) -> str:
        """Return a path as problems show it, such as oss-registry:storage.access_keys[0]."""
        first, *below = path or ("the file",)
        if first == "config" and below:
            first, *below = below
            if ":" not in str(first):
                first = f"{self._project}:{first}"
        return f"{first}{dotted(below)}"


def _merged_mappings(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield the mappings that `<<` merges. Earlier ones take precedence over later ones.

    Raises Unreadable if `node` is no mapping and no list of mappings.
    """
    mappings = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for mapping in mappings:
        if not isinstance(mapping, yaml.MappingNode):
            raise _unreadable(mapping, "<< needs a section, or a list of them")
        yield mapping


def _unreadable(node: yaml.Node, problem: str) -> Unreadable:
    return Unreadable(f"line {node.start_mark.line + 1}: {problem}")


def _short(tag: str) -> str:
    """Return a tag in its short form, such as !!binary."""
    return tag.replace("tag:yaml.org,2002:", "!!")


def _kind(value: Value) -> str:
    """Describe the kind of a value that is not text, as part of a message."""
    if value is None:
        return "null"
    return "true or false" if isinstance(value, bool) else "a number"


_WORDS: Mapping[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DATE = re.compile(
    r"\d{4}-\d\d?-\d\d?"
    r"([Tt]\d\d?:\d\d?:\d\d?(\.\d+)?(Z|[-+]\d\d:\d\d)| \d\d?:\d\d?:\d\d?(\.\d+)?)?",
    re.ASCII,
)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# Text that changes or becomes unreadable when the CLI encodes it again.
_CHANGED_TEXT = re.compile(r"\n|[\t\x85\u2028\u2029].*\n", re.DOTALL)
# Below these keys the registry accepts both text and numbers.
_TEXT_OR_NUMBER = re.compile(r":registry\.config\.(log\.fields|middleware\.\w+\[\d+\]\.options)\.")
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*|0[bB][01]+|0[oO][0-7]+|0[xX][0-9a-fA-F]+)")
_UNDERSCORE_BESIDE_NO_DIGIT = re.compile(r"_(?![0-9])|(?<![0-9])_")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _plain_value(text: str) -> Value:
    """Return the value of a plain scalar, as `resolve` in yaml.v3's resolve.go does."""
    if text in _WORDS:
        return _WORDS[text]
    if not re.match(r"[-+.0-9]", text):
        return text
    digits = text.replace("_", "")
    if text.startswith(".") and _UNDERSCORE_BESIDE_NO_DIGIT.search(text):
        # Only Go's ParseFloat reads text that begins with a point. It requires a digit on both
        # sides of each underscore.
        digits = text
    number: int | float | None = None
    if _OCTAL.fullmatch(digits):
        number = int(digits, 8)
    elif _INTEGER.fullmatch(digits):
        number = int(digits, 0)
    if number is not None and -(2**63) <= number < 2**63:
        return number
    if number is not None and 2**63 <= number < 2**64:
        return _as_json(float(number))
    if _FLOAT.fullmatch(digits) and abs(float(digits)) != float("inf"):
        return _as_json(float(digits))
    return text


def _as_json(number: float) -> int | float:
    """Return the number that Go's encoding/json prints for a float."""
    if number.is_integer() and abs(number) < 1e21:
        return int(Decimal(repr(number)))
    return number
