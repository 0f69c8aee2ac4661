"""What the PCN Experiments tab says of an experiment and of what it has measured."""

from dataclasses import asdict
from typing import Any

from dash import dcc, html, no_update

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.experiment import (
    Equation,
    Experiment,
    Plot,
    Question,
    Table,
    source_of,
)
from transformer_lab.lab.experiments.trials import Trial
from transformer_lab.ui import polling, words
from transformer_lab.ui.charts import experiments as charts

LONGEST_CELL = 40  # characters, before a cell of a table is wrapped
UNGUESSED = -1  # shown without guessing
NOTHING_YET = "Press Start: it is measured on this computer, and the charts are drawn as it goes."
HIDDEN = (
    "It is measured, but hidden until you have guessed: an answer you had to commit to is "
    "remembered better than one you were shown."
)


def guess_of(guesses: Any, key: str) -> int | None:
    """The option a learner chose, UNGUESSED if they asked to be shown, None before either."""
    guess = guesses.get(key) if isinstance(guesses, dict) else None
    options = len(EXPERIMENTS[key].prediction.options)
    known = isinstance(guess, int) and not isinstance(guess, bool) and -1 <= guess < options
    return guess if known else None


def options(question: Question, guess: int | None) -> list[dict[str, Any]]:
    """The answers to choose from; once the results are shown they can only be read."""
    return [
        {"value": place, "label": words, "disabled": guess is not None}
        for place, words in enumerate(question.options)
    ]


def compared(experiment: Experiment[Any, Any], trial: Trial | None, guess: int | None) -> str:
    """The guess beside what was measured, in a sentence; empty before there is a guess."""
    if guess is None:
        return ""
    said = experiment.prediction.options
    right = experiment.answer(trial.latest.result) if trial and trial.latest else None
    guessed = f"You guessed: {_quoted(said[guess])}." if guess != UNGUESSED else ""
    if right is None:
        return f"{guessed} It has not been measured yet." if guessed else ""
    when = "So far the" if trial and trial.busy else "The"
    if guess == UNGUESSED:
        return f"{when} measurement says: {_quoted(said[right])}."
    if guess == right:
        return f"{guessed} {when} measurement says so too."
    return f"{guessed} {when} measurement says: {_quoted(said[right])}."


def _quoted(option: str) -> str:
    return f"“{option}”"


def badge(trial: Trial | None) -> str:
    """How an experiment stands, in a few letters."""
    if trial is None:
        return ""
    if trial.busy:
        return f"running, {_percent(trial)}"
    return {"done": "measured", "stopped": f"stopped at {_percent(trial)}"}.get(
        trial.state, trial.state
    )


def _percent(trial: Trial) -> str:
    return f"{100 * trial.latest.progress if trial.latest else 0:.0f} %"


def state(trial: Trial | None) -> Any:
    """How far it is, in words and as a bar; why it ended."""
    if trial is None:
        return html.Span("Not started yet.", className="quiet")
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


def hint(trial: Trial | None, guess: int | None) -> str:
    """What to do to see something, where there is nothing to see."""
    if trial is not None and guess is None:
        return HIDDEN
    if trial is not None and trial.busy:
        return "The first numbers are on their way."
    return NOTHING_YET if guess is not None else f"Choose an answer above. {NOTHING_YET}"


def plot_digest(key: str, plot: Plot | None) -> int:
    """A short number that changes when a plot does."""
    return polling.digest([key, asdict(plot)]) if plot else 0


def drawn(plot: Plot | None, key: str) -> tuple[bool, Any, Any, Any]:
    """Whether a place is hidden, its chart, the chart's style, and the note."""
    if plot is None:
        return True, no_update, no_update, no_update
    figure = charts.figure(plot, f"{key} {plot.title}")
    return False, figure, {"height": charts.height(plot)}, plot.note


def tables(found: list[Table]) -> list[Any]:
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


def away(key: str) -> html.A:
    """The way to take every number along."""
    address = f"download-experiment/{key}.csv"
    return html.A("All numbers as CSV", href=address, download=f"{key}.csv")


def equations(experiment: Experiment[Any, Any]) -> list[Any]:
    """Each equation with the function that computes it and where it is from."""
    return [_equation(one) for one in experiment.equations]


def _equation(one: Equation) -> html.Article:
    """Only our own text goes through Markdown."""
    return html.Article(
        [
            html.H3(one.name),
            dcc.Markdown(f"$$\n{one.latex}\n$$", mathjax=True, className="equation"),
            html.Div(["Source: ", one.source], className="quiet"),
            html.Details(
                [
                    html.Summary(
                        [html.Span("computed by ", className="quiet"), html.Code(one.function)]
                    ),
                    html.Pre(source_of(one.function), className="code", tabIndex=0),
                ]
            ),
        ]
    )


def leak(experiment: Experiment[Any, Any]) -> str:
    """The code in question, where there is any."""
    return experiment.source() if experiment.source else ""
