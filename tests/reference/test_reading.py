"""Property tests: each release reads generated configurations as they were written.

They cover the whole schema, and both ways to configure the registry: variables and a config file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from components.storage import BACKENDS
from config.overlay import MANAGED_KEYS, problems, read
from config.releases import Release
from config.render import BESIDE_DRIVER, Text, quote, to_environment, to_file
from config.schema import Kinds
from config.settings import StackSettings
from config.stack import Stack
from config.tree import ANY, Placeholder, Section, switch_off_missing
from tests.reference import strategies
from tests.reference.conftest import seeded
from tests.reference.reader import ReferenceReader
from toolchain.images import IMAGES

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def image_config(release: Release) -> str:
    """The config file in the release's image. Variables override it."""
    (image,) = (image for image in IMAGES if image.reference == release.image)
    assert image.program is not None
    return (image.program.sources / "config.yml").read_text()


def resolve(text: Text, secrets: Mapping[str, str] = strategies.SECRETS) -> str:
    """`text` with each placeholder replaced by its secret, or by its label if it has no secret."""
    parts = []
    for part in text:
        if isinstance(part, Placeholder):
            parts.append(quote(secrets.get(part.label, part.label)))
        else:
            parts.append(part)
    return "".join(parts)


def read_both_ways(reader: ReferenceReader, release: Release, tree: Section) -> tuple[Any, Any]:
    """Read `tree` as variables that override the image's config file, and as a complete file."""
    variables = to_environment(switch_off_missing(release.image_defaults, tree), release.schema)
    environment = {name: resolve(text) for name, text in variables.items()}
    return (reader.read(image_config(release), environment), reader.read(resolve(to_file(tree))))


def contains(expected: Any, actual: Any, kinds: Kinds) -> bool:  # noqa: ANN401
    """Whether `actual` (as the registry read it) has each value of `expected` (as we wrote it).

    `kinds` is the schema of both. Where it allows arbitrary keys, both must have the same keys.
    """
    if isinstance(kinds, Mapping):
        if ANY in kinds and expected.keys() != actual.keys():
            return False
        return all(
            contains(value, actual[key], kinds.get(key, kinds.get(ANY, "any")))
            for key, value in expected.items()
        )
    if not isinstance(kinds, str):
        pairs = zip(expected, actual, strict=True)
        return len(expected) == len(actual) and all(contains(e, a, kinds[0]) for e, a in pairs)
    if kinds.startswith("duration") and isinstance(actual, int):
        parts = re.findall(r"(\d+)([a-z]+)", expected)
        return actual == sum(int(number) * UNITS[unit] for number, unit in parts)
    return equal(expected, actual)


def equal(expected: Any, actual: Any) -> bool:  # noqa: ANN401
    """Whether two values are equal. Unlike in Python, true differs from 1; 1.0 equals 1."""
    if isinstance(expected, Mapping):
        return expected.keys() == actual.keys() and all(
            equal(expected[k], actual[k]) for k in expected
        )
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        return len(expected) == len(actual) and all(map(equal, expected, actual))
    if isinstance(expected, Placeholder):
        return bool(actual == strategies.SECRETS.get(expected.label, expected.label))
    if isinstance(expected, float):  # Go's JSON may write a large float without a decimal point.
        actual = float(actual)
    return isinstance(expected, bool) == isinstance(actual, bool) and bool(expected == actual)


@seeded
@given(data=st.data())
def test_the_registry_reads_every_key_as_it_was_written(
    reader: ReferenceReader, release: Release, data: st.DataObject
) -> None:
    # The registry moves the value of `loglevel` to `log.level`.
    tree = data.draw(strategies.configurations(release, {"loglevel": None}), label="tree")
    storage = tree.setdefault("storage", {})
    if storage.keys() <= BESIDE_DRIVER["storage"]:
        storage["filesystem"] = {}
    for read_back in read_both_ways(reader, release, tree):
        assert contains(tree, read_back, release.schema.keys)


