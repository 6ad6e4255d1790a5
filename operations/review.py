"""Summarizes a plan of Pulumi for a reviewer, as text or as Markdown.

A plan is what `pulumi preview --json` prints, with `[secret]` in place of each secret. The
variables and files of the registry come from the stack file, with placeholders for secrets.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from components.storage import storage_backend
from config import credentials
from config.load import upgrade_warnings
from config.resource_names import (
    ACCESS_KEY,
    ACCESS_KEY_PREFIX,
    COMPONENTS,
    CONTAINER,
    NETWORK,
    PROVIDERS,
    REDIS,
    REGISTRY,
    SERVICE,
    STACK,
)
from config.secrecy import masked
from config.stack import Stack

# The action for each kind of step. The steps of one resource, such as its deletion and creation,
# are one change. Other kinds of steps change nothing.
ACTIONS = {
    "replace": "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "import-replacement": "replace",
    "read-replacement": "replace",
    "discard-replaced": "replace",
    "delete": "delete",
    "create": "create",
    "import": "create",
    "update": "change",
    "discard": "let go",
}
DELETING = ("replace", "delete")
RETAINED = "let go"  # the resource is removed from the state, but not deleted
# The mark of each action, in the order in which changes are shown.
MARKS = {"replace": "🔴", "delete": "🔴", "create": "🟢", "change": "🟡", RETAINED: "⚪"}
_ORDER = [*MARKS]
NO_CHANGE = "no change"
_GROUPS = (COMPONENTS, PROVIDERS, STACK)  # resources without properties that could change
COMMENT_LIMIT = 60_000  # characters: GitHub refuses a comment of more than 65,536
_BECAUSE = "because of "  # in front of a property that requires a replacement
_MAX_SHOWN_LENGTH = 80  # characters; longer values are not shown
_UNKNOWN_VALUE = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # Pulumi's placeholder in a plan
# Patterns of Pulumi's messages, and the texts that are shown in their place.
_REPLACED_MESSAGES = (
    ("preview failed", ""),
    ("(?is).*invalid type option.*", credentials.NO_KEY),
    (
        r'unable to (\w+) resource "\S+::(\S+)"\s+as it is currently marked for protection.*',
        r"unable to \1 \2, which is protected: storage.protect: false would let it go",
    ),
)
# Properties with environment variables of a container or service. `_diff` shows the public ones.
_ENVIRONMENT_PATH = re.compile(r"(^|\.)envs?(\[|\.|$)")
_ESCAPED_LINE_BREAKS = str.maketrans({"\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change of one resource.

    `details` describe the properties that change. `old` and `new` are the states of the resource
    before and after the change. A state is empty if the resource does not exist at that time.
    """

    action: str
    kind: str
    name: str
    details: Sequence[str]
    old: Mapping[str, Any]
    new: Mapping[str, Any]

    @property
    def deletes(self) -> bool:
        """Whether the resource is deleted. A new one may replace it."""
        return self.action in DELETING

    @property
    def retains(self) -> bool:
        """Whether the resource is only removed from the state."""
        return self.action == RETAINED

    @property
    def title(self) -> str:
        """The type of the resource in words, such as "bucket public access block"."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.kind.rpartition(":")[2]).lower()


@dataclass(frozen=True, kw_only=True)
class Review:
    """The summary of a plan.

    `alarms` are losses that the user must allow. `diff` has the lines of the registry's variables
    and files that change. `access_keys` has the labels of the access keys before and after.
    """

    stack: str
    changes: Sequence[Change] = ()
    alarms: Sequence[str] = ()
    errors: Sequence[str] = ()
    warnings: Sequence[str] = ()
    downtime: str = "none"
    diff: Sequence[str] = ()
    access_keys: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.changes or self.diff or self.errors)

    @property
    def summary(self) -> str:
        """The number of changes of each kind."""
        parts = ["**it would fail**"] if self.errors else []
        for action in MARKS:
            count = sum(change.action == action for change in self.changes)
            if count:
                parts.append(f"{count} to {action}")
        if parts:
            return ", ".join(parts)
        return "new outputs only" if self.diff else NO_CHANGE


def summarize(stack: Stack, plan: Mapping[str, Any]) -> Review:
    """Return the review of a plan for `stack`, without alarms."""
    outputs = outputs_before(plan)
    changes = list_changes(plan)
    messages = [_message(diagnostic) for diagnostic in plan.get("diagnostics") or ()]
    # Outputs of earlier versions may contain secrets.
    environment = {
        name: masked(name, text) for name, text in (outputs.get("environment") or {}).items()
    }
    return Review(
        stack=stack.name,
        changes=changes,
        errors=_unique(messages, "error"),
        warnings=[*_unique(messages, "warning"), *upgrade_warnings(stack, outputs.get("release"))],
        downtime=downtime(changes, is_first="environment" not in outputs),
        diff=[*_diff(environment, stack.registry.redacted)],
        access_keys=_access_keys(stack, outputs.get("access_key"), changes),
    )


def failed(stack: str, error: str) -> Review:
    """Return the review of a stack that cannot be planned."""
    return Review(stack=stack, errors=[error])


def outputs_before(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the outputs of the stack before the plan is carried out."""
    for step in plan.get("steps") or ():
        if _kind(step["urn"]) == STACK and step.get("oldState"):
            outputs: Mapping[str, Any] = step["oldState"].get("outputs") or {}
            return outputs
    return {}


