"""Tests of the settings for exposure, TLS, users, and the files that the configuration names."""

import base64
import datetime
import re
from collections.abc import Mapping
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from config import certificates
from config.load import warnings
from config.releases import RELEASES
from config.rules import Sealed
from tests.unit.stack_files import assert_refused, load_stack, problems

URL = "https://registry.example.com"
HASH = "$2y$10$" + "a" * 53
USERS: Mapping[str, Any] = {"users": {"alice": {}}}
SELF_SIGNED = {"self_signed": True}
ACME = {"letsencrypt": {"hosts": ["registry.example.com"], "email": "ops@example.com"}}
NOW = datetime.datetime.now(datetime.UTC)
CA = trustme.CA(key_type=trustme.KeyType.ECDSA)


def _pair(*names: str, days: float = 90, starts: float = -1) -> tuple[str, str]:
    """Return a certificate chain for `names` and its key, both PEM.

    It is valid from `starts` days to `days` days from now.
    """
    certificate = CA.issue_cert(
        *names,
        not_before=NOW + datetime.timedelta(days=starts),
        not_after=NOW + datetime.timedelta(days=days),
        key_type=trustme.KeyType.ECDSA,
    )
    pem = b"".join(blob.bytes() for blob in certificate.cert_chain_pems).decode()
    return pem, certificate.private_key_pem.bytes().decode()


def _tls(pem: str, key: str | None, **registry: object) -> dict[str, Any]:
    """Return the sections of a stack file that is valid if `pem` and `key` are."""
    return {
        "registry": {"exposure": "tls", "external_url": URL, **registry},
        "auth": USERS,
        "tls": {"certificate": pem},
        "secrets": {} if key is None else {"tls-key": key},
    }


VALID_PAIR = _pair("registry.example.com")


# Exposure and addresses.


@pytest.mark.parametrize(
    ("exposure", "key", "word"),
    [
        ("tls", "tls", "certificate, self_signed"),
        ("tls", "registry.external_url", "https://"),
        ("tls", "auth", "anyone may push"),
        ("proxy", "registry.external_url", "https://"),
        ("proxy", "auth", "anyone may push"),
    ],
)
def test_a_registry_on_the_network_needs_an_external_url_authentication_and_tls(
    exposure: str, key: str, word: str
) -> None:
    assert_refused(f"oss-registry:{key}", word, registry={"exposure": exposure})


PROD = {"docker:host": "ssh://ops@prod.example.com:2222"}


@pytest.mark.parametrize(
    ("config", "variables", "registry", "endpoint"),
    [
        (PROD, {}, {}, "http://prod.example.com:5000"),
        (PROD, {}, {"runtime": "swarm"}, "http://prod.example.com:5000"),
        (PROD, {}, {"bind": "10.0.0.5"}, "http://10.0.0.5:5000"),
        (PROD, {}, {"bind": "::"}, "http://prod.example.com:5000"),
        (PROD, {}, {"external_url": URL}, URL),
        (PROD, {"DOCKER_HOST": "tcp://other:2376"}, {}, "http://prod.example.com:5000"),
        ({}, {"DOCKER_HOST": "tcp://prod:2376"}, {}, "http://prod:5000"),
        ({"docker:host": "tcp://[2001:db8::9]:2376"}, {}, {}, "http://[2001:db8::9]:5000"),
        ({"docker:host": "unix:///run/user/1000/docker.sock"}, {}, {}, "http://127.0.0.1:5000"),
        ({"docker:host": "ssh://[broken"}, {}, {}, "http://127.0.0.1:5000"),
        ({}, {}, {}, "http://127.0.0.1:5000"),
    ],
)
def test_the_endpoint_of_an_open_registry_is_on_the_machine_of_its_engine(
    config: dict[str, str], variables: dict[str, str], registry: dict[str, str], endpoint: str
) -> None:
    stack = load_stack(
        config=config, variables=variables, registry={"exposure": "open", **registry}
    )
    assert stack.registry.endpoint == endpoint
    assert stack.registry.login_server == re.sub(
        "^https?://(127.0.0.1:|)", _login_server_prefix, endpoint
    )
    assert not stack.registry.is_local_to_remote_engine


