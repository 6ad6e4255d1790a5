"""A stack file's YAML as the Pulumi CLI reads it.

The CLI decodes it with gopkg.in/yaml.v3 (pulumi/sdk/go/common/encoding/marshal.go), encodes what it
has decoded again, and hands the values over as JSON. `read` follows the rules of that decoder
(resolve.go, decode.go). It refuses what the CLI refuses, and text that would arrive as another one.
tests/integration/test_stack_yaml.py compares both.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, TypeAlias

import yaml

from config.problems import Problem

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"


class Unreadable(Exception):
    """There is no such stack file; the message has the line, if it is known."""


def file_name(stack: str) -> str:
    """The name of a stack's file. Raises Unreadable if Pulumi takes no such name for a stack."""
    if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,100}", stack):
        raise Unreadable(
            f"{stack!r} is not a stack's name: write letters, digits, hyphens, underscores and "
            "dots, such as STACK=prod"
        )
    return f"Pulumi.{stack}.yaml"


def read(text: str, project: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return a stack file's content, and the values that Pulumi would change or refuse.

    The keys of its section `config` are whole: one without a namespace is the `project`'s own.
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
    return {**content, "config": _whole_keys(config, project)}, problems


def _whole_keys(config: Mapping[str, Value], project: str) -> dict[str, Value]:
    """`config` by the keys that `ParseKey` makes of its own (sdk/go/common/resource/config)."""
    whole: dict[str, Value] = {}
    for key, value in config.items():
        namespace, *middle, name = key.split(":") if ":" in key else (project, key)
        if middle not in ([], ["config"]):
            raise Unreadable(f"the key {key} is not of the form namespace:name")
        if f"{namespace}:{name}" in whole:
            raise Unreadable(f"the key {namespace}:{name} is there twice, in two forms")
        whole[f"{namespace}:{name}"] = value
    return whole


_PLAIN = "plain"  # the tag of a scalar without quotes and without a tag of its own
_TEXT = "tag:yaml.org,2002:str"
_MERGE = "<<"
_NODES = 100_000  # aliases can make a small file a large one


class _Loader(yaml.SafeLoader):
    """Composes nodes and leaves it to `_Reader` to resolve plain scalars."""

    # Without \/, which the CLI refuses.
    ESCAPE_REPLACEMENTS = {  # type: ignore[misc]  # noqa: RUF012  # a plain dict, in spite of stubs
        escape: text
        for escape, text in yaml.SafeLoader.ESCAPE_REPLACEMENTS.items()
        if escape != "/"
    }

    def resolve(
        self, kind: type[yaml.Node], value: str | None, implicit: bool | tuple[bool, bool]
    ) -> str:
        if kind is yaml.ScalarNode and isinstance(implicit, tuple) and implicit[0]:
            return _PLAIN
        return {yaml.ScalarNode: _TEXT, yaml.SequenceNode: "seq", yaml.MappingNode: "map"}[kind]


Path: TypeAlias = tuple[str | int, ...]


class _Reader:
    def __init__(self, project: str, problems: list[Problem]) -> None:
        self._project = project
        self._problems = problems
        self._open: list[yaml.Node] = []
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Value:
        """The value of `node` as Pulumi hands it over."""
        self._nodes += 1
        if self._nodes > _NODES:
            raise _unreadable(node, "aliases make the file too large")
        if any(node is above for above in self._open):
            raise _unreadable(node, "an anchor contains itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in ("seq", "map"):
            self._refuse(node, path, f"has the tag {_short(node.tag)}", "remove the tag")
        self._open.append(node)
        value: Value
        if isinstance(node, yaml.SequenceNode):
            value = [self.value(item, (*path, at)) for at, item in enumerate(node.value)]
        else:
            value = self._mapping(node, path)
        self._open.pop()
        return value

    def _mapping(self, node: yaml.Node, path: Path) -> dict[str, Value]:
        """The values by key. Keys of the mapping itself win over those that it merges."""
        seen: set[str] = set()
        found: dict[str, Value] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(key, path, "has a list or a section for a key", "write a text")
                continue
            if key.value in seen:
                raise _unreadable(key, f"the key {key.value} is there twice")
            seen.add(key.value)
            if key.value == _MERGE:  # quotes get lost when the CLI encodes it again
                merged = [*_merged(value)]
            elif isinstance(self._key(key, path), str):
                found[key.value] = self.value(value, (*path, key.value))
        for other in merged:
            pairs = self.value(other, path)
            assert isinstance(pairs, dict)
            found = {**pairs, **found}
        return found

    def _key(self, node: yaml.ScalarNode, path: Path) -> Value:
        before = len(self._problems)
        name = self._scalar(node, path)
        if not isinstance(name, str) and len(self._problems) == before:
            rule = f"has the key {node.value}, which is read as {_kind(name)}"
            self._refuse(node, path, rule, "put the key in quotes")
        return name

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Value:
        text = str(node.value)
        if node.tag not in (_PLAIN, _TEXT):
            self._refuse(node, path, f"has the tag {_short(node.tag)}", "remove the tag")
        elif re.search("[\ud800-\udfff]", text):
            self._refuse(node, path, "has half of a character", "write it in UTF-8")
        elif _LOST.match(text):
            rule = "begins with an empty line or a tab, which Pulumi loses"
            self._refuse(node, path, rule, "remove it")
        elif node.tag == _PLAIN and _DATE.fullmatch(text):
            self._refuse(node, path, "has a date, which Pulumi rewrites", "put it in quotes")
        elif node.tag == _PLAIN and _NO_NUMBER.fullmatch(text):
            self._refuse(node, path, "has no number that Pulumi takes", "put it in quotes")
        elif node.tag == _PLAIN:
            value = _plain(text)
            number = not isinstance(value, str | bool | None)
            if number and str(value) != text and _TEXT_OR_NUMBER.search(self._written(path)):
                rule = f"has a number, which Pulumi rewrites as {value}"
                self._refuse(node, path, rule, f"put it in quotes, or write {value}")
            return value
        return text

    def _refuse(self, node: yaml.Node, path: Path, rule: str, fix: str) -> None:
        if path[:1] != ("config",):
            return
        line = f"line {node.start_mark.line + 1}: "
        self._problems.append(Problem(self._written(path), f"{line}{rule}", fix))

    def _written(self, path: Path) -> str:
        """A path as other problems have it, such as oss-registry:storage.access_keys[0]."""
        above, *below = path or ("the file",)
        if above == "config" and below:
            first, *below = below
            above = first if ":" in str(first) else f"{self._project}:{first}"
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in below)
        return f"{above}{''.join(parts)}"


def _merged(node: yaml.Node) -> Iterator[yaml.Node]:
    """The mappings that `<<` names, the first of which wins."""
    for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if not isinstance(each, yaml.MappingNode):
            raise _unreadable(each, "<< needs a section, or a list of them")
        yield each


def _unreadable(node: yaml.Node, problem: str) -> Unreadable:
    return Unreadable(f"line {node.start_mark.line + 1}: {problem}")


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _kind(value: Value) -> str:
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
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# Text that is another one, or unreadable, once the CLI has encoded it again.
_LOST = re.compile(r"\n|[\t\x85\u2028\u2029].*\n", re.DOTALL)
# Below these keys the registry takes text and numbers alike.
_TEXT_OR_NUMBER = re.compile(r":registry\.config\.(log\.fields|middleware\.\w+\[\d+\]\.options)\.")
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*|0[bB][01]+|0[oO][0-7]+|0[xX][0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _plain(text: str) -> Value:
    """A plain scalar's value (`resolve` in yaml.v3's resolve.go)."""
    if text in _WORDS:
        return _WORDS[text]
    # Go's ParseFloat, which alone reads what begins with a point, wants digits around each _.
    kept = text.startswith(".") and re.search(r"_(?![0-9])|(?<![0-9])_", text)
    digits = text if kept else text.replace("_", "")
    if re.match(r"[-+.0-9]", text):
        number: int | float | None = None
        if _OCTAL.fullmatch(digits):
            number = int(digits, 8)
        elif _WHOLE.fullmatch(digits):
            number = int(digits, 0)
        if number is not None and -(2**63) <= number < 2**63:
            return number
        if number is not None and 2**63 <= number < 2**64:
            return _as_json(float(number))
        if _FLOAT.fullmatch(digits) and abs(float(digits)) != float("inf"):
            return _as_json(float(digits))
    return text


def _as_json(number: float) -> int | float:
    """A float as it is after Go's encoding/json has printed it."""
    if number.is_integer() and abs(number) < 1e21:
        return int(Decimal(repr(number)))
    return number
