"""Lessons: one Markdown file each in docs/lessons/, with a few directives that the page obeys.

A file begins with its front matter (title, minutes, needs). A directive is a block between `:::`
lines: `do WORDS` is a button whose lines are actions, `check NAME` looks at the learner's own run,
`when TAB` and `unless TAB` hold text for a page with or without that tab, and `also WORDS` says by
what other words a search finds an entry of Troubleshooting.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from transformer_lab.packaged import packaged

FOLDER = "docs/lessons"
KEYS = ("title", "minutes", "needs")
NEEDS = ("nothing", "a model")
KINDS = ("do", "check", "when", "unless", "also")
MOST_MINUTES = 5


class LessonError(ValueError):
    """A lesson that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Block:
    """A piece of a lesson. `kind` is text, or one of KINDS with what stands behind it in `words`.

    `text` is Markdown, or the lines of actions; `blocks` is what stands inside a when or unless.
    """

    kind: str
    words: str = ""
    text: str = ""
    blocks: tuple["Block", ...] = ()


@dataclass(frozen=True)
class Lesson:
    """One lesson. A reference page, such as Troubleshooting, has no number."""

    slug: str
    number: int
    title: str
    minutes: int
    needs: str
    blocks: tuple[Block, ...]
    language: str = "en"

    def shown(self, tabs: Iterable[str]) -> list[Block]:
        """Its blocks on a page with these tabs."""
        return list(_shown(self.blocks, set(tabs)))


def _shown(blocks: Iterable[Block], tabs: set[str]) -> Iterator[Block]:
    for block in blocks:
        if block.kind not in ("when", "unless"):
            yield block
        elif (block.words in tabs) == (block.kind == "when"):
            yield from _shown(block.blocks, tabs)


def load_lessons(language: str = "en") -> dict[str, Lesson]:
    """All lessons in the order of their numbers, then the reference pages.

    Those that are there in a language, in the folder of its name; the others in English.
    """
    found = {path.name: load_lesson(path) for path in packaged(FOLDER).glob("*.md")}
    for path in (packaged(FOLDER) / language).glob("*.md"):
        found[path.name] = replace(load_lesson(path), language=language)
    ordered = sorted(found.values(), key=lambda one: (one.number or len(found) + 1, one.slug))
    return {lesson.slug: lesson for lesson in ordered}


def load_lesson(path: Path) -> Lesson:
    """Read one file, such as 03_attention.md. Raises LessonError."""
    number, _, rest = path.stem.partition("_")
    slug = rest if number.isdigit() else path.stem
    begin, _, body = path.read_text(encoding="utf-8").removeprefix("---\n").partition("\n---\n")
    about = dict(line.split(": ", 1) for line in begin.splitlines() if ": " in line)
    if tuple(about) != KEYS or about["needs"] not in NEEDS:
        raise LessonError(f"{path.name} must begin with {', '.join(KEYS)} between lines of ---.")
    return Lesson(
        slug=slug,
        number=int(number) if number.isdigit() else 0,
        title=about["title"],
        minutes=int(about["minutes"]),
        needs=about["needs"],
        blocks=parsed(body, path.name),
    )


def parsed(text: str, name: str = "") -> tuple[Block, ...]:
    """The blocks of a text. Raises LessonError for a directive that is unknown or not closed."""
    lines = iter(enumerate(text.splitlines(), start=1))
    return tuple(_blocks(lines, name, inside=False))


def _blocks(lines: Iterator[tuple[int, str]], name: str, *, inside: bool) -> Iterator[Block]:
    prose: list[str] = []

    def text() -> list[Block]:
        words = "\n".join(prose).strip("\n")
        prose.clear()
        return [Block("text", text=words)] if words.strip() else []

    for number, line in lines:
        if not line.startswith(":::"):
            prose.append(line)
            continue
        yield from text()
        if line == ":::":
            if not inside:
                raise LessonError(f"{name}, line {number}: this ::: closes nothing.")
            return
        yield _directive(line, number, lines, name)
    if inside:
        raise LessonError(f"{name}: a directive is not closed by :::.")
    yield from text()


def _directive(line: str, number: int, lines: Iterator[tuple[int, str]], name: str) -> Block:
    found = re.fullmatch(r"::: (\w+) (.+)", line)
    if found is None or found[1] not in KINDS:
        raise LessonError(f"{name}, line {number}: {line} is none of {', '.join(KINDS)}.")
    kind, words = found[1], found[2]
    inner = tuple(_blocks(lines, name, inside=True))
    if kind in ("when", "unless"):
        return Block(kind, words, blocks=inner)
    return Block(kind, words, text=inner[0].text if inner else "")
