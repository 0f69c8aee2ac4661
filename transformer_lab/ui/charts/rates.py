"""The chart of a range test: the loss over the learning rate."""

from collections.abc import Sequence

import plotly.graph_objects as go

from transformer_lab.ui.charts.training import (
    QUIET,
    TRAIN,
    VALIDATION,
    figure_with_title,
    significant,
)


def rate_figure(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggested: float | None = None,
    name: str = "none",
) -> go.Figure:
    """Losses in nats at every rate, as they were and smoothed, and the rate that is suggested."""
    figure = figure_with_title("Loss of each batch over the learning rate", name)
    x = [significant(rate) for rate in rates]
    figure.add_scatter(
        x=x,
        y=[significant(loss) for loss in losses],
        name="each batch",
        mode="markers",
        marker={"size": 4, "color": QUIET, "opacity": 0.6},
    )
    figure.add_scatter(
        x=x,
        y=[significant(loss) for loss in smoothed],
        name="smoothed",
        mode="lines",
        line={"color": TRAIN, "width": 2},
    )
    if suggested is not None:
        figure.add_scatter(
            x=[suggested, suggested],
            y=[significant(min(losses)), significant(max(losses))],
            name=f"suggested: {suggested:g}",
            mode="lines",
            line={"color": VALIDATION, "dash": "dash"},
        )
    figure.update_xaxes(type="log", title="learning rate", tickformat="~e", dtick=1)
    figure.update_yaxes(title="nats per token")
    figure.update_layout(hovermode="closest", margin_b=44)
    return figure
