"""A grid of small pictures, drawn as one."""

import textwrap
from collections.abc import Sequence
from itertools import chain, takewhile
from typing import Protocol

import plotly.graph_objects as go

PICTURE = 50  # pixels on the page
BELOW = 34
LABEL_WIDTH = 26  # characters


class Picture(Protocol):
    """A picture with its name; pixels are rows of brightness from 0 to 1."""

    @property
    def name(self) -> str: ...
    @property
    def pixels(self) -> Sequence[Sequence[float]]: ...


class Plot(Protocol):
    """Pictures, so many in a row; 0 puts all of them into one row."""

    @property
    def pictures(self) -> Sequence[Picture]: ...
    @property
    def columns(self) -> int: ...


def put_pictures(made: go.Figure, plot: Plot) -> None:
    """All pictures as one, in rows of `columns`, with a gap of a pixel between them."""
    rows = _rows(plot)
    tall = max(len(one.pixels) for one in plot.pictures)
    wide = max(len(one.pixels[0]) for one in plot.pictures)
    labels, heads = _names(rows)
    made.add_heatmap(
        z=list(chain.from_iterable(_strip(row, tall, wide, plot.columns) for row in rows)),
        zmin=0,
        zmax=1,
        colorscale="Greys_r",
        showscale=False,
        hoverongaps=False,
        hovertemplate="brightness %{z:.2f}<extra></extra>",
    )
    bare = {"showgrid": False, "zeroline": False, "ticks": "", "autorange": True}
    made.update_yaxes(
        bare,
        autorange="reversed",
        automargin=True,
        ticklabelstandoff=6,
        tickvals=[(tall + 1) * place + (tall - 1) / 2 for place in range(len(rows))],
        ticktext=["<br>".join(textwrap.wrap(label, LABEL_WIDTH)) for label in labels],
        scaleanchor="x",
        constrain="domain",
        constraintoward="top",
    )
    made.update_xaxes(
        bare,
        side="bottom",
        constrain="domain",
        constraintoward="left",
        tickvals=[(wide + 1) * place + (wide - 1) / 2 for place in range(len(heads))],
        ticktext=heads,
    )
    made.update_layout(margin_b=BELOW, hovermode="closest")


def _rows(plot: Plot) -> list[Sequence[Picture]]:
    columns = plot.columns or len(plot.pictures)
    return [plot.pictures[k : k + columns] for k in range(0, len(plot.pictures), columns)]


def drawn_height(plot: Plot) -> int:
    """How many pixels the pictures take, and the numbers of the columns below them."""
    return PICTURE * max(1, len(_rows(plot))) + BELOW


def _strip(row: Sequence[Picture], tall: int, wide: int, columns: int) -> list[list[float | None]]:
    """One row of pictures side by side, and an empty line below."""
    lines: list[list[float | None]] = []
    for y in range(tall):
        line: list[float | None] = []
        for one in row:
            pixels = one.pixels[y] if y < len(one.pixels) else []
            line += [round(value, 3) for value in pixels]
            line += [None] * (wide + 1 - len(pixels))
        lines.append(line)
    whole = (wide + 1) * max(columns, len(row)) - 1
    return [*[(line + [None] * whole)[:whole] for line in lines], [None] * whole]


def _names(rows: Sequence[Sequence[Picture]]) -> tuple[list[str], list[str]]:
    """What to write beside each row, and above the columns where names differ within a row.

    Pictures named digit 1, digit 2, ... give the row the name digit and the columns 1, 2, ...
    """
    labels: list[str] = []
    heads: list[str] = []
    for row in rows:
        names = [one.name for one in row]
        if len(set(names)) == 1:
            labels.append(names[0])
            continue
        common = _common_beginning(names)
        labels.append(common.strip())
        heads = heads or [name[len(common) :] for name in names]
    return labels, heads


def _common_beginning(names: Sequence[str]) -> str:
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike)
