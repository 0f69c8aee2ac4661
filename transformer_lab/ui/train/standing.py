"""How a training stands: its state, and what can be pressed now.

A poll brings it, and so does the answer to each command: what a press has changed shows at once.
"""

from typing import Any

from dash import Output, set_props

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.states import BEGUN, BUSY
from transformer_lab.lab.training.views import View
from transformer_lab.recipes import Setup
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import words
from transformer_lab.ui.charts.training import MILESTONES
from transformer_lab.ui.train import ids, live

PARTS = {
    "headline": Output(shared_ids.HEADLINE, "children"),
    "spoken": Output(shared_ids.SPOKEN, "children"),
    "state": Output(ids.STATE, "children"),
    "why": Output(ids.WHY, "children"),
    "initialize_disabled": Output(ids.INITIALIZE, "disabled"),
    "start_disabled": Output(ids.START, "disabled"),
    "pause_disabled": Output(ids.PAUSE, "disabled"),
    "pause": Output(ids.PAUSE, "children"),
    "stop_disabled": Output(ids.STOP, "disabled"),
    "start_over_disabled": Output(ids.START_OVER, "disabled"),
    "initialize_title": Output(ids.INITIALIZE, "title"),
    "start_title": Output(ids.START, "title"),
    "pause_title": Output(ids.PAUSE, "title"),
    "stop_title": Output(ids.STOP, "title"),
    "start_over_title": Output(ids.START_OVER, "title"),
    "live_actions_hidden": Output(ids.LIVE_ACTIONS, "hidden"),
    "enqueue_hidden": Output(ids.ENQUEUE, "hidden"),
    "tick_interval": Output(shared_ids.TICK, "interval"),
}


def parts(lab: Lab, view: View, setup: Setup | None) -> dict[str, Any]:
    """What is shown of it, named as in PARTS; `view` is the run on the page, `setup` the form's."""
    own = lab.runs.view()
    why = live.buttons(lab, view, setup)
    queued = lab.trainings.cluster is not None or (why["start"] and own.state != "preparing")
    busy = {view.state, own.state} & {*BUSY} - {"paused"}
    return {
        "headline": words.headline(own),
        "spoken": words.spoken(own, MILESTONES),
        "state": live.state_line(view),
        "why": why["start"],
        "pause": "Pause" if why["pause"] or view.state == "running" else "Resume",
        **{f"{button}_disabled": bool(reason) for button, reason in why.items()},
        **{f"{button}_title": why[button] or text for button, text in live.BUTTON_HELP.items()},
        "live_actions_hidden": own.state not in BEGUN,
        "enqueue_hidden": not queued,
        "tick_interval": live.FAST if busy else live.SLOW,
    }


def show(lab: Lab, run_id: str | None, setup: Setup | None) -> None:
    """Have the answer to the request under way show it, beside the outputs of its callback."""
    for name, part in parts(lab, live.shown(lab, run_id), setup).items():
        set_props(PARTS[name].component_id_str(), {PARTS[name].component_property: part})
