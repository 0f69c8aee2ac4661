"""The Learn tab without a browser: lessons, progress, and checks on real runs and without any."""

import re
from dataclasses import replace

import pytest

from transformer_lab.runs.database import Sample
from transformer_lab.ui import ids
from transformer_lab.ui.learn import checks
from transformer_lab.ui.learn import ids as learn_ids
from transformer_lab.ui.learn.actions import TRAINS, steps
from transformer_lab.ui.learn.lessons import load_lessons
from transformer_lab.ui.learn.page import body, found
from transformer_lab.ui.learn.symptoms import ALL_CHECKS
from transformer_lab.ui.look import ids as look_ids
from transformer_lab.ui.server import TABS
from transformer_lab.ui.train import ids as train_ids

LESSONS = load_lessons()
BUTTONS = [
    block
    for lesson in LESSONS.values()
    for block in lesson.shown([tab.TITLE for tab in TABS])
    if block.kind == "do"
]
WITHOUT_A_RUN = {
    "data",
    "memory",
    "gpu",
    "leak",
    "tuned_further",
    "waiting",
    "kept",
    "devices",
}  # which can say something all the same


def open_lesson(page, slug):
    page.values[learn_ids.LESSON, "data"] = {"at": slug, "read": []}
    page.fire("lesson-body.children", "lesson.data")


@pytest.mark.parametrize("slug", LESSONS)
def test_every_lesson_opens_with_all_its_buttons_and_checks(visited, slug):
    open_lesson(visited, slug)
    lesson = LESSONS[slug]
    assert lesson.title in visited.text(learn_ids.LESSON_HEAD)
    body = str(visited.get(learn_ids.LESSON_BODY, "children"))
    for block in lesson.shown([tab.TITLE for tab in TABS]):
        if block.kind == "do":
            assert block.words in body
        if block.kind == "check":
            assert f"'name': '{block.words}'" in body
    entry = learn_ids.lesson_button(slug)
    assert visited.get(entry, "aria-current") == "page"


def test_every_button_names_parts_that_are_on_the_page(visited):
    titles = {tab.TITLE for tab in TABS}
    for block in BUTTONS:
        for step in steps(block.text):
            if "tab" in step:
                assert step["tab"] in titles
            else:
                part = step.get("at") or step.get("press") or step["show"]
                assert part in visited.components, block.words
            if "set" in step:
                options = visited.get(step["set"], "options")
                listed = [one["value"] for one in options] if options else [step["value"]]
                by_model = (look_ids.LAYER, look_ids.HEAD)  # their options come with it
                made_later = step["at"] in by_model
                assert made_later or step["value"] in listed, block.words


@pytest.mark.parametrize("data", [None, [], {"at": 3}, {"at": "gone", "read": 7}, {"read": [{}]}])
def test_whatever_the_browser_has_kept_some_lesson_opens(visited, data):
    visited.values[learn_ids.LESSON, "data"] = data
    visited.fire("lesson-body.children", "lesson.data")
    assert visited.text(learn_ids.LESSON_HEAD)


def test_what_was_read_is_marked_and_counted(visited):
    read = ["positions", "attention"]
    visited.values[learn_ids.LESSON, "data"] = {"at": "attention", "read": read}
    visited.fire("lesson-body.children", "lesson.data")
    assert visited.text(learn_ids.LESSON_PROGRESS) == "2 of 17 read"
    assert visited.get(learn_ids.lesson_button("positions"), "className") == "lesson-entry read"
    assert visited.get(learn_ids.lesson_button("temperature"), "className") == "lesson-entry"


def test_without_a_run_each_check_says_so_and_offers_one_with_its_cost(page, lab):
    for name in ALL_CHECKS:
        said, there = found(lab, name)
        assert there == (name in WITHOUT_A_RUN), name
        if not there:
            assert re.search(r"no trained model yet.*Quick start, 100 steps.* on this", said), name


def test_each_check_tells_of_the_learners_own_run(trained_lab):
    lab, open_page = trained_lab
    view = lab.runs.view()
    for name in {*ALL_CHECKS} - WITHOUT_A_RUN - {"compared"} | {"data"}:
        said, there = found(lab, name)
        assert there, name
        assert view.run_id in str(said), name
    said = str(found(lab, "reading")[0])
    assert f"{view.validation_loss:.2f} after {view.step:,} steps" in said
    page = open_page()
    open_lesson(page, "loss_and_perplexity")
    page.react("lesson-head.children")
    assert view.run_id in page.text(learn_ids.lesson_check("line"))
    assert page.get(learn_ids.lesson_maker("line"), "hidden") is True
    said, there = found(lab, "compared")
    assert not there
    assert "a comparison needs two" in said


def test_the_checks_of_lessons_in_a_language_speak_it(trained_lab, lab):
    trained, open_page = trained_lab
    page = open_page()
    page.values[ids.LANGUAGE, "data"] = "de"
    for lesson, check, words in (
        ("what_transformers_are", "reading", "Dein Validierungsverlust ist"),
        ("tokens_and_embeddings", "tokens", "verschiedene Tokens"),
    ):
        open_lesson(page, lesson)
        page.react("lesson-head.children")
        said = page.text(learn_ids.lesson_check(check))
        assert words in said
        assert trained.runs.view().run_id in said
        assert not re.search(r"\b(Your|with|of|the)\b", said.split(":")[0])
    offered = str(found(lab, "reading", "de")[0])
    assert re.search(r"Erstelle hier eines: Quick start, \d+ Schritte", offered)


def test_a_text_that_is_older_than_its_loss_is_called_so(trained_lab):
    lab, _ = trained_lab
    view = lab.runs.view()
    untrained = replace(view, sample=Sample(0, "A", "Qx$"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "own", lambda lab: untrained)
        said = str(found(lab, "reading")[0])
    assert "before it had learned anything" in said
    assert "Qx$" in said


def test_the_loss_of_one_line_is_that_of_the_model(trained_lab):
    lab, _ = trained_lab
    said = str(found(lab, "line")[0])
    losses = [float(number) for number in re.findall(r"'children': '(\d+\.\d\d)'", said)]
    losses = losses or [float(n) for n in re.findall(r"Td\('?(\d+\.\d\d)'?\)", said)]
    total = float(re.search(r"losses is (\d+\.\d\d)", said)[1])
    assert losses
    assert sum(losses) == pytest.approx(total, abs=0.01 * len(losses))


def test_what_a_button_costs_stands_beside_it_before_it_is_pressed(visited):
    open_lesson(visited, "your_first_transformer")
    visited.react("lesson-head.children")
    laptop = "recipe tutorial_on_a_laptop\npress Start Training"
    assert visited.text(learn_ids.lesson_cost(laptop)).startswith("Cost: 2,000 steps, ")
    form = visited.get(train_ids.PLAN, "data")["setup"]["train"]["steps"]
    said = visited.text(learn_ids.lesson_cost("press Start Training"))
    assert said.startswith(f"Cost: {form:,} steps, ")


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=lambda lesson: lesson.slug)
def test_what_costs_time_is_said_once_by_each_button(lesson):
    drawn = body(lesson, [tab.TITLE for tab in TABS])
    costs = re.findall(r"'type': 'lesson-cost', 'lines': ('[^']*')", str(drawn))
    starts = [b for b in lesson.shown([tab.TITLE for tab in TABS]) if TRAINS in b.text.split("\n")]
    assert len({*costs}) == len(costs) == len(starts)
