"""The check for induction heads, as a job that the page reads while it runs."""

from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.induction import InductionCheck
from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids
from transformer_lab.ui.look.importance import EVERY, NAME, job_of, stop
from transformer_lab.ui.look.parts import TROUBLE, button, named, opened, table

ABOUT = (
    "They look back to what came next last time. Heads that look there are found, then switched "
    "off to see whether copying needs them."
)


def layout() -> html.Section:
    """Start, stop, the verdict and its numbers."""
    return html.Section(
        [
            dcc.Store(id=ids.INDUCTION_JOB),
            dcc.Interval(id=ids.INDUCTION_TICK, interval=EVERY, disabled=True),
            html.H2("Are there induction heads?"),
            html.Div(ABOUT, className="quiet"),
            html.Div(
                [
                    button(
                        "Check",
                        ids.INDUCTION_START,
                        "Find heads that look back, and switch them off",
                        "primary",
                    ),
                    button("Stop", ids.INDUCTION_STOP, "End the check", disabled=True),
                ],
                className="look-controls",
            ),
            html.Div(id=ids.INDUCTION_STATE, role="status"),
            html.Div(id=ids.INDUCTION_TABLE, className="table-box", tabIndex=0),
        ],
        className="card",
        **named("Induction heads"),
    )


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of the check."""
    _register_begin(app, lab)
    _register_show(app, lab)


def _register_begin(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.INDUCTION_JOB, "data"),
        Output(ids.INDUCTION_STATE, "children", allow_duplicate=True),
        Input(ids.INDUCTION_START, "n_clicks"),
        Input(ids.INDUCTION_STOP, "n_clicks"),
        State(ids.LOOK_OPEN, "data"),
        State(ids.LOOK_TABS, "active_tab"),
        State(ids.INDUCTION_JOB, "data"),
        prevent_initial_call=True,
    )
    def begin(start: Any, halt: Any, data: Any, sub_tab: Any, known: Any) -> tuple[Any, Any]:
        """Start the check, or stop it."""
        stop(lab, known)
        if ctx.triggered_id == ids.INDUCTION_STOP:
            raise PreventUpdate
        what = opened(data, sub_tab, NAME)
        try:
            job = lab.inspector.trials.induction(what)
        except TROUBLE as error:
            return no_update, html.Span(str(error), className="warn")
        copies = lab.inspector.trials.copies(what.run)
        return {"job": job.id, "after": data.get("after"), "copies": copies}, no_update


def _register_show(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.INDUCTION_STATE, "children"),
        Output(ids.INDUCTION_TABLE, "children"),
        Output(ids.INDUCTION_TICK, "disabled"),
        Output(ids.INDUCTION_STOP, "disabled"),
        Input(ids.INDUCTION_JOB, "data"),
        Input(ids.INDUCTION_TICK, "n_intervals"),
        prevent_initial_call=True,
    )
    def show(begun: Any, tick: Any) -> tuple[Any, Any, bool, bool]:
        """How far the check is, or its verdict."""
        job = job_of(lab, begun)
        if job is None:
            return no_update, no_update, True, True
        over = job.done
        found, _ = job.since()
        if job.error:
            return html.Span(job.error, className="warn"), [], True, True
        last = found[-1] if found else None
        if isinstance(last, InductionCheck):
            return _verdict(last, begun), _heads(last), True, True
        if last is None:
            return "looking where heads look …", [], over, over
        words = "Stopped after" if job.stopped else "switched off"
        return f"{words} {last.done} of {last.total} heads", [], over, over


def _verdict(check: InductionCheck, begun: Any) -> list[Any]:
    on = "lines of the copying task" if begun.get("copies") else "random tokens written twice"
    icon = "check-circle-fill" if check.confirmed else "dash-circle"
    return [
        html.Div(
            [
                html.I(className=f"bi bi-{icon}", **{"aria-hidden": "true"}),
                " Confirmed. " if check.confirmed else " Not confirmed. ",
                check.verdict,
            ],
            className="verdict",
        ),
        html.Div(f"Measured on {on}, after step {begun.get('after'):,}.", className="quiet"),
    ]


def _heads(check: InductionCheck) -> html.Table:
    """Each head: how much it looks back, and the loss without it."""
    measured = sorted([*check.found, *check.others], key=lambda one: -one.loss)
    found = {one.site for one in check.found}
    rows = [
        [
            one.site.label,
            "looks back" if one.site in found else "",
            f"{one.loss:.3f}",
            f"{one.change:+.3f}",
        ]
        for one in measured
    ]
    return table(["without", "", "loss, nats", "change"], rows)