def _login_server_prefix(start: re.Match[str]) -> str:
    """Replace the scheme of an address, and 127.0.0.1 after it with localhost."""
    return "localhost:" if start[1] else ""


def test_a_self_signed_certificate_names_the_machine_of_the_engine() -> None:
    stack = load_stack(config=PROD, registry={"exposure": "open"}, tls=SELF_SIGNED)
    assert "prod.example.com" in stack.registry.self_signed_hosts


def test_a_registry_on_the_loopback_of_another_machine_is_only_reached_from_there() -> None:
    assert load_stack(config=PROD).registry.is_local_to_remote_engine
    assert load_stack(
        config=PROD, registry={"exposure": "open", "bind": "127.0.0.2"}
    ).registry.is_local_to_remote_engine
    assert not load_stack(config={"docker:host": "unix:///x"}).registry.is_local_to_remote_engine
    proxy = {"exposure": "proxy", "external_url": URL}
    assert not load_stack(
        config=PROD, registry=proxy, auth=USERS
    ).registry.is_local_to_remote_engine


def test_an_open_registry_with_a_docker_context_needs_an_external_url() -> None:
    edge, word = {"docker:context": "edge"}, "docker:context, which names no machine"
    assert_refused(
        "oss-registry:registry.external_url", word, config=edge, registry={"exposure": "open"}
    )
    load_stack(config=edge, registry={"exposure": "open", "external_url": URL})
    load_stack(config=edge)


@pytest.mark.parametrize(
    "auth", [{}, None, {"token": None}, {"silly": {"realm": "r", "service": "s"}}, {"none": {}}]
)
@pytest.mark.parametrize("exposure", ["tls", "proxy"])
def test_an_auth_section_that_lets_everyone_in_does_not_count_as_authentication(
    exposure: str, auth: object
) -> None:
    registry = {"exposure": exposure, "external_url": URL, "config": {"auth": auth}}
    assert_refused("oss-registry:auth", "anyone may push", registry=registry, tls=SELF_SIGNED)


def test_registry_config_cannot_remove_the_users_of_the_auth_section() -> None:
    for config in ({"auth": None}, {"auth": {"htpasswd": None}}):
        registry = {"exposure": "proxy", "external_url": URL, "config": config}
        assert any("oss-registry:auth" in line for line in problems(registry=registry, auth=USERS))


def test_token_authentication_in_registry_config_counts_as_authentication() -> None:
    token = {"realm": f"{URL}/token", "service": "s", "issuer": "i", "rootcertbundle": "/i.pem"}
    config = {"auth": {"token": token}}
    load_stack(registry={"exposure": "proxy", "external_url": URL, "config": config})


def test_two_types_of_authentication_are_refused() -> None:
    config = {
        "auth": {"token": {"realm": "r", "service": "s", "issuer": "i", "rootcertbundle": "/i"}}
    }
    assert_refused(
        "oss-registry:registry.config.auth", "one type", registry={"config": config}, auth=USERS
    )


@pytest.mark.parametrize(
    "url",
    [f"{URL}:0", f"{URL}:65536", f"{URL}:99999", f"{URL}/v2", "registry.example.com", "https://"],
)
def test_an_external_url_that_no_client_can_use_is_refused(url: str) -> None:
    registry = {"exposure": "proxy", "external_url": url}
    assert_refused("oss-registry:registry.external_url", "https://", registry=registry, auth=USERS)


def test_one_mistake_in_the_auth_section_is_reported_once() -> None:
    registry = {"exposure": "proxy", "external_url": URL}
    assert len(problems(registry=registry, auth={"users": {}})) == 1


def test_an_external_url_is_refused_with_exposure_loopback() -> None:
    assert_refused("oss-registry:registry.external_url", "loopback", registry={"external_url": URL})


