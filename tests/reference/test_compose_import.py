"""Tests that an import changes no setting of a registry except those that it lists."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config.problems import within
from operations.compose_import.convert import choose_service, import_service
from operations.compose_import.project import Unreadable, load_project
from operations.compose_import.report import question_lines, report_lines, stack_file_text
from operations.compose_import.result import Answers, differences
from operations.errors import CommandError
from tests.reference.conftest import seeded
from tests.reference.reader import ReferenceReader
from tests.reference.test_reading import image_config, resolve
from tests.unit.compose_files import IMPORTABLE, imported, loader

# Cases with the driver s3 and an old name of a key, in place of which the stack uses others.
CHANGED_DRIVER = {"chart-shaped"}
FILES = sorted((Path(__file__).parent.parent / "compose").glob("*/*compose.y*ml"))


@pytest.mark.parametrize("name", IMPORTABLE)
def test_an_imported_registry_differs_only_in_the_listed_settings(
    readers: Mapping[str, ReferenceReader], name: str
) -> None:
    result = imported(name)
    service, case = result.service, IMPORTABLE[name]
    stack, _ = result.validated()
    release, reader = stack.registry.release, readers[stack.registry.release.version]
    named = [word for word in service.keys["command"] or () if word.endswith(".yml")]
    path = case.config_path or [*named, release.config_path][0]
    try:
        text = service.read_file(path)
    except Unreadable:
        text = image_config(release)
    registry_variables = {
        name: value for name, value in service.environment.items() if name.startswith("REGISTRY")
    }
    old = reader.read(text, registry_variables)

    variables = {
        name: resolve(text, result.secrets) for name, text in stack.registry.environment.items()
    }
    config_file = stack.registry.files.get(release.config_path)
    if config_file is None:
        new = reader.read(image_config(release), variables)
    else:
        new = reader.read(resolve(config_file, result.secrets))

    listed = dict(result.changes())
    omitted = [part for part, _ in result.omitted]
    if name in CHANGED_DRIVER:
        omitted += ["storage.s3", "storage.oss", "storage.cache"]
    assert not [
        path
        for path in differences(old, new)
        if path not in listed and not any(within(path, part) for part in omitted)
    ]
    # Each difference has a reason, and this program itself is the reason for none.
    assert all(listed.values())
    assert not [path for path, reason in listed.items() if "this program" in reason]


# Values that people write into the wrong place of a compose file.
ODD_VALUES: Any = (
    *(None, "", [], {}, "x", "5000", ":", "/", "$", "{", "- x", "true", "-1", "1e5", "9" * 30),
    *("./a:/b:ro", "a:b:c:d", "[::1]:5:6", "${X}", "${A:-${B}}", "REGISTRY_STORAGE=oss", "é\u2028"),
    *(["a"], {"a": "b"}, [None], [[]], {"a": None}, [{"source": "x"}]),
)


def _entries(tree: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    """Yield (container, key) for every entry of the nested mappings and lists in `tree`."""
    keys: Iterable[Any] = ()
    if isinstance(tree, dict):
        keys = tree
    elif isinstance(tree, list):
        keys = range(len(tree))
    for key in keys:
        yield tree, key
        yield from _entries(tree[key])


@seeded
@given(data=st.data())
def test_a_compose_file_with_odd_values_is_imported_or_refused_with_a_message(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = data.draw(st.sampled_from(FILES))
    content = yaml.safe_load(file.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        tree, key = data.draw(st.sampled_from([*_entries(content)]))
        tree[key] = deepcopy(data.draw(st.sampled_from(ODD_VALUES)))
    odd = tmp_path_factory.getbasetemp() / "docker-compose.yml"
    odd.write_text(yaml.safe_dump(content))
    with suppress(CommandError):
        project = load_project(loader(), odd)
        service = choose_service(project, "", lambda: list(project.services))
        result = import_service(project, service, "imported", Answers())
        assert [*(question_lines(result) if result.questions else report_lines(result))]
        assert yaml.safe_load(stack_file_text(result))["config"] or result.questions
