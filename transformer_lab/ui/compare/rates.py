"""The learning-rate finder on the Compare tab: a range test with the settings of Train."""

from dataclasses import replace
from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.training.range_tests import RangeTest
from transformer_lab.recipes import SETTINGS, Setup
from transformer_lab.settings import ConfigError
from transformer_lab.training.range_test import HIGH, LOW, STEPS
from transformer_lab.ui import form, polling, words
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.charts.rates import rate_figure
from transformer_lab.ui.charts.training import GRAPH
from transformer_lab.ui.compare import ids
from transformer_lab.ui.results import layout as frame
from transformer_lab.ui.results.poll import FAST, RESTING
from transformer_lab.ui.train import ids as train_ids
from transformer_lab.ui.train.plan import FormPlan, planned

TOOL, TAB = ids.RATE_TOOL, "Compare"
TITLE = "Find a learning rate"
ABOUT = (
    f"A range test: up to {STEPS} steps of a training that is thrown away, at rates that grow by "
    f"equal factors from {LOW:g} to {HIGH:g}. It ends where the loss diverges, and suggests a rate."
)
RATE = "train.learning_rate"
PARTS = {
    "about": Output(ids.RATE_ABOUT, "children"),
    "state": Output(ids.RATE_STATE, "children"),
    "chart": Output(ids.RATE_CHART, "figure"),
    "result_hidden": Output(ids.RATE_RESULT, "hidden"),
    "said": Output(ids.RATE_SAID, "children"),
    "start_disabled": Output(ids.RATE_START, "disabled"),
    "cancel_disabled": Output(ids.RATE_CANCEL, "disabled"),
    "take_hidden": Output(ids.RATE_TAKE, "hidden"),
    "take": Output(ids.RATE_TAKE, "children"),
    "interval": Output(ids.RATE_TICK, "interval"),
}


def panel() -> html.Div:
    """What stands in the place of a question."""
    quiet = "outline-secondary"
    start = frame.button(
        "Start", ids.RATE_START, "primary", "Try the rates, on the training thread"
    )
    cancel = frame.button("Cancel", ids.RATE_CANCEL, quiet, "End the test before its next step")
    take = frame.button("", ids.RATE_TAKE, "outline-primary", "Put it into the form of Train")
    return html.Div(
        [
            dcc.Store(id=ids.RATE_REFRESH, data=0),
            dcc.Store(id=ids.RATE_SEEN, data={}),
            dcc.Interval(id=ids.RATE_TICK, interval=RESTING),
            html.Header(
                [
                    html.H2(TITLE, className="experiment-title"),
                    html.P(ABOUT, className="experiment-question"),
                ]
            ),
            html.Section(
                [
                    html.P(id=ids.RATE_ABOUT),
                    html.Div([start, cancel], className="experiment-buttons"),
                    html.Div(id=ids.RATE_MESSAGE, className="message", role="alert"),
                    html.Div(id=ids.RATE_STATE, className="experiment-state", role="status"),
                ],
                className="card",
                **{"aria-label": "The range test"},
            ),
            html.Section(
                [
                    html.P(id=ids.RATE_SAID, className="verdict", role="status"),
                    take,
                    dcc.Graph(
                        id=ids.RATE_CHART, figure=rate_figure([], [], []), config=GRAPH
                    ),
                ],
                id=ids.RATE_RESULT,
                className="card compare-tool-result",
                hidden=True,
                **{"aria-label": "What came of it"},
            ),
        ],
        id=ids.RATE_PANEL,
        className="column experiment-column compare-tool",
        hidden=True,
    )  # fmt: skip


def register(app: Dash, lab: Lab) -> None:
    """Its buttons and its poll."""
    _register_buttons(app, lab)
    _register_poll(app, lab)


def _register_buttons(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "message": Output(ids.RATE_MESSAGE, "children"),
            "refresh": Output(ids.RATE_REFRESH, "data"),
        },
        inputs={
            "start": Input(ids.RATE_START, "n_clicks"),
            "cancel": Input(ids.RATE_CANCEL, "n_clicks"),
        },
        state={"plan": State(train_ids.PLAN, "data"), "refresh": State(ids.RATE_REFRESH, "data")},
        prevent_initial_call=True,
    )
    def command(
        start: int | None, cancel: int | None, plan: FormPlan | None, refresh: int | None
    ) -> dict[str, Any]:
        """Begin or end a test; says what is wrong."""
        message, setup = "", planned(plan)
        if ctx.triggered_id == ids.RATE_CANCEL:
            lab.range_tests.stop()
        elif setup is not None:
            try:
                lab.range_tests.start(setup)
            except (ConfigError, LabError) as error:
                message = str(error)
        return {"message": message, "refresh": (refresh or 0) + 1}

    @app.callback(
        output={
            "rate": Output(
                shared_ids.setting("train", "learning_rate"), "value", allow_duplicate=True
            ),
            "tab": Output(shared_ids.TABS, "active_tab", allow_duplicate=True),
        },
        inputs={"press": Input(ids.RATE_TAKE, "n_clicks")},
        state={"locked": State(shared_ids.ADDRESS_LOCKED, "data")},
        prevent_initial_call=True,
    )
    def take(press: int | None, locked: list[str] | None) -> dict[str, object]:
        """The form of Train gets the rate that is suggested."""
        rate = _suggested(lab.range_tests.newest)
        if rate is None or not press:
            raise PreventUpdate
        written = form.written(SETTINGS[RATE], rate)
        return {"rate": form.unless_locked(RATE, written, locked), "tab": "Train"}


