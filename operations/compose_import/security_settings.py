"""Compare the login, TLS, deletes and read-only mode of two registry configurations.

`operations.compose_import.exposure` converts the addresses on which clients connect.
"""

from collections.abc import Iterator, Mapping

from config.tree import Section, lookup

_TLS_OPTIONS = ("clientcas", "clientauth", "minimumtls", "ciphersuites")


def security_settings(tree: Section) -> Mapping[str, object]:
    """Return the security settings of a configuration by path. None means that one is not set."""
    auth = lookup(tree, "auth") or {}
    tls = lookup(tree, "http.tls") or {}
    if not (tls.get("certificate") or tls.get("letsencrypt")):
        tls = {}  # the registry ignores the other options
    return {
        "auth": sorted(kind for kind in auth if kind != "none"),
        "auth.token": auth.get("token"),
        "http.tls": bool(tls),
        **{f"http.tls.{key}": tls.get(key) for key in _TLS_OPTIONS},
        # The releases treat any other value than true as false.
        **{
            path: lookup(tree, path) is True
            for path in ("storage.delete.enabled", "storage.maintenance.readonly.enabled")
        },
    }


def changed_security_settings(old: Section, new: Section) -> Iterator[str]:
    """Yield the path of each security setting of `old` that is different in `new`."""
    new_settings = security_settings(new)
    for path, value in security_settings(old).items():
        if value is not None and value != new_settings[path]:
            yield path
