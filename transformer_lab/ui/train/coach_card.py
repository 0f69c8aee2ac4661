"""The card of the coach: what is happening in a run, by what numbers, and the press that helps.

The press takes steps on the real controls, as the buttons of lessons do (`assets/learn.js`).
"""

import json
from typing import Any

from dash import Output, html
from dash.development.base_component import Component

from transformer_lab.lab.coach.evidence import Advice
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.states import BEGUN
from transformer_lab.lab.training.views import View
from transformer_lab.recipes import SETTINGS
from transformer_lab.ui import form
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.generate import ids as generate_ids
from transformer_lab.ui.learn import ids as learn_ids
from transformer_lab.ui.steps import Step, open_tab, press, set_to
from transformer_lab.ui.train import ids

RATE = "train.learning_rate"
LESSON = "milestones"
# What a poll changes here.
PARTS = {
    "coach_hidden": Output(ids.COACH, "hidden"),
    "coach": Output(ids.COACH, "children"),
}


def layout() -> html.Div:
    """The card, hidden while there is nothing to say."""
    return html.Div(id=ids.COACH, className="card coach-card", role="status", hidden=True)


def parts(lab: Lab, view: View) -> dict[str, Any]:
    """What a poll shows of the card, named as in PARTS."""
    advice = lab.runs.advice(view)
    if advice is None:
        return {"coach_hidden": True, "coach": []}
    return {"coach_hidden": False, "coach": card(advice, view)}


def card(advice: Advice, view: View) -> list[Component]:
    """Its words and its button."""
    button = html.Button(
        [html.I(className="bi bi-arrow-right-circle", **{"aria-hidden": "true"}), advice.label],
        className="btn btn-outline-primary btn-sm",
        title=_help(advice, view),
        **{"data-do": json.dumps(steps(advice, view))},
    )
    words = html.Span(className="quiet did-words", role="status")
    return [
        html.Strong(advice.title),
        html.P(advice.evidence),
        html.Div([button, words], className="coach-line"),
    ]


def steps(advice: Advice, view: View) -> list[Step]:
    """What the button does, as steps of `assets/learn.js`."""
    taken: list[Step] = []
    for key, value in advice.settings.items():
        setting = SETTINGS[key]
        control = shared_ids.setting(setting.group, setting.name)
        taken.append(set_to(control, form.written(setting, value)))
    if _applies(advice, view):
        taken.append(press(ids.APPLY_RATE))
    if advice.checkpoint is not None:
        moment = {"run": view.run_id, "step": advice.checkpoint}
        goal = set_to(shared_ids.MOMENT_GOAL, moment, "data")
        taken += [  # the goal first, so that it waits for the moments that the tab looks up
            {**goal, "at": shared_ids.WRITER},  # where it is shown: a store is no element
            set_to(shared_ids.WRITER, view.run_id),
            open_tab("Generate"),
            press(generate_ids.GENERATE),
        ]
    presses = {
        "pause": [press(ids.PAUSE)],
        "further": [press(ids.AFTER_FURTHER)],
        "lesson": [open_tab("Learn"), press(learn_ids.lesson_button(LESSON))],
    }
    return taken + presses.get(advice.press, [])


def _applies(advice: Advice, view: View) -> bool:
    """Whether a learning rate is also that of the run under way from the next step on."""
    return RATE in advice.settings and view.here and view.state in BEGUN


def _help(advice: Advice, view: View) -> str:
    if _applies(advice, view):
        return "In the form, and for the run under way from its next step on"
    if advice.settings:
        return "In the form: press Start Training for a run with it"
    return "The page does this step for you"
