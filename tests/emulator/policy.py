"""Whether policies allow an action: what RAM and OSS's bucket policies decide.

As the vendor's "Policy structure and syntax" and "Policy evaluation process" say: an explicit Deny
wins, and what no statement allows is refused.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple


class Ask(NamedTuple):
    """`action` on `resource` (acs:…), with what conditions may look at."""

    action: str
    resource: str
    facts: Mapping[str, str]


ALL = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}  # of an account itself


def allowed(ask: Ask, identity: Iterable[Mapping[str, Any]], bucket: Mapping[str, Any]) -> bool:
    """Whether the policies of who asks and the bucket's own, in this order, let it happen."""
    effects = {
        statement["Effect"]
        for document in (*identity, bucket)
        for statement in document.get("Statement", ())
        if _applies(statement, ask)
    }
    return effects == {"Allow"}


def _applies(statement: Mapping[str, Any], ask: Ask) -> bool:
    return (
        any(_like(pattern, ask.action, fold=True) for pattern in _list(statement["Action"]))
        and any(_like(pattern, ask.resource) for pattern in _list(statement["Resource"]))
        and all(
            _holds(operator, ask.facts.get(key), _list(values))
            for operator, conditions in statement.get("Condition", {}).items()
            for key, values in conditions.items()
        )
    )


def _holds(operator: str, fact: str | None, values: list[str]) -> bool:
    match operator:
        case "StringLike":
            return fact is not None and any(_like(str(value), fact) for value in values)
        case "StringEquals" | "Bool":
            return fact is not None and fact in map(_text, values)
    raise NotImplementedError(f"the emulator knows no condition {operator}")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list(value: Any) -> list[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else [value]


def _like(pattern: str, text: str, *, fold: bool = False) -> bool:
    return bool(_compiled(pattern, fold).fullmatch(text))


@cache
def _compiled(pattern: str, fold: bool) -> re.Pattern[str]:
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(wild, re.DOTALL | (re.IGNORECASE if fold else 0))
