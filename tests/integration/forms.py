"""How a secret may be written down, to be looked for."""

import base64
import json
from urllib.parse import quote, quote_plus


def forms(secret: str) -> set[str]:
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
        *(_within(raw, before) for before in range(3)),
    }


def _within(raw: bytes, before: int) -> str:
    """What is sure of it in Base64 where so many bytes, modulo three, stand before it."""
    encoded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
    sure = (before + len(raw)) * 8 // 6  # the last letter may hold bits of what comes next
    return encoded[-(-before * 8 // 6) : sure]
