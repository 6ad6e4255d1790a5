"""Check single values against the kinds that a schema declares."""

import re
from collections.abc import Sequence

from config.addresses import has_wrong_port
from config.durations import DURATION, seconds
from config.problems import INVALID_PORT, WRONG_KIND, closest

_SURROGATE = re.compile("[\ud800-\udfff]")
# The registry counts nanoseconds in a signed 64-bit integer.
_MAX_SECONDS = 2**63 / 10**9
_MUST_BE_POSITIVE = ("age", "interval")


def value_problem(key: str, value: object, kind: str) -> tuple[str, str] | None:
    """Return the rule that a single value at `key` breaks, and the fix, or None.

    `kind` is one of:

    - `string`, `bool`, or `any`, which accepts everything but null
    - `int`, or `int LEAST..MOST` with bounds
    - `duration`, or `duration A|B` where A and B are negative durations that have a meaning
    - `A|B`: one of these words, or `anycase A|B`: one of these words in any case
    """
    kind, _, parameters = kind.partition(" ")
    if isinstance(value, str) and _SURROGATE.search(value):
        return "has half of a character", "write it in UTF-8"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "is more than the registry can count", "write a smaller number"
    match kind:
        case "string":
            return _text_problem(value)
        case "int":
            return _integer_problem(value, parameters)
        case "bool":
            return None if isinstance(value, bool) else WRONG_KIND["bool"]
        case "duration":
            return _duration_problem(key, value, parameters.split("|"))
        case "any":
            return ("can't be null here", "write a value") if value is None else None
    words = (parameters or kind).split("|")
    if value in words or (kind == "anycase" and str(value).upper() in words):
        return None
    found = closest(str(value), words)
    return f"must be one of {', '.join(words)}", f"write {found or 'one of them'}"


def _text_problem(value: object) -> tuple[str, str] | None:
    # A number is not accepted: Pulumi drops its leading zeros and underscores.
    if not isinstance(value, str):
        return WRONG_KIND["string"]
    if "://" in value and has_wrong_port(value):
        return INVALID_PORT
    return None


def _integer_problem(value: object, bounds: str) -> tuple[str, str] | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return WRONG_KIND["int"]
    if not bounds:
        return None
    least, most = map(int, bounds.split(".."))
    if least <= value <= most:
        return None
    return f"must be {least} to {most}", "change it"


def _duration_problem(
    key: str, value: object, allowed_negatives: Sequence[str]
) -> tuple[str, str] | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "must have a unit: the registry would take nanoseconds", f"write {value}s"
    if not isinstance(value, str) or not DURATION.fullmatch(value):
        return WRONG_KIND["duration"]
    length = seconds(value)
    if key in _MUST_BE_POSITIVE and length <= 0:
        return "must be more than 0s", "write such as 24h"
    if length < 0 and value not in allowed_negatives:
        return "must be 0s or more", "remove the minus sign"
    if length >= _MAX_SECONDS:
        return "must be less than 292 years", "write a shorter duration"
    return None