def test_swarm_with_exposure_loopback_is_refused() -> None:
    assert_refused("oss-registry:registry.exposure", "every address", registry={"runtime": "swarm"})


@pytest.mark.parametrize(
    ("registry", "address", "login_server"),
    [
        ({}, "127.0.0.1", "localhost:5000"),
        ({"bind": "::1"}, "::1", "localhost:5000"),
        ({"exposure": "tls", "external_url": URL}, "0.0.0.0", "registry.example.com"),
        (
            {"exposure": "tls", "external_url": f"{URL}:5000/"},
            "0.0.0.0",
            "registry.example.com:5000",
        ),
        (
            {"exposure": "tls", "external_url": URL, "bind": "10.0.0.7"},
            "10.0.0.7",
            "registry.example.com",
        ),
        ({"exposure": "proxy", "external_url": URL}, "127.0.0.1", "registry.example.com"),
        ({"exposure": "open"}, "0.0.0.0", "localhost:5000"),
        ({"exposure": "open", "bind": "10.0.0.7"}, "10.0.0.7", "10.0.0.7:5000"),
    ],
)
def test_each_exposure_has_a_listening_address_and_a_login_server(
    registry: dict[str, Any], address: str, login_server: str
) -> None:
    needs_auth = registry.get("exposure") in ("tls", "proxy")
    more: dict[str, Any] = {"auth": USERS, "tls": SELF_SIGNED} if needs_auth else {}
    stack = load_stack(registry=registry, **more)
    assert (stack.registry.address, stack.registry.login_server) == (address, login_server)


def test_a_login_server_with_an_ipv6_address_is_a_warning() -> None:
    stack = load_stack(registry={"exposure": "open", "bind": "2001:db8::1"})
    assert stack.registry.login_server == "[2001:db8::1]:5000"
    assert any("Docker 20.10 does not accept" in line for line in warnings(stack))


def test_a_warning_shows_an_ipv6_address_in_brackets() -> None:
    for exposure in ({"exposure": "open"}, {"exposure": "proxy", "external_url": URL}):
        stack = load_stack(registry={**exposure, "bind": "::"}, auth=USERS)
        (warning,) = warnings(stack)
        assert "[::]:5000" in warning


def test_a_self_signed_certificate_names_each_address_that_clients_use() -> None:
    local = load_stack(registry={"exposure": "open", "bind": "10.0.0.7"}, tls=SELF_SIGNED)
    assert set(local.registry.self_signed_hosts) == {"10.0.0.7", "localhost", "127.0.0.1", "::1"}
    remote = {"exposure": "tls", "external_url": URL}
    assert load_stack(registry=remote, auth=USERS, tls=SELF_SIGNED).registry.self_signed_hosts == [
        "registry.example.com"
    ]


def test_the_registry_gives_clients_its_external_url() -> None:
    registry = {"exposure": "proxy", "external_url": f"{URL}:8443/"}
    stack = load_stack(registry=registry, auth=USERS)
    assert stack.registry.redacted["REGISTRY_HTTP_HOST"] == f"{URL}:8443"
    assert_refused(
        "oss-registry:registry.config.http.host",
        "registry.external_url",
        registry={**registry, "config": {"http": {"host": "https://other.example.com"}}},
        auth=USERS,
    )


@pytest.mark.parametrize(
    ("sections", "word"),
    [
        ({"registry": {"exposure": "open"}}, "lets anyone push and delete"),
        ({"registry": {"exposure": "open"}, "auth": USERS}, "passwords in clear text"),
        (
            {
                "registry": {"exposure": "proxy", "external_url": URL, "bind": "0.0.0.0"},
                "auth": USERS,
            },
            "past the proxy",
        ),
        (
            {
                "registry": {"exposure": "tls", "external_url": URL},
                "auth": USERS,
                "tls": SELF_SIGNED,
            },
            "is not on the port 5000",
        ),
        ({"registry": {"config": {"http": {"debug": {"addr": ":5001"}}}}}, "metrics and profiles"),
    ],
)
def test_a_risky_but_valid_setting_is_a_warning(sections: dict[str, Any], word: str) -> None:
    (warning,) = warnings(load_stack(**sections))
    assert word in warning


