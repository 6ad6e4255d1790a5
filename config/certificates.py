"""Check TLS certificates and keys, and create a self-signed pair for trials.

Apart from `now`, the functions do not read the clock: callers pass the current time.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    CertificatePublicKeyTypes,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from config.addresses import ip_address

LIFETIME = timedelta(days=397)  # the longest that clients accept
RENEWAL_INTERVAL = timedelta(days=300)
# The errors that `cryptography` raises for malformed certificates and keys.
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_GO_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_SERVER_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_DATE_FORMAT = "%Y-%m-%d"


def chain(pem: str) -> Sequence[x509.Certificate]:
    """Return the certificates in `pem`, in order. The server's own certificate comes first.

    Raises ValueError if `pem` has no certificate.
    """
    return x509.load_pem_x509_certificates(pem.encode())


def bundle_problem(pem: str) -> tuple[str, str] | None:
    """Return the rule that a bundle of trusted certificates breaks, and the fix, or None."""
    try:
        chain(pem)
    except _UNREADABLE:
        return "is not PEM certificates that can be read", "write the whole text of the file"
    return None


def key_set_problem(text: str) -> tuple[str, str] | None:
    """Return the rule that a JSON Web Key Set breaks, and the fix, or None.

    `text` must have the format of RFC 7517 and contain public keys only.
    """
    try:
        keys = json.loads(text)["keys"]
        private = [key for key in keys if key["kty"] == "oct" or "d" in key]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "is not a JSON Web Key Set", "write the whole text of the file, with its list keys"
    if private:
        return "holds a private key", "write the public keys only"
    return None


def key_problem(key: str, pem: str) -> tuple[str, str] | None:
    """Return the rule that a private key breaks, and the fix, or None.

    `key` must be PEM and belong to the first certificate in `pem`.
    """
    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except TypeError:
        return (
            "is encrypted, and nobody can type its passphrase",
            "openssl pkey -in KEY decrypts it",
        )
    except _UNREADABLE:
        return "is not a private key in PEM", "set the text of the key's file"
    public_format = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        public = chain(pem)[0].public_key().public_bytes(*public_format)
    except _UNREADABLE:
        return None  # `problems` reports the unreadable certificate
    if private.public_key().public_bytes(*public_format) != public:
        return (
            "is not the key of the first certificate in tls.certificate",
            "set the one that belongs to it, or put the server's own certificate first",
        )
    return None


def problems(pem: str, host: str | None, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield each rule that a certificate chain breaks, and the fix.

    `host` is the host to which clients connect. None skips the check of the names.
    """
    try:
        server, *_ = chain(pem)
        key, extensions = server.public_key(), server.extensions
        hosts, usage = _hosts(extensions), _extension(extensions, x509.ExtendedKeyUsage)
        signature_hash = server.signature_hash_algorithm
        expiry(pem, now)  # reads the dates of the other certificates as well
    except _UNREADABLE:
        yield "is not PEM certificates that can be read", "write the whole text of the file"
        return
    if not _is_supported_by_go(key):
        yield "has a key that the registry can't use", "take RSA, P-256, P-384, P-521 or Ed25519"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        yield f"has an RSA key of {key.key_size} bits, which clients refuse", "take 2048 or more"
    if isinstance(signature_hash, hashes.MD5 | hashes.SHA1):
        yield "is signed with a hash that clients refuse", "take one that is signed with SHA-256"
    if server.not_valid_after_utc <= now:
        yield f"has expired on {server.not_valid_after_utc.strftime(_DATE_FORMAT)}", "renew it"
    if server.not_valid_before_utc > now:
        day = server.not_valid_before_utc.strftime(_DATE_FORMAT)
        yield f"is not valid before {day}", "wait, or set this machine's clock"
    if usage is not None and _SERVER_USAGES.isdisjoint(usage):
        yield "is not for a server (extended key usage)", "take one with serverAuth"
    if host and not any(_covers(name, host) for name in hosts):
        listed = ", ".join(hosts) or "none; its common name no longer counts"
        yield f"has no name for {host} (it has {listed})", "take one that names it"


def expiry(pem: str, now: datetime) -> tuple[str, int]:
    """Return the earliest expiry date in the chain, and the number of days until then."""
    end = min(certificate.not_valid_after_utc for certificate in chain(pem))
    return end.strftime(_DATE_FORMAT), (end - now).days


def names(pem: str) -> Sequence[str]:
    """Return the host names and IP addresses in the first certificate.

    The list is empty if the certificate cannot be read.
    """
    try:
        return _hosts(chain(pem)[0].extensions)
    except _UNREADABLE:
        return []


def _hosts(extensions: x509.Extensions) -> list[str]:
    """Return the host names and IP addresses in the subject alternative name."""
    found = _extension(extensions, x509.SubjectAlternativeName)
    if found is None:
        return []
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return [*found.get_values_for_type(x509.DNSName), *addresses]


def _extension(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    """Return the value of the extension of type `kind`, or None."""
    for extension in extensions:
        if isinstance(extension.value, kind):
            return extension.value
    return None


def _is_supported_by_go(key: CertificatePublicKeyTypes) -> bool:
    """Return whether Go's crypto/tls, which the registry uses, can serve with this type of key."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, _GO_CURVES)
    return isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey)


def _covers(name: str, host: str) -> bool:
    """Return whether the certificate's `name` matches `host`.

    In RFC 6125, a leading * stands for exactly one label.
    """
    name, host = name.lower().rstrip("."), host.lower().rstrip(".")
    if name == host:
        return True
    label, _, domain = host.partition(".")
    if not name.startswith("*.") or not label or "." not in domain or ip_address(host):
        return False
    return name[2:] == domain


def self_signed_pair(hosts: Sequence[str], now: datetime) -> str:
    """Create a P-256 key and its certificate for `hosts`.

    Returns one PEM text with the private key followed by the certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode() + self_signed_certificate(key, hosts, now)


def self_signed_certificate(
    key: CertificateIssuerPrivateKeyTypes, hosts: Sequence[str], now: datetime
) -> str:
    """Return a certificate (PEM) for `hosts` that is signed with its own `key`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oss-registry, self-signed")])
    alternative_names: list[x509.GeneralName] = []
    for host in hosts:
        address = ip_address(host)
        alternative_names.append(x509.IPAddress(address) if address else x509.DNSName(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a client's clock may be slow
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
        # The certificate is no authority, so a client that trusts it trusts this server only.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def renewals_due(since: str, now: datetime) -> int:
    """Return how many renewals have been due by `now` for a pair created at `since` (ISO 8601)."""
    return (now - datetime.fromisoformat(since)) // RENEWAL_INTERVAL


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)
