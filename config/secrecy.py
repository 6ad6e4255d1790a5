"""Decide which values of a stack file everyone may read.

The output `environment`, previews, `make render`, imports and the checks of a stack file ask this
module. Text that a user chooses freely is a secret, unless a table below lists it. Pure.
"""

import json
import re
from collections.abc import Mapping
from typing import TypeAlias

from config.releases import RELEASES
from config.tree import ANY

Place: TypeAlias = tuple[str, ...]
"""The keys below `registry` that lead to a value, with ANY for each item of a list."""

HIDDEN = "[not shown: it holds a secret in plain text]"
_TEXT = re.compile(r"[\s\S]*")
# A user, a query and a fragment may hold credentials; a host, a port and a path do not.
_ADDRESS = re.compile(
    r"([a-zA-Z][a-zA-Z0-9+.-]*://)?([\w.-]*|\[[\w:.]*\])(:\d+)?(/(?!/)[^\s?#@]*)?"
)
_CREDENTIALS_IN_URL = re.compile(r"://[^/?#\s]*@")
# Variables of the process: what everyone may read of each.
_VARIABLES = {
    # A proxy is an address. Credentials in it make it a secret.
    **dict.fromkeys(("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"), _ADDRESS),
    # Hosts that are reached without the proxy.
    "NO_PROXY": _TEXT,
    # A time zone.
    "TZ": _TEXT,
    # Go's runtime: numbers and switches.
    **dict.fromkeys(("GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK"), _TEXT),
    # Where the certificates of other servers' authorities are.
    **dict.fromkeys(("SSL_CERT_DIR", "SSL_CERT_FILE"), _TEXT),
    # Where traces go, by which protocol, and under which name. Headers of OTLP hold tokens.
    "OTEL_EXPORTER_OTLP_ENDPOINT": _ADDRESS,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": _ADDRESS,
    "OTEL_EXPORTER_OTLP_PROTOCOL": _TEXT,
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": _TEXT,
    "OTEL_SERVICE_NAME": _TEXT,
    "OTEL_TRACES_EXPORTER": _TEXT,
    "OTEL_TRACES_SAMPLER": _TEXT,
    "OTEL_TRACES_SAMPLER_ARG": _TEXT,
}
# Headers of requests to hooks and health checks: these describe content, not the sender's rights.
_HEADERS = dict.fromkeys(("accept", "content-type", "user-agent"), _TEXT)
# Options of middleware. Clients see the addresses, which they are redirected to.
_OPTIONS = {
    **dict.fromkeys(("baseurl", "host", "iprangesurl"), _ADDRESS),
    # Parts of such an address.
    **dict.fromkeys(("scheme", "trimpathprefix"), _TEXT),
    # How long a signed address is valid, how it is signed, and which clients get one.
    **dict.fromkeys(
        ("authtype", "awsregion", "duration", "ipfilteredby", "updatefrequency"), _TEXT
    ),
}
# The schema names all other keys, so their names decide. Fields of the log are in each line of it.
_SECRET_KEY = re.compile(
    "password|passwd|passphrase|secret|token|apikey|privatekey|licensekey|authorization|cookie"
    "|credential"
)
_ADDRESS_KEYS = {
    *("addr", "addrs", "endpoint", "host", "redirectendpoint", "regionendpoint"),
    *("remoteurl", "uri", "url"),
}
# The registry's variables that hold keys of a user's choice, by the place of their values.
_WITH_FREE_KEYS = {
    "REGISTRY_HEALTH_HTTPCHECKERS": ("config", "health", "http"),
    "REGISTRY_LOG_FIELDS": ("config", "log", "fields"),
    "REGISTRY_MIDDLEWARE": ("config", "middleware"),
    "REGISTRY_NOTIFICATIONS_ENDPOINTS": ("config", "notifications", "endpoints"),
}
_PLACEHOLDER = re.compile(r'\[(?:secret: |access key id )[^\]"]*\]')
# A user's line in a file for htpasswd.
_PASSWORD_HASH = re.compile(r"^[^:\s]+:(\$(apr1|2[abxy]|5|6)\$|\{SHA\})", re.MULTILINE)
_CONFIG_PATHS = {release.config_path for release in RELEASES.values()}


def plain_secret(place: Place, value: object) -> str | None:
    """The rule that `value` at `place` breaks in plain text; None if everyone may read it."""
    if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
        return None
    match place:
        case ("environment", name):
            public = _VARIABLES.get(name.upper())
        case ("config", "notifications" | "health", _, _, "headers", name, *_):
            public = _HEADERS.get(name.lower())
        case ("config", "middleware", _, _, "options", name):
            public = _OPTIONS.get(name)
        case ("config", "middleware", _, _, "options", *_):
            public = None
        case ("config", "http", "headers", *_):
            public = _TEXT  # the registry sends them to every client
        case _:
            key = next(part for part in reversed(place) if part != ANY)
            if _SECRET_KEY.search(re.sub(r"[^a-z]", "", key.lower())):
                return "is a secret in plain text"
            public = _ADDRESS if key in _ADDRESS_KEYS else _TEXT
    if public is None:
        return "may be a secret in plain text"
    if not public.fullmatch(str(value)) or _CREDENTIALS_IN_URL.search(str(value)):
        return (
            "may hold credentials in plain text: only an address without user and query is public"
        )
    return None


def masked(name: str, text: str) -> str:
    """The text of a variable or file, or HIDDEN if it holds a secret in plain text.

    `text` has placeholders for secrets. An earlier version may have stored it with less of them.
    """
    return HIDDEN if _holds_secret(name, text) else text


def _holds_secret(name: str, text: str) -> bool:
    if text and (name in _WITH_FREE_KEYS or name in _CONFIG_PATHS):
        try:
            tree = json.loads(_PLACEHOLDER.sub('""', text))
        except ValueError:
            return True
        return _any_secret(_WITH_FREE_KEYS.get(name, ("config",)), tree)
    if name.startswith("/"):
        return bool(_PASSWORD_HASH.search(text))  # all else in a file is public, by its type
    if _PLACEHOLDER.fullmatch(text):
        return False
    place = ("config",) if name.startswith("REGISTRY_") else ("environment", name)
    return plain_secret(place, text) is not None


def _any_secret(place: Place, tree: object) -> bool:
    if isinstance(tree, Mapping):
        return any(_any_secret((*place, key), below) for key, below in tree.items())
    if isinstance(tree, list):
        return any(_any_secret((*place, ANY), item) for item in tree)
    return plain_secret(place, tree) is not None