def _register_poll(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={"parts": PARTS, "seen": Output(ids.RATE_SEEN, "data")},
        inputs={
            "tick": Input(ids.RATE_TICK, "n_intervals"),
            "refresh": Input(ids.RATE_REFRESH, "data"),
            "tool": Input(ids.COMPARE_TOOL, "data"),
            "tab": Input(shared_ids.TABS, "active_tab"),
        },
        state={"plan": State(train_ids.PLAN, "data"), "seen": State(ids.RATE_SEEN, "data")},
        running=[(Output(ids.RATE_TICK, "disabled"), True, False)],
    )
    def poll(
        tick: int | None,
        refresh: int | None,
        tool: str | None,
        tab: str | None,
        plan: FormPlan | None,
        seen: dict[str, int] | None,
    ) -> dict[str, Any]:
        """What changed since the last poll, and nothing else."""
        shown = tab == TAB and tool == TOOL
        parts: dict[str, Any] = dict.fromkeys(PARTS, no_update) | {"interval": RESTING}
        if shown:
            parts = _parts(lab.range_tests.newest, planned(plan))
        fresh, digests = polling.changed(parts, seen)
        if all(part is no_update for part in fresh.values()):
            raise PreventUpdate
        return {"parts": fresh, "seen": digests}


def _parts(test: RangeTest | None, setup: Setup | None) -> dict[str, Any]:
    """All that is said of the test, and of the settings that the next one would have."""
    busy, rate = test is not None and test.active, _suggested(test)
    return {
        "about": _about(setup),
        "state": _state(test),
        "chart": _figure(test) if test else no_update,
        "result_hidden": not (test and test.points),
        "said": _said(test, setup),
        "start_disabled": busy or setup is None,
        "cancel_disabled": not busy,
        "take_hidden": rate is None,
        "take": f"Use {rate:g} on Train" if rate is not None else "",
        "interval": FAST if busy else RESTING,
    }


def _suggested(test: RangeTest | None) -> float | None:
    found = test.suggestion if test else None
    return found.rate if found else None


def _about(setup: Setup | None) -> str:
    if setup is None:
        return "The form of Train has a mistake in it: mend that first."
    model, train = setup.model, setup.train
    layers = "1 layer" if model.layers == 1 else f"{model.layers} layers"
    optimizer = words.value(train.optimizer, SETTINGS["train.optimizer"])
    return (
        f"It takes the settings of Train as they stand: {layers}, {model.embedding_dim} wide, "
        f"batches of {train.batch_size} times {model.sequence_length} tokens, {optimizer}, "
        f"now at a learning rate of {train.learning_rate:g}."
    )


def _state(test: RangeTest | None) -> str | list[Component]:
    if test is None:
        return "Not started yet."
    if test.state == "failed":
        return test.reason
    doing = {
        "running": f"trying a rate of {test.points[-1].rate:.2g}"
        if test.points
        else "making text and model ready",
        "stopping": "stopping",
        "stopped": "cancelled; the form is as it was",
        "done": "done",
    }[test.state]
    share = 100 * (1.0 if test.state == "done" else test.progress)
    bar = html.Div(
        html.Div(style={"width": f"{share:.0f}%"}),
        className="progress-line",
        role="progressbar",
        **{
            "aria-label": "Rates tried",
            "aria-valuenow": f"{share:.0f}",
            "aria-valuemin": "0",
            "aria-valuemax": "100",
        },
    )
    return [html.Div(f"{len(test.points)} of at most {STEPS} steps · {doing}"), bar]


def _figure(test: RangeTest) -> Any:
    points = test.points
    return rate_figure(
        [point.rate for point in points],
        [point.loss for point in points],
        [point.smoothed for point in points],
        _suggested(test),
        str(id(test)),
    )


def _said(test: RangeTest | None, setup: Setup | None) -> str:
    found = test.suggestion if test else None
    if test is None or found is None:
        return ""
    other = setup is not None and _but_for_the_rate(setup) != _but_for_the_rate(test.setup)
    changed = " The form of Train has changed since: try again for what stands there now."
    return found.sentence + changed * other


def _but_for_the_rate(setup: Setup) -> Setup:
    return replace(setup, train=replace(setup.train, learning_rate=1e-3))
