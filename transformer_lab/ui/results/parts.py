"""What is said of a guess, of how far a measurement is, and of its tables."""

from collections.abc import Mapping
from typing import Any

from dash import html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.experiments.experiment import Question, Table
from transformer_lab.lab.experiments.trial import Trial
from transformer_lab.ui import words
from transformer_lab.ui.results.ids import ResultIds
from transformer_lab.ui.web.values import Scalar

LONGEST_CELL = 40  # characters, before a cell of a table is wrapped
UNGUESSED = -1  # shown without guessing
HIDDEN = (
    "It is measured, but hidden until you have guessed: an answer you had to commit to is "
    "remembered better than one you were shown."
)
CHARTS = "comparison-charts"  # where the charts of a comparison are read from
Guesses = Mapping[str, Any]  # by what was asked: the option, or UNGUESSED; as a browser kept it


# --- guesses --------------------------------------------------------------------------------------


def guess_of(guesses: Guesses | None, key: str, question: Question) -> int | None:
    """The option a learner chose, UNGUESSED if they asked to be shown, None before either."""
    guess = (guesses or {}).get(key)
    if not isinstance(guess, int) or isinstance(guess, bool):
        return None
    return guess if UNGUESSED <= guess < len(question.options) else None


def after_press(
    page: ResultIds,
    pressed: str,
    option: Scalar,
    guesses: Guesses | None,
    key: str,
    question: Question,
) -> dict[str, int]:
    """The guesses once one was made, given up, or taken back."""
    kept = {
        other: guess
        for other, guess in (guesses or {}).items()
        if other != key and isinstance(guess, int)
    }
    if pressed == page.again:
        return kept
    wanted = guess_of({key: UNGUESSED if pressed == page.show else option}, key, question)
    if wanted is None:
        raise PreventUpdate
    return kept | {key: wanted}


def options(question: Question, guess: int | None) -> list[dict[str, Any]]:
    """The answers to choose from; once the results are shown they can only be read."""
    return [
        {"value": place, "label": words, "disabled": guess is not None}
        for place, words in enumerate(question.options)
    ]


def asked(question: Question, guess: int | None) -> dict[str, Any]:
    """The options, the one that was chosen, and which of the buttons are hidden."""
    answered = guess is not None
    return {
        "options": options(question, guess),
        "value": None if guess == UNGUESSED else guess,
        "guess_hidden": answered,
        "show_hidden": answered,
        "again_hidden": not answered,
    }


def guessed(question: Question, guess: int | None, right: int | None, *, busy: bool) -> str:
    """The guess beside what was measured, in a sentence; empty before there is a guess."""
    if guess is None:
        return ""
    said = question.options
    mine = f"You guessed: “{said[guess]}”." if guess != UNGUESSED else ""
    if right is None:
        return f"{mine} It has not been measured yet." if mine else ""
    when = "So far the" if busy else "The"
    if guess == right:
        return f"{mine} {when} measurement says so too."
    return f"{mine} {when} measurement says: “{said[right]}”.".strip()


# --- how it stands --------------------------------------------------------------------------------


def badge(trial: Trial | None) -> str:
    """How it stands, in a few letters."""
    if trial is None:
        return ""
    if trial.busy and trial.paused:
        return "paused"
    if trial.busy or trial.elsewhere:
        return f"running, {_percent(trial)}"
    return {"done": "measured", "stopped": f"stopped at {_percent(trial)}"}.get(
        trial.state, trial.state
    )


def _percent(trial: Trial) -> str:
    return f"{100 * trial.latest.progress if trial.latest else 0:.0f} %"


def state(trial: Trial | None) -> str | Component | list[Component]:
    """How far it is, in words and as a bar; why it ended."""
    if trial is None:
        return html.Span("Not started yet.", className="quiet")
    if trial.stored and not trial.elsewhere:
        kept = "measured" if trial.state == "done" else "stopped before its end,"
        return f"{trial.name}: {kept} {trial.where}."
    if trial.busy and trial.paused:
        return html.Span(f"{trial.name}: paused. Its lanes rest and are saved.")
    if trial.state == "failed":
        return html.Div(trial.error, className="reason")
    progress = trial.latest.progress if trial.latest else 0.0
    doing = {
        "running": trial.latest.words if trial.latest else "waiting for a free thread",
        "stopping": "stopping",
        "stopped": "stopped; what was measured stays",
        "done": "done",
    }[trial.state]
    line = f"{_percent(trial)} · {doing} · {words.clock(trial.seconds)}"
    bar = html.Div(
        html.Div(style={"width": f"{100 * progress:.1f}%"}),
        className="progress-line",
        role="progressbar",
        **{
            "aria-label": "Measured",
            "aria-valuenow": f"{100 * progress:.0f}",
            "aria-valuemin": "0",
            "aria-valuemax": "100",
        },
    )
    return [html.Div(line), bar]


# --- tables ---------------------------------------------------------------------------------------


def tables(found: list[Table]) -> list[Component]:
    """Tables under their titles, each scrolling by itself when it is wider than the page.

    Those without a row yet are left out.
    """
    return [
        html.Div([html.H2(one.title), _table(one)], className="card") for one in found if one.rows
    ]


def _table(one: Table) -> html.Div:
    head = html.Tr([html.Th(name, scope="col") for name in one.columns])
    rows = [html.Tr([html.Th(row[0], scope="row"), *map(_cell, row[1:])]) for row in one.rows]
    table = html.Table([html.Thead(head), html.Tbody(rows)], className="numbers measured")
    return html.Div(table, className="table-scroll", tabIndex=0, role="region")


def _cell(words: str) -> html.Td:
    return html.Td(words, className="sentence" if len(words) > LONGEST_CELL else "")


def away(address: str, name: str) -> html.A:
    """All numbers as a file."""
    return html.A("All numbers as CSV", href=f"{address}/{name}.csv", download=f"{name}.csv")


def comparison_away(name: str, axis: str = "steps") -> list[Component | str]:
    """A comparison as files: all numbers, and all its charts on one picture."""

    def picture(form: str) -> html.Button:
        return html.Button(
            form,
            className="link save-sheet",
            title=f"Save all charts with the verdict as one picture ({form})",
            **{
                "data-charts": f"{CHARTS}/{name}.json?axis={axis}",
                "data-form": form.lower(),
                "data-name": name,
            },
        )

    csv = away("download-comparison", name)
    return [csv, " · All charts as one picture: ", picture("SVG"), " ", picture("PNG")]