def test_a_registry_with_tls_and_users_on_port_443_has_no_warnings() -> None:
    for release in RELEASES:
        stack = load_stack(**_tls(*VALID_PAIR, port=443, release=release))
        assert list(warnings(stack)) == []


# Certificates.


@pytest.mark.parametrize("release", RELEASES)
def test_a_certificate_and_its_key_become_files_of_the_registry(release: str) -> None:
    shown = load_stack(**_tls(*VALID_PAIR, release=release)).registry.redacted
    assert shown[shown["REGISTRY_HTTP_TLS_CERTIFICATE"]] == VALID_PAIR[0]
    assert shown[shown["REGISTRY_HTTP_TLS_KEY"]] == "[secret: tls-key]"
    assert shown["REGISTRY_HTTP_TLS_MINIMUMTLS"] == "tls1.2"


@pytest.mark.parametrize(
    ("pem", "word"),
    [
        (_pair("registry.example.com", days=-0.5)[0], "has expired on"),
        (_pair("registry.example.com", starts=3)[0], "not valid before"),
        (_pair("other.example.com")[0], "has no name for registry.example.com (it has other."),
        (_pair("*.registry.example.com")[0], "has no name for registry.example.com"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "can be read"),
        ("-----BEGIN CERTIFICATE-----", "can be read"),
    ],
)
def test_a_certificate_that_clients_would_refuse_is_refused(pem: str, word: str) -> None:
    assert_refused("oss-registry:tls.certificate", word, **_tls(pem, VALID_PAIR[1]))


@pytest.mark.parametrize(
    "names",
    [("*.example.com",), ("Registry.Example.com",), ("a.example.com", "registry.example.com")],
)
def test_a_certificate_may_name_the_host_among_others_or_by_a_wildcard(
    names: tuple[str, ...],
) -> None:
    load_stack(**_tls(*_pair(*names)))


def test_a_certificate_may_name_an_ip_address() -> None:
    load_stack(**_tls(*_pair("10.0.0.7"), external_url="https://10.0.0.7:5000"))


def test_a_certificate_with_the_host_only_in_its_common_name_is_refused() -> None:
    certificate = CA.issue_cert("ignored.example.com", common_name="registry.example.com")
    pem = certificate.cert_chain_pems[0].bytes().decode()
    assert_refused(
        "oss-registry:tls.certificate",
        "no name",
        **_tls(pem, certificate.private_key_pem.bytes().decode()),
    )


def test_a_certificate_that_expires_within_30_days_is_a_warning_with_the_date() -> None:
    pem, key = _pair("registry.example.com", days=12.5)
    (warning,) = warnings(load_stack(**_tls(pem, key, port=443)))
    day = (NOW + datetime.timedelta(days=12.5)).strftime("%Y-%m-%d")
    assert f"expires on {day}, in 12 days" in warning
    assert (
        list(warnings(load_stack(**_tls(*_pair("registry.example.com", days=31), port=443)))) == []
    )


def _pem(key: Any, password: bytes | None = None) -> str:  # noqa: ANN401
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return str(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ).decode()
    )


@pytest.mark.parametrize(
    ("key", "word"),
    [
        (None, "is required with tls.certificate"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "is not the key of"),
        (_pem(ed25519.Ed25519PrivateKey.generate()), "is not the key of"),
        (_pem(ec.generate_private_key(ec.SECP256R1()), b"pw"), "is encrypted"),
        ("MARKED SECRET, no key", "is not a private key"),
        (VALID_PAIR[0], "is not a private key"),
    ],
)
def test_a_key_that_does_not_match_the_certificate_is_refused_without_showing_it(
    key: str | None, word: str
) -> None:
    lines = problems(**_tls(VALID_PAIR[0], key))
    (line,) = [line for line in lines if line.startswith("oss-registry:tls-key: ")]
    assert word in line
    assert key is None or not any(part in line for part in key.splitlines() if part)


