"""What the Compare tab says of a question and of what was measured."""

from dataclasses import dataclass
from typing import Any

from dash import html

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_result import Outcome, answer, tables, verdict
from transformer_lab.lab.experiments.comparisons import Asked, Cost
from transformer_lab.ui import ids, polling, words
from transformer_lab.ui.compare.layout import FAST, SLOW
from transformer_lab.ui.compare.own import SLUG, VARIED, Form, example
from transformer_lab.ui.experiments import parts as experiment_parts
from transformer_lab.ui.experiments.parts import HIDDEN, UNGUESSED

OWN_TITLE = "Vary one setting, or two"
OWN_LOOK = (
    "Every value becomes a lane, two settings a grid. All lanes have the same budget and, of each "
    "seed, the same batches; the first one that is as in the recipe is what others are compared "
    "with."
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


def guess_of(guesses: Any, comparison: Comparison) -> int | None:
    """The option a learner chose, UNGUESSED if they asked to be shown, None before either."""
    guess = guesses.get(guess_key(comparison)) if isinstance(guesses, dict) else None
    if not isinstance(guess, int) or isinstance(guess, bool):
        return None
    return guess if UNGUESSED <= guess < len(comparison.guess.options) else None


def kept_guesses(guesses: Any) -> dict[str, int]:
    """Those that are whole."""
    found = guesses if isinstance(guesses, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, int)}


def guessed(view: Shown) -> str:
    """The guess beside what was measured, in a sentence; empty before there is a guess."""
    if view.guess is None or view.comparison is None:
        return ""
    said = view.comparison.guess.options
    right = answer(view.outcome) if view.outcome else None
    mine = f"You guessed: “{said[view.guess]}”." if view.guess != UNGUESSED else ""
    if right is None:
        return f"{mine} It has not been measured yet." if mine else ""
    when = "So far the" if view.asked and view.asked.busy else "The"
    if view.guess == right:
        return f"{mine} {when} measurement says so too."
    return f"{mine} {when} measurement says: “{said[right]}”.".strip()


# --- how it stands --------------------------------------------------------------------------------


def badge(asked: Asked | None) -> str:
    """How a question stands, in a few letters."""
    if asked and asked.busy and asked.paused:
        return "paused"
    return experiment_parts.badge(asked)


def state(asked: Asked | None) -> Any:
    """How far it is, in words and as a bar; why it ended."""
    if asked and asked.stored:
        kept = "measured" if asked.state == "done" else "stopped before its end"
        return f"{asked.key}: {kept} before the lab was opened."
    if asked and asked.busy and asked.paused:
        return html.Span(f"{asked.key}: paused. Its lanes rest and are saved.")
    return experiment_parts.state(asked)


def cost(found: Cost, comparison: Comparison) -> str:
    """Time and memory of the whole, in words."""
    lanes = f"{len(comparison.lanes)} lanes, {comparison.budget} each"
    seeds = "1 seed" if comparison.seeds == 1 else f"{comparison.seeds} seeds"
    time = (
        f"will take about {words.duration(found.seconds)}"
        if found.seconds is not None
        else "how long it takes is being measured"
    )
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


def _problem(view: Shown, *keys: Any) -> str:
    """What is wrong at one control."""
    own = view.comparison is None or view.comparison.slug == SLUG
    found = (view.problems.get(key) for key in keys if isinstance(key, str))
    return next((words for words in found if words), "") if own else ""


def _elsewhere(view: Shown) -> str:
    """What is wrong with the question and has no control of its own."""
    form = view.form
    named = {form.setting, form.second, "vary", "compare.steps", "compare.tokens"}
    return " ".join(words for key, words in view.problems.items() if key not in named)


def parts(view: Shown) -> dict[tuple[str, str], Any]:
    """Every part of the tab that may change besides charts and badges, by (id, property)."""
    asked, comparison, form = view.asked, view.comparison, view.form
    busy = asked is not None and asked.busy
    told = view.guess is not None
    seen = view.outcome is not None
    guess = comparison.guess if comparison else None
    options = experiment_parts.options(guess.question, view.guess) if guess else []
    return {
        (ids.COMPARE_PROMPT, "children"): guess.prompt if guess else "",
        (ids.COMPARE_OPTIONS, "options"): options,
        (ids.COMPARE_OPTIONS, "value"): None if view.guess == UNGUESSED else view.guess,
        (ids.COMPARE_GUESS, "hidden"): told,
        (ids.COMPARE_SHOW, "hidden"): told,
        (ids.COMPARE_AGAIN, "hidden"): not told,
        (ids.COMPARE_GUESSED, "children"): guessed(view),
        (ids.COMPARE_STATE, "children"): state(asked),
        (ids.COMPARE_COST, "children"): view.cost or _elsewhere(view),
        (ids.COMPARE_VALUES_HELP, "children"): _values_help(form),
        (ids.COMPARE_VALUES_PROBLEM, "children"): _problem(view, form.setting, "vary"),
        (ids.COMPARE_SECOND_PROBLEM, "children"): _problem(view, form.second),
        (ids.COMPARE_AMOUNT_PROBLEM, "children"): _problem(view, "compare.steps", "compare.tokens"),
        (ids.COMPARE_RESULT, "hidden"): not seen,
        (ids.COMPARE_HINT, "hidden"): seen,
        (ids.COMPARE_HINT, "children"): _hint(view),
        (ids.COMPARE_VERDICT, "children"): verdict(view.outcome) if view.outcome else "",
        (ids.COMPARE_TABLES, "children"): experiment_parts.tables(tables(view.outcome))
        if view.outcome
        else [],
        (ids.COMPARE_AWAY, "children"): away(asked.key) if asked and seen else "",
        (ids.COMPARE_START, "disabled"): busy or comparison is None or bool(view.problems),
        (ids.COMPARE_PAUSE, "disabled"): not busy,
        (ids.COMPARE_PAUSE, "children"): "Resume" if asked and asked.paused and busy else "Pause",
        (ids.COMPARE_STOP, "disabled"): not busy,
        (ids.COMPARE_GO_ON, "hidden"): asked is None or busy or asked.whole,
        (ids.COMPARE_TICK, "interval"): FAST if busy else SLOW,
    }


def digest(part: tuple[str, str], value: Any, view: Shown) -> int:
    """A short number that changes when a part does; the choice of another question is none."""
    salt = guess_key(view.comparison) if view.comparison else ""
    return polling.digest([value, salt] if part == (ids.COMPARE_OPTIONS, "value") else value)


def away(name: str) -> html.A:
    """The way to take every number along."""
    address = f"download-comparison/{name}.csv"
    return html.A("All numbers as CSV", href=address, download=f"{name}.csv")


_NOBODY = Form(
    preset="", seeds="", recipe="", setting="", values="", second="", second_values="", budget="",
    amount="",
)  # fmt: skip
PARTS = tuple(
    parts(Shown(comparison=None, asked=None, guess=None, problems={}, form=_NOBODY, cost=""))
)
