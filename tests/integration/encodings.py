"""The encodings in which a secret could appear in a text."""

import base64
import json
import math
from urllib.parse import quote, quote_plus


def encoded_forms(secret: str) -> set[str]:
    """Return `secret` in plain text and in JSON, URL, Base64 and hexadecimal encoding."""
    raw = secret.encode()
    escaped = json.dumps(secret)[1:-1]
    return {
        secret,
        escaped,
        json.dumps(escaped)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote_plus(secret),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        raw.hex(),
        *(_base64_after(raw, preceding) for preceding in range(3)),
    }


def _base64_after(raw: bytes, preceding: int) -> str:
    """Return the Base64 characters that depend only on `raw`, if it is a part of a longer text.

    `preceding` is the number of bytes before `raw`, modulo three.
    """
    encoded = base64.b64encode(bytes(preceding) + raw).decode().rstrip("=")
    first = math.ceil(preceding * 8 / 6)  # earlier characters include preceding bits
    end = (preceding + len(raw)) * 8 // 6  # a later character may include following bits
    return encoded[first:end]
