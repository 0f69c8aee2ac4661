"""Adapters in Generate: switched at once, with a strength each, two at the same time."""

from collections.abc import Mapping
from typing import TypedDict

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, dcc, html

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.looking.mixing import STRONGEST, Adapter, mixed, siblings
from transformer_lab.lab.training.snapshot import Snapshot
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import moment_bar
from transformer_lab.ui.generate import ids
from transformer_lab.ui.moment_bar import At
from transformer_lab.ui.web.values import Scalar

NONE = "none"
PLACES = ("first", "second")
LABELS = {"first": "Adapter", "second": "Second adapter"}
STATES = {
    **{place: State(ids.adapter(place), "value") for place in PLACES},
    **{f"{place}_strength": State(ids.strength(place), "value") for place in PLACES},
}
Chosen = Mapping[str, Scalar]


class Offered(TypedDict):
    """The adapters there are for a model, and which are on."""

    hidden: bool
    options: list[list[dict[str, str]]]
    values: list[str]
    of: str


def layout() -> html.Details:
    """Which adapters are on, and how strong."""
    return html.Details(
        [
            html.Summary("Adapters"),
            dcc.Store(id=ids.ADAPTERS_OF),
            html.Div([_one(place) for place in PLACES], className="fields"),
        ],
        id=ids.ADAPTERS,
        hidden=True,
    )


def _one(place: str) -> html.Div:
    options = [{"value": NONE, "label": "none"}]
    slider = dcc.Slider(
        id=ids.strength(place),
        min=0,
        max=STRONGEST,
        step=0.05,
        value=1,
        marks={0: "0", 1: "1", STRONGEST: f"{STRONGEST:g}"},
        allow_direct_input=False,
        tooltip={"placement": "top", "always_visible": False},
    )
    return html.Div(
        [
            html.Label(
                [
                    html.Span(LABELS[place], className="field-label"),
                    dbc.Select(id=ids.adapter(place), options=options, value=NONE, size="sm"),
                ]
            ),
            html.Span("Strength", className="field-label", id=f"{place}-strength-label"),
            html.Div(slider, role="group", **{"aria-labelledby": f"{place}-strength-label"}),
            html.Div(
                "What was learned in a fine-tuning is added to the base, times the strength: 0 is "
                "the base, 1 the fine-tuned model."
                if place == "first"
                else "A second one of the same base is added to it.",
                className="field-help",
                role="note",
            ),
        ],
        className="field wide adapter",
    )


def register(app: Dash, lab: Lab) -> None:
    """The callback that offers them."""

    @app.callback(
        output={
            "hidden": Output(ids.ADAPTERS, "hidden"),
            "options": [Output(ids.adapter(place), "options") for place in PLACES],
            "values": [Output(ids.adapter(place), "value") for place in PLACES],
            "of": Output(ids.ADAPTERS_OF, "data"),
        },
        inputs={"at": Input(shared_ids.MOMENT_AT, "data")},
        state={
            "before": [State(ids.adapter(place), "value") for place in PLACES],
            "of": State(ids.ADAPTERS_OF, "data"),
        },
        prevent_initial_call=True,
    )
    def offered(at: At | None, before: list[Scalar], of: str | None) -> Offered:
        """The fine-tuned runs of the base that is meant; of a fine-tuned model its own is on."""
        try:
            name = lab.models.writer_named(moment_bar.chosen(at)[0])
        except LabError:
            name = ""
        found = siblings(lab.runs, name)
        options = [{"value": one, "label": one} for one in (NONE, *found)]
        values = [name if name in found else NONE, NONE]
        if name == of:  # only another moment of it
            values = [str(one) if one in found else NONE for one in before]
        return {"hidden": not found, "options": [options, options], "values": values, "of": name}


def snapshot(lab: Lab, name: str, step: int | None, chosen: Chosen | None) -> Snapshot:
    """The weights of a model at `step`, with the adapters that are on; None leaves it as it is.

    Raises LabError.
    """
    if chosen is None:
        return lab.models.snapshot(name, step)
    wanted = [
        Adapter(str(run), _strength(chosen.get(f"{place}_strength")))
        for place in PLACES
        if (run := chosen.get(place)) not in (None, NONE)
    ]
    if len({one.run for one in wanted}) < len(wanted):
        raise LabError("Both adapters are the same: choose another one, or none.")
    if not wanted and not siblings(lab.runs, lab.models.writer_named(name)):
        return lab.models.snapshot(name, step)
    return mixed(lab.models, lab.runs, name, step, wanted)


def _strength(value: Scalar) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LabError(f"Strength must be a number from 0 to {STRONGEST}.")
    return float(value)
