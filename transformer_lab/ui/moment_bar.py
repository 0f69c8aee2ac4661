"""The bar that chooses a model and a moment of its life, shared by Generate and Look inside."""

from typing import Any

import dash_bootstrap_components as dbc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update, set_props
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.ui import ids

NEWEST = "latest"
SHOWN_ON = ("Generate", "Look inside")
PLAY_MILLISECONDS = 700


def layout(lab: Lab) -> html.Div:
    """Model, play, the slider through its life, and where it stands."""
    return html.Div(
        [
            dcc.Store(id=ids.MOMENT_STEPS, data=[]),
            dcc.Store(id=ids.MOMENT_ASKED),
            dcc.Store(id=ids.MOMENT_AT),
            dcc.Interval(id=ids.MOMENT_TICK, interval=2000, disabled=True),
            dcc.Interval(id=ids.PLAY_TICK, interval=PLAY_MILLISECONDS, disabled=True),
            html.Label(
                [
                    html.Span("Model", className="field-label"),
                    dbc.Select(id=ids.WRITER, options=_writers(lab), value=NEWEST, size="sm"),
                ],
                className="moment-model",
                title="Whose weights are used: a run, or the newest of all",
            ),
            html.Button(
                html.I(className="bi bi-play-fill", **{"aria-hidden": "true"}),
                id=ids.PLAY,
                className="btn btn-outline-secondary btn-sm",
                title="Play all checkpoints from the first on",
                **{"aria-label": "Play the checkpoints"},
            ),
            html.Div(
                dcc.Slider(
                    id=ids.MOMENT,
                    min=0,
                    max=0,
                    step=1,
                    value=0,
                    marks=None,
                    updatemode="drag",
                    allow_direct_input=False,
                ),
                className="moment-slider",
                title="Checkpoints of the model; the last one is the newest",
                **{"data-name": "Checkpoint"},
            ),
            html.Span(id=ids.MOMENT_LABEL, className="quiet moment-label", role="status"),
        ],
        id=ids.MOMENT_BAR,
        className="moment-bar",
        hidden=True,
    )


def register(app: Dash, lab: Lab) -> None:
    """What the bar answers to."""

    @app.callback(
        Output(ids.MOMENT_BAR, "hidden"),
        Output(ids.MOMENT_TICK, "disabled"),
        Input(ids.TABS, "active_tab"),
    )
    def shown(tab: Any) -> tuple[bool, bool]:
        """Whether the tab has a use for it.

        It listens to nothing that changes at every poll: all that follows the slider waits for it.
        """
        hidden = tab not in SHOWN_ON
        return hidden, hidden

    @app.callback(
        Output(ids.WRITER, "options"),
        Input(ids.MOMENT_TICK, "n_intervals"),
        Input(ids.MOMENT_BAR, "hidden"),
        State(ids.WRITER, "options"),
    )
    def listed(tick: Any, hidden: Any, known: Any) -> Any:
        """The models there are now."""
        fresh = known if hidden else _writers(lab)
        return no_update if fresh == known else fresh

    @app.callback(
        Output(ids.MOMENT_ASKED, "data"),
        Input(ids.WRITER, "value"),
        Input(ids.MOMENT_TICK, "n_intervals"),
        Input(ids.MOMENT_BAR, "hidden"),
        State(ids.MOMENT_STEPS, "data"),
    )
    def lived(name: Any, tick: Any, hidden: Any, known: Any) -> Any:
        """The run that is meant, and the steps of its moments.

        They are set aside of the outputs: whatever follows an output of a poll waits while one is
        under way, which on a slow computer is nearly always.
        """
        if hidden:
            raise PreventUpdate
        try:
            run = lab.models.writer_named(name if isinstance(name, str) else NEWEST)
            fresh: dict[str, Any] = {"run": run, "steps": lab.models.moments(run)}
        except LabError as error:
            fresh = {"run": "", "steps": [], "problem": str(error)}
        if fresh == known:
            raise PreventUpdate
        set_props(ids.MOMENT_STEPS, {"data": fresh})
        return fresh["run"]

    app.clientside_callback(
        ClientsideFunction("moments", "lived"),
        Output(ids.MOMENT, "max"),
        Output(ids.MOMENT, "value"),
        Input(ids.MOMENT_STEPS, "data"),
        State(ids.MOMENT, "max"),
        State(ids.MOMENT, "value"),
        State(ids.MOMENT_AT, "data"),
    )
    app.clientside_callback(
        ClientsideFunction("moments", "at"),
        Output(ids.MOMENT_AT, "data"),
        Output(ids.MOMENT_LABEL, "children"),
        Input(ids.MOMENT, "value"),
        Input(ids.MOMENT_STEPS, "data"),
        State(ids.MOMENT_AT, "data"),
    )
    app.clientside_callback(
        ClientsideFunction("moments", "play"),
        Output(ids.PLAY_TICK, "disabled"),
        Output(ids.PLAY, "children"),
        Output(ids.MOMENT, "value", allow_duplicate=True),
        Input(ids.PLAY, "n_clicks"),
        Input(ids.PLAY_TICK, "n_intervals"),
        State(ids.PLAY_TICK, "disabled"),
        State(ids.MOMENT, "value"),
        State(ids.MOMENT, "max"),
        prevent_initial_call=True,
    )


def _writers(lab: Lab) -> list[dict[str, str]]:
    named = [{"value": key, "label": words} for key, words in lab.models.writers().items()]
    return [{"value": NEWEST, "label": "Newest model"}, *named]


def chosen(at: Any) -> tuple[str, int | None]:
    """The run and the step that the bar points at; no step means the newest weights."""
    at = at if isinstance(at, dict) else {}
    step = at.get("step")
    return str(at.get("run") or NEWEST), step if isinstance(step, int) else None
