"""Tests that the links, commands, file names and examples of the pages are valid."""

import re
from pathlib import Path

import pytest
import yaml

from operations.stack_file import as_configuration
from tests.docs.pages import PAGES, PROJECT, anchors, blocks, code, commands, links
from tests.unit.stack_files import load

MAKEFILE = (PROJECT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"\$[($](?:call given,)?([A-Z_]+)", MAKEFILE))
# The programs that the pages may use.
PROGRAMS = {
    *("aliyun", "crane", "docker", "git", "journalctl", "make", "ossutil", "pulumi", "python"),
    *("skopeo", "systemctl"),
    *("cd", "cp", "eval", "export", "git", "grep", "kill", "mkdir", "rm", "sudo"),
}
for_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@for_each_page
def test_each_link_of_a_page_leads_to_an_existing_file_and_heading(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@for_each_page
def test_each_command_of_a_page_exists(page: Path) -> None:
    for words in commands(page):
        assert words[0] in PROGRAMS, words
        if words[0] != "make":
            continue
        for word in words[1:]:
            name, equals, _ = word.partition("=")
            if equals:
                assert name in VARIABLES, words
            elif not word.startswith(("-", ">", "2>")) and word != "…":
                assert name in TARGETS, words


@for_each_page
def test_each_file_that_a_page_names_exists(page: Path) -> None:
    folders = r"(?:bench|components|config|docs|operations|stacks|tests|toolchain)/[\w./-]*"
    for text in code(page):
        if re.fullmatch(folders, text) and not re.search(r"\.prod\.|\.mine\.|\.trial\.", text):
            assert (PROJECT / text).exists(), text


@for_each_page
def test_the_yaml_examples_of_a_page_are_valid(page: Path) -> None:
    for language, text in blocks(page):
        if language == "yaml":
            assert yaml.safe_load(text.replace("…", "x")) or text.startswith("#"), text


def test_the_preview_in_the_readme_is_the_reviewed_output_of_make_preview() -> None:
    printed = (PROJECT / "tests/integration/reviews/rotation.md").read_text().splitlines()
    readme = (PROJECT / "README.md").read_text().splitlines()
    shown = [line.removeprefix(">").removeprefix(" ") for line in readme if line.startswith(">")]
    assert [line for line in shown if line] == [line for line in printed[1:] if line]


def test_the_readme_is_one_page() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) < 90


def test_the_stack_file_in_the_readme_is_valid() -> None:
    (text,) = (text for language, text in blocks(PROJECT / "README.md") if language == "yaml")
    texts, secrets = as_configuration(yaml.safe_load(text)["config"])
    assert load("prod", texts, secrets).registry.release.version == "3.1.2"


def test_each_table_of_the_benchmarks_has_results() -> None:
    text = (PROJECT / "docs/benchmarks.md").read_text()
    tables = re.findall(r"<!-- (\w.*?) -->\n(.*?)<!-- /(.*?) -->", text, re.DOTALL)
    assert [name for name, _, _ in tables] == re.findall(r"<!-- (\w.*?) -->", text)
    for name, table, end in tables:
        assert name == end
        assert table.count("\n|") >= 3, name


def test_the_figures_in_the_readme_are_those_of_the_benchmarks() -> None:
    lines = (PROJECT / "docs/benchmarks.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    measured = [
        float(next(row[len(key)] for row in rows if row[: len(key)] == key).split()[0])
        for key in (
            ["200 × 50 kB", "1", "warm pull", "ours / ours without a cache"],
            ["1 × 1 GiB", "1", "push", "ours / tutorial"],
            ["first `up`", "compose"],
        )
    ]
    quoted = re.findall(r"\*\*([\d.]+) times\*\*", (PROJECT / "README.md").read_text())
    assert [float(figure) for figure in quoted] == pytest.approx(measured, rel=0.1)
