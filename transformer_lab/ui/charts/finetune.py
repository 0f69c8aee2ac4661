"""Charts of a fine-tuning: what it learns and forgets, and how much each matrix changed."""

from collections.abc import Sequence

import plotly.graph_objects as go

from transformer_lab.ui.charts.training import (
    QUIET,
    TRAIN,
    VALIDATION,
    figure_with_title,
    significant,
)

SHADES = ("#0877bd", "#d9730d", "#1a8f5a", "#a23ec2", "#c22f4d", "#7a6a00", "#0e8fa3", "#8a5a3c")


def both_losses_figure(
    run: str, steps: Sequence[int], new: Sequence[float], old: Sequence[float | None]
) -> go.Figure:
    """Validation losses on the new text, which is learned, and on the old, which is forgotten."""
    figure = figure_with_title("Validation loss, nats per token", run)
    lines = (("new text", [*new], TRAIN), ("old text", [*old], VALIDATION))
    for name, losses, color in lines:
        if any(loss is not None for loss in losses):
            figure.add_scatter(
                x=[*steps],
                y=[None if loss is None else significant(loss) for loss in losses],
                name=name,
                mode="lines+markers",
                line={"color": color, "width": 1.8},
                marker_size=6,
            )
            if losses[0] is not None:
                figure.add_hline(y=losses[0], line_width=1, line_dash="dot", line_color=color)
    figure.update_xaxes(title_text="step", rangemode="tozero")
    figure.update_layout(showlegend=True, margin={"b": 44})
    return figure


def norms_figure(
    run: str, layers: Sequence[int], parts: Sequence[str], norms: Sequence[float], what: str
) -> go.Figure:
    """The length of each matrix's change, by layer and matrix."""
    figure = figure_with_title(f"Norm of {what}, by layer", run)
    for place, part in enumerate(dict.fromkeys(parts)):
        chosen = [k for k, other in enumerate(parts) if other == part]
        figure.add_bar(
            x=[_layer(layers[k]) for k in chosen],
            y=[significant(norms[k]) for k in chosen],
            name=part,
            marker_color=SHADES[place % len(SHADES)],
        )
    below = {"y": -0.22, "yanchor": "top", "x": 0, "xanchor": "left"}
    figure.update_layout(hovermode="closest", legend=below, margin={"b": 96})
    return figure


def singular_figure(
    run: str, labels: Sequence[str], values: Sequence[Sequence[float]]
) -> go.Figure:
    """Singular values of every B A over its largest: those of directions not needed are near 0."""
    figure = figure_with_title("Singular values of B A, over the largest", run)
    for label, found in zip(labels, values, strict=True):
        largest = max(found, default=0.0)
        if largest > 0:
            figure.add_scatter(
                x=[*range(1, len(found) + 1)],
                y=[significant(value / largest) for value in found],
                name=label,
                mode="lines+markers",
                line={"color": QUIET, "width": 1},
                marker={"size": 5, "color": TRAIN},
                showlegend=False,
                hovertemplate=f"{label}<br>%{{y}}<extra></extra>",
            )
    figure.update_xaxes(title_text="direction", dtick=1 if max(map(len, values), default=0) < 20
                        else None)  # fmt: skip
    figure.update_yaxes(range=[0, 1.05], autorange=False)
    figure.update_layout(hovermode="closest", margin={"b": 44})
    return figure


def _layer(number: int) -> str:
    return f"layer {number}" if number else "below all"
