"""The card that shows how the latents of the model on the Train tab settle, where there are any."""

from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.experiments.settlings import SettlingTrace
from transformer_lab.lab.lab import UNTRAINED, Lab, LabError
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.charts.experiments import settling_figure
from transformer_lab.ui.charts.training import GRAPH
from transformer_lab.ui.train import ids, live

MILLISECONDS = 5000  # between two polls
HELP = (
    "Energy per token of each part that predicts, as its latents settle for T steps. It holds no "
    "target, and can only fall."
)


def layout() -> html.Div:
    """The card, hidden until a model with predictive coding is shown."""
    return html.Div(
        [
            dcc.Interval(id=ids.SETTLING_TICK, interval=MILLISECONDS),
            dcc.Store(id=ids.SETTLING_SEEN),
            html.Div(
                [html.H2("Settling"), html.Span(id=ids.SETTLING_STEP, className="quiet")],
                className="card-head",
            ),
            html.Div(id=ids.SETTLING_CHART),
            html.P(HELP, className="plot-note"),
        ],
        id=ids.SETTLING_CARD,
        className="card settling-card",
        hidden=True,
    )


def register(app: Dash, lab: Lab, tab: str) -> None:
    """Look again now and then while `tab` is open."""

    @app.callback(
        output={
            "hidden": Output(ids.SETTLING_CARD, "hidden"),
            "chart": Output(ids.SETTLING_CHART, "children"),
            "step": Output(ids.SETTLING_STEP, "children"),
            "seen": Output(ids.SETTLING_SEEN, "data"),
        },
        inputs={
            "tick": Input(ids.SETTLING_TICK, "n_intervals"),
            "run_id": Input(ids.RUN, "value"),
            "shown": Input(shared_ids.TABS, "active_tab"),
        },
        state={"seen": State(ids.SETTLING_SEEN, "data")},
    )
    def look(
        tick: int | None, run_id: str | None, shown: str | None, seen: list[object] | None
    ) -> dict[str, Any]:
        """The newest energies of the model that is shown; no card where nothing settles."""
        if shown != tab:
            raise PreventUpdate
        settled = _settled(lab, run_id)
        stamp = [settled.run_id, settled.step, settled.tokens] if settled else None
        if stamp == seen:
            raise PreventUpdate
        if settled is None:
            return {"hidden": True, "chart": no_update, "step": no_update, "seen": None}
        traces = [(called(name), energies) for name, energies in settled.traces]
        graph = dcc.Graph(figure=settling_figure(traces), config=GRAPH)
        step = f"after step {settled.step:,}"
        return {"hidden": False, "chart": graph, "step": step, "seen": stamp}


def _settled(lab: Lab, run_id: str | None) -> SettlingTrace | None:
    newest = run_id in (live.LATEST, None)
    try:
        return lab.settlings.look((lab.runs.shown() if newest else str(run_id)) or UNTRAINED)
    except LabError:
        return None


def called(part: str) -> str:
    """A part of a model as the chart names it: blocks.0.feedforward is layer 1."""
    first, _, rest = part.partition(".")
    place = rest.split(".")[0]
    return f"layer {int(place) + 1}" if first == "blocks" and place.isdigit() else first
