"""The bar that chooses a model and one of its checkpoints, shared by Generate and Look inside."""

from typing import TypedDict

import dash_bootstrap_components as dbc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, set_props
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.ui import ids
from transformer_lab.ui.generate import ids as generate_ids

NEWEST = "latest"
SHOWN_ON = ("Generate", "Look inside")
PLAY_MILLISECONDS = 700


class Moments(TypedDict, total=False):
    """What was asked for, the run that is meant, and the steps of its moments, if it has any."""

    asked: str
    run: str
    steps: list[int]
    problem: str


class At(TypedDict, total=False):
    """A moment: the run, its step, or None and the newest step there is."""

    run: str
    step: int | None
    newest: int | None


Options = list[dict[str, str]]


def layout(lab: Lab) -> html.Div:
    """Model, play, the slider through its checkpoints, and where it stands."""
    return html.Div(
        [
            dcc.Store(id=ids.MOMENT_FOUND),
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
                title="Play all checkpoints from the first on; in Generate, each writes its text",
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
    _register_choice(app, lab)
    _register_moments(app, lab)
    _register_slider(app)


def _register_choice(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "hidden": Output(ids.MOMENT_BAR, "hidden"),
            "resting": Output(ids.MOMENT_TICK, "disabled"),
        },
        inputs={"tab": Input(ids.TABS, "active_tab")},
    )
    def shown(tab: str | None) -> dict[str, bool]:
        """Whether the tab has a use for it.

        It listens to nothing that changes at every poll: all that follows the slider waits for it.
        """
        hidden = tab not in SHOWN_ON
        return {"hidden": hidden, "resting": hidden}

    @app.callback(
        Output(ids.WRITER, "options"),
        Input(ids.MOMENT_TICK, "n_intervals"),
        Input(ids.MOMENT_BAR, "hidden"),
        State(ids.WRITER, "options"),
    )
    def listed(tick: int | None, hidden: bool | None, known: Options | None) -> Options:
        """The models there are now."""
        fresh = known if hidden else _writers(lab)
        if fresh is None or fresh == known:
            raise PreventUpdate  # no_update would be an answer, which the page takes in
        return fresh


def _register_moments(app: Dash, lab: Lab) -> None:
    @app.callback(
        output=Output(ids.MOMENT_ASKED, "data"),
        inputs={
            "name": Input(ids.WRITER, "value"),
            "tick": Input(ids.MOMENT_TICK, "n_intervals"),
            "hidden": Input(ids.MOMENT_BAR, "hidden"),
        },
        state={"known": State(ids.MOMENT_STEPS, "data")},
    )
    def moments(
        name: str | None, tick: int | None, hidden: bool | None, known: Moments | None
    ) -> str:
        """The run that is meant, and the steps of its moments.

        They are set aside of the outputs: whatever follows an output of a poll waits while one is
        under way, which on a slow computer is nearly always.
        """
        if hidden:
            raise PreventUpdate
        asked = str(name or NEWEST)
        try:
            run = lab.models.writer_named(asked)
            fresh: Moments = {"asked": asked, "run": run, "steps": lab.models.moments(run)}
        except LabError as error:
            fresh = {"asked": asked, "run": "", "steps": [], "problem": str(error)}
        if fresh == known:
            raise PreventUpdate
        set_props(ids.MOMENT_FOUND, {"data": fresh})
        return fresh["run"]


def _register_slider(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("moments", "still_chosen"),
        Output(ids.MOMENT_STEPS, "data"),
        Input(ids.MOMENT_FOUND, "data"),
        State(ids.WRITER, "value"),
    )
    app.clientside_callback(
        ClientsideFunction("moments", "listed"),
        Output(ids.MOMENT, "max"),
        Output(ids.MOMENT, "value"),
        Input(ids.MOMENT_STEPS, "data"),
        Input(ids.MOMENT_GOAL, "data"),
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
        State(ids.TABS, "active_tab"),
        State(ids.MOMENT_AT, "data"),
        State(generate_ids.WRITING, "data"),
        State(generate_ids.WRITTEN, "data"),
        State(generate_ids.GENERATE_STOP, "disabled"),
        prevent_initial_call=True,
    )


def _writers(lab: Lab) -> Options:
    named = [{"value": key, "label": words} for key, words in lab.models.writers().items()]
    return [{"value": NEWEST, "label": "Newest model"}, *named]


def chosen(at: At | None) -> tuple[str, int | None]:
    """The run and the step that the bar points at; no step means the newest weights."""
    at = at or {}
    return at.get("run") or NEWEST, at.get("step")
