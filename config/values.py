"""Check single values by the kinds that a schema gives them."""

import re

from config.addresses import has_wrong_port
from config.durations import DURATION, seconds
from config.problems import INVALID_PORT, WRONG_KIND, closest

_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_SECONDS = 2**63 / 10**9  # the registry counts nanoseconds in 64 bits


def value_problem(key: str, value: object, kind: str) -> tuple[str, str] | None:
    """Return the rule that a single value breaks, and the fix; None if it breaks no rule.

    `kind` is int, `int LEAST..MOST`, bool, string, any, duration, `duration` with the negative
    values that have a meaning, `A|B|…` for one of these words, or `anycase A|B|…` in any case.
    """
    kind, _, span = kind.partition(" ")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case _ if isinstance(value, str) and _SURROGATE.search(value):
            return "has half of a character", "write it in UTF-8"
        case _ if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return "is more than the registry can count", "write a smaller number"
        case "string" if not isinstance(value, str):
            return WRONG_KIND[kind]  # a number comes without its zeros and underscores
        case "string" if isinstance(value, str) and "://" in value and has_wrong_port(value):
            return INVALID_PORT
        case "int" if not (number and isinstance(value, int)):
            return WRONG_KIND[kind]
        case "int" if span and isinstance(value, int):
            least, most = map(int, span.split(".."))
            return None if least <= value <= most else (f"must be {least} to {most}", "change it")
        case "bool" if not isinstance(value, bool):
            return WRONG_KIND[kind]
        case "duration" if number:
            return "must have a unit: the registry would take nanoseconds", f"write {value}s"
        case "duration" if not (isinstance(value, str) and DURATION.fullmatch(value)):
            return WRONG_KIND[kind]
        case "duration" if key in ("age", "interval") and seconds(str(value)) <= 0:
            return "must be more than 0s", "write such as 24h"
        case "duration" if seconds(str(value)) < 0 and value not in span.split("|"):
            return "must be 0s or more", "remove the minus sign"
        case "duration" if seconds(str(value)) >= _MOST_SECONDS:
            return "must be less than 292 years", "write a shorter duration"
        case "any" if value is None:
            return "can't be null here", "write a value"
        case "string" | "int" | "bool" | "duration" | "any":
            return None
    values = (span or kind).split("|")
    if value in values or (kind == "anycase" and str(value).upper() in values):
        return None
    found = closest(str(value), values)
    return f"must be one of {', '.join(values)}", f"write {found or 'one of them'}"