def test_a_key_in_the_traditional_openssl_format_is_accepted() -> None:
    key = serialization.load_pem_private_key(VALID_PAIR[1].encode(), None)
    traditional = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    load_stack(**_tls(VALID_PAIR[0], traditional))
    load_stack(**_tls(VALID_PAIR[0], parameters + traditional))


def test_a_key_that_is_still_encrypted_is_not_checked() -> None:
    load_stack(**_tls(VALID_PAIR[0], Sealed("v1:abc")))


def test_a_key_without_a_certificate_is_reported_as_an_unused_secret() -> None:
    for tls in ({}, {"tls": SELF_SIGNED}):
        assert_refused(
            "oss-registry:tls-key", "nothing uses", secrets={"tls-key": VALID_PAIR[1]}, **tls
        )


def test_a_key_without_a_certificate_may_be_used_by_its_name() -> None:
    uses = [
        {"config": {"http": {"secret": {"from_secret": "tls-key"}}}},
        {"environment": {"X_TOKEN": {"from_secret": "tls-key"}}},
    ]
    for registry in uses:
        load_stack(secrets={"tls-key": VALID_PAIR[1]}, registry=registry)


def test_a_private_key_in_the_certificate_or_in_a_file_is_refused() -> None:
    assert_refused(
        "oss-registry:tls.certificate", "nothing else", **_tls("".join(VALID_PAIR), VALID_PAIR[1])
    )
    assert_refused(
        "oss-registry:registry.files./k.pem",
        "private key",
        registry={"files": {"/k.pem": VALID_PAIR[1]}},
    )


def test_behind_a_proxy_the_certificate_may_have_any_name() -> None:
    load_stack(**_tls(*_pair("inner.example.com"), exposure="proxy"))


def test_damage_anywhere_in_a_certificate_or_a_key_does_not_raise() -> None:
    first, body, last = re.split(r"(?<=-----)\n|\n(?=-----E)", VALID_PAIR[0])[:3]
    der = base64.b64decode(body)
    for place in range(len(der)):
        bad = bytes((*der[:place], der[place] ^ 0x55, *der[place + 1 :]))
        pem = "\n".join((first, base64.b64encode(bad).decode(), last))
        list(certificates.problems(pem, "registry.example.com", NOW))
        certificates.key_problem(VALID_PAIR[1], pem)
    key = VALID_PAIR[1]
    for place in range(30, len(key) - 30):
        damaged = f"{key[:place]}{'A' if key[place] != 'A' else 'B'}{key[place + 1 :]}"
        certificates.key_problem(damaged, VALID_PAIR[0])


def test_weak_keys_and_unknown_curves_are_refused() -> None:
    def rules_broken_by(key: Any) -> list[str]:  # noqa: ANN401
        certificate = certificates.self_signed_certificate(key, ["registry.example.com"], NOW)
        return [rule for rule, _ in certificates.problems(certificate, "registry.example.com", NOW)]

    assert rules_broken_by(ec.generate_private_key(ec.SECP384R1())) == []
    (weak,) = rules_broken_by(rsa.generate_private_key(65537, 1024))
    assert "1024 bits" in weak
    (curve,) = rules_broken_by(ec.generate_private_key(ec.SECP256K1()))
    assert "can't use" in curve


@pytest.mark.parametrize("version", ["tls1.0", "tls1.1"])
def test_old_versions_of_tls_are_refused(version: str) -> None:
    assert_refused(
        "oss-registry:registry.config.http.tls.minimumtls",
        "tls1.2",
        **_tls(*VALID_PAIR, release="2.8.3", config={"http": {"tls": {"minimumtls": version}}}),
    )


