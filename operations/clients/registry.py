"""HTTP requests to a registry, with its scheme, its path prefix and its TLS settings."""

import ssl
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from config import addresses
from config.rules import HTTPS
from config.stack import RegistryConfig
from config.tree import lookup
from operations.errors import NotChecked

TIMEOUT = 10  # seconds for an answer
# The values of `http.tls.clientauth` with which clients without a certificate are served.
_OPTIONAL_CLIENT_AUTH = ("request-client-cert", "verify-client-cert-if-given")
# How a connection ends if the server requires a certificate of the client.
_DISCONNECT_ERRORS = (ssl.SSLError, ConnectionResetError, BrokenPipeError)


def version_check_url(registry: RegistryConfig, endpoint: str) -> str:
    """Return the URL of the registry's API version check below `endpoint`."""
    prefix = str(lookup(registry.tree, "http.prefix") or "").strip("/")
    return "/".join(part for part in (endpoint.rstrip("/"), prefix, "v2/") if part)


def http_status(registry: RegistryConfig, endpoint: str) -> int:
    """Return the status code with which the registry at `endpoint` answers the version check.

    The certificate is not verified, because clients may trust another authority than this machine,
    and the request contains no secret. Raises OSError if there is no answer within TIMEOUT, and
    NotChecked if the registry requires a certificate of its clients.
    """
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=unverified)]
    if _is_this_machine(urlsplit(endpoint).hostname or ""):
        # A proxy, for example from `http_proxy`, would connect to its own machine.
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(version_check_url(registry, endpoint), timeout=TIMEOUT) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as answer:
        return answer.code
    except OSError as error:
        _check_client_certificate(registry, error)
        raise


def server_certificate(registry: RegistryConfig, endpoint: str) -> str:
    """Return the server's PEM certificate at `endpoint`. Raises the errors of `http_status`."""
    server = urlsplit(endpoint)
    host, port = str(server.hostname), server.port or HTTPS
    try:
        return ssl.get_server_certificate((host, port), timeout=TIMEOUT)
    except OSError as error:
        _check_client_certificate(registry, error)
        needs_proxy = "https" in urllib.request.getproxies() and not _is_this_machine(host)
        if needs_proxy and not urllib.request.proxy_bypass(host):
            raise NotChecked(f"this machine reaches {host} by a proxy only: {error}") from None
        raise


def _check_client_certificate(registry: RegistryConfig, error: OSError) -> None:
    """Raise NotChecked if the connection ended because this client has no certificate."""
    authorities = lookup(registry.tree, "http.tls.clientcas")
    is_optional = lookup(registry.tree, "http.tls.clientauth") in _OPTIONAL_CLIENT_AUTH
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if authorities and not is_optional and isinstance(reason, _DISCONNECT_ERRORS):
        raise NotChecked(
            "the registry asks for a client certificate (registry.config.http.tls.clientcas), "
            "which this command does not have"
        ) from None


def _is_this_machine(host: str) -> bool:
    return addresses.is_loopback(host) or host == "localhost" or host.endswith(".localhost")
