"""Every number of a lesson is computed: what computes it stands in `lesson_numbers.py`."""

import re

import pytest

from lesson_numbers import ADVICE, CLAIMS, NAMED
from transformer_lab.recipes import SETTINGS
from transformer_lab.settings import checked
from transformer_lab.ui.learn.lessons import Block, Lesson, load_lessons

LESSONS = load_lessons()
NUMBER = re.compile(r"\d|\b(twice|half|double|tenth|sixteenth|hours?|minutes?|\w+ times)\b", re.I)
SHORTEST = 5  # letters of a piece: a shorter one could stand for other numbers too


def flat(blocks: tuple[Block, ...]) -> list[Block]:
    return [one for block in blocks for one in (block, *flat(block.blocks))]


def words(lesson: Lesson) -> str:
    """All that a learner reads of a lesson, in one line."""
    read = [block.text if block.kind == "text" else block.words for block in flat(lesson.blocks)]
    text = re.sub(r"(?m)^\d+\. ", "", "\n".join([lesson.title, *read]))  # the places of a list
    return " ".join(text.replace("{,}", ",").split())


def label_held(block: Block) -> str:
    """What a button's label says without the numbers that its own lines set."""
    values = re.findall(r"[\d.e-]*\d", block.text)
    values += [f"{100 * float(value):g} %" for value in values if value.startswith("0.")]
    pattern = rf"(?<![\d.])({'|'.join(map(re.escape, values))})(?!\.?\d)" if values else "$^"
    return re.sub(pattern, "•", block.words)


def left(lesson: Lesson) -> str:
    """A lesson's words with every piece taken out that is computed, or claims nothing."""
    text = words(lesson)
    for block in flat(lesson.blocks):
        if block.kind == "do":
            text = text.replace(block.words, label_held(block))
    pieces = [*CLAIMS.get(lesson.slug, lambda: ())(), *NAMED]
    for piece in sorted(pieces, key=len, reverse=True):
        text = re.sub(rf"(?<![\d.,]){re.escape(piece)}(?![.,]?\d)", " • ", text)
    return text


@pytest.mark.parametrize("slug", CLAIMS)
def test_what_is_computed_is_what_the_lesson_says(slug):
    text = words(LESSONS[slug])
    for piece in CLAIMS[slug]():
        assert piece in text
        assert len(piece) >= SHORTEST


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=lambda lesson: lesson.slug)
def test_no_number_of_a_lesson_is_left_that_nothing_computes(lesson):
    text = left(lesson)
    found = [text[max(0, one.start() - 40) : one.end() + 40] for one in NUMBER.finditer(text)]
    assert not found, "add what computes it to lesson_numbers.py"


def test_a_number_that_nothing_computes_is_found():
    lesson = LESSONS["temperature"]
    more = Block("text", text="It is 7 times better.")
    changed = Lesson(**{**vars(lesson), "blocks": (*lesson.blocks, more)})
    assert "7 times better" in left(changed)


def test_values_to_try_are_values_that_a_setting_may_have():
    for key, both in ADVICE.items():
        for value in " or ".join(both).split(" or "):
            checked(SETTINGS[key], value)