def test_minimumtls_may_be_raised_to_tls_13() -> None:
    stack = load_stack(**_tls(*VALID_PAIR, config={"http": {"tls": {"minimumtls": "tls1.3"}}}))
    assert stack.registry.redacted["REGISTRY_HTTP_TLS_MINIMUMTLS"] == "tls1.3"


def test_http_tls_without_a_certificate_is_refused() -> None:
    config = {"http": {"tls": {"clientcas": ["/ca.pem"]}}}
    assert_refused(
        "oss-registry:registry.config.http.tls", "not heeded", registry={"config": config}
    )


# Let's Encrypt.


def test_the_registry_gets_certificates_from_lets_encrypt_and_stores_them_in_a_volume() -> None:
    stack = load_stack(
        registry={"exposure": "tls", "external_url": URL, "port": 443}, auth=USERS, tls=ACME
    )
    shown = stack.registry.redacted
    assert shown["REGISTRY_HTTP_TLS_LETSENCRYPT_CACHEFILE"] == "/var/lib/letsencrypt"
    assert shown["REGISTRY_HTTP_TLS_LETSENCRYPT_HOSTS"] == '["registry.example.com"]'
    assert shown["REGISTRY_HTTP_TLS_LETSENCRYPT_EMAIL"] == "ops@example.com"
    assert shown["REGISTRY_HTTP_TLS_MINIMUMTLS"] == "tls1.2"
    assert not any("CERTIFICATE" in name for name in shown)
    assert list(warnings(stack)) == []


@pytest.mark.parametrize(
    ("registry", "key", "word"),
    [
        ({"exposure": "proxy", "external_url": URL}, "tls.letsencrypt", "port 443"),
        ({}, "tls.letsencrypt", "port 443"),
        ({"exposure": "tls", "external_url": f"{URL}:5000"}, "tls.letsencrypt", "port 443"),
        (
            {"exposure": "tls", "external_url": "https://other.example.com"},
            "tls.letsencrypt.hosts",
            "must name the host",
        ),
    ],
)
def test_lets_encrypt_needs_port_443_and_the_host_of_the_external_url(
    registry: dict[str, Any], key: str, word: str
) -> None:
    assert_refused(f"oss-registry:{key}", word, registry=registry, auth=USERS, tls=ACME)


@pytest.mark.parametrize(
    "host", ["*.example.com", "registry.example.com:443", "Registry.example.com", "registry"]
)
def test_a_host_for_which_lets_encrypt_issues_no_certificate_is_refused(host: str) -> None:
    tls = {"letsencrypt": {"hosts": [host]}}
    assert_refused("oss-registry:tls.letsencrypt.hosts[0]", "whole name", tls=tls)


# Users.


def test_users_become_lines_of_a_file_with_placeholders_for_their_hashes() -> None:
    users = {"users": {"bob": {"hash": HASH}, "alice": {}}, "realm": "Team: A"}
    shown = load_stack(auth=users).registry.redacted
    assert shown["REGISTRY_AUTH"] == "htpasswd"
    assert shown["REGISTRY_AUTH_HTPASSWD_REALM"] == '"Team: A"'
    lines = "alice:[secret: hash of alice]\nbob:[secret: hash of bob]\n"
    assert shown[shown["REGISTRY_AUTH_HTPASSWD_PATH"]] == lines


@pytest.mark.parametrize(
    ("password", "word"),
    [
        ("x" * 73, "72 bytes"),
        ("é" * 37, "72 bytes"),
        ("a\nb", "can't send"),
        ("a\x00b", "can't send"),
        ("a\ud800b", "can't send"),
    ],
)
def test_a_password_that_is_too_long_or_cannot_be_sent_is_refused_without_showing_it(
    password: str, word: str
) -> None:
    (line,) = problems(auth=USERS, secrets={"password-alice": password})
    assert line.startswith("oss-registry:password-alice: ")
    assert word in line
    assert password not in line


def test_a_user_with_both_a_hash_and_a_password_is_refused() -> None:
    users = {"users": {"alice": {"hash": HASH}}}
    assert_refused(
        "oss-registry:auth.users.alice.hash",
        "keep one",
        auth=users,
        secrets={"password-alice": "x"},
    )


