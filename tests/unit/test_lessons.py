"""Lessons: they can be read, their buttons name what exists, and their numbers are right."""

import re
from pathlib import Path

import pytest

from transformer_lab.recipes import load_recipes
from transformer_lab.settings import ConfigError
from transformer_lab.ui.languages import languages
from transformer_lab.ui.learn.actions import ACTIONS, steps
from transformer_lab.ui.learn.lessons import (
    MOST_MINUTES,
    Block,
    LessonError,
    load_lesson,
    load_lessons,
    parsed,
)
from transformer_lab.ui.learn.symptoms import ALL_CHECKS
from transformer_lab.ui.learn.tutorial import tutorial

DOCS = Path(__file__).parents[2] / "docs"
PACKAGE, ASSETS = DOCS.parent / "transformer_lab", DOCS.parent / "assets"
LESSONS = load_lessons()
WORDS_A_MINUTE = 180
ALPHABET = "\n !$&',-.3:;?" + "".join(map(chr, [*range(65, 91), *range(97, 123)]))
TUTORIAL = load_recipes()["tiny_shakespeare"].setup


def flat(blocks: tuple[Block, ...]) -> list[Block]:
    """All blocks, those inside of others too."""
    return [one for block in blocks for one in (block, *flat(block.blocks))]


def text(slug: str) -> str:
    """All words of a lesson, with TeX's commas taken out of numbers."""
    return "\n".join(block.text for block in flat(LESSONS[slug].blocks)).replace("{,}", ",")


def of_kind(kind: str) -> list[Block]:
    found = [block for lesson in LESSONS.values() for block in flat(lesson.blocks)]
    return [block for block in found if block.kind == kind]


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=lambda lesson: lesson.slug)
def test_a_lesson_takes_less_than_five_minutes_and_as_long_as_it_says(lesson):
    words = sum(len(block.text.split()) for block in flat(lesson.blocks) if block.kind == "text")
    assert words / WORDS_A_MINUTE <= lesson.minutes <= MOST_MINUTES


def test_lessons_are_numbered_without_gaps_and_reference_pages_follow():
    numbers = [lesson.number for lesson in LESSONS.values()]
    assert numbers == [*range(1, 18), 0, 0]
    assert [*LESSONS][-2:] == ["quick_reference", "troubleshooting"]


def test_every_button_has_steps_and_every_action_is_used():
    buttons = of_kind("do")
    assert all(steps(block.text) for block in buttons)
    used = {line.split()[0] for block in buttons for line in block.text.strip().splitlines()}
    assert used == {*ACTIONS}


def test_every_check_of_a_lesson_exists_and_every_check_is_used():
    assert {block.words for block in of_kind("check")} | {"model"} == {*ALL_CHECKS}


@pytest.mark.parametrize(
    "line",
    [
        "fly to the moon",
        "recipe gone",
        "set model.wings 2",
        "press Self-destruct",
        "experiment gone",
        "question gone",
        "plant gone",
        "show nothing",
        "",
    ],
)
def test_a_button_that_would_do_nothing_is_refused(line):
    with pytest.raises(LessonError):
        steps(line)


def test_a_button_with_a_value_that_cannot_be_is_refused():
    with pytest.raises(ConfigError):
        steps("set model.layers 0")


@pytest.mark.parametrize("bad", ["::: dance now\n:::", "::: do it", ":::", "::: check\n:::"])
def test_a_directive_that_is_wrong_is_refused(bad):
    with pytest.raises(LessonError):
        parsed(f"Text\n\n{bad}\n")


def test_a_file_without_its_front_matter_is_refused(tmp_path):
    path = tmp_path / "01_new.md"
    path.write_text("---\ntitle: New\n---\nText\n", encoding="utf-8")
    with pytest.raises(LessonError, match="title, minutes, needs"):
        load_lesson(path)


def test_a_lesson_names_a_tab_only_where_it_is():
    lesson = LESSONS["fine_tuning_with_lora"]

    def labels(tabs: list[str]) -> list[str]:
        return [block.words for block in lesson.shown(tabs) if block.kind == "do"]

    assert "Open Fine-tune" in labels(["Fine-tune"])
    assert "Open your runs" not in labels(["Fine-tune"])
    assert "Open Fine-tune" not in labels([])
    assert "Open your runs" in labels([])


def test_the_tutorial_is_made_from_the_lessons():
    written = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    assert written == tutorial(LESSONS.values()), "run python docs/make_tutorial.py"


def test_nothing_in_a_lesson_is_a_link_to_another_host():
    for lesson in LESSONS.values():
        for block in flat(lesson.blocks):
            assert "](" not in block.text
            assert "http" not in block.text.replace("`http://localhost:8050`", "")


@pytest.mark.parametrize("language", languages())
def test_a_lesson_in_a_language_does_and_says_the_same_numbers(language):
    own = {slug: one for slug, one in load_lessons(language).items() if one.language == language}
    assert len(own) >= 2
    assert [*load_lessons(language)] == [*LESSONS]
    for slug, lesson in own.items():
        english = LESSONS[slug]
        for kind in ("do", "check"):
            pairs = [[b for b in flat(one.blocks) if b.kind == kind] for one in (lesson, english)]
            done, meant = ([b.text or b.words for b in blocks] for blocks in pairs)
            assert done == meant
        texts = ["\n".join(b.text for b in flat(one.blocks)) for one in (lesson, english)]
        said, first = (sorted(re.findall(r"\d[\d{},.]*\d|\d", one)) for one in texts)
        assert said == first


@pytest.mark.parametrize("language", languages())
def test_words_of_a_language_keep_what_is_put_in_and_are_words_of_the_page(language):
    sources = [*PACKAGE.rglob("*.py"), *ASSETS.glob("*.js")]
    page = re.sub(r'"\s*\n\s*f?"', "", "\n".join(p.read_text(encoding="utf-8") for p in sources))
    for english, own in languages()[language]["words"].items():
        assert re.findall(r"{\w+}", english) == re.findall(r"{\w+}", own)
        assert english in page, f"{english} is said nowhere"
