"""The Runs tab: every run there is, to find, open, compare, continue and take away.

Its layout is in `ui/runs/layout.py`; each other file here is one part of the tab.
"""

from dash import ClientsideFunction, Dash, Input, Output

from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.runs import actions, comparison, editing, ids, listing, opened, queue, race
from transformer_lab.ui.runs.layout import TITLE, layout

__all__ = ["TITLE", "layout", "register"]


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    for part in (listing, editing, opened, race, actions, comparison, queue):
        part.register(app, lab)
    app.clientside_callback(
        ClientsideFunction("lab", "only_on_runs"),
        Output(ids.RUNS_TICK, "interval"),
        Input(shared_ids.TABS, "active_tab"),
    )
