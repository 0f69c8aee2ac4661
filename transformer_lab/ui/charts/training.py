"""The three charts of a training: loss, perplexity and learning rate over steps.

Each has a function for the whole figure and one for what new points add to it, in the form of
Dash's `extendData`. The colour of text comes from the style sheet, so that it follows the theme.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import plotly.graph_objects as go

TRAIN = "#2a8bd0"
VALIDATION = "#d9730d"
QUIET = "#8a9099"
BAND = "rgba(217, 115, 13, 0.18)"  # of earlier runs: that of validation, faintly
GRAPH = {"displaylogo": False, "displayModeBar": False, "responsive": True}  # of every dcc.Graph
MOST_POINTS = 240  # of one line, when a whole figure is drawn

BREAK = "&lt;br&gt;"  # a line break that our own titles have
AXIS = {"gridcolor": "rgba(128,128,128,0.18)", "zeroline": False, "autorange": True}

BESIDE = 108  # pixels to the right of a chart, for words beside its lines
WIDEST = 18  # letters that fit there
HALF_A_LINE = 8  # pixels, of those words

MILESTONES = {
    3.0: "3.0 basic patterns",
    2.0: "2.0 readable text",
    1.5: "1.5 high quality",
    1.0: "1.0 potential overfitting",
}


@dataclass(frozen=True)
class Curve:
    """Losses over steps, in nats per token, as the charts draw them."""

    steps: list[int]
    train: list[float]
    validation_steps: list[int]
    validation: list[float]
    rates: list[float]


class Expected(Protocol):
    """Where the validation losses of earlier runs lay, at some steps."""

    @property
    def steps(self) -> Sequence[int]: ...
    @property
    def low(self) -> Sequence[float]: ...
    @property
    def high(self) -> Sequence[float]: ...
    @property
    def runs(self) -> int: ...


def significant(value: float, digits: int = 4) -> float:
    """A number short enough to send."""
    return float(f"{value:.{digits}g}")


def curve_of(
    points: Sequence[Any], most: int | None = None, evaluated: Sequence[Any] | None = None
) -> Curve:
    """The curve of some steps; with `most`, about so many that show how far it goes up and down.

    `evaluated` are the steps with a validation loss, where `points` have been thinned without them.
    """
    shown = _thinned(points, most, [p.train_loss for p in points])
    if evaluated is None:
        evaluated = [p for p in points if p.validation_loss is not None]
    evaluated = _thinned(evaluated, most, [p.validation_loss for p in evaluated])
    return Curve(
        steps=[p.step for p in shown],
        train=[significant(p.train_loss) for p in shown],
        validation_steps=[p.step for p in evaluated],
        validation=[significant(p.validation_loss) for p in evaluated],
        rates=[significant(p.learning_rate) for p in shown],
    )


def _thinned(points: Sequence[Any], most: int | None, losses: Sequence[float]) -> list[Any]:
    """The lowest and the highest point of each of `most` / 2 stretches, and both ends.

    Every k-th point would hide most of the noise of the old steps beside new ones, shown in full.
    """
    if not most or len(points) <= most:
        return list(points)
    stretch = math.ceil(2 * len(points) / most)
    wanted = {0, len(points) - 1}
    for begin in range(0, len(points), stretch):
        places = range(begin, min(begin + stretch, len(points)))
        wanted |= {min(places, key=losses.__getitem__), max(places, key=losses.__getitem__)}
    return [points[place] for place in sorted(wanted)]


def loss_figure(
    curve: Curve,
    run: str,
    vocabulary_size: int = 0,
    *,
    characters: bool = True,
    seams: Sequence[tuple[int, str]] = (),
    band: Expected | None = None,
) -> go.Figure:
    """Both losses, with that of knowing nothing and, where tokens are characters, guides.

    `seams` are steps at which the run left a parent, and what to call that; `band` is where the
    validation losses of earlier runs lay.
    """
    figure = figure_with_title("Loss, nats per token", run)
    _line(figure, curve.steps, curve.train, "train", TRAIN)
    figure.add_scatter(
        x=curve.validation_steps,
        y=curve.validation,
        name="validation",
        mode="lines+markers",
        line_color=VALIDATION,
        marker_size=6,
    )
    smoothed = {"color": TRAIN, "width": 2.4}  # the browser fills it, for whoever wants it
    figure.add_scatter(x=[], y=[], name="smoothed", mode="lines", line=smoothed, showlegend=False)
    if band:  # after the lines, which are counted
        _area(figure, band)
    if characters:
        for loss, label in MILESTONES.items():
            _guide(figure, loss, label, "dot")
    if vocabulary_size > 1:
        guess = math.log(vocabulary_size)
        label = f"random guessing: ln {vocabulary_size} = {guess:.2f}"
        _guide(figure, guess, label, "dash")
    for step, label in seams:
        _seam(figure, step, label)
    if not curve.steps:
        _invite(figure, "Press Start Training: the loss is drawn here, step by step")
    return figure


@lru_cache(maxsize=64)
def blank(title: str) -> go.Figure:
    """What stands there until the first answer comes: a title, and no made-up axes.

    Always the same figure, since a page opens with many; nobody may change it.
    """
    figure = figure_with_title(title)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _line(
    figure: go.Figure, x: list[int], y: list[float], name: str, color: str, dash: str = "solid"
) -> None:
    style = {"color": color, "dash": dash, "width": 1.6}
    figure.add_scatter(x=x, y=y, name=name, mode="lines", line=style)


def _area(figure: go.Figure, band: Expected) -> None:
    """The band of earlier runs, as an area behind the lines."""
    steps, low, high = ([*side] for side in (band.steps, band.low, band.high))
    figure.add_scatter(
        x=steps + steps[::-1],
        y=[significant(loss) for loss in low + high[::-1]],
        name=f"{band.runs} earlier runs",
        fill="toself",
        fillcolor=BAND,
        line_width=0,
        mode="lines",
        hoverinfo="skip",
        zorder=-1,
    )


def perplexity_figure(curve: Curve, run: str) -> go.Figure:
    """Perplexity, the exponential of the loss: among how many tokens the model still hesitates."""
    figure = figure_with_title("Perplexity, tokens", run)
    _line(figure, curve.steps, _perplexity(curve.train), "train", TRAIN)
    figure.add_scatter(
        x=curve.validation_steps,
        y=_perplexity(curve.validation),
        name="validation",
        mode="lines+markers",
        line_color=VALIDATION,
        marker_size=5,
    )
    figure.update_yaxes(type="log", dtick="D2", tickformat="~g")
    figure.update_layout(showlegend=False)
    if not curve.steps:
        figure.update_yaxes(range=[0, 2], autorange=False)
        figure.update_xaxes(showticklabels=False)
    return figure


def rate_figure(
    curve: Curve,
    run: str,
    phases: Iterable[Any],
    peak: float,
    changes: Sequence[tuple[int, float]] = (),
) -> go.Figure:
    """The planned learning rate with its phases named, the rates used, and a dot at the last.

    `changes` are steps after which another peak held, in their order, and that peak.
    """
    figure = figure_with_title("Learning rate", run)
    phases = list(phases)
    length = max((phase.last for phase in phases), default=1)
    planned_steps: list[int] = []
    planned: list[float] = []
    for phase in phases:
        corners = _corners(phase, [after for after, _ in changes])
        planned_steps += corners
        peaks = [next((p for after, p in changes[::-1] if after < x), peak) for x in corners]
        planned += [
            significant(highest * phase.factor(step))
            for highest, step in zip(peaks, corners, strict=True)
        ]
        figure.add_annotation(
            x=(phase.first + phase.last) / 2,
            y=1.0,
            yref="y domain",
            yanchor="bottom",
            text=phase.name if phase.last - phase.first > 0.2 * length else _short(phase.name),
            showarrow=False,
            font_size=10,
        )
        if phase.first > 1:
            figure.add_vline(x=phase.first, line_width=1, line_dash="dot", line_color=QUIET)
    _line(figure, planned_steps, planned, "planned", QUIET, dash="dash")
    _line(figure, curve.steps, curve.rates, "used", TRAIN)
    figure.add_scatter(
        x=curve.steps[-1:],
        y=curve.rates[-1:],
        name="now",
        mode="markers",
        marker={"size": 9, "color": TRAIN},
    )
    figure.update_yaxes(rangemode="tozero", tickformat=".1~e", nticks=4)
    figure.update_xaxes(range=[0, max([*planned_steps, 1])], autorange=False)
    figure.update_layout(showlegend=False)
    return figure


def planned_figure(run: str, phases: Iterable[Any], peak: float) -> go.Figure:
    """The schedule of a training that has not begun, by itself: rates of another would dwarf it."""
    figure = rate_figure(curve_of([]), run, phases, peak)
    figure.update_layout(title_text="Learning rate, planned")
    return figure


def _corners(phase: Any, changes: Sequence[int]) -> list[int]:
    """The steps between which a phase is drawn as straight lines; a change is a step down or up."""
    pieces = 24 if phase.curved else 1
    length = phase.last - phase.first
    corners = {phase.first + round(length * piece / pieces) for piece in range(pieces + 1)}
    beside = {step for after in changes for step in (after, after + 1)}
    return sorted(corners | {step for step in beside if phase.first <= step <= phase.last})


def loss_extension(curve: Curve) -> list[Any]:
    """What new points add to the loss chart."""
    return _extension(curve, curve.train, curve.validation)


def perplexity_extension(curve: Curve) -> list[Any]:
    """What new points add to the perplexity chart."""
    return _extension(curve, _perplexity(curve.train), _perplexity(curve.validation))


def rate_extension(curve: Curve) -> list[Any]:
    """What new points add to the learning-rate chart: the line grows, the dot moves."""
    x = [curve.steps, curve.steps[-1:]]
    y = [curve.rates, curve.rates[-1:]]
    return [{"x": x, "y": y}, [1, 2], {"x": [10**6, 1], "y": [10**6, 1]}]


def _extension(curve: Curve, train: list[float], validation: list[float]) -> list[Any]:
    x, y, traces = [curve.steps], [train], [0]
    if curve.validation_steps:
        x, y, traces = [*x, curve.validation_steps], [*y, validation], [0, 1]
    return [{"x": x, "y": y}, traces]


def _perplexity(losses: Iterable[float]) -> list[float]:
    return [significant(math.exp(min(loss, 700))) for loss in losses]


def _short(name: str) -> str:
    return {"warm-up": "warm", "fine-tuning": "fine", "main training": "main"}.get(name, name)


def plain(words: str) -> str:
    """Words from elsewhere, as Plotly shows them: it takes < > & for markup, links among it."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def figure_with_title(title: str, run: str = "none") -> go.Figure:
    """An empty chart in the house style; `run` keeps its zoom while the same run is shown."""
    return go.Figure(
        layout={
            "title": {
                "text": plain(title).replace(BREAK, "<br>"),
                "x": 0,
                "xref": "paper",
                "y": 0.98,
                "font": {"size": 13},
            },
            "uirevision": run,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 11, "color": "#5b6470"},
            "margin": {"l": 44, "r": 12, "t": 34, "b": 30},
            "hovermode": "x unified",
            "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.14},
            "xaxis": dict(AXIS),
            "yaxis": dict(AXIS),
        }
    )


