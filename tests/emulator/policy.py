"""The evaluation of RAM policies and of bucket policies.

It follows the vendor's pages "Policy structure and syntax" and "Policy evaluation process": an
explicit Deny wins, and an action that no statement allows is refused.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple


class AccessRequest(NamedTuple):
    """A request for `action` on `resource` (acs:…). `context` has the values of condition keys."""

    action: str
    resource: str
    context: Mapping[str, str]


# The account's own access key may do everything.
ALLOW_ALL = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def is_allowed(
    request: AccessRequest,
    user_policies: Iterable[Mapping[str, Any]],
    bucket_policy: Mapping[str, Any],
) -> bool:
    """Whether the policies of a user and of the bucket together allow `request`."""
    effects = set()
    for document in (*user_policies, bucket_policy):
        for statement in document.get("Statement", ()):
            if _applies(statement, request):
                effects.add(statement["Effect"])
    return effects == {"Allow"}


def _applies(statement: Mapping[str, Any], request: AccessRequest) -> bool:
    """Whether a statement's actions, resources and conditions match `request`."""
    actions, resources = _as_list(statement["Action"]), _as_list(statement["Resource"])
    if not any(_matches(pattern, request.action, ignore_case=True) for pattern in actions):
        return False
    if not any(_matches(pattern, request.resource) for pattern in resources):
        return False
    for operator, conditions in statement.get("Condition", {}).items():
        for key, values in conditions.items():
            if not _condition_holds(operator, request.context.get(key), _as_list(values)):
                return False
    return True


def _condition_holds(operator: str, actual: str | None, values: list[str]) -> bool:
    match operator:
        case "StringLike":
            return actual is not None and any(_matches(str(value), actual) for value in values)
        case "StringEquals" | "Bool":
            return actual is not None and actual in map(_condition_text, values)
    raise NotImplementedError(f"the emulator knows no condition {operator}")


def _condition_text(value: object) -> str:
    """The value of a condition as text. JSON's true becomes `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else [value]


def _matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether `text` matches `pattern` with the wildcards * and ?."""
    return _compile(pattern, ignore_case).fullmatch(text) is not None


@cache
def _compile(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
