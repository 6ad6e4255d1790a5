"""Parse durations as Go writes them, such as 1m30s."""

import re

DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def seconds(duration: str) -> float:
    """Return the length in seconds of `duration`, which must match DURATION."""
    parts = re.findall(r"([\d.]+)([a-zµμ]+)", duration)
    total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return -total if duration.startswith("-") else total
