"""How the PCN Experiments tab is laid out: the list, the guess, the settings, the results.

What is said of the experiment that is shown is filled in when it is chosen (`parts.py`).
"""

from typing import Any

import dash_bootstrap_components as dbc
from dash import dcc, html

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.experiment import Experiment
from transformer_lab.lab.lab import Lab
from transformer_lab.settings import Config, Setting, settings_of
from transformer_lab.ui import form, ids
from transformer_lab.ui.charts.training import blank
from transformer_lab.ui.experiments import audit_card
from transformer_lab.ui.train.layout import GRAPH

MOST_PLOTS = 8
FAST, SLOW = 500, 2000  # milliseconds between polls, while the one shown measures, and when not
RESTING = 3_600_000  # while another tab is open

# Cards below the experiments: modules with layout(lab) and register(app, lab).
CARDS: tuple[Any, ...] = (audit_card,)
START_HELP = "Run this experiment with these settings; the results appear as they come"
STOP_HELP = "End it here; what has come so far stays"


def opening(lab: Lab) -> str:
    """The experiment the page opens on: the one under way, else the last one, else the first."""
    trial = lab.trials.newest()
    return trial.key if trial else next(iter(EXPERIMENTS))


def layout(lab: Lab) -> html.Div:
    """The list on the left; on the right one experiment, and below it the cards."""
    shown = opening(lab)
    return html.Div(
        [
            dcc.Store(id=ids.EXPERIMENT, data=shown),
            dcc.Store(id=ids.EXPERIMENT_SEEN, data={}),
            dcc.Store(id=ids.EXPERIMENT_REFRESH, data=0),
            dcc.Store(id=ids.GUESSES, storage_type="session"),
            dcc.Interval(id=ids.EXPERIMENT_TICK, interval=RESTING),
            _list(shown),
            html.Div(
                [
                    _head(),
                    html.Div([_prediction(), _settings(lab, shown)], className="experiment-asked"),
                    _results(),
                    _explained(),
                    html.Section([card.layout(lab) for card in CARDS], className="pcn-cards"),
                ],
                className="column experiment-column",
            ),
        ],
        className="pane pcn",
    )


def _list(shown: str) -> html.Nav:
    return html.Nav(
        [
            html.H2("Experiments"),
            html.Ol(
                [html.Li(_entry(one, one.key == shown)) for one in EXPERIMENTS.values()],
                className="experiment-list",
            ),
        ],
        className="card experiment-nav",
        **{"aria-label": "Experiments"},
    )


def _entry(one: Experiment[Any, Any], chosen: bool) -> html.Button:
    return html.Button(
        [
            html.Span(one.title, className="experiment-name"),
            html.Span(one.question, className="experiment-asks"),
            html.Span(id=ids.experiment_badge(one.key), className="experiment-badge"),
        ],
        id=ids.experiment_button(one.key),
        className="experiment-entry",
        title="Open this experiment",
        **{"aria-current": "true" if chosen else "false"},
    )


def _head() -> html.Header:
    return html.Header(
        [
            html.H2(id=ids.EXPERIMENT_TITLE, className="experiment-title"),
            html.P(id=ids.EXPERIMENT_QUESTION, className="experiment-question"),
        ]
    )


def _prediction() -> html.Section:
    return html.Section(
        [
            html.H2("First, what do you think?"),
            html.P(id=ids.EXPERIMENT_PROMPT, className="experiment-prompt"),
            dbc.RadioItems(id=ids.EXPERIMENT_OPTIONS, options=[], className="experiment-options"),
            html.Div(
                [
                    html.Button(
                        "This is my guess",
                        id=ids.EXPERIMENT_GUESS,
                        className="btn btn-primary",
                        disabled=True,
                        title="Choose an answer first",
                    ),
                    html.Button(
                        "Show without guessing",
                        id=ids.EXPERIMENT_SHOW,
                        className="link",
                        title="See the results at once",
                    ),
                    html.Button(
                        "Hide the results and guess again",
                        id=ids.EXPERIMENT_AGAIN,
                        className="link",
                        hidden=True,
                    ),
                ],
                className="guess-buttons",
            ),
            html.Div(id=ids.EXPERIMENT_GUESSED, className="note", role="status"),
        ],
        className="card prediction",
        **{"aria-label": "Your guess"},
    )


