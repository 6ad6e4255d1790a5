"""What is wrong with a TLS certificate and its key, and a pair for trials.

Pure, but for the clock that the caller reads.
"""

import ipaddress
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=397)  # what clients take at most
RENEWAL_INTERVAL = timedelta(days=300)
# What `cryptography` raises for what is not well made.
_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_GO_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_FOR_SERVERS = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_SHOWN = "%Y-%m-%d"


def chain(pem: str) -> Sequence[x509.Certificate]:
    """The certificates in `pem`, the server's own first. Raises ValueError where there is none."""
    return x509.load_pem_x509_certificates(pem.encode())


def bundle_problem(pem: str) -> tuple[str, str] | None:
    """The rule that `pem` breaks as certificates to trust, and the fix."""
    try:
        chain(pem)
    except _UNREADABLE:
        return "is not PEM certificates that can be read", "write the whole text of the file"
    return None


def key_set_problem(text: str) -> tuple[str, str] | None:
    """The rule that `text` breaks as a JSON Web Key Set (RFC 7517) of public keys, and the fix."""
    try:
        keys = json.loads(text)["keys"]
        private = [key for key in keys if key["kty"] == "oct" or "d" in key]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "is not a JSON Web Key Set", "write the whole text of the file, with its list keys"
    if private:
        return "holds a private key", "write the public keys only"
    return None


def key_problem(key: str, pem: str) -> tuple[str, str] | None:
    """The rule that `key` (PEM) breaks as the key of the first of the certificates, and the fix."""
    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except TypeError:
        return (
            "is encrypted, and nobody can type its passphrase",
            "openssl pkey -in KEY decrypts it",
        )
    except _UNREADABLE:
        return "is not a private key in PEM", "set the text of the key's file"
    as_bytes = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        public = chain(pem)[0].public_key().public_bytes(*as_bytes)
    except _UNREADABLE:
        return None  # which `broken` says
    if private.public_key().public_bytes(*as_bytes) != public:
        return (
            "is not the key of the first certificate in tls.certificate",
            "set the one that belongs to it, or put the server's own certificate first",
        )
    return None


def problems(pem: str, host: str | None, now: datetime) -> Iterator[tuple[str, str]]:
    """Each rule that the certificates break, and the fix; clients come to `host`, if known."""
    try:
        server, *_ = chain(pem)
        key, extensions = server.public_key(), server.extensions
        named, usage = _names_in(extensions), _value(extensions, x509.ExtendedKeyUsage)
        hashed_by = server.signature_hash_algorithm
        expiry(pem, now)  # the dates of the others
    except _UNREADABLE:
        yield "is not PEM certificates that can be read", "write the whole text of the file"
        return
    if not (
        isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey)
        or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _GO_CURVES))
    ):
        yield "has a key that the registry can't use", "take RSA, P-256, P-384, P-521 or Ed25519"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048:
        yield f"has an RSA key of {key.key_size} bits, which clients refuse", "take 2048 or more"
    if isinstance(hashed_by, hashes.MD5 | hashes.SHA1):
        yield "is signed with a hash that clients refuse", "take one that is signed with SHA-256"
    if server.not_valid_after_utc <= now:
        yield f"has expired on {server.not_valid_after_utc.strftime(_SHOWN)}", "renew it"
    if server.not_valid_before_utc > now:
        day = server.not_valid_before_utc.strftime(_SHOWN)
        yield f"is not valid before {day}", "wait, or set this machine's clock"
    if usage is not None and _FOR_SERVERS.isdisjoint(usage):
        yield "is not for a server (extended key usage)", "take one with serverAuth"
    if host and not any(_covers(name, host) for name in named):
        said = ", ".join(named) or "none; its common name no longer counts"
        yield f"has no name for {host} (it has {said})", "take one that names it"


def expiry(pem: str, now: datetime) -> tuple[str, int]:
    """The day on which the first of the certificates expires, and how many days are left."""
    end = min(certificate.not_valid_after_utc for certificate in chain(pem))
    return end.strftime(_SHOWN), (end - now).days


def _value(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    """The extension of that kind, where there is one."""
    found = (each.value for each in extensions)
    return next((value for value in found if isinstance(value, kind)), None)


def names(pem: str) -> Sequence[str]:
    """The hosts and addresses that the first certificate is for; none if it can't be read."""
    try:
        return _names_in(chain(pem)[0].extensions)
    except _UNREADABLE:
        return []


def _names_in(extensions: x509.Extensions) -> list[str]:
    """The hosts and addresses that a certificate is for."""
    found = _value(extensions, x509.SubjectAlternativeName)
    if found is None:
        return []
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return [*found.get_values_for_type(x509.DNSName), *addresses]


def _covers(name: str, host: str) -> bool:
    """As RFC 6125 has it: a * stands for one whole label, the first."""
    name, host = name.lower().rstrip("."), host.lower().rstrip(".")
    first, _, rest = host.partition(".")
    wild = name.startswith("*.") and "." in rest and not _address(host)
    return name == host or (wild and bool(first) and name[2:] == rest)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def self_signed_pair(hosts: Sequence[str], now: datetime) -> str:
    """A new P-256 key and its certificate for `hosts`, in this order, as one PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode() + self_signed_certificate(key, hosts, now)


def self_signed_certificate(
    key: CertificateIssuerPrivateKeyTypes, hosts: Sequence[str], now: datetime
) -> str:
    """A certificate for `hosts` that is signed by its own `key`, as PEM text."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oss-registry, self-signed")])
    general = [x509.IPAddress(a) if (a := _address(host)) else x509.DNSName(host) for host in hosts]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # a client's clock may be late
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(general), critical=False)
        # No authority: who trusts it, trusts this server alone.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def renewals_due(since: str, now: datetime) -> int:
    """How often a pair first made at `since` (ISO 8601) was due to be renewed by `now`."""
    return (now - datetime.fromisoformat(since)) // RENEWAL_INTERVAL


def now() -> datetime:
    return datetime.now(UTC)
