"""The charts of experiments: what a plot of an experiment says, drawn in the house style.

A plot says only what there is to see (`Plot` in `experiments/experiment.py` has the fields); here
it gets colours, dashes and marks, so that no line is told from another by its colour alone.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import plotly.graph_objects as go

from transformer_lab.ui.charts.comparison import PALETTE
from transformer_lab.ui.charts.pictures import drawn_height, put_pictures
from transformer_lab.ui.charts.training import QUIET, figure_with_title, significant

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKS = ("circle", "diamond", "square", "triangle-up", "x", "cross")
PATTERNS = ("", "/", ".", "x", "-", "+")
MOST_POINTS = 160  # of one line
FEW = 24  # points up to which each gets a mark
TITLE_WIDTH, LEGEND_WIDTH, LABEL_WIDTH = 52, 50, 26  # characters in a line
AXIS_WIDTH = 32
LINE, PLOT = 17, 220  # pixels: a line of words, and what is left for drawing
SMALL = 80
BAR = 15
AROUND = 12  # pixels between the plot and what stands above and below it
BAND = 0.16  # opacity


def figure(plot: Any, name: str = "none") -> go.Figure:
    """The chart of a plot; `name` keeps its zoom while the same plot is shown."""
    draw = {"line": _lines, "points": _points, "bar": _bars, "image": put_pictures}[plot.kind]
    title = _wrapped(plot.title, TITLE_WIDTH)
    made = figure_with_title(title, name)
    made.update_layout(
        title={"x": 0, "xref": "container", "y": 1, "yref": "paper", "yanchor": "bottom"},
        title_pad={"l": AROUND, "b": AROUND + LINE * title.count("<br>")},
        margin_t=_top(title),
    )
    draw(made, plot)
    made.update_layout(height=height(plot))
    return made


def height(plot: Any) -> int:
    """How many pixels high its chart wants to be."""
    top = _top(_wrapped(plot.title, TITLE_WIDTH))
    if plot.kind == "image":
        return top + drawn_height(plot)
    legend = _legend_height(plot)
    if plot.kind == "bar":
        return top + _bars_height(plot) + 2 * LINE + AROUND + legend
    return top + PLOT + 2 * LINE + AROUND + legend


def _top(title: str) -> int:
    return LINE * (1 + title.count("<br>")) + 2 * AROUND


def _wrapped(words: str, width: int) -> str:
    return "<br>".join(textwrap.wrap(words, width)) or words


def _legend_height(plot: Any) -> int:
    names = [_wrapped(one.name, LEGEND_WIDTH) for one in (*plot.series, *plot.references)]
    return sum(LINE * (1 + name.count("<br>")) + 3 for name in names)


def _under(made: go.Figure, plot: Any, drawn: int) -> None:
    """A legend of one line for each series and level, below the x axis and its title."""
    legend = _legend_height(plot)
    made.update_layout(
        legend={
            "orientation": "v",
            "x": 0,
            "xanchor": "left",
            "y": -(2 * LINE + AROUND) / drawn,
            "yanchor": "top",
            "itemwidth": 40,
            "traceorder": "normal",
        },
        margin_b=2 * LINE + AROUND + legend,
    )


# --- lines --------------------------------------------------------------------------------------


def _lines(made: go.Figure, plot: Any) -> None:
    for place, series in enumerate(plot.series):
        _line(made, series, place)
    _dress(made, plot)


def _points(made: go.Figure, plot: Any) -> None:
    """One mark for each series, with its range."""
    for place, series in enumerate(plot.series):
        made.add_scatter(
            x=_short(series.x),
            y=_short(series.y),
            error_y=_errors(series),
            name=_wrapped(series.name, LEGEND_WIDTH),
            mode="markers",
            marker={
                "size": 9,
                "symbol": MARKS[place % len(MARKS)],
                "color": PALETTE[place % len(PALETTE)],
            },
            hovertemplate="%{y:.4~g} at %{x:.4~s}<extra>%{fullData.name}</extra>",
        )
    _dress(made, plot)
    made.update_layout(hovermode="closest")


def _dress(made: go.Figure, plot: Any) -> None:
    """The axes, the levels to compare with and the legend of lines and points."""
    made.update_xaxes(title={"text": plot.x_label, "standoff": 4, "font": {"size": 11}})
    if plot.x_log:
        made.update_xaxes(type="log", dtick="D2", tickformat="~g")
    made.update_yaxes(
        title={"text": _wrapped(plot.y_label, AXIS_WIDTH), "standoff": 6, "font": {"size": 11}},
        range=_range(plot),
        autorange=False,
        automargin=True,
    )
    for place, reference in enumerate(plot.references):
        _level(made, reference, place, horizontal=True)
    _under(made, plot, PLOT)


def _line(made: go.Figure, series: Any, place: int) -> None:
    color = PALETTE[place % len(PALETTE)]
    shown = _thinned(len(series.x))
    x = [series.x[i] for i in shown]
    if series.low:
        made.add_scatter(
            x=[*x, *x[::-1]],
            y=_short([*(series.high[i] for i in shown), *(series.low[i] for i in shown[::-1])]),
            mode="lines",
            line_width=0,
            fill="toself",
            fillcolor=_faint(color),
            hoverinfo="skip",
            legendgroup=series.name,
            showlegend=False,
        )
    made.add_scatter(
        x=x,
        y=_short(series.y[i] for i in shown),
        name=_wrapped(series.name, LEGEND_WIDTH),
        legendgroup=series.name,
        mode="lines+markers" if len(x) <= FEW else "lines",
        marker={"size": 6, "symbol": MARKS[place % len(MARKS)]},
        line={"color": color, "dash": DASHES[place % len(DASHES)], "width": 1.8},
        hovertemplate="%{y:.4~g}<extra>%{fullData.name}</extra>",
    )


def _thinned(count: int) -> list[int]:
    stride = max(1, math.ceil(count / MOST_POINTS))
    return sorted({*range(0, count, stride), *([count - 1] if count else [])})


def _short(values: Iterable[float]) -> list[float]:
    return [significant(value) for value in values]


def _faint(color: str) -> str:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{BAND})"


def _range(plot: Any) -> list[float]:
    """From the lowest to the highest that is drawn, with 0 in it unless that is far away."""
    found = [
        *chain.from_iterable((*series.y, *series.low, *series.high) for series in plot.series),
        *chain.from_iterable(_ends(reference) for reference in plot.references),
    ]
    found = [value for value in found if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(found), max(found)
    if 0 < low < 0.6 * high:
        low = 0.0
    room = 0.06 * (high - low or abs(high) or 1.0)
    return [low - room if low else -room / 2, high + room]


def _ends(reference: Any) -> list[float]:
    found = (reference.low, reference.y, reference.high)
    return [value for value in found if value is not None]


def _level(made: go.Figure, reference: Any, place: int, *, horizontal: bool) -> None:
    """A level to compare with, and its interval as a band; the legend has its name."""
    line, band = (
        (made.add_hline, made.add_hrect) if horizontal else (made.add_vline, made.add_vrect)
    )
    axis = "y" if horizontal else "x"
    style = {"color": QUIET, "dash": ("dash", "dot")[place % 2], "width": 1.4}
    if reference.low is not None and reference.high is not None:
        ends = {f"{axis}0": reference.low, f"{axis}1": reference.high}
        band(**ends, line_width=0, fillcolor=QUIET, opacity=0.22, layer="below")
    line(**{axis: reference.y}, line=style)
    name = _wrapped(reference.name, LEGEND_WIDTH)
    made.add_scatter(x=[None], y=[None], name=name, mode="lines", line=style, hoverinfo="skip")


def settling_figure(traces: Sequence[tuple[str, Sequence[float]]]) -> go.Figure:
    """A small chart of energies after 0, 1, .. T steps, one line for each (name, energies)."""
    made = figure_with_title("", "settling")
    for place, (name, energies) in enumerate(traces):
        color = PALETTE[place % len(PALETTE)]
        made.add_scatter(
            x=list(range(len(energies))),
            y=_short(energies),
            name=name,
            mode="lines+markers" if len(energies) <= FEW else "lines",
            marker={"size": 5, "symbol": MARKS[place % len(MARKS)]},
            line={"color": color, "dash": DASHES[place % len(DASHES)], "width": 1.6},
        )
    legend = LINE * math.ceil(len(traces) / 2) + 4  # two names fit in a row
    made.update_layout(
        height=SMALL + LINE + AROUND + legend,
        margin={"l": 36, "r": 8, "t": 6, "b": LINE + AROUND + legend},
        legend={
            "x": 0,
            "xanchor": "left",
            "y": -(LINE + AROUND) / SMALL,
            "yanchor": "top",
            "font_size": 10,
        },
    )
    made.update_xaxes(nticks=6, title={"text": "T", "standoff": 0, "font": {"size": 10}})
    made.update_yaxes(rangemode="tozero", nticks=4)
    return made


# --- bars ---------------------------------------------------------------------------------------


def _bars(made: go.Figure, plot: Any) -> None:
    """Bars lie, so that their labels may be sentences."""
    labels = _labels(plot)
    for place, series in enumerate(plot.series):
        made.add_bar(
            orientation="h",
            y=[_wrapped(str(label), LABEL_WIDTH) for label in series.x],
            x=_short(series.y),
            name=_wrapped(series.name, LEGEND_WIDTH),
            marker={
                "color": PALETTE[place % len(PALETTE)],
                "pattern": {"shape": PATTERNS[place % len(PATTERNS)], "size": 6, "solidity": 0.25},
            },
            error_x=_errors(series),
            hovertemplate="%{x:.4~g}<extra>%{fullData.name}</extra>",
        )
    made.update_yaxes(categoryorder="array", categoryarray=labels, autorange="reversed")
    made.update_yaxes(automargin=True, gridcolor="rgba(0,0,0,0)", ticklabelstandoff=6)
    low, high = _range(plot)
    made.update_xaxes(title={"text": plot.y_label, "standoff": 4, "font": {"size": 11}})
    made.update_xaxes(range=[min(low, 0.0) if low < -1e-9 and _has_negative(plot) else 0.0, high])
    made.update_xaxes(autorange=False)
    for place, reference in enumerate(plot.references):
        _level(made, reference, place, horizontal=False)
    made.update_layout(barmode="group", bargap=0.25, bargroupgap=0.05, hovermode="closest")
    _under(made, plot, _bars_height(plot))


def _labels(plot: Any) -> list[str]:
    found = dict.fromkeys(str(label) for series in plot.series for label in series.x)
    return [_wrapped(label, LABEL_WIDTH) for label in found]


def _bars_height(plot: Any) -> int:
    labels = _labels(plot)
    words = LINE * max((1 + label.count("<br>") for label in labels), default=1)
    return max(1, len(labels)) * max(BAR * len(plot.series) + 12, words + 8)


def _errors(series: Any) -> dict[str, Any] | None:
    if not series.low:
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": _short(high - y for high, y in zip(series.high, series.y, strict=True)),
        "arrayminus": _short(y - low for low, y in zip(series.low, series.y, strict=True)),
        "color": QUIET,
        "thickness": 1.4,
        "width": 3,
    }


def _has_negative(plot: Any) -> bool:
    return any(value < 0 for series in plot.series for value in (*series.y, *series.low))
