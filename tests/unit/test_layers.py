"""Tests of the order in which packages and modules import each other."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
ALLOWED_IMPORTS = {
    "config": {"config"},
    "components": {"config", "components"},
    "operations": {"config", "components", "operations"},
    "toolchain": {"config", "toolchain"},
}
# A Python program that imports all modules of a package while Pulumi is not importable.
IMPORT_WITHOUT_PULUMI = """
import importlib, pkgutil, sys
sys.modules["pulumi"] = sys.modules["pulumi_docker"] = sys.modules["pulumi_alicloud"] = None
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
    importlib.import_module(module.name)
"""


@pytest.mark.parametrize("package", ALLOWED_IMPORTS)
def test_a_package_imports_only_itself_and_the_packages_below_it(package: str) -> None:
    for file in (PROJECT / package).rglob("*.py"):
        imported = {name.split(".")[0] for name in _imports(file)}
        assert imported & ALLOWED_IMPORTS.keys() <= ALLOWED_IMPORTS[package], file


@pytest.mark.parametrize("package", ["config", "operations"])
def test_a_package_can_be_imported_without_pulumi(package: str) -> None:
    command = [sys.executable, "-c", IMPORT_WITHOUT_PULUMI, package]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("provider", "folder"),
    [("pulumi_docker", "components/runtime"), ("pulumi_alicloud", "components/storage/oss")],
)
def test_only_one_package_imports_a_provider(provider: str, folder: str) -> None:
    files = [file for package in ALLOWED_IMPORTS for file in (PROJECT / package).rglob("*.py")]
    users = [file for file in files if any(name.startswith(provider) for name in _imports(file))]
    assert users
    assert all(file.is_relative_to(PROJECT / folder) for file in users), users


def test_modules_import_only_modules_below_them_in_the_page_on_architecture() -> None:
    order = {module: number for number, row in enumerate(_rows()) for module in row}
    assert len(order) > 20
    for package in ("config", "components"):
        for file in (PROJECT / package).rglob("*.py"):
            if file == PROJECT / package / "__init__.py":
                continue
            module = _module(file.relative_to(PROJECT).with_suffix("").parts)
            assert module in order, f"docs/architecture.md does not list {module}"
            for name in _imports(file):
                imported = _module(name.split("."))
                assert order.get(imported, len(order)) >= order[module], f"{file} imports {name}"


def _rows() -> Iterator[Sequence[str]]:
    """Yield the modules in each row of the page's table, from the top to the bottom."""
    page = (PROJECT / "docs/architecture.md").read_text()
    table = page.partition("## Modules\n")[2].partition("\n## ")[0]
    for row in table.splitlines():
        names = re.findall(r"`(?:(\w+)/)?(\w+)(?:\.py|/)`", row.split("|")[1]) if "|" in row else []
        if names and names[0][0] in ("config", "components"):
            yield [_module((names[0][0], name)) for _, name in names]


def _module(parts: Sequence[str]) -> str:
    """Return the module or package directly below config/ or components/, as `config/stack`."""
    return "/".join(parts[:2])


@cache
def _imports(file: Path) -> Sequence[str]:
    """Return the full names that a file imports, also inside of functions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names += (f"{node.module}.{alias.name}" for alias in node.names)
    return names