@pytest.mark.parametrize("cost", ["03", "15", "31"])
def test_a_hash_with_a_cost_outside_4_to_14_is_refused(cost: str) -> None:
    users = {"users": {"bob": {"hash": HASH.replace("$10$", f"${cost}$")}}}
    assert_refused("oss-registry:auth.users.bob.hash", "cost 4 to 14", auth=users)


def test_an_auth_section_without_users_is_refused() -> None:
    assert_refused("oss-registry:auth.users", "empty", auth={"users": {}})
    assert_refused("oss-registry:auth.users", "required", auth={"realm": "x"})


@pytest.mark.parametrize("name", ["#alice", "al\x1bice"])
def test_a_user_name_that_would_break_the_htpasswd_file_is_refused(name: str) -> None:
    assert any("without blanks" in line for line in problems(auth={"users": {name: {}}}))


# Files that `registry.config` names.


def test_registry_files_become_files_in_the_container() -> None:
    shown = load_stack(
        registry={"files": {"/etc/token/issuer.pem": VALID_PAIR[0]}}
    ).registry.redacted
    assert shown["/etc/token/issuer.pem"] == VALID_PAIR[0]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("etc/x", "whole path"),
        ("/etc/../x", "whole path"),
        ("/etc//x", "whole path"),
        ("/etc/x/", "whole path"),
        ("/etc/oss-registry/htpasswd", "another path"),
        ("/etc/oss-registry", "another path"),
        ("/var/lib/registry/docker", "another path"),
        ("/etc/distribution/config.yml", "another path"),
        # Something else is mounted here when the registry runs.
        ("/tmp/issuer.pem", "another path"),
        ("/proc/x", "another path"),
    ],
)
def test_a_file_at_a_path_that_is_in_use_or_not_absolute_is_refused(path: str, word: str) -> None:
    assert_refused(f"oss-registry:registry.files.{path}", word, registry={"files": {path: "x"}})


def test_a_named_file_that_is_missing_is_a_warning_only_with_the_official_image() -> None:
    token = {"realm": f"{URL}/token", "service": "s", "issuer": "i", "rootcertbundle": "/i.pem"}
    config = {"auth": {"token": token}}
    (warning,) = warnings(load_stack(registry={"config": config}))
    assert "auth.token.rootcertbundle: names /i.pem, which is not in the official" in warning
    for registry in (
        {"files": {"/i.pem": VALID_PAIR[0]}},
        {"image": "registry.example.com/registry:3", "release": "3.1.2"},
    ):
        assert list(warnings(load_stack(registry={"config": config, **registry}))) == []


def test_an_htpasswd_path_without_its_file_is_a_warning() -> None:
    config = {"auth": {"htpasswd": {"realm": "r", "path": "/users"}}}
    (warning,) = warnings(load_stack(registry={"config": config}))
    assert "makes up a user" in warning
    files = {"/users": f"bob:{HASH}"}
    assert list(warnings(load_stack(registry={"config": config, "files": files}))) == []


TOKEN = {"realm": f"{URL}/token", "service": "s", "issuer": "i"}
BROKEN_PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
JWKS = '{"keys": [{"kty": "EC", "crv": "P-256", "kid": "a", "x": "eA", "y": "eQ"}]}'


