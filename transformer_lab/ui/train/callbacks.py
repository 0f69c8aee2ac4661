"""The Train tab: its form, its buttons, and what a poll brings.

Its layout is in `layout.py`, the form in `settings_form.py`, the buttons in `commands.py`, and what
a poll shows in `live.py`.
"""

import json
from collections.abc import Callable
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.views import View
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import polling
from transformer_lab.ui.train import (
    after,
    coach_card,
    commands,
    ids,
    live,
    milestones,
    settings_form,
    settling_card,
    standing,
    strip,
)
from transformer_lab.ui.train.layout import layout
from transformer_lab.ui.train.plan import FormPlan, planned
from transformer_lab.ui.train.preflight import preflight
from transformer_lab.ui.train.shared import Shared, Told
from transformer_lab.ui.web.quick import Values, answer_quickly, said

__all__ = ["TITLE", "layout", "register"]

TITLE = "Train"
BY_CLOCK = f"{shared_ids.TICK}.n_intervals"
CHARTS = (ids.LOSS, ids.PERPLEXITY, ids.RATE)
# What a poll may change, besides the charts.
PARTS = {
    **standing.PARTS,
    **{name: Output(ids.strip_number(name), "children") for name in strip.HEADS},
    "sample": Output(ids.SAMPLE, "children"),
    "sample_step": Output(ids.SAMPLE_STEP, "children"),
    "panel": Output(ids.PANEL, "children"),
    "memory": Output("memory", "children"),
    "breakdown": Output("breakdown", "children"),
    **after.PARTS,
    **coach_card.PARTS,
    **milestones.PARTS,
    "preflight": Output(ids.PREFLIGHT, "children"),
    "offer_hidden": Output(ids.OFFER, "hidden"),
    "resume_offer_hidden": Output(ids.RESUME_OFFER, "hidden"),
    "resume_words": Output(ids.RESUME_WORDS, "children"),
    "run_options": Output(ids.RUN, "options"),
}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    settings_form.register(app, lab)
    commands.register(app, lab)
    after.register(app, lab)
    _register_poll(app, lab)
    settling_card.register(app, lab, TITLE)
    app.clientside_callback(
        ClientsideFunction("train", "smooth"),
        Output(ids.SMOOTHING, "className"),
        Input(ids.SMOOTHING, "value"),
        Input(ids.LOSS, "figure"),
    )


def _register_poll(app: Dash, lab: Lab) -> None:
    shared = Shared()

    def news(
        run_id: str | None, form_plan: FormPlan | None, dismissed: str | None, *, now: bool = False
    ) -> Told:
        return shared.get(
            json.dumps([run_id, form_plan, dismissed], sort_keys=True),
            None if now else lab.trainings.stamp(),
            lambda: _told(lab, run_id, form_plan, dismissed),
        )

    @app.callback(
        output={
            "charts": [
                Output(chart, prop) for chart in CHARTS for prop in ("figure", "extendData")
            ],
            "parts": PARTS,
            "cursor": Output(ids.CURSOR, "data"),
        },
        inputs={
            "tick": Input(shared_ids.TICK, "n_intervals"),
            "refresh": Input(ids.REFRESH, "data"),
            "run_id": Input(ids.RUN, "value"),
            "form_plan": Input(ids.PLAN, "data"),
            "dismissed": Input(ids.RESUME_DISMISSED, "data"),
        },
        state={"cursor": State(ids.CURSOR, "data")},
        running=[(Output(shared_ids.TICK, "disabled"), True, False)],
    )
    def poll(
        tick: int | None,
        refresh: int | None,
        run_id: str | None,
        form_plan: FormPlan | None,
        dismissed: str | None,
        cursor: live.Cursor | None,
    ) -> dict[str, Any]:
        """What changed since the last poll, and nothing else."""
        cursor = cursor or {}
        pressed = [*ctx.triggered_prop_ids] != [BY_CLOCK]
        told = news(run_id, form_plan, dismissed, now=pressed)
        drawn, place = live.curves(lab, told.view, form_plan, cursor)
        fresh = told.differing(cursor.get("seen"))
        if pressed:  # a command's answer has shown these, which the cursor does not know
            fresh += standing.PARTS
        if not fresh and all(part is no_update for part in drawn):
            raise PreventUpdate
        parts = {name: told.parts[name] if name in fresh else no_update for name in told.parts}
        return {"charts": drawn, "parts": parts, "cursor": {**place, "seen": told.digests}}

    _register_quick(app, lab, news)


def _register_quick(app: Dash, lab: Lab, news: Callable[..., Told]) -> None:
    """What a tick of the clock alone is told, without Dash; `news` as for the callback."""

    def quick(asked: Values) -> str | None:
        """What the callback says where no chart is drawn anew, written out as Dash does."""
        cursor: live.Cursor = asked[ids.CURSOR] or {}
        form_plan: FormPlan | None = asked[ids.PLAN]
        told = news(asked[ids.RUN], form_plan, asked[ids.RESUME_DISMISSED])
        drawn, place = live.curves(lab, told.view, form_plan, cursor)
        if any(part is not no_update for part in drawn[::2]):  # whole figures
            return None
        fresh = told.differing(cursor.get("seen"))
        added = dict(zip(CHARTS, drawn[1::2], strict=True))
        if not fresh and all(part is no_update for part in added.values()):
            return ""
        written = [(PARTS[name], told.written[name]) for name in fresh]
        written += [
            (Output(chart, "extendData"), polling.written(part))
            for chart, part in added.items()
            if part is not no_update
        ]
        now = json.dumps({**place, "seen": told.digests})
        return said([*written, (Output(ids.CURSOR, "data"), now)])

    answer_quickly(app, f"{ids.CURSOR}.data", BY_CLOCK, quick)


def _told(lab: Lab, run_id: str | None, form_plan: FormPlan | None, dismissed: str | None) -> Told:
    view = live.shown(lab, run_id)
    return Told.of(view, _parts(lab, view, form_plan, dismissed))


def _parts(
    lab: Lab, view: View, form_plan: FormPlan | None, dismissed: str | None
) -> dict[str, Any]:
    """Every part of the page besides the charts, named as in PARTS."""
    own = lab.runs.view()
    sample = view.sample
    offer = live.offer(lab, dismissed)
    cost, offers = preflight(lab, own, form_plan)
    breakdown = view.breakdown or (form_plan["breakdown"] if form_plan else {})
    return {
        **standing.parts(lab, view, planned(form_plan)),
        **{name: strip.shown(number) for name, number in strip.numbers(view).items()},
        "sample": sample.prompt + sample.text
        if sample
        else "The model writes here while it learns.",
        "sample_step": live.written_at(sample) if sample else "",
        "panel": live.panel(view, form_plan, lab.runs.expected(view) if view.step else None),
        "memory": live.memory(),
        "breakdown": [
            html.Div([html.Dt(part), html.Dd(f"{count:,}")], className="row-pair")
            for part, count in breakdown.items()
        ],
        **after.parts(lab, view),
        **coach_card.parts(lab, view),
        **milestones.parts(lab, view),
        "preflight": cost,
        "offer_hidden": not offers,
        "resume_offer_hidden": not offer,
        "resume_words": offer,
        "run_options": live.run_options(lab.runs.all()),
    }