def list_changes(plan: Mapping[str, Any]) -> Sequence[Change]:
    """Return the changes of a plan, those that delete something first."""
    by_urn: dict[str, list[Mapping[str, Any]]] = {}
    for step in plan.get("steps") or ():
        if step["op"] in ACTIONS and not _kind(step["urn"]).startswith(_GROUPS):
            by_urn.setdefault(step["urn"], []).append(step)
    changes = map(_change, by_urn.values())
    # Pulumi plans independent resources in any order.
    return sorted(changes, key=lambda each: (_ORDER.index(each.action), each.title, each.name))


def _kind(urn: str) -> str:
    """Return the type of the resource with this URN."""
    return urn.split("::")[2].rpartition("$")[2]


def _change(steps: Sequence[Mapping[str, Any]]) -> Change:
    """Combine the steps of one resource into one change."""
    action = min((ACTIONS[step["op"]] for step in steps), key=_ORDER.index)
    old, new = _state(steps, "oldState"), _state(steps, "newState")
    if action == "delete" and old.get("retainOnDelete"):
        action = RETAINED
    diff: dict[str, Mapping[str, Any]] = {}
    for step in steps:
        diff |= step.get("detailedDiff") or {}
    if not diff:
        # A difference that only Pulumi's engine sees, such as an unknown value, has no details.
        for step in steps:
            diff |= {path: {"kind": "replace"} for path in step.get("replaceReasons") or ()}
    urn = steps[0]["urn"]
    return Change(
        action=action,
        kind=_kind(urn),
        name=urn.split("::")[-1],
        details=[*_details(diff, old, new)] if action in ("replace", "change") else [],
        old=old,
        new=new,
    )


def _state(steps: Sequence[Mapping[str, Any]], which: str) -> Mapping[str, Any]:
    """Return the first `oldState` or `newState` (`which`) of `steps`, or an empty one."""
    return next((step[which] for step in steps if step.get(which)), {})


