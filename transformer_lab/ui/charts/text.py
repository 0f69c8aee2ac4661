"""Charts of texts: numbers in, figures out."""

from collections.abc import Sequence

import plotly.graph_objects as go

from transformer_lab.ui.charts.training import AXIS, TRAIN, figure_with_title


def rank_count_figure(counts: Sequence[int]) -> go.Figure:
    """How often each token occurs, most frequent first, on two logarithmic axes.

    A straight line down is Zipf's law: the second token occurs half as often as the first.
    """
    picked = _spaced(len(counts))
    trace = go.Scatter(
        x=[rank + 1 for rank in picked],
        y=[counts[rank] for rank in picked],
        mode="lines+markers",
        marker={"size": 4},
        line={"color": TRAIN, "width": 1.5},
        hovertemplate="rank %{x:,}: %{y:,} times<extra></extra>",
    )
    figure = figure_with_title("How often each token occurs, by rank")
    figure.add_trace(trace)
    figure.update_xaxes(AXIS | {"type": "log", "dtick": 1, "title": "rank"})
    figure.update_yaxes(AXIS | {"type": "log", "dtick": 1})
    return figure


def _spaced(count: int, most: int = 200) -> list[int]:
    """Places 0 .. count - 1, thinned so that they lie evenly on a logarithmic axis."""
    if count <= most:
        return list(range(count))
    return sorted({round(count ** (k / (most - 1))) - 1 for k in range(most)})