@pytest.mark.parametrize(
    ("config", "text", "word"),
    [
        ({"auth": {"token": {**TOKEN, "rootcertbundle": "/f"}}}, "hello", "not PEM"),
        ({"auth": {"token": {**TOKEN, "rootcertbundle": "/f"}}}, BROKEN_PEM, "not PEM"),
        ({"auth": {"token": {**TOKEN, "rootcertbundle": "/f"}}}, JWKS, "not PEM"),
        ({"http": {"tls": {"clientcas": ["/f"]}}}, BROKEN_PEM, "not PEM"),
        ({"redis": {"tls": {"rootcas": ["/f"]}}}, BROKEN_PEM, "not PEM"),
        ({"auth": {"token": {**TOKEN, "jwks": "/f"}}}, "hello", "not a JSON Web Key Set"),
        ({"auth": {"token": {**TOKEN, "jwks": "/f"}}}, "[]", "not a JSON Web Key Set"),
        ({"auth": {"token": {**TOKEN, "jwks": "/f"}}}, VALID_PAIR[0], "not a JSON Web Key Set"),
        (
            {"auth": {"token": {**TOKEN, "jwks": "/f"}}},
            '{"keys": [{"kty": "EC", "d": "hunter2"}]}',
            "private key",
        ),
        (
            {"auth": {"token": {**TOKEN, "jwks": "/f"}}},
            '{"keys": [{"kty": "oct", "k": "hunter2"}]}',
            "private key",
        ),
    ],
)
def test_a_file_with_which_the_registry_would_not_start_is_refused(
    config: dict[str, Any], text: str, word: str
) -> None:
    lines = problems(
        registry={"config": config, "files": {"/f": text}}, cache={"address": "r.example.com:6379"}
    )
    found = [line for line in lines if line.startswith("oss-registry:registry.files./f: ")]
    assert len(found) == 1, lines
    assert word in found[0]
    assert "hunter2" not in found[0]


@pytest.mark.parametrize(
    ("keys", "text"),
    [({"rootcertbundle": "/f"}, f"a remark\n{VALID_PAIR[0]}"), ({"jwks": "/f"}, JWKS)],
)
def test_a_file_that_the_registry_can_read_is_accepted(keys: dict[str, str], text: str) -> None:
    config = {"auth": {"token": {**TOKEN, **keys}}}
    stack = load_stack(registry={"config": config, "files": {"/f": text}})
    assert stack.registry.redacted["/f"] == text


def test_a_ca_certificate_that_cannot_be_read_is_refused_if_redis_needs_it() -> None:
    config = {"redis": {"tls": {"rootcas": ["/etc/ssl/certs/oss-registry.pem"]}}}
    registry = {"ca_certificates": BROKEN_PEM, "config": config}
    cache = {"address": "r.example.com:6379"}
    assert_refused(
        "oss-registry:registry.ca_certificates", "not PEM", registry=registry, cache=cache
    )


def test_the_content_of_a_file_in_place_of_its_path_is_refused_without_showing_it() -> None:
    config = {"auth": {"token": {**TOKEN, "rootcertbundle": VALID_PAIR[0]}}}
    (line,) = problems(registry={"config": config})
    assert "auth.token.rootcertbundle: must be the path of a file" in line
    assert "BEGIN" not in line


def test_a_file_with_password_hashes_is_not_shown() -> None:
    config = {"auth": {"htpasswd": {"realm": "r", "path": "/users"}}}
    for hashed in (HASH, "$apr1$hunter2", "{SHA}hunter2"):
        files = {"/users": f"# ours\nbob:{hashed}\n"}
        stack = load_stack(registry={"config": config, "files": files})
        assert hashed not in stack.registry.redacted["/users"]


# Logs.


def test_a_storage_driver_that_logs_signed_requests_is_refused() -> None:
    storage = {"kind": "oss", "bucket": "images-of-ours"}
    config = {"storage": {"s3": {"loglevel": "debugwithsigning"}}}
    assert_refused(
        "oss-registry:registry.config.storage.s3.loglevel",
        "signatures",
        storage=storage,
        registry={"config": config},
        region="cn-hangzhou",
    )


def test_a_path_prefix_is_a_warning_because_docker_clients_do_not_use_it() -> None:
    (warning,) = warnings(load_stack(registry={"config": {"http": {"prefix": "/registry/"}}}))
    assert warning.startswith("oss-registry:registry.config.http.prefix: ")
    assert "where Docker clients do not look" in warning
    assert not warnings(load_stack(registry={"config": {"http": {"prefix": "/"}}}))