def _details(
    diff: Mapping[str, Mapping[str, Any]], old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[str]:
    """Yield each property that changes, with both values if they are public and short."""
    for name, group in groupby(sorted(diff), lambda path: re.split(r"[.\[]", path)[0]):
        paths = [*group]
        values = [_value_at(paths[0], state.get("inputs") or {}) for state in (old, new)]
        is_cause = any("replace" in diff[path]["kind"] for path in paths)
        cause = _BECAUSE if is_cause else ""
        is_public = not _ENVIRONMENT_PATH.search(paths[0]) and all(map(_is_short, values))
        if len(paths) == 1 and values[0] != values[1] and is_public:
            before, after = ("none" if value is None else str(value) for value in values)
            yield f"{cause}{paths[0]}: {before} → {after}"
        else:
            yield f"{cause}{name}"


def _value_at(path: str, state: Any) -> Any:  # noqa: ANN401
    """Return the value at `path`, such as `ports[0].external` or `tags["a.b"]`, or None."""
    for quoted, number, name in re.findall(r'\["([^"]*)"\]|\[(\d+)\]|([^.\[\]]+)', path):
        try:
            state = state[int(number) if number else quoted or name]
        except (LookupError, TypeError):
            return None
    return state


def _is_short(value: object) -> bool:
    if isinstance(value, dict | list) or value == _UNKNOWN_VALUE:
        return False
    return len(str(value)) <= _MAX_SHOWN_LENGTH


def downtime(changes: Sequence[Change], *, is_first: bool) -> str:
    """Describe the downtime that clients notice. `is_first` means that nothing runs yet."""
    if is_first:
        return "none: nothing runs yet"
    deleting = [change for change in changes if change.deletes]
    actions = [change.action for change in deleting if _is_registry(change)]
    if actions:
        if set(actions) == {"delete"}:
            return "for good: the registry is removed"
        return _some_seconds("the registry is replaced")
    if any(change.kind == NETWORK for change in deleting):
        return _some_seconds("its network is replaced")
    for change in changes:
        if change.action == "change" and change.kind == SERVICE and _is_registry(change):
            return _downtime_of_update(change.new.get("inputs") or {})
    if any(change.name == REDIS for change in deleting):
        return "none: pushes and pulls go on, more slowly while redis is away"
    return "none"


def _is_registry(change: Change) -> bool:
    return change.kind in (CONTAINER, SERVICE) and change.name == REGISTRY


def _some_seconds(event: str) -> str:
    return f"some seconds, while {event}; Docker tries again"


def _downtime_of_update(service: Mapping[str, Any]) -> str:
    """Describe the downtime that clients notice while the replicas of `service` are updated."""
    replicas = _value_at("mode.replicated.replicas", service)
    if replicas == 1 and _value_at("updateConfig.order", service) == "stop-first":
        return _some_seconds("its one replica is replaced")
    return "none: replicas are replaced one by one"


def _access_keys(stack: Stack, in_use: str | None, changes: Sequence[Change]) -> str:
    """Return the labels of the access keys as text. If they change, it has both lists."""
    labels = [*storage_backend(stack.registry).access_keys]
    if not labels:
        return ""
    actions = {
        change.name.removeprefix(ACCESS_KEY_PREFIX): change.action
        for change in changes
        if change.kind == ACCESS_KEY
    }
    deleted = [label for label, action in actions.items() if action == "delete"]
    before = [*deleted, *(label for label in labels if actions.get(label) != "create")]
    after = _marked_labels(labels, labels[-1])
    if before == labels:
        return after
    return f"{_marked_labels(before, in_use) or 'none'} → {after}"


def _marked_labels(labels: Sequence[str], in_use: str | None) -> str:
    return ", ".join(f"{label} (in use)" if label == in_use else label for label in labels)


def _diff(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable that differs, and the lines of files that differ.

    `old` and `new` have the values of variables by name, and the texts of files by path.
    """
    for name in sorted({*old, *new}):
        if old.get(name) == new.get(name):
            continue
        if not name.startswith("/"):
            for sign, side in (("-", old), ("+", new)):
                if name in side:
                    yield f"{sign}{name}={side[name].translate(_ESCAPED_LINE_BREAKS)}"
            continue
        yield f"@@ {name} @@"
        before, after = (side.get(name, "").splitlines() for side in (old, new))
        lines = [*difflib.unified_diff(before, after, n=2, lineterm="")]
        yield from (line for line in lines[2:] if not line.startswith("@@"))


def _message(diagnostic: Mapping[str, Any]) -> tuple[str, str]:
    """Return the severity and the text of a message of Pulumi."""
    text = re.sub(r"^(error|warning): ", "", str(diagnostic["message"])).strip()
    for pattern, replacement in _REPLACED_MESSAGES:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return str(diagnostic["severity"]), text


def _unique(messages: Sequence[tuple[str, str]], severity: str) -> Sequence[str]:
    """Return each text with this severity once."""
    return [*dict.fromkeys(text for each, text in messages if each == severity and text)]


def markdown(review: Review) -> str:
    """Return a review as Markdown for a pull request comment, of COMMENT_LIMIT characters at most.

    Its first line is a hidden marker, which identifies the comment about this stack.
    """
    text = "\n\n".join(_blocks(review))
    marker = f"<!-- oss-registry: {review.stack} -->\n"
    return marker + _shortened(text, COMMENT_LIMIT - len(marker)) + "\n"


def _blocks(review: Review) -> Iterator[str]:
    yield f"### `{review.stack}`: {review.summary}"
    for alarm in review.alarms:
        yield f"> 🚨 **{_escaped(alarm)}**"
    for error in review.errors:
        yield f"❌ The plan fails:\n\n{_fenced(error.splitlines())}"
    rows = _rows(review.changes)
    if rows:
        yield "\n".join(["| | resource | what changes |", "| --- | --- | --- |", *rows])
    if review.changes or review.diff:
        facts = [f"**Downtime:** {review.downtime}"]
        if review.access_keys:
            facts.append(f"**Access keys:** {_escaped(review.access_keys)}")
        yield "<br>\n".join(facts)
    if review.diff:
        yield f"**What the registry is given**\n\n{_fenced(review.diff, 'diff')}"
    for warning in review.warnings:
        yield f"⚠️ {_escaped(warning)}"


def _rows(changes: Sequence[Change]) -> Sequence[str]:
    """Return the rows of the table of changes. All resources to create share one row."""
    rows, created, deleting = [], [], 0
    for change in changes:
        resource = f"{change.title} {_code(change.name)}"
        if change.action == "create":
            created.append(resource)
            continue
        deleting += change.deletes
        details = "<br>".join(map(_cell, change.details))
        rows.append(f"| {MARKS[change.action]} **{change.action}** | {resource} | {details} |")
    if created:
        rows.insert(deleting, f"| {MARKS['create']} create | {', '.join(created)} | |")
    return rows


def _escaped(text: str) -> str:
    """Return Markdown that shows `text` as it is."""
    escaped = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
    return escaped.replace("@", "@\u200b").replace("\n", "<br>")


def _code(text: str) -> str:
    """Return `text`, which may be any text, as Markdown code for a cell of a table."""
    line = text.replace("|", "\\|").replace("\n", " ")
    ticks = _ticks(line, least=1)
    padding = " " if "`" in line else ""
    return f"{ticks}{padding}{line}{padding}{ticks}"


def _cell(detail: str) -> str:
    """Return `detail`, one of `Change.details`, for a cell of a table. Its property is code."""
    code = detail.removeprefix(_BECAUSE)
    return detail.removesuffix(code) + _code(code)


def _fenced(lines: Sequence[str], language: str = "") -> str:
    """Return `lines`, which may be any text, as a Markdown code block."""
    fence = _ticks("\n".join(lines), least=3)
    return "\n".join([f"{fence}{language}", *lines, fence])


def _ticks(text: str, least: int) -> str:
    """Return at least `least` backticks, and more than `text` has in a row anywhere."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)


def _shortened(text: str, limit: int) -> str:
    """Cut `text` to `limit` characters, at the end of a line, and close an open code block."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 200].rpartition("\n")[0]
    fences = re.findall(r"^(`{3,})\w*$", kept, re.MULTILINE)
    closing = f"\n{fences[-1]}" if len(fences) % 2 else ""
    omitted = len(text.splitlines()) - len(kept.splitlines())
    return f"{kept}{closing}\n\n✂️ {omitted} more lines: `make preview` prints them all."


def plain_text(review: Review) -> str:
    """Return a review for a terminal, in full length."""
    lines = [f"{review.stack}: {review.summary.replace('**', '')}"]
    lines += [f"  !! {alarm}" for alarm in review.alarms]
    for error in review.errors:
        lines += [f"  error: {line}" for line in error.splitlines()]
    for change in review.changes:
        action = change.action.upper() if change.deletes else change.action
        details = f" ({'; '.join(change.details)})" if change.details else ""
        lines.append(f"  {action:8} {change.title} {change.name}{details}")
    if review.changes or review.diff:
        lines.append(f"  downtime: {review.downtime}")
        if review.access_keys:
            lines.append(f"  access keys: {review.access_keys}")
    lines += [f"  {line}" for line in review.diff]
    lines += [f"  warning: {warning}" for warning in review.warnings]
    return "\n".join(lines) + "\n"
