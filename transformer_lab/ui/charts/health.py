"""Charts of a model's embeddings and of its health: numbers in, figures out.

Shapes: N tokens, L layers, H heads, C cells a side, P parts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from transformer_lab.ui.charts import scales
from transformer_lab.ui.charts.attention import PLAIN, Numbers
from transformer_lab.ui.charts.comparison import PALETTE
from transformer_lab.ui.charts.training import QUIET, figure_with_title, plain

INK = {False: "#4a535e", True: "#b4bcc6"}
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
PACE = 1e-3  # of its own length: a common rule of thumb for what a weight moves in a step


def embedding_figure(
    points: Numbers,
    names: Sequence[str],
    kinds: Sequence[str],
    reach: Numbers,
    shares: Numbers,
    chosen: Sequence[int],
    *,
    flat: bool,
    dark: bool,
) -> go.Figure:
    """(N, 3) points with their names: kinds have colours and shapes, `chosen` rows are ringed.

    Axes reach as far as `reach` (3, 2), so that they stay while the slider moves.
    """
    figure = figure_with_title("Token embeddings", "embeddings")
    for place, kind in enumerate(dict.fromkeys(kinds)):
        rows = [row for row, each in enumerate(kinds) if each == kind]
        _points(figure, points[rows], [names[row] for row in rows], kind, place, flat=flat,
                dark=dark, rows=rows)  # fmt: skip
    if chosen:
        ring = {"size": 18 if flat else 10, "symbol": "circle-open", "color": scales.ORANGE,
                "line": {"width": 2}}  # fmt: skip
        _trace(figure, points[list(chosen)], flat=flat, mode="markers", marker=ring,
               name="chosen and its neighbours", hoverinfo="skip")  # fmt: skip
    labels = [
        f"direction {axis + 1}: {share:.0%}" + " of the variance" * flat
        for axis, share in enumerate(shares.tolist())
    ]
    pad = 0.08 * (reach[:, 1] - reach[:, 0]) + 1e-6
    ranges = np.stack([reach[:, 0] - pad, reach[:, 1] + pad], axis=1).tolist()
    if flat:
        figure.update_xaxes(title=labels[0], range=ranges[0], autorange=False)
        figure.update_yaxes(title=labels[1], range=ranges[1], autorange=False)
    else:
        axes = {
            f"{letter}axis": {"title": {"text": label}, "range": span, "color": INK[dark],
                              "backgroundcolor": scales.BLANK, "gridcolor": "rgba(128,128,128,.3)"}
            for letter, label, span in zip("xyz", labels, ranges, strict=True)
        }  # fmt: skip
        figure.update_layout(scene={**axes, "aspectmode": "cube"})
    figure.update_layout(
        hovermode="closest", margin={"l": 48, "r": 8, "t": 34, "b": 70},
        legend={"y": -0.12, "yanchor": "top", "x": 0, "xanchor": "left"},
    )  # fmt: skip
    return figure


def _points(
    figure: go.Figure, points: Numbers, names: Sequence[str], kind: str, place: int,
    *, flat: bool, dark: bool, rows: Sequence[int],
) -> None:  # fmt: skip
    marked = [plain(name) for name in names]
    shown = marked if flat else list(names)  # drawn by WebGL, which knows no markup
    _trace(
        figure, points, flat=flat, mode="markers+text", hovertext=marked, text=shown, name=kind,
        textposition="top center",
        textfont={"size": 11, "color": INK[dark]},
        customdata=list(rows),
        hovertemplate=f"“%{{hovertext}}”, {kind}<extra></extra>",
        marker={"size": 6 if flat else 3, "color": PALETTE[place % len(PALETTE)],
                "symbol": SYMBOLS[place % len(SYMBOLS)] if flat else "circle"},
    )  # fmt: skip


def _trace(figure: go.Figure, points: Numbers, *, flat: bool, **style: Any) -> None:
    columns = points.astype(np.float32).T
    if flat:
        figure.add_scatter(x=columns[0], y=columns[1], **style)
    else:
        figure.add_scatter3d(x=columns[0], y=columns[1], z=columns[2], **style)


def similarity_figure(similarity: Numbers, factor: int, *, dark: bool) -> go.Figure:
    """How alike positions are: (C, C) cosines, `factor` positions to a cell."""
    figure = figure_with_title("How alike positions are", "positions")
    first = (factor - 1) / 2
    figure.add_heatmap(
        z=similarity.astype(np.float32),
        x0=first,
        dx=factor,
        y0=first,
        dy=factor,
        zmin=-1,
        zmax=1,
        colorscale=scales.signed(dark),
        hovertemplate="positions %{x:.0f} and %{y:.0f}: cosine %{z:.3f}<extra></extra>",
        colorbar={"thickness": 8, "outlinewidth": 0, "x": 1.01, "nticks": 5},
    )
    figure.update_xaxes(**PLAIN, title="position", constrain="domain")
    figure.update_yaxes(**PLAIN, autorange="reversed", scaleanchor="x", constrain="domain")
    figure.update_layout(margin={"l": 44, "r": 8, "t": 34, "b": 44}, hovermode="closest")
    return figure


def deviation_figure(deviations: Numbers, *, dark: bool) -> go.Figure:
    """How large the numbers of the stream are after every layer."""
    figure = figure_with_title("Standard deviation of the residual stream", "deviations")
    layers = list(range(1, len(deviations) + 1))
    figure.add_scatter(
        x=layers, y=deviations, mode="lines+markers", line_color=scales.blue(dark),
        hovertemplate="after layer %{x}: %{y:.3f}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(fixedrange=True, title="after layer", tickvals=layers if len(layers) < 16
                        else None)  # fmt: skip
    figure.update_yaxes(fixedrange=True, rangemode="tozero")
    figure.update_layout(margin={"l": 44, "r": 8, "t": 34, "b": 44}, hovermode="closest")
    return figure


def part_bars_figure(
    names: Sequence[str], values: Numbers, title: str, axis: str, *, guide: float = 0, dark: bool
) -> go.Figure:
    """A positive number for each part, on a logarithmic axis; `guide` is a line to compare with."""
    figure = figure_with_title(title, title)
    shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    figure.add_bar(
        x=shown,
        y=[plain(name) for name in names],
        orientation="h",
        marker_color=scales.blue(dark),
        hovertemplate="%{y}: %{x:.3g}<extra></extra>",
    )
    if guide:
        figure.add_vline(x=guide, line_width=1, line_dash="dash", line_color=QUIET)
        figure.add_annotation(
            x=np.log10(guide),  # annotations of a logarithmic axis are placed so
            y=1,
            yref="paper",
            yanchor="bottom",
            text=f"{guide:g}: rule of thumb",
            showarrow=False,
            font_size=10,
        )
    figure.update_xaxes(fixedrange=True, type="log", title=axis, tickformat="~g", dtick="D2")
    figure.update_yaxes(fixedrange=True, showgrid=False, automargin=True, autorange="reversed")
    figure.update_layout(
        title={"xref": "container", "x": 0.01},
        height=90 + 16 * len(names), margin={"l": 10, "r": 12, "t": 44, "b": 44},
        hovermode="closest", bargap=0.3,
    )  # fmt: skip
    return figure


def entropy_figure(
    entropies: Numbers, collapsed: Numbers, layers: Sequence[int], *, dark: bool
) -> go.Figure:
    """How widely each head spreads its attention, (L, H) nats; `collapsed` heads are marked."""
    figure = figure_with_title("Entropy of each head's attention, nats", "entropies")
    heads = entropies.shape[1] if entropies.ndim == 2 else 0
    marks = [
        [f"{value:.2f}{' !' if flag else ''}" for value, flag in zip(row, flags, strict=True)]
        for row, flags in zip(entropies, collapsed, strict=True)
    ]
    figure.add_heatmap(
        z=entropies.astype(np.float32),
        x=[f"head {n + 1}" if heads <= 8 else str(n + 1) for n in range(heads)],
        y=[f"layer {layer + 1}" for layer in layers],
        zmin=0,
        zmax=float(entropies.max(initial=1e-6)),
        colorscale=scales.amounts(dark),
        text=marks,
        texttemplate="%{text}" if heads <= 16 else "",
        hovertemplate="%{y}, %{x}: %{z:.3f} nats<extra></extra>",
        showscale=False,
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(**PLAIN, side="top", type="category")
    figure.update_yaxes(**PLAIN, autorange="reversed", type="category")
    figure.update_layout(margin={"l": 60, "r": 8, "t": 60, "b": 10}, hovermode="closest")
    return figure