def _settings(lab: Lab, shown: str) -> html.Section:
    def button(name: str, button_id: str, kind: str, title: str) -> html.Button:
        return html.Button(name, id=button_id, className=f"btn btn-{kind}", title=title)

    return html.Section(
        [
            html.Div(
                [
                    html.H2("Settings"),
                    html.Button(
                        "defaults",
                        id=ids.EXPERIMENT_DEFAULTS,
                        className="link",
                        title="Put the settings back that the published results have",
                    ),
                ],
                className="card-head",
            ),
            *[
                _fields(one, _opened(lab, one), hidden=one.key != shown)
                for one in EXPERIMENTS.values()
            ],
            html.Div(id=ids.EXPERIMENT_MESSAGE, className="message", role="alert"),
            html.Div(
                [
                    button("Start", ids.EXPERIMENT_START, "primary", START_HELP),
                    button("Stop", ids.EXPERIMENT_STOP, "outline-secondary", STOP_HELP),
                ],
                className="experiment-buttons",
            ),
            html.Div(id=ids.EXPERIMENT_COST, className="quiet experiment-cost"),
            html.Div(id=ids.EXPERIMENT_STATE, className="experiment-state", role="status"),
        ],
        className="card experiment-settings",
        **{"aria-label": "Settings"},
    )


def _opened(lab: Lab, one: Experiment[Any, Any]) -> Config:
    """What its controls open on: the settings of its last trial, else the defaults."""
    trial = lab.trials.find(one.key)
    return trial.settings if trial else one.settings()


def _fields(one: Experiment[Any, Any], values: Config, *, hidden: bool) -> html.Div:
    def control(setting: Setting) -> html.Div:
        return form.control(
            setting,
            getattr(values, setting.name),
            control_id=ids.experiment_setting(one.key, setting.name),
            problem_id=ids.experiment_problem(one.key, setting.name),
        )

    found = settings_of(one.settings)
    advanced = [control(setting) for setting in found if setting.advanced]
    more = html.Details(
        [html.Summary("Advanced"), html.Div(advanced, className="fields")],
        className="advanced",
    )
    return html.Div(
        [
            html.Div(
                [control(setting) for setting in found if not setting.advanced], className="fields"
            ),
            *([more] if advanced else []),
        ],
        id=ids.experiment_fields(one.key),
        className="experiment-fields",
        hidden=hidden,
    )


def _results() -> html.Section:
    return html.Section(
        [
            html.Div(id=ids.EXPERIMENT_HINT, className="card runs-hint", hidden=True),
            html.Div(
                [
                    html.Div(
                        [
                            html.P(id=ids.EXPERIMENT_VERDICT, className="verdict"),
                            html.Span(id=ids.EXPERIMENT_AWAY, className="quiet"),
                        ],
                        className="card verdict-card",
                        role="status",
                    ),
                    html.Div(_places(), className="experiment-plots"),
                    html.Div(id=ids.EXPERIMENT_TABLES, className="experiment-tables"),
                ],
                id=ids.EXPERIMENT_RESULT,
                className="column experiment-result",
                hidden=True,
            ),
        ],
        **{"aria-label": "Results"},
    )


def _places() -> list[Any]:
    """Where charts go."""
    return [
        html.Div(
            [
                dcc.Graph(id=ids.experiment_chart(place), figure=blank(""), config=GRAPH),
                html.P(id=ids.experiment_note(place), className="plot-note"),
            ],
            id=ids.experiment_plot(place),
            className="card experiment-plot",
            hidden=True,
        )
        for place in range(MOST_PLOTS)
    ]


def _explained() -> html.Section:
    return html.Section(
        [
            html.Details(
                [
                    html.Summary("The equations, and the code that computes them"),
                    html.Div(id=ids.EXPERIMENT_EQUATIONS),
                ],
                className="card explained",
            ),
            html.Details(
                [
                    html.Summary("The lines that leak"),
                    html.P(
                        "As they run here. Follow the label: the honest evaluation is the same "
                        "code, without it.",
                        className="quiet",
                    ),
                    html.Pre(id=ids.EXPERIMENT_LEAK, className="code", tabIndex=0),
                ],
                id=ids.EXPERIMENT_LEAK_BOX,
                className="card explained",
            ),
        ],
        className="column",
        **{"aria-label": "How it is computed"},
    )
