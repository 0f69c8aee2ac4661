"""How the Compare tab is laid out: the questions, the guess, the race and what it showed."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import dash_bootstrap_components as dbc
from dash import dcc, html

from transformer_lab.experiments.comparison import MOST_LANES, MOST_SEEDS, Comparison
from transformer_lab.experiments.comparison_result import AXES
from transformer_lab.experiments.questions import load_questions
from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import load_recipes
from transformer_lab.ui import ids
from transformer_lab.ui.charts.training import blank
from transformer_lab.ui.compare.own import BUDGETS, NOTHING, PRESETS, SLUG, VARIED, Form, form_of
from transformer_lab.ui.train.layout import GRAPH

PLACES = 4  # for charts
FAST, SLOW, RESTING = 500, 2000, 3_600_000  # milliseconds between polls
HELP = {  # the sentence beside each control
    ids.COMPARE_PRESET: "How large the models of the race are, and how long they train.",
    ids.COMPARE_SEEDS: "How often each lane is trained, each time from other random weights.",
    ids.COMPARE_RECIPE: "The settings that all lanes share.",
    ids.COMPARE_SETTING: "The setting in which the lanes differ.",
    ids.COMPARE_VALUES: "One lane for each value, separated by commas.",
    ids.COMPARE_SECOND: "A second setting: one lane for each pair of values.",
    ids.COMPARE_SECOND_VALUES: "The values of the second setting, separated by commas.",
    ids.COMPARE_BUDGET: "What every lane may spend, so that the comparison is fair.",
    ids.COMPARE_AMOUNT: "How much of it each lane gets.",
    ids.COMPARE_AXIS: "Along which the curves are drawn.",
}


def layout(lab: Lab) -> html.Div:
    """The questions on the left, one of them on the right."""
    newest = lab.comparisons.newest()
    questions = load_questions()
    known = newest is not None and newest.comparison.slug in [*questions, SLUG]
    shown = newest.comparison.slug if newest and known else next(iter(questions))
    own = lab.comparisons.newest(SLUG)
    form = form_of(own.comparison if own else None)
    return html.Div(
        [
            dcc.Store(id=ids.COMPARE_QUESTION, data=shown),
            dcc.Store(id=ids.COMPARE_SEEN, data={}),
            dcc.Store(id=ids.COMPARE_REFRESH, data=0),
            dcc.Store(id=ids.COMPARE_GUESSES, storage_type="session"),
            dcc.Interval(id=ids.COMPARE_TICK, interval=RESTING),
            _list(questions, shown),
            html.Div(
                [
                    html.Header(
                        [
                            html.H2(id=ids.COMPARE_TITLE, className="experiment-title"),
                            html.P(id=ids.COMPARE_LOOK, className="experiment-question"),
                        ]
                    ),
                    html.Div([_guess(), _settings(form)], className="experiment-asked"),
                    _results(),
                ],
                className="column experiment-column",
            ),
        ],
        className="pane pcn compare",
    )


def _list(questions: Mapping[str, Comparison], shown: str) -> html.Nav:
    parts: list[Any] = [html.H2("Questions")]
    ordered = sorted(questions.values(), key=lambda one: one.order)
    for group, found in groupby(ordered, key=lambda one: one.group):
        entries = [html.Li(_entry(one.slug, one.title, one.slug == shown)) for one in found]
        parts += [html.H3(group), html.Ol(entries, className="experiment-list")]
    own = html.Li(_entry(SLUG, "Vary one setting, or two", shown == SLUG))
    parts += [html.H3("By hand"), html.Ol([own], className="experiment-list")]
    return html.Nav(parts, className="card experiment-nav", **{"aria-label": "Questions"})


def _entry(slug: str, title: str, chosen: bool) -> html.Button:
    return html.Button(
        [
            html.Span(title, className="experiment-name"),
            html.Span(id=ids.compare_badge(slug), className="experiment-badge"),
        ],
        id=ids.compare_button(slug),
        className="experiment-entry",
        title="Open this question",
        **{"aria-current": "true" if chosen else "false"},
    )


def _guess() -> html.Section:
    return html.Section(
        [
            html.H2("First, what do you think?"),
            html.P(id=ids.COMPARE_PROMPT, className="experiment-prompt"),
            dbc.RadioItems(id=ids.COMPARE_OPTIONS, options=[], className="experiment-options"),
            html.Div(
                [
                    html.Button(
                        "This is my guess",
                        id=ids.COMPARE_GUESS,
                        className="btn btn-primary",
                        disabled=True,
                        title="Choose an answer first",
                    ),
                    html.Button(
                        "Show without guessing",
                        id=ids.COMPARE_SHOW,
                        className="link",
                        title="See the results at once",
                    ),
                    html.Button(
                        "Hide the results and guess again",
                        id=ids.COMPARE_AGAIN,
                        className="link",
                        title="The results stay, out of sight until you have answered",
                        hidden=True,
                    ),
                ],
                className="guess-buttons",
            ),
            html.Div(id=ids.COMPARE_GUESSED, className="note", role="status"),
        ],
        className="card prediction",
        **{"aria-label": "Your guess"},
    )


def _select(label: str, control: str, options: Mapping[str, str], value: str) -> html.Div:
    listed = [{"value": key, "label": words} for key, words in options.items()]
    return _field(label, dbc.Select(id=control, options=listed, value=value, size="sm"))


def _typed(label: str, control: str, value: str, problem: str, **more: Any) -> html.Div:
    box = dbc.Input(id=control, value=value, type="text", autocomplete="off", size="sm", **more)
    return _field(label, box, html.Div(id=problem, className="field-error", role="alert"))


def _field(label: str, control: Any, *below: Any) -> html.Div:
    named = html.Label([html.Span(label, className="field-label"), control])
    help = html.Div(HELP[control.id], className="field-help", role="note")
    return html.Div([named, help, *below], className="field")


def _settings(form: Form) -> html.Section:
    def button(name: str, button_id: str, kind: str, **more: Any) -> html.Button:
        return html.Button(name, id=button_id, className=f"btn btn-{kind}", **more)

    seeds = {str(n): str(n) for n in range(1, MOST_SEEDS + 1)}
    return html.Section(
        [
            html.H2("The race"),
            html.Div(
                [
                    html.Div(
                        _select("Preset", ids.COMPARE_PRESET, PRESETS, "quick"),
                        id=ids.COMPARE_READY,
                    ),
                    _select("Seeds, 3 for a verdict", ids.COMPARE_SEEDS, seeds, form.seeds),
                ],
                className="compare-fields",
            ),
            html.Div(_own(form), id=ids.COMPARE_OWN, className="compare-own", hidden=True),
            html.Div(id=ids.COMPARE_MESSAGE, className="message", role="alert"),
            html.Div(
                [
                    button("Start", ids.COMPARE_START, "primary", title="Train all lanes, in turn"),
                    button(
                        "Pause",
                        ids.COMPARE_PAUSE,
                        "outline-secondary",
                        title="Rest after this step, or go on from there",
                    ),
                    button(
                        "Stop",
                        ids.COMPARE_STOP,
                        "outline-secondary",
                        title="End the race; what has come so far stays",
                    ),
                    button(
                        "Go on",
                        ids.COMPARE_GO_ON,
                        "outline-primary",
                        title="Race the seeds that are not whole yet",
                    ),
                ],
                className="experiment-buttons",
            ),
            html.Div(id=ids.COMPARE_COST, className="quiet experiment-cost"),
            html.Div(id=ids.COMPARE_STATE, className="experiment-state", role="status"),
        ],
        className="card experiment-settings",
        **{"aria-label": "The race"},
    )


def _own(form: Form) -> list[Any]:
    recipes = {slug: recipe.title for slug, recipe in load_recipes().items()}
    groups = {"data": "Text", "model": "Model", "train": "Training"}
    two, problem = form.second_values, ids.COMPARE_SECOND_PROBLEM
    varied = {key: f"{groups[one.group]}: {one.label}" for key, one in VARIED.items()}
    also = {NOTHING: "nothing else", **varied}
    return [
        _select("Base recipe", ids.COMPARE_RECIPE, recipes, form.recipe),
        html.Div(
            [
                _select("Vary", ids.COMPARE_SETTING, varied, form.setting),
                _typed("Values", ids.COMPARE_VALUES, form.values, ids.COMPARE_VALUES_PROBLEM),
                _select("And", ids.COMPARE_SECOND, also, form.second),
                _typed("Its values", ids.COMPARE_SECOND_VALUES, two, problem),
                _select("Budget in", ids.COMPARE_BUDGET, BUDGETS, form.budget),
                _typed(
                    "For every lane", ids.COMPARE_AMOUNT, form.amount, ids.COMPARE_AMOUNT_PROBLEM,
                    inputmode="numeric",
                ),
            ],
            className="compare-fields",
        ),
        html.Div(id=ids.COMPARE_VALUES_HELP, className="quiet"),
        html.Div(f"At most {MOST_LANES} lanes in all.", className="quiet"),
    ]  # fmt: skip


def _results() -> html.Section:
    axes: dict[str, str] = {axis: f"over {axis}" for axis in AXES}
    return html.Section(
        [
            html.Div(id=ids.COMPARE_HINT, className="card runs-hint", hidden=True),
            html.Div(
                [
                    html.Div(
                        [
                            html.P(id=ids.COMPARE_VERDICT, className="verdict"),
                            html.Span(id=ids.COMPARE_AWAY, className="quiet"),
                        ],
                        className="card verdict-card",
                        role="status",
                    ),
                    html.Div(
                        _select("Curves", ids.COMPARE_AXIS, axes, "steps"),
                        className="compare-axis",
                    ),
                    html.Div(_places(), className="experiment-plots"),
                    html.Div(id=ids.COMPARE_TABLES, className="experiment-tables"),
                ],
                id=ids.COMPARE_RESULT,
                className="column experiment-result",
                hidden=True,
            ),
        ],
        **{"aria-label": "Results"},
    )


def _places() -> list[Any]:
    return [
        html.Div(
            [
                dcc.Graph(id=ids.compare_chart(place), figure=blank(""), config=GRAPH),
                html.P(id=ids.compare_note(place), className="plot-note"),
            ],
            id=ids.compare_plot(place),
            className="card experiment-plot",
            hidden=True,
        )
        for place in range(PLACES)
    ]
