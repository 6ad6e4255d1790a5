"""The pages of this project: their links, and what they tell a reader to run or to look at."""

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
    """Where its links and pictures lead."""
    for token in _tokens(page):
        if where := token.attrGet("href") or token.attrGet("src"):
            yield str(where)


def anchors(page: Path) -> set[str]:
    """What a link into it may end in, as GitHub names its headings."""
    found = pairwise(_tokens(page))
    titles = [inner.content for opening, inner in found if opening.type == "heading_open"]
    names = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    before: Counter[str] = Counter()
    known = set()
    for name in names:
        known.add(f"{name}-{before[name]}" if before[name] else name)
        before[name] += 1
    return known


def lines(block: str) -> list[str]:
    """The commands in a block: what stands after $, a \\ at the end going on in the next line."""
    joined = block.replace("\\\n", " ")
    return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The language and the text of each of its blocks of code."""
    for token in _tokens(page):
        if token.type == "fence":
            yield token.info.strip(), token.content


def code(page: Path) -> Iterator[str]:
    """What is marked as code within its text."""
    return (token.content for token in _tokens(page) if token.type == "code_inline")


def commands(page: Path) -> Iterator[Sequence[str]]:
    """The words of each command: those of its blocks, and `make …` wherever it is code."""
    found = [line for kind, text in blocks(page) if kind == "console" for line in lines(text)]
    found += [text for text in code(page) if text.startswith("make ")]
    for line in found:
        yield from _each(line)


def _each(line: str) -> Iterator[Sequence[str]]:
    """The commands in one line of a shell."""
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
    """The blocks of commands below each heading that has some, without those below a deeper one."""
    heading, found = "", dict[str, list[str]]()
    for opening, inner in pairwise(_tokens(page)):
        if opening.type == "heading_open":
            heading = inner.content
        elif inner.type == "fence" and inner.info.strip() == "console":
            found.setdefault(heading, []).append(inner.content)
    return found
