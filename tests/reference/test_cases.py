"""Single cases: counter-examples, publicly reported failures, and quirks of the releases.

The package `config` works around these quirks.
"""

from typing import Any

import pytest

from config.releases import RELEASES, Release
from config.render import quote
from config.tree import Placeholder, Section
from tests.reference import strategies
from tests.reference.reader import ReferenceReader, Refused
from tests.reference.test_reading import contains, image_config, read_both_ways
from tests.unit.stack_files import load_stack

IN_MEMORY = "version: 0.1\nstorage: {inmemory: {}}\n"
TYPED_PATHS = ("http.secret", "redis.password")
UNTYPED_PATHS = ("storage.filesystem.rootdirectory", "auth.htpasswd.realm", "log.fields")


def _tree_with(path: str, value: Any) -> Section:  # noqa: ANN401
    """A configuration with `value` at `path`, or in a map below `log.fields`."""
    tree: Any = {"storage": {"filesystem": {}}}
    inner = tree
    *above, last = path.split(".")
    for key in above:
        inner = inner.setdefault(key, {})
    if path == "log.fields":
        value = {"a_B": value}
    inner[last] = value
    return tree  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", TYPED_PATHS + UNTYPED_PATHS)
def test_an_unusual_string_reaches_the_registry_unchanged_at_any_path(
    reader: ReferenceReader, release: Release, path: str
) -> None:
    for text in strategies.UNUSUAL_TEXTS:
        for read_back in read_both_ways(reader, release, _tree_with(path, text)):
            assert contains(_tree_with(path, text), read_back, release.schema.keys), text


@pytest.mark.parametrize("secret", strategies.SECRETS)
def test_a_secret_reaches_the_registry_unchanged(
    reader: ReferenceReader, release: Release, secret: str
) -> None:
    tree = _tree_with("http.secret", Placeholder(secret))
    for read_back in read_both_ways(reader, release, tree):
        assert read_back["http"]["secret"] == strategies.SECRETS[secret]


def test_a_large_number_keeps_its_last_digit(reader: ReferenceReader, release: Release) -> None:
    for number in (2**63 - 1, -(2**63), 6.542779618291365e16, 5e-324):
        tree = _tree_with("log.fields", number)
        for read_back in read_both_ways(reader, release, tree):
            assert contains(tree, read_back, release.schema.keys), number


def test_tls_and_users_reach_the_registry_by_variables_and_by_file(
    reader: ReferenceReader, release: Release
) -> None:
    kinds: list[dict[str, Any]] = [{"self_signed": True}]
    if release.major > 2:
        kinds.append({"letsencrypt": {"hosts": ["reg.example.com"], "email": "ops@example.com"}})
    url = "https://reg.example.com"
    registry = {"release": release.version, "exposure": "tls", "external_url": url}
    for tls in kinds:
        auth = {"realm": "Team: A", "users": {"alice": {}}}
        tree = load_stack(registry=registry, auth=auth, tls=tls).registry.tree
        for read_back in read_both_ways(reader, release, tree):
            assert contains(tree, read_back, release.schema.keys)
            assert read_back["http"]["tls"]["minimumtls"] == "tls1.2"


# Quirks of the releases. If a later release fixes one, its test fails, and a rule of ours can be
# deleted.

# Release, variables, path, and the value that the registry reads there.
MISREAD_VARIABLES = [
    # Other images read a value from a file if its variable ends in _FILE. The registry looks for
    # the path http.secret.file.
    ("2.8.3", {"REGISTRY_HTTP_SECRET_FILE": "/run/secrets/x"}, "http.secret", ""),
    ("3.1.2", {"REGISTRY_HTTP_SECRET_FILE": "/run/secrets/x"}, "http.secret", ""),
    ("3.0.0", {"REGISTRY_REDIS_ADDRS": '["r:1"]'}, "redis.addrs", []),
    ("3.0.0", {"REGISTRY_REDIS_OPTIONS_ADDRS": '["r:1"]'}, "redis.addrs", ["r:1"]),
    ("3.1.2", {"REGISTRY_REDIS_ADDRS": '["r:1"]'}, "redis.addrs", ["r:1"]),
    ("2.8.3", {"REGISTRY_HTTP_TLS_CLIENTCAS_0": "/ca"}, "http.tls.clientcas", []),
    ("3.1.2", {"REGISTRY_REDIS_ADDRS_0": "r:1"}, "redis.addrs", [""]),
    ("2.8.3", {"REGISTRY_REDIS_DIALTIMEOUT": "10"}, "redis.dialtimeout", 10),
    ("3.1.2", {"REGISTRY_REDIS_DIALTIMEOUT": "10"}, "redis.dialtimeout", 10),
    ("2.8.3", {"REGISTRY_HTTP_SECRET": "#tok"}, "http.secret", ""),
    ("3.1.2", {"REGISTRY_HTTP_SECRET": "tok #2"}, "http.secret", "tok"),
    ("2.8.3", {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "0123"}, "storage.filesystem", 83),
    ("2.8.3", {"REGISTRY_STORAGE": "inmemory"}, "storage.cache", None),
    ("3.1.2", {"REGISTRY_STORAGE": "inmemory"}, "storage.delete", None),
]


