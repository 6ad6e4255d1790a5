"""What we write is what the registry reads: both deliveries, every release, the whole schema."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from config.overlay import MANAGED, problems, read
from config.plan import plan
from config.releases import CacheFacts, HttpFacts, OssFacts, Release, VolumeFacts
from config.render import BESIDE_DRIVER, Text, quote, to_environment, to_file
from config.schema import Kinds
from config.tree import ANY, Placeholder, Section, switch_off_defaults
from tests.reference import trees
from tests.reference.conftest import seeded
from tests.reference.reader import ReferenceReader
from toolchain.images import IMAGES

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def image_file(release: Release) -> str:
    """The image's own configuration file, over which variables lie."""
    (image,) = (image for image in IMAGES if image.reference == release.image)
    assert image.program is not None
    return (image.program.sources / "config.yml").read_text()


def filled(text: Text, secrets: Mapping[str, str] = trees.SECRETS) -> str:
    return "".join(
        quote(secrets.get(p.label, p.label)) if isinstance(p, Placeholder) else p for p in text
    )


def delivered(reader: ReferenceReader, release: Release, tree: Section) -> tuple[Any, Any]:
    """What the registry makes of `tree` as variables over its image's file, and as a whole file."""
    variables = to_environment(switch_off_defaults(release.image_defaults, tree), release.schema)
    environment = {name: filled(text) for name, text in variables.items()}
    return (reader.read(image_file(release), environment), reader.read(filled(to_file(tree))))


def agrees(expected: Any, actual: Any, kinds: Kinds) -> bool:  # noqa: ANN401
    """Whether what was read has all that was written."""
    if isinstance(kinds, Mapping):
        free = ANY in kinds
        return (not free or expected.keys() == actual.keys()) and all(
            agrees(value, actual[key], kinds.get(key, kinds.get(ANY, "any")))
            for key, value in expected.items()
        )
    if not isinstance(kinds, str):
        pairs = zip(expected, actual, strict=True)
        return len(expected) == len(actual) and all(agrees(e, a, kinds[0]) for e, a in pairs)
    if kinds.startswith("duration") and isinstance(actual, int):
        parts = re.findall(r"(\d+)([a-z]+)", expected)
        return actual == sum(int(number) * UNITS[unit] for number, unit in parts)
    return same(expected, actual)


def same(expected: Any, actual: Any) -> bool:  # noqa: ANN401
    """Equality that tells true from 1, but not 1.0 from 1."""
    if isinstance(expected, Mapping):
        return expected.keys() == actual.keys() and all(
            same(expected[k], actual[k]) for k in expected
        )
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        return len(expected) == len(actual) and all(map(same, expected, actual))
    if isinstance(expected, Placeholder):
        return bool(actual == trees.SECRETS.get(expected.label, expected.label))
    if isinstance(expected, float):  # JSON from Go may write a large one as digits only
        actual = float(actual)
    return isinstance(expected, bool) == isinstance(actual, bool) and bool(expected == actual)


@seeded
@given(data=st.data())
def test_every_key_of_every_section_reads_back_as_it_was_written(
    reader: ReferenceReader, release: Release, data: st.DataObject
) -> None:
    # The registry moves `loglevel` to log.level.
    tree = data.draw(trees.trees(release, {"loglevel": None}), label="tree")
    storage = tree.setdefault("storage", {})
    if storage.keys() <= BESIDE_DRIVER["storage"]:
        storage["filesystem"] = {}
    for read_back in delivered(reader, release, tree):
        assert agrees(tree, read_back, release.schema.keys)


# What only a user can know: files that must be there, and addresses of the user's own.
URLS = st.sampled_from(("https://hook.example/e", "http://h:1/", "https://[::1]:5000"))
PATTERNS = st.lists(st.sampled_from((r"^https?://([^/]+\.)*example\.com/", "^$", ".*")), max_size=2)
MIDDLEWARE = st.just([{"name": "redirect", "options": {"baseurl": "https://cdn.example/"}}])
OVERRIDES: Mapping[str, Any] = {
    "http.host": URLS,
    "http.prefix": st.sampled_from(("/", "/registry/", "/a.b/c-d/")),
    "middleware": st.fixed_dictionaries({}, optional={"storage": MIDDLEWARE}),
    "validation.manifests.urls.allow": PATTERNS,
    "validation.manifests.urls.deny": PATTERNS,
    # Files that would have to be there.
    **dict.fromkeys(("auth.token", "compatibility.schema1.signingkeyfile", "redis.tls")),
    # What is refused anyway, but by tests/unit.
    **dict.fromkeys((*MANAGED, "proxy", "loglevel", "http.tls.letsencrypt")),
    "auth.htpasswd.path": st.just("/dev/null"),
    "redis.mastername": None,  # it would wait for a sentinel
    "redis.minidleconns": st.just(0),  # it would connect at once
}
STORAGES = st.just(VolumeFacts(path="/var/lib/registry")) | st.builds(
    OssFacts,
    region=st.just("cn-hangzhou"),
    host=st.sampled_from(("oss-cn-hangzhou.aliyuncs.com", "oss-cn-hangzhou-internal.aliyuncs.com")),
    bucket=st.just("demo"),
    prefix=st.just("team/registry"),
    key=st.just("2026-11"),
)
CACHES = st.none() | st.builds(
    CacheFacts,
    address=st.just("127.0.0.1:1"),
    db=st.integers(0, 15),
    max_idle=st.integers(1, 100),
    max_active=st.integers(1, 100),
    idle_timeout=trees.durations,
)
SERVING = st.builds(
    HttpFacts,
    log_level=st.sampled_from(("error", "warn", "info", "debug")),
    drain_seconds=st.integers(0, 3600),
)


def as_written(tree: Any) -> Any:  # noqa: ANN401
    """`tree` as a stack file has it: a secret by its name."""
    if isinstance(tree, Placeholder):
        return {"from_secret": tree.label}
    if isinstance(tree, Mapping):
        return {key: as_written(value) for key, value in tree.items()}
    return [as_written(item) for item in tree] if isinstance(tree, list) else tree


@st.composite
def configs(draw: st.DrawFn, release: Release) -> Any:  # noqa: ANN401
    """A user's `config:`, null for some of what we set."""
    config = as_written(draw(trees.trees(release, OVERRIDES)))
    for path in draw(st.lists(st.sampled_from(NULLED), max_size=2)):
        section, _, key = path.rpartition(".")
        inner = config
        for part in section.split("."):
            inner = inner.setdefault(part, {})
        inner[key] = None
    return config


NULLED = (
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
def test_every_tree_that_is_accepted_starts_the_same_by_variables_and_by_file(
    reader: ReferenceReader, release: Release, data: st.DataObject
) -> None:
    facts = data.draw(st.tuples(STORAGES, CACHES, SERVING), label="facts")
    config = data.draw(configs(release), label="config")
    # What is a problem never gets here from a stack file; the rest of the draw still counts.
    user, _ = read(release, config, trees.SECRETS.keys())
    assume(not problems(release, plan(release, *facts, {}), user))
    tree = plan(release, *facts, user)
    by_variables, by_file = delivered(reader, release, tree)
    assert by_variables == by_file
    reader.start(filled(to_file(tree)))
