"""Charts of attention: numbers in, figures out.

Layers, heads and places come counted from 0; along axes, tokens are counted from 1.

Shapes: L layers, H heads, C cells a side, T tokens, K head width.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from transformer_lab.ui.charts import scales
from transformer_lab.ui.charts.training import figure_with_title, plain

Numbers = NDArray[Any]
MOST_NAMED = 32  # tokens that always have room for their names along an axis
ROOM = 340  # pixels of an axis
LONGEST = 8  # letters of a token beside an axis
PLAIN = {"showgrid": False, "zeroline": False, "fixedrange": True}


def tiles_figure(
    tiles: Numbers,
    layers: Sequence[int],
    chosen: tuple[int, int],
    labels: Mapping[tuple[int, int], str],
    *,
    dark: bool,
) -> go.Figure:
    """Every head's pattern in one picture: a row for each layer, a column for each head.

    `tiles` is (L, H, C, C), whole numbers from 0 (masked) to 255. `labels` are written into the
    blank corner of a head.
    """
    side = tiles.shape[-1]
    figure = figure_with_title("All heads: choose one to enlarge it", "heads")
    figure.add_heatmap(
        z=_tiled(tiles),
        zmin=0,
        zmax=255,
        colorscale=scales.share_tiles(dark),
        showscale=False,
        hoverinfo="none",
    )
    _name_tiles(figure, tiles, layers)
    places = {layer: row for row, layer in enumerate(layers)}
    for (layer, head), words in labels.items():
        figure.add_annotation(
            x=head * tile_pitch(side) + side - 0.5,
            y=places[layer] * tile_pitch(side),
            xanchor="right",
            yanchor="top",
            text=words,
            showarrow=False,
            font_size=10,
        )
    if chosen[0] in places:
        figure.update_layout(shapes=[tile_frame(places[chosen[0]], chosen[1], side, dark=dark)])
    figure.update_layout(margin={"l": 50, "r": 8, "t": 56, "b": 8}, hovermode="closest")
    return figure


def _tiled(tiles: Numbers) -> Numbers:
    """The tiles (L, H, C, C) side by side in one picture, with a gap between them."""
    rows, heads, side, _ = tiles.shape
    pitch = tile_pitch(side)
    whole = np.zeros((rows * pitch, heads * pitch), dtype=np.uint8)
    for row in range(rows):
        for head in range(heads):
            whole[row * pitch :, head * pitch :][:side, :side] = tiles[row, head]
    return whole


def _name_tiles(figure: go.Figure, tiles: Numbers, layers: Sequence[int]) -> None:
    """The axes: heads above, layers beside, at the middle of their tiles."""
    rows, heads, side, _ = tiles.shape
    pitch = tile_pitch(side)
    middles = [place * pitch + side / 2 for place in range(max(rows, heads))]
    figure.update_xaxes(
        **PLAIN,
        side="top",
        constrain="domain",
        tickvals=middles[:heads],
        ticktext=[f"head {n + 1}" if heads <= 8 else str(n + 1) for n in range(heads)],
    )
    figure.update_yaxes(
        **PLAIN,
        autorange="reversed",
        scaleanchor="x",
        constrain="domain",
        constraintoward="top",
        tickvals=middles[:rows],
        ticktext=[f"layer {layer + 1}" if rows <= 16 else str(layer + 1) for layer in layers],
    )


def tile_pitch(side: int) -> int:
    """From one tile to the next, in cells."""
    return side + max(1, side // 12)


def tile_frame(row: int, head: int, side: int, *, dark: bool) -> dict[str, object]:
    """The frame around the head that is enlarged."""
    pitch = tile_pitch(side)
    return {
        "type": "rect",
        "x0": head * pitch - 1,
        "x1": head * pitch + side,
        "y0": row * pitch - 1,
        "y1": row * pitch + side,
        "line": {"color": scales.blue(dark), "width": 2},
    }


def head_figure(
    pattern: Numbers, factor: int, pieces: Sequence[str], title: str, *, dark: bool
) -> go.Figure:
    """One head: (C, C) shares, NaN where masked; `pieces` are the T tokens as they are read."""
    figure = figure_with_title(title, "head")
    figure.add_heatmap(
        z=pattern.astype(np.float32),
        x0=(factor + 1) / 2,
        dx=factor,
        y0=(factor + 1) / 2,
        dy=factor,
        zmin=0,
        zmax=1,
        colorscale=scales.shares(dark),
        hovertemplate="%{y} attends to %{x}: %{z:.1%}<extra></extra>",
        colorbar={
            "thickness": 8,
            "tickvals": scales.SHARE_TICKS,
            "tickformat": ".0%",
            "outlinewidth": 0,
            "x": 1.01,
        },
    )
    figure.update_xaxes(**PLAIN, **token_axis(pieces), title="key: attended to", constrain="domain")
    figure.update_yaxes(
        **PLAIN,
        **token_axis(pieces),
        title="query",
        autorange="reversed",
        scaleanchor="x",
        constrain="domain",
    )
    figure.update_layout(
        margin={"l": 52, "r": 8, "t": 34, "b": 44}, hovermode="closest", xaxis_tickangle=0
    )
    return figure


def token_axis(pieces: Sequence[str]) -> dict[str, object]:
    """An axis of tokens: the names of all of them, or of as many as there is room for."""
    longest = max((min(len(piece), LONGEST) for piece in pieces), default=1)
    wide = len(pieces) * max(7, 5 * longest + 2)
    step = 1 if len(pieces) <= MOST_NAMED else math.ceil(wide / ROOM)
    return {
        "tickvals": list(range(1, len(pieces) + 1, step)),
        "ticktext": [short(piece) for piece in pieces[::step]],
        "tickfont": {"size": 9 if len(pieces) <= MOST_NAMED else 8},
    }


def short(piece: str, most: int = LONGEST) -> str:
    """A token that fits beside an axis."""
    return plain(piece if len(piece) <= most else piece[: most - 1] + "…")


def bars_figure(
    values: Numbers, title: str, axis: str, names: Sequence[str] = (), *, dark: bool
) -> go.Figure:
    """Signed numbers as bars; those that are not finite (masked) are left out."""
    shown = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    figure = figure_with_title(title, title)
    figure.add_bar(
        x=list(range(1, len(shown) + 1)),
        y=shown,
        marker_color=[scales.ORANGE if value < 0 else scales.blue(dark) for value in shown],
        customdata=[plain(name) for name in names] or None,
        hovertemplate=f"{'%{customdata}' if names else '%{x}'}: %{{y:.4g}}<extra></extra>",
    )
    figure.update_xaxes(**(PLAIN | token_axis(names) if names else PLAIN), title=axis)
    figure.update_yaxes(fixedrange=True, zeroline=True, zerolinecolor="rgba(128,128,128,0.5)")
    figure.update_layout(
        margin={"l": 48, "r": 8, "t": 34, "b": 40}, hovermode="closest", bargap=0.15
    )
    return figure


def matrix_figure(
    values: Numbers, title: str, rows: Sequence[str], *, dark: bool, axis: str = "number"
) -> go.Figure:
    """A matrix of signed numbers, a row for each name: orange below 0, blue above."""
    reach = float(np.abs(values).max(initial=1e-9))
    figure = figure_with_title(title, title)
    figure.add_heatmap(
        z=values.astype(np.float32),
        x0=1,
        y0=1,
        zmin=-reach,
        zmax=reach,
        colorscale=scales.signed(dark),
        hovertemplate="%{y}, " + axis + " %{x}: %{z:.4g}<extra></extra>",
        colorbar={"thickness": 8, "outlinewidth": 0, "x": 1.01, "nticks": 5},
    )
    figure.update_xaxes(**PLAIN, title=axis)
    figure.update_yaxes(**PLAIN, **token_axis(rows), autorange="reversed")
    figure.update_layout(margin={"l": 52, "r": 8, "t": 34, "b": 40}, hovermode="closest")
    return figure
