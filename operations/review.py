"""What a plan of Pulumi's means to whoever reviews it. Pure: `preview` has it made.

A plan is what `pulumi preview --json` prints, in which secrets are `[secret]` already. What the
registry is given comes from the stack file, which never had them.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from config import credentials
from config.load import upgrade_warnings
from config.secrecy import masked
from config.stack import Stack
from operations.clients.pulumi import ACCESS_KEY, CONTAINER, NETWORK, SERVICE, STACK

# What a step of Pulumi's comes to. Those of one resource, such as deleting it and making it anew,
# are one change; what is not here changes nothing.
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
# In the order in which they are shown; the first two are marked.
MARKS = {"replace": "🔴", "delete": "🔴", "create": "🟢", "change": "🟡", "let go": "⚪"}
GRAVE = ("replace", "delete")
NO_CHANGE = "no change"
# They group resources, and have nothing that could change.
GROUPS = ("oss-registry:index:", "pulumi:providers:", STACK)
LIMIT = 60_000  # characters: GitHub refuses a comment of more than 65,536
BECAUSE = "because of "  # of a property that takes a replacement
SHOWN = 80  # characters of a value
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # Pulumi's word for what only `up` can know
# What Pulumi says, and what that means here.
SAYS = (
    ("preview failed", ""),
    ("(?is).*invalid type option.*", credentials.NO_KEY),
    (
        r'unable to (\w+) resource "\S+::(\S+)"\s+as it is currently marked for protection.*',
        r"unable to \1 \2, which is protected: storage.protect: false would let it go",
    ),
)
# Properties that hold the process's variables. `_diff` prints those that everyone may read.
_VARIABLES = re.compile(r"(^|\.)envs?(\[|\.|$)")
_ONE_LINE = str.maketrans({"\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to one resource. `what` are its properties that change, and how.

    `old` and `new` are its states, empty where there is none.
    """

    action: str
    kind: str
    name: str
    what: Sequence[str]
    old: Mapping[str, Any]
    new: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Such as "bucket public access block"."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.kind.rpartition(":")[2]).lower()


@dataclass(frozen=True, kw_only=True)
class Review:
    """`alarms` are what a plan must not do unless it is meant; `lines` are the registry's that
    change, as a diff.
    """

    stack: str
    changes: Sequence[Change] = ()
    alarms: Sequence[str] = ()
    errors: Sequence[str] = ()
    warnings: Sequence[str] = ()
    downtime: str = "none"
    lines: Sequence[str] = ()
    keys: str = ""

    @property
    def empty(self) -> bool:
        return not (self.changes or self.lines or self.errors)

    @property
    def summary(self) -> str:
        """How many are to be replaced, deleted, …"""
        counted = {action: sum(c.action == action for c in self.changes) for action in MARKS}
        said = [f"{count} to {action}" for action, count in counted.items() if count]
        if self.errors:
            return ", ".join(["**it would fail**", *said])
        return ", ".join(said) or ("new outputs only" if self.lines else NO_CHANGE)


def review(stack: Stack, plan: Mapping[str, Any]) -> Review:
    """What `plan` would do to `stack`, without alarms: those take a look at OSS."""
    before = outputs(plan)
    found = changes(plan)
    said = [_said(diagnostic) for diagnostic in plan.get("diagnostics") or ()]
    return Review(
        stack=stack.name,
        changes=found,
        errors=_texts(said, "error"),
        warnings=[*_texts(said, "warning"), *upgrade_warnings(stack, before.get("release"))],
        downtime=downtime(found, first="environment" not in before),
        lines=[*_diff(_masked(before.get("environment") or {}), stack.registry.redacted)],
        keys=_keys(stack, before.get("access_key"), found),
    )


def failed(stack: str, why: str) -> Review:
    """Of a stack that can't even be planned."""
    return Review(stack=stack, errors=[why])


