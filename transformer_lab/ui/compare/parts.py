"""What the Compare tab says of a question and of what was measured."""

from dataclasses import dataclass
from typing import Any

from dash import Output, html
from dash.development.base_component import Component

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_result import Axis, Outcome
from transformer_lab.experiments.comparison_words import answer, ending, tables, verdict
from transformer_lab.experiments.experiment import Question
from transformer_lab.lab.experiments.asked import Asked
from transformer_lab.lab.experiments.comparison_cost import Cost
from transformer_lab.ui import polling, words
from transformer_lab.ui.compare import ids
from transformer_lab.ui.compare.own import BUDGETS, SLUG, VARIED, Form, example
from transformer_lab.ui.results import parts as results
from transformer_lab.ui.results.parts import HIDDEN, Guesses
from transformer_lab.ui.web.values import Scalar

PAGE = ids.COMPARE_PARTS
OWN_TITLE = "Vary one setting, or two"
OWN_LOOK = (
    "Every value becomes a lane, two settings a grid. All lanes have the same budget and, of each "
    "seed, the same batches; the first one that is as in the recipe is what others are compared "
    "with."
)
SAFE = (
    "Broken on purpose, and safe: it trains a small model of its own, and leaves your runs and "
    "settings as they are."
)
NOTHING_YET = "Press Start: the lanes race on this computer, and their curves grow as they go."


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Everything the page says of one question."""

    comparison: Comparison | None
    asked: Asked | None
    guess: int | None
    problems: dict[str, str]
    form: Form
    cost: str
    axis: Axis

    @property
    def outcome(self) -> Outcome | None:
        """What was measured, once it may be seen."""
        return self.asked.outcome if self.asked and self.guess is not None else None


# --- guesses --------------------------------------------------------------------------------------


def guess_key(comparison: Comparison) -> str:
    """Under which name a guess is kept: another question made by hand asks anew."""
    if comparison.slug != SLUG:
        return comparison.slug
    return f"{SLUG}-{polling.digest(list(comparison.lanes))}"


def guess_of(guesses: Guesses | None, comparison: Comparison) -> int | None:
    """The option that was chosen for a question."""
    return results.guess_of(guesses, guess_key(comparison), comparison.guess.question)


def guessed(view: Shown) -> str:
    """The guess beside what was measured, in a sentence; empty before there is a guess."""
    if view.comparison is None:
        return ""
    right = answer(view.outcome) if view.outcome else None
    busy = view.asked is not None and view.asked.busy
    return results.guessed(view.comparison.guess.question, view.guess, right, busy=busy)


# --- how it stands --------------------------------------------------------------------------------


def cost(found: Cost, comparison: Comparison) -> str:
    """Time and memory of the whole, in words."""
    lanes = f"{len(comparison.lanes)} lanes, {comparison.budget} each"
    seeds = "1 seed" if comparison.seeds == 1 else f"{comparison.seeds} seeds"
    if found.seconds is not None:
        time = f"will take about {words.duration(found.seconds)}"
    elif comparison.where == "cluster":
        time = "how long it takes there is not known"
    else:
        time = "how long it takes is being measured"
    memory = (
        f", and needs about {words.size(found.memory)} of memory ({words.size(found.free)} free)"
        if found.memory is not None and found.free is not None
        else ""
    )
    return f"{lanes}, {seeds}: {time}{memory}."


def _hint(view: Shown) -> str:
    measured = view.asked is not None and view.asked.outcome is not None
    if view.guess is None:
        return HIDDEN if measured else f"Choose an answer above. {NOTHING_YET}"
    return "The first numbers are on their way." if measured else NOTHING_YET


def _values_help(form: Form) -> str:
    setting = VARIED.get(form.setting) if isinstance(form.setting, str) else None
    return (
        f"{setting.label}: {setting.help} Values, apart by commas: such as {example(setting)}."
        if setting
        else ""
    )


def _problem(view: Shown, *keys: Scalar) -> str:
    """What is wrong at one control."""
    own = view.comparison is None or view.comparison.slug == SLUG
    found = (view.problems.get(key) for key in keys if isinstance(key, str))
    return next((words for words in found if words), "") if own else ""


def _base_problem(view: Shown) -> str:
    """What is wrong with the lanes and has no control of its own: mostly that they cannot fit."""
    return _problem(view, *(key for key in view.problems if key not in _with_control(view.form)))


def _elsewhere(view: Shown) -> str:
    """What is wrong with a question that has no controls, or only that of its seeds."""
    own = view.comparison is None or view.comparison.slug == SLUG
    known = {"compare.seeds"} if own else view.problems.keys()
    return " ".join(words for key, words in view.problems.items() if key in known)


def _with_control(form: Form) -> list[Scalar]:
    budgets = (f"compare.{kind}" for kind in BUDGETS)
    return [form.setting, form.second, "vary", "compare.seeds", *budgets]


# What a poll may change, besides charts and badges.
PARTS = {
    "prompt": Output(PAGE.prompt, "children"),
    "options": Output(PAGE.options, "options"),
    "value": Output(PAGE.options, "value"),
    "guess_hidden": Output(PAGE.guess, "hidden"),
    "show_hidden": Output(PAGE.show, "hidden"),
    "again_hidden": Output(PAGE.again, "hidden"),
    "guessed": Output(PAGE.guessed, "children"),
    "state": Output(PAGE.state, "children"),
    "cost": Output(PAGE.cost, "children"),
    "values_help": Output(ids.COMPARE_VALUES_HELP, "children"),
    "values_problem": Output(ids.COMPARE_VALUES_PROBLEM, "children"),
    "recipe_problem": Output(ids.COMPARE_RECIPE_PROBLEM, "children"),
    "second_problem": Output(ids.COMPARE_SECOND_PROBLEM, "children"),
    "amount_problem": Output(ids.COMPARE_AMOUNT_PROBLEM, "children"),
    "result_hidden": Output(PAGE.result, "hidden"),
    "hint_hidden": Output(PAGE.hint, "hidden"),
    "hint": Output(PAGE.hint, "children"),
    "verdict": Output(PAGE.verdict, "children"),
    "tables": Output(PAGE.tables, "children"),
    "away": Output(PAGE.away, "children"),
    "start_disabled": Output(PAGE.start, "disabled"),
    "pause_disabled": Output(ids.COMPARE_PAUSE, "disabled"),
    "pause": Output(ids.COMPARE_PAUSE, "children"),
    "stop_disabled": Output(PAGE.stop, "disabled"),
    "go_on_hidden": Output(ids.COMPARE_GO_ON, "hidden"),
}
NOT_ASKED = Question(prompt="", options=())


def parts(view: Shown) -> dict[str, Any]:
    """The parts of a question, by name."""
    question = view.comparison.guess.question if view.comparison else NOT_ASKED
    return {
        "prompt": question.prompt,
        **results.asked(question, view.guess),
        "guessed": guessed(view),
        "state": results.state(view.asked),
        "cost": view.cost or _elsewhere(view),
        **_of_form(view),
        **_of_outcome(view),
        **_buttons(view),
    }


def _of_form(view: Shown) -> dict[str, str]:
    form = view.form
    return {
        "values_help": _values_help(form),
        "values_problem": _problem(view, form.setting, "vary"),
        "recipe_problem": _base_problem(view),
        "second_problem": _problem(view, form.second),
        "amount_problem": _problem(view, "compare.steps", "compare.tokens", "compare.seconds"),
    }


def _of_outcome(view: Shown) -> dict[str, Any]:
    outcome, asked = view.outcome, view.asked
    seen = outcome is not None
    return {
        "result_hidden": not seen,
        "hint_hidden": seen,
        "hint": _hint(view),
        "verdict": _verdict(outcome) if outcome else "",
        "tables": results.tables(tables(outcome)) if outcome else [],
        "away": results.comparison_away(asked.key, view.axis) if asked and seen else "",
    }


def _verdict(outcome: Outcome) -> str | list[str | Component]:
    """What the numbers say and, of a model that is broken on purpose, what its curves show."""
    said, shown = verdict(outcome), ending(outcome)
    if not shown:
        return said
    return [said, html.Br(), html.Strong("What the curves show: "), shown]


def _buttons(view: Shown) -> dict[str, bool | str]:
    asked = view.asked
    busy = asked is not None and asked.busy
    away = asked is not None and asked.elsewhere
    return {
        "start_disabled": busy or away or view.comparison is None or bool(view.problems),
        "pause_disabled": not busy,
        "pause": "Resume" if asked and asked.paused and busy else "Pause",
        "stop_disabled": not busy,
        "go_on_hidden": asked is None or busy or away or asked.whole,
    }
