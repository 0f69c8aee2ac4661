"""The scaling view on the Compare tab: the loss of all runs against their size and computing."""

from collections.abc import Sequence
from typing import Any

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.experiments.experiment import Table
from transformer_lab.experiments.scaling import RULE, Fit, fit, said
from transformer_lab.lab.experiments.scaling import LeftOut, ScalingPoint
from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import words
from transformer_lab.ui.charts.scaling import residual_figure, scaling_figure
from transformer_lab.ui.charts.training import GRAPH, blank
from transformer_lab.ui.compare import ids
from transformer_lab.ui.form import field
from transformer_lab.ui.results import parts as results
from transformer_lab.ui.results.layout import button
from transformer_lab.ui.web.values import Scalar

TOOL, TAB = "scaling", "Compare"
TITLE = "Scaling: loss against size"
ABOUT = (
    "Every finished run is a point, at the loss of its last look at the validation text, in bits "
    "per byte. Both axes are logarithmic, so a power law would be a straight line."
)
AXES = {"parameters": "parameters", "flops": "FLOPs"}
DRAWN = 24  # points of a line


def panel() -> html.Div:
    """What stands in the place of a question."""
    head = [
        html.H2(TITLE, className="experiment-title"),
        html.P(ABOUT, className="experiment-question"),
    ]
    return html.Div(
        [
            html.Header(head),
            _verdict(),
            html.Div(
                [_charts(axis) for axis in AXES],
                id=ids.SCALING_CHARTS,
                className="experiment-plots",
            ),
            html.Div(id=ids.SCALING_TABLES, className="experiment-tables"),
        ],
        id=ids.SCALING_PANEL,
        className="column experiment-column compare-tool",
        hidden=True,
    )


def _verdict() -> html.Section:
    """The text whose runs are taken, and what they say."""
    choice = field(
        "Text",
        dbc.Select(id=ids.SCALING_CORPUS, options=[], size="sm"),
        "Losses on different texts cannot be compared.",
        kinds=["compare-axis"],
    )
    again = button("Look again", ids.SCALING_AGAIN, "outline-secondary", "Read all runs")
    return html.Section(
        [
            choice,
            html.P(id=ids.SCALING_SAID, className="verdict", role="status"),
            html.P(RULE, className="quiet"),
            html.Div(again, className="experiment-buttons"),
        ],
        className="card verdict-card",
        **{"aria-label": "What the runs say"},
    )


def _charts(axis: str) -> html.Div:
    graphs = [
        dcc.Graph(id=one, figure=blank(""), config=GRAPH)
        for one in (ids.scaling_chart(axis), ids.scaling_rest(axis))
    ]
    return html.Div(graphs, className="card compare-scaling")


def register(app: Dash, lab: Lab) -> None:
    """It is computed when it is opened, when another text is chosen, and when asked to again."""

    @app.callback(
        output={
            "options": Output(ids.SCALING_CORPUS, "options"),
            "corpus": Output(ids.SCALING_CORPUS, "value"),
            "said": Output(ids.SCALING_SAID, "children"),
            "tables": Output(ids.SCALING_TABLES, "children"),
            "hidden": Output(ids.SCALING_CHARTS, "hidden"),
            "charts": {axis: Output(ids.scaling_chart(axis), "figure") for axis in AXES},
            "rests": {axis: Output(ids.scaling_rest(axis), "figure") for axis in AXES},
        },
        inputs={
            "tool": Input(ids.COMPARE_TOOL, "data"),
            "again": Input(ids.SCALING_AGAIN, "n_clicks"),
            "wanted": Input(ids.SCALING_CORPUS, "value"),
        },
        state={"tab": State(shared_ids.TABS, "active_tab")},
    )
    def show(
        tool: str | None, again: int | None, wanted: Scalar, tab: str | None
    ) -> dict[str, Any]:
        """All runs on one text."""
        if tool != TOOL or tab != TAB:
            raise PreventUpdate
        points, left = lab.scaling.points()
        named = [*(one.corpus for one in points), *(one.corpus for one in left)]
        corpora = list(dict.fromkeys(filter(None, named)))
        most = max(corpora, key=lambda name: sum(p.corpus == name for p in points), default="")
        corpus = wanted if isinstance(wanted, str) and wanted in corpora else most
        shown = [one for one in points if one.corpus == corpus]
        return {
            "options": [{"value": name, "label": name} for name in corpora],
            "corpus": corpus or None,
            **_drawn(shown),
            "tables": _tables(shown, [one for one in left if one.corpus == corpus]),
        }


def _drawn(points: Sequence[ScalingPoint]) -> dict[str, Any]:
    """Charts of some runs, and what may be said of them."""
    loss, names = [one.loss for one in points], [one.name for one in points]
    charts, rests, sentences = {}, {}, []
    for axis, what in AXES.items():
        x = [float(getattr(one, axis)) for one in points]
        found = fit(x, loss)
        charts[axis] = scaling_figure(x, loss, names, _line(found, x), what)
        residuals = found.residuals if found else ()
        rests[axis] = residual_figure(x[: len(residuals)], residuals, names, what)
        sentences.append(said(found, what))
    nothing = (
        "There is no finished run yet: train a few models of different sizes, or compare some."
    )
    return {
        "charts": charts,
        "rests": rests,
        "hidden": not points,
        "said": " ".join(sentences) if points else nothing,
    }


def _line(found: Fit | None, x: Sequence[float]) -> list[tuple[float, float]]:
    """The law from the smallest to the largest, where it deserves to be drawn."""
    if found is None or found.problem:
        return []
    low, high = min(x), max(x)
    places = [low * (high / low) ** (step / (DRAWN - 1)) for step in range(DRAWN)]
    return [(place, found.at(place)) for place in places]


def _tables(points: Sequence[ScalingPoint], left: Sequence[LeftOut]) -> list[Component]:
    """The points by size, and the runs that are none with the reason."""
    ordered = sorted(points, key=lambda one: (one.parameters, one.flops))
    shown = [
        [
            one.name,
            f"{one.parameters:,}",
            words.flops(one.flops),
            f"{one.tokens:,}",
            f"{one.loss:.3f}",
        ]
        for one in ordered
    ]
    return results.tables(
        [
            Table(
                title=f"{len(shown)} runs",
                columns=["run", "parameters", "computing", "tokens", "bits per byte"],
                rows=shown,
            ),
            Table(
                title="Left out", columns=["run", "why"], rows=[[one.name, one.why] for one in left]
            ),
        ]
    )