def outputs(plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stack's outputs as they are now."""
    steps = (step for step in plan.get("steps") or () if _kind(step["urn"]) == STACK)
    before: Mapping[str, Any] = next((s["oldState"] for s in steps if s.get("oldState")), {})
    return before.get("outputs") or {}


def changes(plan: Mapping[str, Any]) -> Sequence[Change]:
    """The resources that `plan` changes, the grave ones first."""
    steps = [s for s in plan.get("steps") or () if s["op"] in ACTIONS and not _is_group(s["urn"])]
    by_urn: dict[str, list[Mapping[str, Any]]] = {}
    for step in steps:
        by_urn.setdefault(step["urn"], []).append(step)
    order = [*MARKS]
    found = map(_change, by_urn.values())
    # Pulumi plans in any order what does not depend on each other.
    return sorted(found, key=lambda each: (order.index(each.action), each.title, each.name))


def _is_group(urn: str) -> bool:
    return _kind(urn).startswith(GROUPS)


def _kind(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _change(steps: Sequence[Mapping[str, Any]]) -> Change:
    """The steps of one resource as one change."""
    actions = [ACTIONS[step["op"]] for step in steps]
    old, new = _state(steps, "oldState"), _state(steps, "newState")
    action = min(actions, key=[*MARKS].index)
    if action == "delete" and old.get("retainOnDelete"):
        action = "let go"
    diff = {path: kind for step in steps for path, kind in (step.get("detailedDiff") or {}).items()}
    # What the engine alone sees, as where a value is not known yet, has no details.
    causes = [path for step in steps for path in step.get("replaceReasons") or ()]
    diff |= {path: {"kind": "replace"} for path in causes if not diff}
    urn = steps[0]["urn"]
    return Change(
        action=action,
        kind=_kind(urn),
        name=urn.split("::")[-1],
        what=[*_what(diff, old, new)] if action in ("replace", "change") else [],
        old=old,
        new=new,
    )


def _state(steps: Sequence[Mapping[str, Any]], which: str) -> Mapping[str, Any]:
    return next((step[which] for step in steps if step.get(which)), {})


def _what(
    diff: Mapping[str, Mapping[str, Any]], old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[str]:
    """Each property that changes: with both values where it is one that can be shown."""
    for name, group in groupby(sorted(diff), lambda path: re.split(r"[.\[]", path)[0]):
        paths = [*group]
        values = [_at(state.get("inputs") or {}, paths[0]) for state in (old, new)]
        cause = BECAUSE if any("replace" in diff[path]["kind"] for path in paths) else ""
        public = not _VARIABLES.search(paths[0]) and all(map(_is_short, values))
        if len(paths) == 1 and values[0] != values[1] and public:
            before, after = ("none" if value is None else str(value) for value in values)
            yield f"{cause}{paths[0]}: {before} → {after}"
        else:
            yield f"{cause}{name}"


def _at(state: Any, path: str) -> Any:  # noqa: ANN401
    """What is at `path`, such as `ports[0].external` or `tags["a.b"]`; None where nothing is."""
    for quoted, number, name in re.findall(r'\["([^"]*)"\]|\[(\d+)\]|([^.\[\]]+)', path):
        try:
            state = state[int(number) if number else quoted or name]
        except (LookupError, TypeError):
            return None
    return state


def _is_short(value: object) -> bool:
    return not isinstance(value, dict | list) and len(str(value)) <= SHOWN and value != UNKNOWN


def downtime(changes: Sequence[Change], *, first: bool) -> str:
    """Whether clients notice; `first` where nothing runs yet."""
    if first:
        return "none: nothing runs yet"
    grave = {(c.kind, c.name): c for c in changes if c.action in GRAVE}
    if any(c.kind in (CONTAINER, SERVICE) and c.name == "registry" for c in grave.values()):
        ends = all(c.action == "delete" for c in grave.values() if c.name == "registry")
        return "for good: the registry is removed" if ends else _while("the registry is replaced")
    if any(kind == NETWORK for kind, _ in grave):
        return _while("its network is replaced")
    for change in changes:
        if (change.kind, change.name, change.action) == (SERVICE, "registry", "change"):
            return _rolled(change.new.get("inputs") or {})
    if any(name == "redis" for _, name in grave):
        return "none: pushes and pulls go on, more slowly while redis is away"
    return "none"


def _while(what: str) -> str:
    return f"some seconds, while {what}; Docker tries again"


def _rolled(service: Mapping[str, Any]) -> str:
    """How a change reaches a service's replicas."""
    replicas = _at(service, "mode.replicated.replicas")
    if _at(service, "updateConfig.order") == "stop-first" and replicas == 1:
        return _while("its one replica is replaced")
    return "none: replicas are replaced one by one"


def _keys(stack: Stack, in_use: str | None, changes: Sequence[Change]) -> str:
    """The labels of the access keys before and after; the ones in use are said to be so."""
    if stack.settings.storage.kind != "oss":
        return ""
    keys = {c.name.removeprefix("access-key-"): c.action for c in changes if c.kind == ACCESS_KEY}
    labels = [*stack.settings.storage.access_keys]
    gone = [label for label, action in keys.items() if action == "delete"]
    before = [*gone, *(label for label in labels if keys.get(label) != "create")]
    after = _labels(labels, labels[-1])
    return after if before == labels else f"{_labels(before, in_use) or 'none'} → {after}"


def _labels(labels: Sequence[str], in_use: str | None) -> str:
    return ", ".join(f"{label} (in use)" if label == in_use else label for label in labels)


def _masked(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The output of an earlier `up`, which may hold secrets in plain text."""
    return {name: masked(name, text) for name, text in environment.items()}


def _diff(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """The variables and files that differ: a variable is a line; of a file its lines that do."""
    for name in sorted({*old, *new}):
        if old.get(name) == new.get(name):
            continue
        if not name.startswith("/"):
            for sign, side in (("-", old), ("+", new)):
                if name in side:
                    yield f"{sign}{name}={side[name].translate(_ONE_LINE)}"
            continue
        yield f"@@ {name} @@"
        before, after = (side.get(name, "").splitlines() for side in (old, new))
        both = difflib.unified_diff(before, after, n=2, lineterm="")
        yield from (line for line in [*both][2:] if not line.startswith("@@"))


def _said(diagnostic: Mapping[str, Any]) -> tuple[str, str]:
    message = re.sub(r"^(error|warning): ", "", str(diagnostic["message"])).strip()
    for pattern, meant in SAYS:
        message = re.sub(pattern, meant, message, flags=re.DOTALL)
    return str(diagnostic["severity"]), message


def _texts(said: Sequence[tuple[str, str]], severity: str) -> Sequence[str]:
    """Each text of that severity, once."""
    return [*dict.fromkeys(text for kind, text in said if kind == severity and text)]


def markdown(review: Review) -> str:
    """For a comment below a pull request, of LIMIT characters at most.

    Its first line, which is not seen, tells the comments on several stacks apart.
    """
    text = "\n\n".join(_blocks(review))
    marker = f"<!-- oss-registry: {review.stack} -->\n"
    return marker + _cut(text, LIMIT - len(marker)) + "\n"


def _blocks(review: Review) -> Iterator[str]:
    yield f"### `{review.stack}`: {review.summary}"
    for alarm in review.alarms:
        yield f"> 🚨 **{_escaped(alarm)}**"
    for error in review.errors:
        yield f"❌ The plan fails:\n\n{_fenced(error.splitlines())}"
    rows = [
        f"| {MARKS[c.action]} **{c.action}** | {c.title} {_code(c.name)} "
        f"| {'<br>'.join(map(_cell, c.what))} |"
        for c in review.changes
        if c.action != "create"
    ]
    if created := [f"{c.title} {_code(c.name)}" for c in review.changes if c.action == "create"]:
        at = sum(c.action in GRAVE for c in review.changes)
        rows.insert(at, f"| {MARKS['create']} create | {', '.join(created)} | |")
    if rows:
        yield "\n".join(["| | resource | what changes |", "| --- | --- | --- |", *rows])
    if review.changes or review.lines:
        facts = [f"**Downtime:** {review.downtime}"]
        facts += [f"**Access keys:** {_escaped(review.keys)}"] * bool(review.keys)
        yield "<br>\n".join(facts)
    if review.lines:
        yield f"**What the registry is given**\n\n{_fenced(review.lines, 'diff')}"
    for warning in review.warnings:
        yield f"⚠️ {_escaped(warning)}"


def _escaped(text: str) -> str:
    """`text` as Markdown that shows it as it is."""
    marked = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
    return marked.replace("@", "@\u200b").replace("\n", "<br>")


def _code(text: str) -> str:
    """`text` in a cell of a table, as code; whatever is in it."""
    line = text.replace("|", "\\|").replace("\n", " ")
    ticks = _ticks(line, least=1)
    pad = " " if "`" in line else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def _cell(what: str) -> str:
    """One of a change's `what`: the property is code, and that it is the cause is text."""
    shown = what.removeprefix(BECAUSE)
    return what.removesuffix(shown) + _code(shown)


def _fenced(lines: Sequence[str], language: str = "") -> str:
    """`lines` as they are, also where one of them would end the block."""
    fence = _ticks("\n".join(lines), least=3)
    return "\n".join([f"{fence}{language}", *lines, fence])


def _ticks(text: str, least: int) -> str:
    """As many backticks as `text` has nowhere in a row."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)


def _cut(text: str, limit: int) -> str:
    """`text` within `limit`, cut between two lines; a block that was open is closed."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 200].rpartition("\n")[0]
    fences = re.findall(r"^(`{3,})\w*$", kept, re.MULTILINE)
    closed = f"\n{fences[-1]}" if len(fences) % 2 else ""
    left = len(text.splitlines()) - len(kept.splitlines())
    return f"{kept}{closed}\n\n✂️ {left} more lines: `make preview` prints them all."


def text(review: Review) -> str:
    """The same for a terminal, with nothing left out."""
    lines = [f"{review.stack}: {review.summary.replace('**', '')}"]
    lines += [f"  !! {alarm}" for alarm in review.alarms]
    lines += [f"  error: {line}" for error in review.errors for line in error.splitlines()]
    for change in review.changes:
        action = change.action.upper() if change.action in GRAVE else change.action
        what = f" ({'; '.join(change.what)})" if change.what else ""
        lines.append(f"  {action:8} {change.title} {change.name}{what}")
    if review.changes or review.lines:
        lines.append(f"  downtime: {review.downtime}")
        lines += [f"  access keys: {review.keys}"] * bool(review.keys)
    lines += [f"  {line}" for line in review.lines]
    lines += [f"  warning: {warning}" for warning in review.warnings]
    return "\n".join(lines) + "\n"
