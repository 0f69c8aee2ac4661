"""Tabs that are made when they are first opened."""

import json
from typing import Any

from dash import Dash

from transformer_lab.ui import ids
from transformer_lab.ui.server import LATE

RESTS = "slow-tick.disabled"  # what only stops when another tab is opened


def test_what_a_late_tab_shows_is_computed_when_it_is_made_not_at_the_next_event(app: Dash):
    """What it hangs on may have been settled before: the moment of the bar, the theme."""
    early = set(_components(app.server.test_client().get("/_dash-layout").get_json()))
    assert {ids.late(tab.TITLE) for tab in LATE} <= early
    waiting = []
    for known in app._callback_list:
        inputs = {one["id"] for one in known["inputs"]}
        names = known["output"].strip(".").split("...")
        outputs = [one.split("@")[0] for one in names if "." in one]  # one may have none
        late = outputs and all(output.rpartition(".")[0] not in early for output in outputs)
        if late and inputs & early and known["prevent_initial_call"] and RESTS not in outputs:
            waiting.append(outputs)
    assert waiting == []


def test_what_look_inside_shows_hangs_on_no_poll(app: Dash):
    """What hangs on a callback waits while that is under way, and polls nearly always are."""
    reached = {"moment-tick.n_intervals", "tick.n_intervals"}
    before: set[str] = set()
    while reached != before:
        before = set(reached)
        for known in app._callback_list:
            if {f"{one['id']}.{one['property']}" for one in known["inputs"]} & reached:
                outputs = known["output"].strip(".").split("...")
                reached |= {output.split("@")[0] for output in outputs}
    assert "moment-asked.data" in reached
    assert not reached & {"moment-at.data", "look-open.data", "head-chart.figure"}


def _components(part: Any) -> list[str]:
    """The names of all components in a part of the page."""
    if isinstance(part, list):
        return [name for each in part for name in _components(each)]
    if not isinstance(part, dict) or "props" not in part:
        return []
    name = part["props"].get("id")
    inside = _components(part["props"].get("children"))
    return [
        name if isinstance(name, str) else json.dumps(name, sort_keys=True, separators=(",", ":")),
        *inside,
    ]
