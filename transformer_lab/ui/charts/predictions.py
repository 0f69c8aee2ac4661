"""Charts of predictions and of what causes them: numbers in, figures out.

Shapes: L layers, T tokens, P parts.
"""

import re
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from transformer_lab.ui.charts import scales
from transformer_lab.ui.charts.attention import PLAIN, Numbers, short, token_axis
from transformer_lab.ui.charts.training import QUIET, figure_with_title, plain

MOST_PARTS = 40  # bars of one logit
CELL_LETTERS = 5  # of a token, in a cell of the lens


def lens_cell(predicted: Sequence[Sequence[str]]) -> int:
    """How many pixels a column of the lens needs for its tokens."""
    longest = max((min(len(piece), CELL_LETTERS) for row in predicted for piece in row), default=1)
    return 7 + 7 * longest


def lens_figure(
    predicted: Sequence[Sequence[str]],
    probabilities: Numbers,
    divergences: Numbers,
    pieces: Sequence[str],
    place: int,
    *,
    dark: bool,
) -> go.Figure:
    """What each layer would predict: (L + 1, T) tokens, their probabilities, and KL to the end.

    `place` is framed.
    """
    figure = figure_with_title("What each layer would predict next, and how surely", "lens")
    rows = len(probabilities)
    figure.add_heatmap(
        z=probabilities.astype(np.float32),
        zmin=0,
        zmax=1,
        colorscale=scales.shares(dark),
        text=[[short(piece, CELL_LETTERS) for piece in row] for row in predicted],
        texttemplate="%{text}",
        textfont={"size": 10},
        customdata=divergences.round(4).astype(np.float32),
        hovertemplate="%{y}, after “%{x}”: “%{text}” %{z:.1%}<br>"
        "KL to the top row: %{customdata:.3f} nats<extra></extra>",
        colorbar={
            "thickness": 8,
            "tickvals": scales.SHARE_TICKS,
            "tickformat": ".0%",
            "outlinewidth": 0,
            "x": 1.0,
        },
        xgap=1,
        ygap=1,
    )
    _name_lens(figure, pieces, rows)
    figure.add_shape(
        type="rect",
        x0=place - 0.5,
        x1=place + 0.5,
        y0=-0.5,
        y1=rows - 0.5,
        line={"color": scales.ORANGE, "width": 2},
    )
    figure.update_layout(
        margin={"l": 96, "r": 8, "t": 34, "b": 44}, hovermode="closest", autosize=True
    )
    return figure


def _name_lens(figure: go.Figure, pieces: Sequence[str], rows: int) -> None:
    """The axes: tokens below, the places between layers beside."""
    names = ["before layer 1", *(f"after layer {n}" for n in range(1, rows))]
    ticks = {
        "tickvals": list(range(len(pieces))),
        "ticktext": [short(p, CELL_LETTERS) for p in pieces],
        "tickfont": {"size": 9},
    }
    figure.update_xaxes(**PLAIN, **ticks, tickangle=0, title="after this token")
    figure.update_yaxes(**PLAIN, tickvals=list(range(rows)), ticktext=names)


def norms_figure(
    stream: Numbers, writes: Numbers, parts: Sequence[tuple[int, str]], place: int, *, dark: bool
) -> go.Figure:
    """Lengths of vectors by layer: the stream, (L + 1, T), and what each part writes, (P, T).

    `parts` are (layer from 0, what it is). Bars are means over all tokens, marks those of `place`.
    """
    figure = figure_with_title("Lengths: the stream, and what is written", "norms")
    depth = list(range(len(stream)))
    figure.add_scatter(
        x=depth, y=stream.mean(1).astype(np.float32), name="stream", mode="lines+markers",
        line_color=QUIET,
    )  # fmt: skip
    kinds = list(dict.fromkeys(kind for _, kind in parts))
    colors = dict(zip(kinds, (scales.blue(dark), QUIET), strict=False))
    for kind in kinds:
        rows = [row for row, part in enumerate(parts) if part[1] == kind]
        layers = [parts[row][0] + 1 for row in rows]
        figure.add_bar(
            x=layers, y=writes[rows].mean(1).astype(np.float32), name=kind,
            marker={"color": colors.get(kind, QUIET),
                    "pattern": {"shape": "" if kind == kinds[0] else "/"}},
        )  # fmt: skip
    figure.add_scatter(
        x=depth, y=stream[:, place].astype(np.float32), name="stream at the chosen token",
        mode="markers", marker={"symbol": "diamond-open", "size": 9, "color": QUIET},
    )  # fmt: skip
    figure.update_xaxes(
        tickvals=depth, ticktext=["start", *(f"layer {n}" for n in depth[1:])], fixedrange=True
    )
    figure.update_yaxes(fixedrange=True, rangemode="tozero")
    figure.update_layout(legend={"y": -0.18, "x": 0, "xanchor": "left"}, barmode="group")
    figure.update_layout(margin={"l": 40, "r": 8, "t": 34, "b": 56})
    return figure


