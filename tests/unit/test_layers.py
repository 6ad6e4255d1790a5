"""Tests of the order in which packages and modules import each other."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
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
# The modules in each row of the table in docs/architecture.md, from the top layer to the bottom.
LAYERS = [
    re.findall(r"`(?:(?:components|config)/)?(\w+)(?:\.py|/)`", row.split("|")[1])
    for row in (PROJECT / "docs/architecture.md")
    .read_text()
    .partition("## Modules\n")[2]
    .partition("\n## ")[0]
    .splitlines()
    if row.startswith("| `")
]


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


def test_modules_import_only_modules_below_them_in_the_page_on_architecture() -> None:
    order = {name: number for number, names in enumerate(LAYERS) for name in names}
    assert len(order) > 20
    for package in ("config", "components"):
        files = {file.stem: file for file in (PROJECT / package).glob("*.py")}
        for name, file in files.items():
            if name == "__init__":
                continue
            assert name in order, f"docs/architecture.md does not list {package}/{name}.py"
            for imported in _modules(file):
                assert order.get(imported, len(LAYERS)) >= order[name], f"{file} imports {imported}"


def _modules(file: Path) -> Iterator[str]:
    """Yield the modules of config/ and components/ that a file imports when it is loaded."""
    for name in _imports(file):
        package, _, module = name.partition(".")
        if package in ("config", "components") and module:
            yield module.split(".")[0]


def _imports(file: Path) -> Iterator[str]:
    """Yield the full names that the statements at the top level of a file import."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
