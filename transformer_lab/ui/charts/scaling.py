"""Charts of scaling: losses on logarithmic axes, a power law, and its residuals."""

from collections.abc import Sequence

import plotly.graph_objects as go

from transformer_lab.ui.charts.training import (
    QUIET,
    TRAIN,
    VALIDATION,
    figure_with_title,
    significant,
)

LOG = {"type": "log", "tickformat": "~s", "dtick": "D2"}


def scaling_figure(
    x: Sequence[float],
    loss: Sequence[float],
    names: Sequence[str],
    line: Sequence[tuple[float, float]],
    what: str,
) -> go.Figure:
    """One mark for each run, and where it is deserved the line through (x, loss)."""
    figure = figure_with_title(f"Validation loss against {what}", f"scaling {what}")
    figure.add_scatter(
        x=[significant(one) for one in x],
        y=[significant(one) for one in loss],
        text=list(names),
        mode="markers",
        marker={"size": 8, "color": TRAIN, "opacity": 0.75},
        name="a run each",
        hovertemplate="%{text}<br>%{y:.4~g} at %{x:.4~s}<extra></extra>",
    )
    if line:
        figure.add_scatter(
            x=[significant(at) for at, _ in line],
            y=[significant(value) for _, value in line],
            mode="lines",
            line={"color": VALIDATION, "width": 2},
            name="power law",
            hoverinfo="skip",
        )
    figure.update_xaxes(title=what, **LOG)
    figure.update_yaxes(title="bits per byte", type="log", tickformat="~g")
    figure.update_layout(hovermode="closest", margin_b=44, margin_l=56)
    return figure


def residual_figure(
    x: Sequence[float], residuals: Sequence[float], names: Sequence[str], what: str
) -> go.Figure:
    """How far each run lies from the line, in percent of its loss."""
    figure = figure_with_title("Residuals of the best straight line", f"residuals {what}")
    figure.add_hline(y=0, line={"color": QUIET, "width": 1.2})
    figure.add_scatter(
        x=[significant(one) for one in x],
        y=[significant(100 * (10**one - 1)) for one in residuals],
        text=list(names),
        mode="markers",
        marker={"size": 6, "color": QUIET},
        hovertemplate="%{text}<br>%{y:+.3~g} %<extra></extra>",
    )
    figure.update_xaxes(title=what, **LOG)
    figure.update_yaxes(title="% of the loss")
    figure.update_layout(hovermode="closest", margin_b=44, margin_l=56)
    return figure
