"""What the PCN Experiments tab says of an experiment and of what it has measured."""

from typing import Any

from dash import Output, dcc, html
from dash.development.base_component import Component

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.experiment import Equation, Experiment, source_of
from transformer_lab.lab.experiments.race_trial import KEY as RACE
from transformer_lab.lab.experiments.trial import Trial
from transformer_lab.ui.experiments import ids
from transformer_lab.ui.experiments.layout import START_HELP, STOP_HELP
from transformer_lab.ui.results import parts as results
from transformer_lab.ui.results.parts import HIDDEN, Guesses

NOTHING_YET = "Press Start: it is measured on this computer, and the charts are drawn as it goes."
PAGE = ids.EXPERIMENT_PARTS
# What a poll may change, besides charts and badges.
PARTS = {
    "state": Output(PAGE.state, "children"),
    "cost": Output(PAGE.cost, "children"),
    "guessed": Output(PAGE.guessed, "children"),
    "result_hidden": Output(PAGE.result, "hidden"),
    "hint_hidden": Output(PAGE.hint, "hidden"),
    "hint": Output(PAGE.hint, "children"),
    "verdict": Output(PAGE.verdict, "children"),
    "tables": Output(PAGE.tables, "children"),
    "away": Output(PAGE.away, "children"),
    "start_disabled": Output(PAGE.start, "disabled"),
    "start_title": Output(PAGE.start, "title"),
    "pause": Output(ids.EXPERIMENT_PAUSE, "children"),
    "pause_disabled": Output(ids.EXPERIMENT_PAUSE, "disabled"),
    "pause_hidden": Output(ids.EXPERIMENT_PAUSE, "hidden"),
    "stop_disabled": Output(PAGE.stop, "disabled"),
    "stop_title": Output(PAGE.stop, "title"),
}


def parts(key: str, trial: Trial | None, guess: int | None, cost: str) -> dict[str, Any]:
    """The parts of one experiment, by name."""
    one = EXPERIMENTS[key]
    result = trial.latest.result if trial and trial.latest else None
    right = None if result is None else one.answer(result)
    known = guess is not None and result is not None
    busy = trial is not None and trial.busy
    return {
        "state": results.state(trial),
        "cost": cost,
        "guessed": results.guessed(one.prediction, guess, right, busy=busy),
        "result_hidden": not known,
        "hint_hidden": known,
        "hint": hint(trial, guess),
        "verdict": one.verdict(result) if known else "",
        "tables": results.tables(one.tables(result)) if known else [],
        "away": results.away("download-experiment", key),
        "start_disabled": busy or (trial is not None and trial.elsewhere),
        "start_title": "It is running: stop it first" if busy else START_HELP,
        "pause": "Resume" if busy and trial and trial.paused else "Pause",
        "pause_disabled": not busy,
        "pause_hidden": key != RACE,
        "stop_disabled": not busy,
        "stop_title": STOP_HELP if busy else "Nothing is running here",
    }


def guess_of(guesses: Guesses | None, key: str) -> int | None:
    """The option that was chosen for an experiment."""
    return results.guess_of(guesses, key, EXPERIMENTS[key].prediction)


def hint(trial: Trial | None, guess: int | None) -> str:
    """What to do to see something, where there is nothing to see."""
    if trial is not None and guess is None:
        return HIDDEN
    if trial is not None and trial.busy:
        return "The first numbers are on their way."
    return NOTHING_YET if guess is not None else f"Choose an answer above. {NOTHING_YET}"


def equations(experiment: Experiment[Any, Any]) -> list[Component]:
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
