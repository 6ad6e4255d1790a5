"""What protects a registry: its login, TLS, and whether it accepts deletes and pushes.

Who can reach the registry is in `operations.compose_import.reach`.
"""

from collections.abc import Iterator, Mapping

from config.tree import Section, lookup

_LOGINS = ("htpasswd", "token", "silly")
_TLS_OPTIONS = ("clientcas", "clientauth", "minimumtls", "ciphersuites")


def guards(tree: Section) -> Mapping[str, object]:
    """Return the guards of a registry with this configuration, by path. None is no guard."""
    auth = lookup(tree, "auth") or {}
    tls = lookup(tree, "http.tls") or {}
    return {
        "auth": [kind for kind in _LOGINS if kind in auth],
        "auth.token": auth.get("token"),
        "http.tls": bool(tls.get("certificate") or tls.get("letsencrypt")),
        **{f"http.tls.{key}": tls.get(key) for key in _TLS_OPTIONS},
        # The releases count every other value than true as false.
        **{
            path: lookup(tree, path) is True
            for path in ("storage.delete.enabled", "storage.maintenance.readonly.enabled")
        },
    }


def changed_guards(old: Section, new: Section) -> Iterator[str]:
    """Yield the path of each guard of the configuration `old` that is different in `new`."""
    new_guards = guards(new)
    for path, value in guards(old).items():
        if value is not None and value != new_guards[path]:
            yield path