def _seam(figure: go.Figure, step: int, label: str) -> None:
    """A line across, its words above the chart, where no curve is."""
    figure.add_vline(x=step, line_width=1.5, line_dash="dash", line_color=QUIET)
    figure.add_annotation(
        text=plain(label), x=step, y=1, yref="y domain", xanchor="right", yanchor="bottom",
        showarrow=False, font_size=10,
    )  # fmt: skip


def _guide(figure: go.Figure, y: float, label: str, dash: str) -> None:
    """A line along, its words beside the chart, where no curve is.

    The first line of the words stands beside it and the others below, so that they take no room
    above, where the next guide is.
    """
    figure.add_hline(y=y, line_width=1, line_dash=dash, line_color=QUIET)
    figure.add_annotation(
        text="<br>".join(textwrap.wrap(label, WIDEST)), hovertext=label, x=1, xref="x domain",
        xshift=4, y=y, xanchor="left", align="left", showarrow=False, font_size=10,
        yanchor="top", yshift=HALF_A_LINE,
    )  # fmt: skip
    figure.update_layout(margin_r=BESIDE)


def _invite(figure: go.Figure, words: str) -> None:
    figure.update_xaxes(showticklabels=False)
    figure.add_annotation(
        text=plain(words), x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font_size=13
    )
