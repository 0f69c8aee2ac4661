"""Several runs in one chart: numbers in, figure out."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from transformer_lab.ui.charts.training import AXIS, QUIET, figure_with_title, plain, significant

PALETTE = (
    "#0877bd",
    "#d9730d",
    "#1a8f5a",
    "#a23ec2",
    "#c22f4d",
    "#7a6a00",
    "#0e8fa3",
    "#8a5a3c",
    "#5a63d8",
    "#b5418f",
)
DASHES = ("solid", "dash", "dot", "dashdot")
AXES = {"steps": "steps", "tokens": "tokens seen", "seconds": "seconds of training"}
MOST_POINTS = 400  # of one line


@dataclass(frozen=True)
class RunCurve:
    """One run as it is compared: x in steps, tokens or seconds, losses in nats per token.

    `seam` is the x at which it left its parent.
    """

    run: str
    name: str
    x: Sequence[float]
    train: Sequence[float]
    validation_x: Sequence[float]
    validation: Sequence[float]
    seam: float | None = None


def run_colors(runs: Iterable[str]) -> dict[str, str]:
    """One colour for each run: always the same, unless two of those shown would share it."""
    colors: dict[str, str] = {}
    for run in sorted(runs):
        first = zlib.crc32(run.encode()) % len(PALETTE)
        free = [
            PALETTE[(first + k) % len(PALETTE)]
            for k in range(len(PALETTE))
            if PALETTE[(first + k) % len(PALETTE)] not in colors.values()
        ]
        colors[run] = free[0] if free else PALETTE[first]
    return colors


def overlay_figure(curves: Sequence[RunCurve], axis: str, shown: str, window: int) -> go.Figure:
    """The losses of several runs over steps, tokens or seconds.

    `shown` is "validation", "train" or "both"; training losses are means over `window` steps, as
    the title says.
    """
    what = {"validation": "Validation loss", "train": "Training loss"}.get(shown, "Losses")
    mean = (
        f", training loss as mean of {window:,} steps"
        if window > 1 and shown != "validation"
        else ""
    )
    figure = figure_with_title(f"{what}, nats per token{mean}", f"{axis}-{shown}")
    colors = run_colors(curve.run for curve in curves)
    for place, curve in enumerate(curves):
        style = {"color": colors[curve.run], "width": 1.8}
        if shown != "validation":
            _add(figure, curve.x, curve.train, curve.name, style | {"dash": "dot"})
        if shown != "train":
            dash = DASHES[place // len(PALETTE) % len(DASHES)]
            _add(figure, curve.validation_x, curve.validation, curve.name, style | {"dash": dash})
        if curve.seam is not None:
            figure.add_vline(x=curve.seam, line_width=1, line_dash="dash", line_color=QUIET)
    figure.update_xaxes(AXIS | {"title": AXES[axis]})
    figure.update_layout(margin_b=44, hovermode="closest")
    if not curves:
        figure.update_xaxes(showticklabels=False)
    return figure


def _add(
    figure: go.Figure, x: Sequence[float], y: Sequence[float], name: str, style: dict[str, object]
) -> None:
    name = plain(name)
    known = {trace.name for trace in figure.data}
    figure.add_scatter(
        x=list(x),
        y=[significant(value) for value in y],
        name=name,
        legendgroup=name,
        showlegend=name not in known,
        mode="lines+markers" if len(x) < 60 else "lines",
        marker={"size": 5},
        line=style,
        hovertemplate="%{y:.3f} at %{x:,.0f}<extra>%{fullData.name}</extra>",
    )
