"""Parse the pages of this project: links, headings, code blocks and commands."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

PROJECT = Path(__file__).parent.parent.parent
PAGES = sorted((*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")))


def _tokens(page: Path) -> Iterator[Token]:
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        yield token
        yield from token.children or ()


def links(page: Path) -> Iterator[str]:
    """Yield the targets of the links and pictures of a page."""
    for token in _tokens(page):
        if target := token.attrGet("href") or token.attrGet("src"):
            yield str(target)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub generates them."""
    found = pairwise(_tokens(page))
    titles = [inner.content for opening, inner in found if opening.type == "heading_open"]
    names = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    occurrences: Counter[str] = Counter()
    found_anchors = set()
    for name in names:
        found_anchors.add(f"{name}-{occurrences[name]}" if occurrences[name] else name)
        occurrences[name] += 1
    return found_anchors


def lines(block: str) -> list[str]:
    """Return the command lines in a block, which begin with `$`. A line after a `\\` is joined."""
    joined = block.replace("\\\n", " ")
    return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each code block of a page."""
    for token in _tokens(page):
        if token.type == "fence":
            yield token.info.strip(), token.content


def code(page: Path) -> Iterator[str]:
    """Return the inline code of a page."""
    return (token.content for token in _tokens(page) if token.type == "code_inline")


def commands(page: Path) -> Iterator[Sequence[str]]:
    """Yield the words of each command of a page: in console blocks, and inline `make …`."""
    found = [line for kind, text in blocks(page) if kind == "console" for line in lines(text)]
    found += [text for text in code(page) if text.startswith("make ")]
    for line in found:
        yield from _split_commands(line)


def _split_commands(line: str) -> Iterator[Sequence[str]]:
    """Yield the words of each command in a line of shell code."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;()<>")
    lexer.commenters = "#"
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, ";"):
        if set(word) <= set("&|;()"):
            if words:
                yield words
            words = []
        else:
            words.append(word)


def procedures(page: Path) -> dict[str, list[str]]:
    """Return the console blocks of a page, by the heading directly above them."""
    heading, found = "", dict[str, list[str]]()
    for opening, inner in pairwise(_tokens(page)):
        if opening.type == "heading_open":
            heading = inner.content
        elif inner.type == "fence" and inner.info.strip() == "console":
            found.setdefault(heading, []).append(inner.content)
    return found
