"""The check for induction heads, as a job that the page reads while it runs."""

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.induction import InductionCheck
from transformer_lab.lab.jobs import Job
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.look import ids
from transformer_lab.ui.look.importance import EVERY, NAME, began, job_of, stop
from transformer_lab.ui.look.parts import TROUBLE, button, named, opened, table
from transformer_lab.ui.look.state import Began, Opened

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
        output={
            "job": Output(ids.INDUCTION_JOB, "data"),
            "state": Output(ids.INDUCTION_STATE, "children", allow_duplicate=True),
        },
        inputs={
            "start": Input(ids.INDUCTION_START, "n_clicks"),
            "halt": Input(ids.INDUCTION_STOP, "n_clicks"),
        },
        state={
            "data": State(ids.LOOK_OPEN, "data"),
            "sub_tab": State(ids.LOOK_TABS, "active_tab"),
            "known": State(ids.INDUCTION_JOB, "data"),
        },
        prevent_initial_call=True,
    )
    def begin(
        start: int | None,
        halt: int | None,
        data: Opened | None,
        sub_tab: str | None,
        known: Began | None,
    ) -> dict[str, object]:
        """Start the check, or stop it."""
        stop(lab, known)
        if ctx.triggered_id == ids.INDUCTION_STOP:
            raise PreventUpdate
        what = opened(data, sub_tab, NAME)
        try:
            job = lab.inspector.interventions.induction(what)
        except TROUBLE as error:
            return {"job": no_update, "state": html.Span(str(error), className="warn")}
        begun = began(job, data)
        begun["copies"] = lab.inspector.interventions.copies(what.run)
        return {"job": begun, "state": no_update}


def _register_show(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "state": Output(ids.INDUCTION_STATE, "children"),
            "table": Output(ids.INDUCTION_TABLE, "children"),
            "tick_off": Output(ids.INDUCTION_TICK, "disabled"),
            "stop_off": Output(ids.INDUCTION_STOP, "disabled"),
        },
        inputs={
            "begun": Input(ids.INDUCTION_JOB, "data"),
            "tick": Input(ids.INDUCTION_TICK, "n_intervals"),
        },
        prevent_initial_call=True,
    )
    def show(begun: Began | None, tick: int | None) -> dict[str, object]:
        """How far the check is, or its verdict."""
        job = job_of(lab, begun)
        if job is None or begun is None:
            return {"state": no_update, "table": no_update, "tick_off": True, "stop_off": True}
        over = job.done  # read before the results, or the last could be missed
        found, _ = job.since()
        last = found[-1] if found else None
        if isinstance(last, InductionCheck) and not job.error:
            ended = {"tick_off": True, "stop_off": True}
            return {"state": _verdict(last, begun), "table": _heads(last), **ended}
        over = over or bool(job.error)
        return {"state": _progress(job), "table": [], "tick_off": over, "stop_off": over}


def _progress(job: Job) -> str | Component:
    """How many heads have been switched off so far, or what went wrong."""
    found, _ = job.since()
    if job.error:
        return html.Span(job.error, className="warn")
    if not found:
        return "Measuring where each head attends …"
    words = "Stopped after" if job.stopped else "Switched off"
    return f"{words} {found[-1].done} of {found[-1].total} heads"


def _verdict(check: InductionCheck, begun: Began) -> list[Component]:
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
        html.Div(f"Measured on {on}, after step {begun['after']:,}.", className="quiet"),
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
