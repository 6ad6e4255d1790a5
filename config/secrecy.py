"""Decide which values of a stack file are public.

The output `environment`, previews, `make render`, imports and the checks of a stack file use this
module. Text that a user chooses freely is a secret, unless a table below lists it.
"""

import json
import re
from collections.abc import Mapping

from config.releases import RELEASES
from config.tree import ANY, Place

HIDDEN = "[not shown: it holds a secret in plain text]"
# Patterns for public values: any text; an address with only a scheme, a host, a port and a path. A
# user, a query and a fragment may contain credentials.
_TEXT = re.compile(r"[\s\S]*")
_ADDRESS = re.compile(
    r"([a-zA-Z][a-zA-Z0-9+.-]*://)?([\w.-]*|\[[\w:.]*\])(:\d+)?(/(?!/)[^\s?#@]*)?"
)
_CREDENTIALS_IN_URL = re.compile(r"://[^/?#\s]*@")
# The public values of the registry's environment variables.
_VARIABLES = {
    # The address of a proxy is public unless it contains credentials.
    **dict.fromkeys(("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"), _ADDRESS),
    # Hosts that the registry reaches without the proxy.
    "NO_PROXY": _TEXT,
    # The time zone.
    "TZ": _TEXT,
    # Numbers and switches of Go's runtime.
    **dict.fromkeys(("GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK"), _TEXT),
    # Paths of the certificates of trusted authorities.
    **dict.fromkeys(("SSL_CERT_DIR", "SSL_CERT_FILE"), _TEXT),
    # The receiver, protocol, name and sampling of traces. The headers of OTLP are not listed here,
    # because they contain tokens.
    "OTEL_EXPORTER_OTLP_ENDPOINT": _ADDRESS,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": _ADDRESS,
    "OTEL_EXPORTER_OTLP_PROTOCOL": _TEXT,
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": _TEXT,
    "OTEL_SERVICE_NAME": _TEXT,
    "OTEL_TRACES_EXPORTER": _TEXT,
    "OTEL_TRACES_SAMPLER": _TEXT,
    "OTEL_TRACES_SAMPLER_ARG": _TEXT,
}
# Public request headers of notifications and health checks. They describe the content and the
# client, and authorize nobody.
_HEADERS = dict.fromkeys(("accept", "content-type", "user-agent"), _TEXT)
# Public options of middleware.
_OPTIONS = {
    # The addresses that clients are redirected to, and the address of the list of IP ranges.
    **dict.fromkeys(("baseurl", "host", "iprangesurl"), _ADDRESS),
    # Parts of these addresses.
    **dict.fromkeys(("scheme", "trimpathprefix"), _TEXT),
    # The validity and signature of a signed address, and the clients that receive one.
    **dict.fromkeys(
        ("authtype", "awsregion", "duration", "ipfilteredby", "updatefrequency"), _TEXT
    ),
}
# The schema defines all keys that the tables above do not cover. The value of such a key is a
# secret if its name matches this pattern. The names of log fields are free, but the registry writes
# these fields to each log line anyway.
_SECRET_KEY = re.compile(
    "password|passwd|passphrase|secret|token|apikey|privatekey|licensekey|authorization|cookie"
    "|credential"
)
_ADDRESS_KEYS = {
    *("addr", "addrs", "endpoint", "host", "redirectendpoint", "regionendpoint"),
    *("remoteurl", "uri", "url"),
}
# The REGISTRY_* variables that hold a JSON document with free keys, and the place of the document.
_WITH_FREE_KEYS = {
    "REGISTRY_HEALTH_HTTPCHECKERS": ("config", "health", "http"),
    "REGISTRY_LOG_FIELDS": ("config", "log", "fields"),
    "REGISTRY_MIDDLEWARE": ("config", "middleware"),
    "REGISTRY_NOTIFICATIONS_ENDPOINTS": ("config", "notifications", "endpoints"),
}
_PLACEHOLDER = re.compile(r'\[(?:secret: |access key id )[^\]"]*\]')
# A line of an htpasswd file.
_PASSWORD_HASH = re.compile(r"^[^:\s]+:(\$(apr1|2[abxy]|5|6)\$|\{SHA\})", re.MULTILINE)
_CONFIG_PATHS = {release.config_path for release in RELEASES.values()}


def plain_secret(place: Place, value: object) -> str | None:
    """Return why `value` must not be in plain text at `place`, or None if it is public.

    `place` starts below the section `registry`.
    """
    if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
        return None
    match place:
        case ("environment", name):
            allowed = _VARIABLES.get(name.upper())
        case ("config", "notifications" | "health", _, _, "headers", name, *_):
            allowed = _HEADERS.get(name.lower())
        case ("config", "middleware", _, _, "options", name):
            allowed = _OPTIONS.get(name)
        case ("config", "middleware", _, _, "options", *_):
            allowed = None
        case ("config", "http", "headers", *_):
            allowed = _TEXT  # the registry sends these headers to every client
        case _:
            key = next(part for part in reversed(place) if part != ANY)
            if _SECRET_KEY.search(re.sub(r"[^a-z]", "", key.lower())):
                return "is a secret in plain text"
            allowed = _ADDRESS if key in _ADDRESS_KEYS else _TEXT
    if allowed is None:
        return "may be a secret in plain text"
    if not allowed.fullmatch(str(value)) or _CREDENTIALS_IN_URL.search(str(value)):
        return (
            "may hold credentials in plain text: only an address without user and query is public"
        )
    return None


def masked(name: str, text: str) -> str:
    """Return the text of the variable or file `name`, or HIDDEN if it holds a secret in plain text.

    `text` has placeholders in place of secrets. Text in the state may be from an earlier version
    of this program, which replaced fewer secrets.
    """
    return HIDDEN if _holds_secret(name, text) else text


def _holds_secret(name: str, text: str) -> bool:
    """Return whether the variable or file `name` has a secret in plain text.

    A document that cannot be parsed counts as a secret.
    """
    if text and (name in _WITH_FREE_KEYS or name in _CONFIG_PATHS):
        try:
            tree = json.loads(_PLACEHOLDER.sub('""', text))
        except ValueError:
            return True
        return _tree_holds_secret(_WITH_FREE_KEYS.get(name, ("config",)), tree)
    if name.startswith("/"):
        # The settings accept only public text for other files.
        return bool(_PASSWORD_HASH.search(text))
    if _PLACEHOLDER.fullmatch(text):
        return False
    place = ("config",) if name.startswith("REGISTRY_") else ("environment", name)
    return plain_secret(place, text) is not None


def _tree_holds_secret(place: Place, tree: object) -> bool:
    """Return whether `tree`, which is at `place`, has a secret in plain text."""
    if isinstance(tree, Mapping):
        return any(_tree_holds_secret((*place, key), below) for key, below in tree.items())
    if isinstance(tree, list):
        return any(_tree_holds_secret((*place, ANY), item) for item in tree)
    return plain_secret(place, tree) is not None
