"""HTTP requests to a stack's registry: with its scheme, its path prefix and its TLS settings."""

import ipaddress
import ssl
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from config.rules import HTTPS
from config.stack import Stack
from config.tree import lookup
from operations.errors import NotChecked

SECONDS = 10  # for an answer
# Of `http.tls.clientauth`: with these, a client without a certificate is served, too.
_OPTIONAL = ("request-client-cert", "verify-client-cert-if-given")
# How a server ends a connection whose client showed no certificate.
_ENDED = (ssl.SSLError, ConnectionResetError, BrokenPipeError)


def address(stack: Stack, endpoint: str) -> str:
    """Return the URL of the registry's API version check below `endpoint`."""
    prefix = str(lookup(stack.registry.tree, "http.prefix") or "").strip("/")
    return "/".join(part for part in (endpoint.rstrip("/"), prefix, "v2/") if part)


def http_status(stack: Stack, endpoint: str) -> int:
    """Return the status code with which the registry at `endpoint` answers the version check.

    The certificate is not verified: whether clients trust it is theirs to decide, and the request
    holds no secret. Raises OSError if there is no answer within SECONDS, NotChecked if the registry
    serves only clients that show a certificate.
    """
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=unverified)]
    if _is_loopback(urlsplit(endpoint).hostname or ""):
        # A proxy, such as one named by `http_proxy`, would connect to itself.
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(address(stack, endpoint), timeout=SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as answer:
        return answer.code
    except OSError as error:
        _see_client_certificate(stack, error)
        raise


def server_certificate(stack: Stack, endpoint: str) -> str:
    """Return the PEM certificate that the server of `endpoint` shows. Raises as `http_status`."""
    server = urlsplit(endpoint)
    host, port = str(server.hostname), server.port or HTTPS
    try:
        return ssl.get_server_certificate((host, port), timeout=SECONDS)
    except OSError as error:
        _see_client_certificate(stack, error)
        proxied = "https" in urllib.request.getproxies() and not _is_loopback(host)
        if proxied and not urllib.request.proxy_bypass(host):
            raise NotChecked(f"this machine reaches {host} by a proxy only: {error}") from None
        raise


def _see_client_certificate(stack: Stack, error: OSError) -> None:
    """Raise NotChecked if the connection ended because this command shows no certificate."""
    authorities = lookup(stack.registry.tree, "http.tls.clientcas")
    optional = lookup(stack.registry.tree, "http.tls.clientauth") in _OPTIONAL
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if authorities and not optional and isinstance(reason, _ENDED):
        raise NotChecked(
            "the registry asks for a client certificate (registry.config.http.tls.clientcas), "
            "which this command does not have"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
