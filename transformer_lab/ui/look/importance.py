"""Importance: every part is switched off in turn, as a job that the page reads while it runs."""

import numpy as np
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.ablation import ERRORS, Importance
from transformer_lab.lab.jobs import Job
from transformer_lab.lab.lab import Lab
from transformer_lab.ui.charts.predictions import importance_figure
from transformer_lab.ui.look import ids
from transformer_lab.ui.look.parts import (
    TROUBLE,
    button,
    chart,
    choice,
    is_dark,
    named,
    opened,
)
from transformer_lab.ui.look.state import Began, Opened
from transformer_lab.ui.terms import term

NAME = "Cause"
EVERY = 400  # milliseconds between looks at a job
KINDS = {"zero": "zero ablation", "mean": "mean ablation"}
MEAN_HELP = "What replaces a component's output: zero, or its mean over the validation text."


def layout() -> html.Section:
    """Start, stop, and what has been found so far."""
    return html.Section(
        [
            dcc.Store(id=ids.IMPORTANCE_JOB),
            dcc.Interval(id=ids.IMPORTANCE_TICK, interval=EVERY, disabled=True),
            html.H2(term("ablation", "Ablation of every component")),
            html.Div(
                [
                    choice("Ablation", ids.IMPORTANCE_MEAN, KINDS, "zero", MEAN_HELP),
                    button(
                        "Measure",
                        ids.IMPORTANCE_START,
                        "Switch off every head and feed-forward in turn",
                        "primary",
                    ),
                    button("Stop", ids.IMPORTANCE_STOP, "Keep what there is", disabled=True),
                ],
                className="look-controls",
            ),
            html.Div(
                "Not measured yet.", id=ids.IMPORTANCE_STATE, className="quiet", role="status"
            ),
            html.Div(
                chart(ids.IMPORTANCE, "Loss without each part", "short heat"),
                id="importance-body",
                hidden=True,
            ),
        ],
        className="card",
        **named("Importance of every part"),
    )


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of the job."""
    _register_begin(app, lab)
    _register_show(app, lab)


def _register_begin(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "job": Output(ids.IMPORTANCE_JOB, "data"),
            "state": Output(ids.IMPORTANCE_STATE, "children", allow_duplicate=True),
        },
        inputs={
            "start": Input(ids.IMPORTANCE_START, "n_clicks"),
            "halt": Input(ids.IMPORTANCE_STOP, "n_clicks"),
        },
        state={
            "data": State(ids.LOOK_OPEN, "data"),
            "sub_tab": State(ids.LOOK_TABS, "active_tab"),
            "kind": State(ids.IMPORTANCE_MEAN, "value"),
            "known": State(ids.IMPORTANCE_JOB, "data"),
        },
        prevent_initial_call=True,
    )
    def begin(
        start: int | None,
        halt: int | None,
        data: Opened | None,
        sub_tab: str | None,
        kind: str | None,
        known: Began | None,
    ) -> dict[str, object]:
        """Start measuring, or stop it."""
        stop(lab, known)
        if ctx.triggered_id == ids.IMPORTANCE_STOP:
            raise PreventUpdate
        what = opened(data, sub_tab, NAME)
        try:
            job = lab.inspector.interventions.importance(what, mean=kind == "mean")
        except TROUBLE as error:
            return {"job": no_update, "state": html.Span(str(error), className="warn")}
        return {"job": began(job, data), "state": no_update}


def _register_show(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "figure": Output(ids.IMPORTANCE, "figure"),
            "state": Output(ids.IMPORTANCE_STATE, "children"),
            "body_hidden": Output("importance-body", "hidden"),
            "tick_off": Output(ids.IMPORTANCE_TICK, "disabled"),
            "stop_off": Output(ids.IMPORTANCE_STOP, "disabled"),
        },
        inputs={
            "begun": Input(ids.IMPORTANCE_JOB, "data"),
            "tick": Input(ids.IMPORTANCE_TICK, "n_intervals"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        prevent_initial_call=True,
    )
    def show(begun: Began | None, tick: int | None, theme: str | None) -> dict[str, object]:
        """What has been measured so far."""
        job = job_of(lab, begun)
        over = job is None or job.done  # read before the results, or the last could be missed
        found = job.since()[0] if job else []
        answer: dict[str, object] = {
            "figure": no_update,
            "state": no_update,
            "body_hidden": no_update,
            "tick_off": over,
            "stop_off": over,
        }
        if job is None:
            return answer
        if job.error:
            state = html.Span(job.error, className="warn")
            return answer | {"state": state, "tick_off": True, "stop_off": True}
        if not found:
            return answer | {"state": "The loss of the whole model comes first …"}
        return answer | {
            "figure": _figure(found, is_dark(theme)),
            "state": _progress(job, found, (begun or {}).get("after", 0)),
            "body_hidden": False,
        }


def _figure(found: list[Importance], dark: bool) -> go.Figure:
    """A row for each layer; columns are heads, then what else writes."""
    columns = list(dict.fromkeys(_column(one) for one in found))
    rows = sorted({one.site.layer or 0 for one in found})
    changes = np.full((len(rows), len(columns)), np.nan)
    losses, noise = np.full_like(changes, np.nan), np.full_like(changes, np.nan)
    for one in found:
        place = rows.index(one.site.layer or 0), columns.index(_column(one))
        changes[place], losses[place], noise[place] = one.change, one.loss, ERRORS * one.error
    names = [f"layer {row + 1}" for row in rows]
    return importance_figure(changes, losses, noise, names, columns, dark=dark)


def _column(one: Importance) -> str:
    return one.site.label.partition(" of ")[0]


def _progress(job: Job, found: list[Importance], after: int) -> str:
    last, worst = found[-1], max(found, key=lambda one: one.change)
    stopped = " (stopped)" if job.stopped and last.done < last.total else ""
    said = (
        f"{last.done} of {last.total} parts{stopped}, after step {after:,}. With all parts the "
        f"loss is {last.baseline:.3f}. "
    )
    if worst.noise:
        said += "No part is missed by more than chance."
    else:
        said += (
            f"Most is lost without {worst.site.label}: {worst.loss:.3f} "
            f"({worst.change:+.3f} ± {ERRORS * worst.error:.3f})."
        )
    if any(one.noise for one in found):
        said += " In brackets and without colour: no more than chance, within two standard errors."
    return said


def began(job: Job, data: Opened | None) -> Began:
    """What the page remembers of a job."""
    return {"job": job.id, "after": data["after"] if data else 0}


def job_of(lab: Lab, begun: Began | None) -> Job | None:
    """The job that the page began, if it is still known."""
    return lab.jobs.find(begun["job"]) if begun else None


def stop(lab: Lab, begun: Began | None) -> None:
    """Ask the job that the page began to end."""
    job = job_of(lab, begun)
    if job is not None:
        job.stop()
