"""The documents are readable: lines that fit a screen, sentences that fit a breath."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re

import pytest


ROOT = Path(__file__).parents[2]
COLUMNS = 100
CODE_COLUMNS = 89  # as wide as the HTML shows it without scrolling
WORDS = 35
NINE_OF_TEN = 30  # words
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
        *(ROOT / "docs").glob("*.md"),
    ]
)
QUOTED = (None, "text")
FOLDERS = ("", "benchmarks", "docs", "examples/standin", "storage", "tests/data")
SHORT = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are no code, with their number; without what is between two fences."""
    return ((number, line) for number, line, language in _lines(text) if language is None)


def code(text: str) -> Iterator[tuple[int, str]]:
    """The lines of code; a quoted message is none."""
    return ((number, line) for number, line, language in _lines(text) if language not in QUOTED)


def _lines(text: str) -> Iterator[tuple[int, str, str | None]]:
    """Each line but the fences, with its number and, between two fences, its language."""
    fence = language = None
    for number, line in enumerate(text.splitlines(), start=1):
        found = re.match(r"\s*(`{3,})(.*)", line)
        if fence is None and found:
            fence, language = found.groups()
        elif fence is not None and line.strip() == fence:
            fence = language = None
        else:
            yield number, line, language


def is_table(line: str) -> bool:
    return line.lstrip().startswith("|")


def sentences(text: str) -> list[str]:
    """The sentences of a page, each without its mark-up; headings and tables have none."""
    blocks: list[list[str]] = [[]]
    for _, line in prose(text):
        if not line.strip() or re.match(r"\s*([-*]|\d+\.)\s", line):
            blocks.append([])
        if not re.match(r"\s*(#|\||:\w+:|<!--|---|\(\w+\)=)", line):
            blocks[-1].append(re.sub(r"^\s*([-*>]|\d+\.)\s+", "", line).strip())
    plain = [bare(" ".join(block)).strip() for block in blocks]
    found = [s for block in plain for s in re.split(r"(?<=[.!?])[\"')*]*\s+", block)]
    return [sentence for sentence in found if words(sentence)]


def bare(text: str) -> str:
    """Code as one word, a link as its text."""
    text = re.sub(r"`[^`]+`", "code", text)
    text = re.sub(r"!\[([^\]]*)\]\([^)]*\)", "", text)
    return re.sub(r"\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])", r"\1", text)


def words(sentence: str) -> int:
    return sum(any(char.isalnum() for char in word) for word in sentence.split())


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", SHORT, ids=name)
def test_a_line_of_a_page_fits_a_screen(page: Path) -> None:
    lines = prose(page.read_text())
    long = [f"{n}: {line}" for n, line in lines if len(line) > COLUMNS and not is_table(line)]
    assert not long


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_code_of_a_page_is_seen_whole(page: Path) -> None:
    lines = code(page.read_text())
    assert not [f"{n}: {line}" for n, line in lines if len(line) > CODE_COLUMNS]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_sentence_of_a_page_fits_a_breath(page: Path) -> None:
    assert not [s for s in sentences(page.read_text()) if words(s) > WORDS]


def test_nine_of_ten_sentences_are_short() -> None:
    counts = sorted(words(s) for page in PAGES for s in sentences(page.read_text()))
    assert counts[len(counts) * 9 // 10] <= NINE_OF_TEN


def test_what_counts_as_a_sentence() -> None:
    page = """# A heading. No sentence

One [link](there.md). Two with `some code` and
a second line!

- Three
- Four. Five

| a table. | is not |

```python
neither.is(code)
```
"""
    found = sentences(page)
    assert found == ["One link.", "Two with code and a second line!", "Three", "Four.", "Five"]
