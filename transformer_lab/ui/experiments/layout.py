"""How the PCN Experiments tab is laid out: the list, the guess, the settings, the results.

What is said of the experiment that is shown is filled in when it is chosen (`parts.py`).
"""

from typing import Any

from dash import dcc, html

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.experiments.experiment import Experiment
from transformer_lab.lab.lab import Lab
from transformer_lab.settings import Config, Setting, settings_of
from transformer_lab.ui import form
from transformer_lab.ui.experiments import audit_card, ids, summary
from transformer_lab.ui.results import layout as frame

MOST_PLOTS = 8
PAGE = ids.EXPERIMENT_PARTS

# Cards below the experiments: modules with layout(lab) and register(app, lab).
CARDS: tuple[Any, ...] = (audit_card,)
START_HELP = "Run this experiment with these settings; the results appear as they come"
PAUSE_HELP = "Let the models rest, saved, until you press it again"
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
            dcc.Store(id=ids.GUESSES, storage_type="session"),
            *frame.stores(PAGE),
            summary.dialog(),
            _list(shown),
            html.Div(
                [
                    frame.head(ids.EXPERIMENT_TITLE, ids.EXPERIMENT_QUESTION),
                    html.Div(
                        [frame.guess_card(PAGE), _settings(lab, shown)],
                        className="experiment-asked",
                    ),
                    frame.results(PAGE, MOST_PLOTS),
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
            summary.button(),
            html.Ol(
                [_entry(one, one.key == shown) for one in EXPERIMENTS.values()],
                className="experiment-list",
            ),
        ],
        className="card experiment-nav",
        **{"aria-label": "Experiments"},
    )


def _entry(one: Experiment[Any, Any], chosen: bool) -> html.Li:
    return frame.entry(
        one.title,
        ids.experiment_button(one.key),
        ids.experiment_badge(one.key),
        chosen=chosen,
        help="Open this experiment",
        asks=one.question,
    )


def _settings(lab: Lab, shown: str) -> html.Section:
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
            *frame.commands(
                PAGE,
                [
                    frame.button("Start", PAGE.start, "primary", START_HELP),
                    frame.button("Pause", ids.EXPERIMENT_PAUSE, "outline-secondary", PAUSE_HELP),
                    frame.button("Stop", PAGE.stop, "outline-secondary", STOP_HELP),
                ],
            ),
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
