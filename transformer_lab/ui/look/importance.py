"""Importance: every part is switched off in turn, as a job that the page reads while it runs."""

from typing import Any

import numpy as np
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.ablation import Importance
from transformer_lab.lab.jobs import Job
from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids
from transformer_lab.ui.charts.predictions import importance_figure
from transformer_lab.ui.look.parts import (
    TROUBLE,
    button,
    chart,
    choice,
    is_dark,
    named,
    opened,
)
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

    @app.callback(
        Output(ids.IMPORTANCE_JOB, "data"),
        Output(ids.IMPORTANCE_STATE, "children", allow_duplicate=True),
        Input(ids.IMPORTANCE_START, "n_clicks"),
        Input(ids.IMPORTANCE_STOP, "n_clicks"),
        State(ids.LOOK_OPEN, "data"),
        State(ids.LOOK_TABS, "active_tab"),
        State(ids.IMPORTANCE_MEAN, "value"),
        State(ids.IMPORTANCE_JOB, "data"),
        prevent_initial_call=True,
    )
    def begin(
        start: Any, halt: Any, data: Any, sub_tab: Any, kind: Any, known: Any
    ) -> tuple[Any, Any]:
        """Start measuring, or stop it."""
        stop(lab, known)
        if ctx.triggered_id == ids.IMPORTANCE_STOP:
            raise PreventUpdate
        what = opened(data, sub_tab, NAME)
        try:
            job = lab.inspector.trials.importance(what, mean=kind == "mean")
        except TROUBLE as error:
            return no_update, html.Span(str(error), className="warn")
        return {"job": job.id, "after": data.get("after")}, no_update

    @app.callback(
        Output(ids.IMPORTANCE, "figure"),
        Output(ids.IMPORTANCE_STATE, "children"),
        Output("importance-body", "hidden"),
        Output(ids.IMPORTANCE_TICK, "disabled"),
        Output(ids.IMPORTANCE_STOP, "disabled"),
        Input(ids.IMPORTANCE_JOB, "data"),
        Input(ids.IMPORTANCE_TICK, "n_intervals"),
        Input(ids.LOOK_THEME, "data"),
        prevent_initial_call=True,
    )
    def show(begun: Any, tick: Any, theme: Any) -> tuple[Any, Any, Any, bool, bool]:
        """What has been measured so far."""
        job = job_of(lab, begun)
        if job is None:
            return no_update, no_update, no_update, True, True
        over = job.done  # before what it has found is read, or the last could be missed
        found, _ = job.since()
        if job.error:
            return no_update, html.Span(job.error, className="warn"), no_update, True, True
        if not found:
            words = "The loss of the whole model comes first …"
            return no_update, words, no_update, over, over
        figure = _figure(found, is_dark(theme))
        return figure, _progress(job, found, begun.get("after")), False, over, over


def _figure(found: list[Importance], dark: bool) -> Any:
    """A row for each layer; columns are heads, then what else writes."""
    columns = list(dict.fromkeys(_column(one) for one in found))
    rows = sorted({one.site.layer or 0 for one in found})
    changes = np.full((len(rows), len(columns)), np.nan)
    losses = np.full_like(changes, np.nan)
    for one in found:
        place = rows.index(one.site.layer or 0), columns.index(_column(one))
        changes[place], losses[place] = one.change, one.loss
    names = [f"layer {row + 1}" for row in rows]
    return importance_figure(changes, losses, names, columns, dark=dark)


def _column(one: Importance) -> str:
    return one.site.label.partition(" of ")[0]


def _progress(job: Job, found: list[Importance], after: Any) -> str:
    last, worst = found[-1], max(found, key=lambda one: one.change)
    stopped = " (stopped)" if job.stopped and last.done < last.total else ""
    return (
        f"{last.done} of {last.total} parts{stopped}, after step {after:,}. With all parts the "
        f"loss is {last.baseline:.3f}. Most is lost without {worst.site.label}: {worst.loss:.3f} "
        f"({worst.change:+.3f})."
    )


def job_of(lab: Lab, begun: Any) -> Job | None:
    """The job that the page began, if it is still known."""
    return lab.jobs.find(str(begun["job"])) if isinstance(begun, dict) and "job" in begun else None


def stop(lab: Lab, begun: Any) -> None:
    """Ask the job that the page began to end."""
    job = job_of(lab, begun)
    if job is not None:
        job.stop()
