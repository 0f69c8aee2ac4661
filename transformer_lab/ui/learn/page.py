"""A lesson as the page shows it: Markdown with formulas, buttons that do something, and checks."""

import json
import re
from dataclasses import replace
from typing import Any

from dash import dcc, html

from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import Setup, load_recipes
from transformer_lab.settings import ConfigError
from transformer_lab.ui import words
from transformer_lab.ui.languages import ENGLISH, Told, put, say, told
from transformer_lab.ui.learn import ids
from transformer_lab.ui.learn.actions import TRAINS, settings_of, steps
from transformer_lab.ui.learn.checks import NothingYetError
from transformer_lab.ui.learn.lessons import Block, Lesson
from transformer_lab.ui.learn.symptoms import ALL_CHECKS

MADE_BY = "quick_start"  # the recipe that makes what a check is missing
SHAKESPEARE_CHARACTERS = 65
TROUBLESHOOTING = "troubleshooting"


def body(lesson: Lesson, tabs: list[str]) -> list[Any]:
    """Everything below the lesson's title."""
    blocks = lesson.shown(tabs)
    needed = [_check("model")] if lesson.needs == "a model" else []
    if lesson.slug != TROUBLESHOOTING:
        return [*needed, *[_drawn(block) for block in blocks]]
    return [_search(), html.P(id="lesson-unfound", hidden=True), *_entries(blocks)]


def head(lesson: Lesson, language: str = ENGLISH) -> list[Any]:
    """Its title, how long it takes, and whether it is not there in a language yet."""
    facts = say(language, "{minutes} min", minutes=lesson.minutes)
    if lesson.needs != "nothing":
        facts += say(language, " · needs {needs}", needs=say(language, lesson.needs))
    if lesson.language != language:
        facts += f" · {say(language, 'This lesson is in English so far.')}"
    number = f"{lesson.number}. " if lesson.number else ""
    return [html.H2(f"{number}{lesson.title}"), html.Span(facts, className="quiet")]


def _drawn(block: Block) -> Any:
    if block.kind == "do":
        return do(block.words, block.text, costly=TRAINS in block.text.splitlines())
    if block.kind == "check":
        return _check(block.words)
    if block.kind == "also":
        return html.Span(block.words, hidden=True)
    return dcc.Markdown(block.text, mathjax=True, className="prose lesson-text")


def do(label: str, lines: str, *, costly: bool = False) -> html.Div:
    """A button that takes the steps of its lines, and room for its cost and what became of it."""
    cost = html.Span("Cost: being measured", id=ids.lesson_cost(lines), className="quiet")
    return html.Div(
        [
            html.Button(
                [html.I(className="bi bi-arrow-right-circle", **{"aria-hidden": "true"}), label],
                className="btn btn-outline-primary btn-sm do",
                title="The page does this step for you",
                **{"data-do": json.dumps(steps(lines))},
            ),
            *([cost] if costly else []),
            html.Span(className="quiet did-words", role="status"),
        ],
        className="do-line",
    )


def _check(name: str) -> html.Div:
    """What a check says, and the button that makes what it is missing.

    The button is never drawn anew, so that no refresh takes it from under the pointer.
    """
    return html.Div(
        [
            html.Div("Looking at your run …", id=ids.lesson_check(name), role="status"),
            html.Div(
                do("Train Quick start", f"recipe {MADE_BY}\npress Start Training"),
                id=ids.lesson_maker(name),
                hidden=True,
            ),
        ],
        className="lesson-check",
    )


def found(lab: Lab, name: str, language: str = ENGLISH) -> tuple[Any, bool]:
    """What a check says now, and whether it has what it looks at."""
    check = ALL_CHECKS.get(name)
    if check is None:
        return "", True
    try:
        return put(check(lab), language), True
    except NothingYetError as nothing:
        making = "{nothing} Make one here: {recipe}, {cost} on this computer."
        recipe = load_recipes()[MADE_BY]
        takes = _takes(lab, recipe.setup, SHAKESPEARE_CHARACTERS)
        parts = {"nothing": str(nothing), "recipe": recipe.title, "cost": takes}
        return put(told(making, **parts), language), False


def cost_of(lab: Lab, lines: str, form: Setup | None, language: str = ENGLISH) -> str:
    """What pressing a button takes on this computer; `form` is what the Train tab holds."""
    setup = settings_of(lines) or form
    if setup is None:
        return "Cost: correct the marked settings of the Train tab first"
    try:
        size = lab.texts.facts(setup).vocabulary_size
    except ConfigError as error:
        return str(error)
    said: str = put(told("Cost: {cost}", cost=_takes(lab, setup, size)), language)
    return said


def _takes(lab: Lab, setup: Setup, vocabulary_size: int) -> Told | str:
    try:
        seconds = lab.costs.estimate(setup, vocabulary_size).seconds
    except ConfigError as error:
        return str(error)
    time: Told | str = "its time is being measured"
    if seconds is not None:
        time = told("about {time}", time=words.duration(seconds))
    return told("{steps} steps, {time}", steps=f"{setup.train.steps:,}", time=time)


def _search() -> html.Label:
    return html.Label(
        [
            html.Span("Search symptoms", className="field-label"),
            dcc.Input(
                id=ids.LESSON_SEARCH,
                type="search",
                className="form-control form-control-sm",
                placeholder="loss, memory, gibberish, GPU …",
            ),
        ],
        className="lesson-search",
    )


def _entries(blocks: list[Block]) -> list[Any]:
    """What stands below each heading, as one entry that a search shows or hides."""
    entries: list[list[Any]] = [[]]
    for block in blocks:
        for part in _at_headings(block):
            if part.kind == "text" and part.text.startswith("## "):
                entries.append([])
            entries[-1].append(_drawn(part))
    return [*entries[0], *[html.Section(parts, className="symptom") for parts in entries[1:]]]


def _at_headings(block: Block) -> list[Block]:
    """A text cut before each of its headings; any other block as it is."""
    if block.kind != "text":
        return [block]
    parts = re.split(r"(?m)^(?=## )", block.text)
    return [replace(block, text=part) for part in parts if part.strip()]