# Strategies for values that depend on the user, such as addresses. None leaves a key out.
URLS = st.sampled_from(("https://hook.example/e", "http://h:1/", "https://[::1]:5000"))
PATTERNS = st.lists(st.sampled_from((r"^https?://([^/]+\.)*example\.com/", "^$", ".*")), max_size=2)
MIDDLEWARE = st.just([{"name": "redirect", "options": {"baseurl": "https://cdn.example/"}}])
OVERRIDES: Mapping[str, Any] = {
    "http.host": URLS,
    "http.prefix": st.sampled_from(("/", "/registry/", "/a.b/c-d/")),
    "middleware": st.fixed_dictionaries({}, optional={"storage": MIDDLEWARE}),
    "validation.manifests.urls.allow": PATTERNS,
    "validation.manifests.urls.deny": PATTERNS,
    # These need files that do not exist here.
    **dict.fromkeys(("auth.token", "compatibility.schema1.signingkeyfile", "redis.tls")),
    # These are refused. tests/unit has the tests for that.
    **dict.fromkeys((*MANAGED_KEYS, "proxy", "loglevel", "http.tls.letsencrypt")),
    "auth.htpasswd.path": st.just("/dev/null"),
    "redis.mastername": None,  # The registry would wait for a sentinel.
    "redis.minidleconns": st.just(0),  # With more, the registry connects to redis at once.
}
STORAGES = st.just({"kind": "filesystem"}) | st.fixed_dictionaries(
    {
        "kind": st.just("oss"),
        "internal": st.booleans(),
        "bucket": st.just("demo"),
        "prefix": st.just("team/registry"),
        "access_keys": st.just(["2026-11"]),
    }
)
CACHES = st.just({"enabled": False}) | st.fixed_dictionaries(
    {
        "address": st.just("127.0.0.1:1"),
        "db": st.integers(0, 15),
        "pool": st.fixed_dictionaries(
            {
                "max_idle": st.integers(1, 100),
                "max_active": st.integers(1, 100),
                "idle_timeout": strategies.durations,
            }
        ),
    }
)
LOG_LEVELS = st.sampled_from(("error", "warn", "info", "debug"))


@st.composite
def stacks(draw: st.DrawFn, release: Release) -> Stack:
    """Draw a stack without `registry.config`."""
    settings = StackSettings.model_validate(
        {
            "registry": {"release": release.version, "log_level": draw(LOG_LEVELS)},
            "storage": draw(STORAGES),
            "cache": draw(CACHES),
        }
    )
    return Stack("dev", settings, BACKENDS, region="cn-hangzhou", secrets=strategies.SECRETS)


def as_user_config(tree: Any) -> Any:  # noqa: ANN401
    """`tree` in the form of a stack file: each secret is referenced by its name."""
    if isinstance(tree, Placeholder):
        return {"from_secret": tree.label}
    if isinstance(tree, Mapping):
        return {key: as_user_config(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [as_user_config(item) for item in tree]
    return tree


@st.composite
def user_configs(draw: st.DrawFn, release: Release) -> Any:  # noqa: ANN401
    """Draw a user's `registry.config`, in which some keys that this project sets are null."""
    config = as_user_config(draw(strategies.configurations(release, OVERRIDES)))
    for path in draw(st.lists(st.sampled_from(NULLABLE_KEYS), max_size=2)):
        section, _, key = path.rpartition(".")
        inner = config
        for part in section.split("."):
            inner = inner.setdefault(part, {})
        inner[key] = None
    return config


NULLABLE_KEYS = (
    "log.fields",
    "log.accesslog",
    "http.headers",
    "http.draintimeout",
    "health.storagedriver",
    "storage.delete",
    "storage.maintenance",
    "storage.cache",
)


@seeded
@given(data=st.data())
def test_accepted_configurations_start_and_read_the_same_from_variables_and_from_a_file(
    reader: ReferenceReader, release: Release, data: st.DataObject
) -> None:
    stack = data.draw(stacks(release), label="stack")
    config = data.draw(user_configs(release), label="config")
    # A stack file with problems is refused, so such a configuration never reaches the registry.
    user, _ = read(release, config, strategies.SECRETS.keys())
    assume(not problems(release, stack.registry, user))
    tree = replace(stack, overlay=user).registry.tree
    by_variables, by_file = read_both_ways(reader, release, tree)
    assert by_variables == by_file
    reader.start(resolve(to_file(tree)))