def attribution_figure(
    names: Sequence[str], values: Numbers, title: str, *, dark: bool
) -> go.Figure:
    """What each part gave to a logit, the largest first, whatever its sign.

    Where there are more than fit, the smallest share one bar: the bars always add up to the logit.
    """
    names, values = _largest(names, values)
    order = np.argsort(-np.abs(values), kind="stable")[::-1]
    sorted_values = values[order].astype(np.float32)
    figure = figure_with_title(title, title)
    figure.add_bar(
        x=sorted_values,
        y=[plain(names[place]) for place in order],
        orientation="h",
        marker_color=[scales.ORANGE if v < 0 else scales.blue(dark) for v in sorted_values],
        text=[f"{v:+.2f}" if abs(v) >= 0.1 else f"{v:+.2g}" for v in sorted_values],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:+.4f}<extra></extra>",
    )
    low, high = (float(end) for end in (min(0.0, values.min()), max(0.0, values.max())))
    room = 0.16 * (high - low) + 1e-6  # for the numbers beside the bars
    span = [low - 2 * room * (low < 0), high + room]
    figure.update_xaxes(
        fixedrange=True, zeroline=True, zerolinecolor=QUIET, title="to the logit", range=span,
        autorange=False,
    )  # fmt: skip
    figure.update_yaxes(fixedrange=True, showgrid=False, automargin=True)
    figure.update_layout(
        margin={"l": 10, "r": 48, "t": 34, "b": 40},
        title={"xref": "container", "x": 0.01},
        height=70 + 19 * len(order),
        hovermode="closest",
        bargap=0.25,
    )
    return figure


def _largest(names: Sequence[str], values: Numbers) -> tuple[list[str], Numbers]:
    """The largest parts, and all others together."""
    if len(names) <= MOST_PARTS:
        return list(names), values
    order = np.argsort(-np.abs(values), kind="stable")
    kept, others = order[: MOST_PARTS - 1], order[MOST_PARTS - 1 :]
    named = [*(names[place] for place in kept), f"{len(others)} others together"]
    return named, np.append(values[kept], values[others].sum())


def next_token_figure(
    names: Sequence[str], before: Numbers, after: Numbers, *, dark: bool
) -> go.Figure:
    """The likeliest next tokens before and after a change."""
    figure = figure_with_title("Next-token probabilities", "next")
    for name, values, color, pattern in (
        ("before", before, QUIET, ""),
        ("after", after, scales.blue(dark), "/"),
    ):
        figure.add_bar(
            x=list(range(1, len(names) + 1)), y=values.astype(np.float32), name=name,
            marker={"color": color, "pattern": {"shape": pattern}},
            hovertemplate=name + ": %{y:.1%}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(**PLAIN, **token_axis(names))
    figure.update_yaxes(fixedrange=True, tickformat=".0%", rangemode="tozero")
    figure.update_layout(barmode="group", bargap=0.3)
    return figure


def _change(change: float, noisy: bool) -> str:
    """As short as the columns of a phone: +.071, in brackets where it is no more than chance."""
    said = "" if np.isnan(change) else re.sub(r"^([+-])0\.", r"\1.", f"{change:+.3f}")
    return f"({said})" if said and noisy else said


def importance_figure(
    changes: Numbers,
    losses: Numbers,
    noise: Numbers,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    dark: bool,
) -> go.Figure:
    """How much worse the loss is without each part: rows are layers, NaN where there is nothing.

    A change that is no larger than its `noise` has no colour, and its number stands in brackets.
    """
    reach = float(np.nanmax(np.abs(changes), initial=1e-6)) if changes.size else 1e-6
    chance = np.abs(changes) <= noise
    words = [
        [_change(change, bool(noisy)) for change, noisy in zip(*row, strict=True)]
        for row in zip(changes, chance, strict=True)
    ]  # fmt: skip
    figure = figure_with_title("Loss without each part, nats per token", "importance")
    figure.add_heatmap(
        z=np.where(chance, 0.0, changes).astype(np.float32),
        x=list(columns),
        y=list(rows),
        zmin=-reach,
        zmax=reach,
        colorscale=scales.signed(dark),
        customdata=np.dstack([losses, noise]).astype(np.float32),
        text=words,
        texttemplate="%{text}" if changes.shape[1] <= 14 else "",
        textfont={"size": 11},
        hovertemplate=(
            "%{y}, %{x}: loss %{customdata[0]:.3f}, %{text}, "
            "chance up to ± %{customdata[1]:.3f}<extra></extra>"
        ),
        colorbar={"thickness": 8, "outlinewidth": 0, "x": 1.0, "tickformat": "+.2g", "nticks": 5},
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(**PLAIN, side="top", type="category")
    figure.update_yaxes(**PLAIN, autorange="reversed", type="category")
    figure.update_layout(margin={"l": 60, "r": 8, "t": 60, "b": 10}, hovermode="closest")
    return figure
