"""All lessons as one document, docs/tutorial.md, for reading without the lab."""

from collections.abc import Iterable, Iterator

from transformer_lab.ui.learn.lessons import Block, Lesson

BEGIN = """# Understanding transformers: a hands-on tutorial

The lessons of the Learn tab, written by `python docs/make_tutorial.py` from the files in
[lessons/](lessons/); change those. In the lab, what begins with ▶ is a button that does it on the
real page, and checks look at your own runs. Start the lab with `make run` and open
`http://localhost:8050`.
"""


def tutorial(lessons: Iterable[Lesson]) -> str:
    """The document, in Markdown."""
    found = list(lessons)
    contents = [f"- [{_title(lesson)}](#{_anchor(lesson)})" for lesson in found]
    return "\n".join([BEGIN, *contents, "", *[_chapter(lesson) for lesson in found]])


def _title(lesson: Lesson) -> str:
    return f"{lesson.number}. {lesson.title}" if lesson.number else lesson.title


def _anchor(lesson: Lesson) -> str:
    """As GitHub names a heading."""
    kept = [letter for letter in _title(lesson).lower() if letter.isalnum() or letter in " -_"]
    return "".join(kept).replace(" ", "-")


def _chapter(lesson: Lesson) -> str:
    return "\n".join([f"## {_title(lesson)}\n", *_written(lesson.blocks)])


def _written(blocks: Iterable[Block]) -> Iterator[str]:
    for block in blocks:
        if block.kind == "text":
            lines = block.text.splitlines()
            yield "\n".join(f"#{line}" if line.startswith("## ") else line for line in lines) + "\n"
        elif block.kind == "do":
            done = ", ".join(f"`{line}`" for line in block.text.strip().splitlines())
            yield f"> ▶ **{block.words}** ({done})\n"
        elif block.kind in ("when", "unless"):
            there = "has a" if block.kind == "when" else "has no"
            yield f"*If your lab {there} tab {block.words}:*\n"
            yield from _written(block.blocks)