@pytest.mark.parametrize(("version", "environment", "path", "value"), MISREAD_VARIABLES)
def test_the_registry_silently_misreads_or_ignores_some_variables(
    readers: dict[str, ReferenceReader],
    version: str,
    environment: dict[str, str],
    path: str,
    value: Any,  # noqa: ANN401
) -> None:
    found = readers[version].read(image_config(RELEASES[version]), environment)
    for key in path.split("."):
        found = found.get(key)
    if path == "storage.filesystem":
        found = found["rootdirectory"]
    assert found == value


# Configuration, its section, and a word of the error.
FATAL_VALUES = [
    ("redirect: {disabled: true}", "storage", "redirect"),
    ('redirect: {disable: "true"}', "storage", "redirect"),
    ("maintenance: {uploadpurging: {age: 111h}}", "storage", ""),
    ("maintenance: {uploadpurging: true}", "storage", "uploadpurging"),
    ("maintenance: {uploadpurging: {age: 168, interval: 24h, dryrun: false}}", "storage", "age"),
    ("cache: {blobdescriptor: redis}", "storage", "redis"),
    ("http: {host: '::'}", "", "host"),
    ("auth: {htpasswd: {realm: 2026, path: /dev/null}}", "", "realm"),
    ("auth: {htpasswd: {realm: y, path: /dev/null}}", "", "realm"),
    ("auth: {htpasswd: {realm: a}}", "", "path"),
    ("auth: {silly: {realm: a, service: b}, none: {}}", "", "exactly one"),
    ("log: {level: verbose}", "", "loglevel"),
    ("http: {relativeurls: 'yes please'}", "", ""),
    ("health: {storagedriver: {interval: 10 s}}", "", ""),
    ("middleware: {storage: [{name: ours}]}", "", "middleware"),
]


@pytest.mark.parametrize(("text", "section", "word"), FATAL_VALUES)
def test_the_registry_does_not_start_with_some_values(
    reader: ReferenceReader, text: str, section: str, word: str
) -> None:
    if section == "storage":
        file = f"version: 0.1\nstorage: {{inmemory: {{}}, {text}}}\n"
    else:
        file = f"{IN_MEMORY}{text}\n"
    with pytest.raises(Refused) as refused:
        reader.start(file)
    assert word in str(refused.value)


@pytest.mark.parametrize("version", ["3.0.0", "3.1.2"])
def test_release_3_does_not_start_with_some_pool_sizes(
    readers: dict[str, ReferenceReader], version: str
) -> None:
    for redis in ("poolsize: -1", "poolsize: 9999999999999999"):
        with pytest.raises(Refused):
            readers[version].start(f"{IN_MEMORY}redis: {{addrs: ['127.0.0.1:1'], {redis}}}\n")


@pytest.mark.parametrize(
    "variable",
    [
        {"REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE": "111h"},
        {"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED": "true"},
    ],
)
def test_the_registry_panics_if_a_variable_sets_a_key_of_the_maintenance_section(
    reader: ReferenceReader, variable: dict[str, str]
) -> None:
    with pytest.raises(Refused, match="panic"):
        reader.start(IN_MEMORY, variable)


def test_an_emoji_that_is_written_as_surrogate_escapes_is_refused(reader: ReferenceReader) -> None:
    with pytest.raises(Refused):
        reader.read(IN_MEMORY, {"REGISTRY_HTTP_SECRET": '"pw\\ud83d\\ude00"'})
    assert reader.read(IN_MEMORY, {"REGISTRY_HTTP_SECRET": quote("pw😀")})
