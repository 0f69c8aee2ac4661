"""One query, step by step: from its query vector to the head output, with the real numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.looks import QueryLook
from transformer_lab.lab.looking.subjects import Open
from transformer_lab.ui.charts.attention import bars_figure, matrix_figure
from transformer_lab.ui.look import ids
from transformer_lab.ui.look.parts import (
    button,
    chart,
    is_dark,
    named,
    number,
    opened,
    pieces_of,
    place_in,
    quoted,
    tried,
)
from transformer_lab.ui.look.state import Opened, Place

PART = "Attention"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a stage is about: the numbers of a query, at `place` among the `pieces`."""

    look: QueryLook
    place: int
    pieces: Sequence[str]
    after: tuple[str, ...]  # what happens to queries and keys before they meet

    @property
    def width(self) -> int:
        """How many numbers a head has for each token: K."""
        return len(self.look.query)

    @property
    def biased(self) -> bool:
        """Whether positions add to the scores."""
        return bool(np.abs(self.look.bias).max() > 1e-6)

    @property
    def favourite(self) -> int:
        """The token it looks at most."""
        return int(self.look.weights.argmax())

    def made(self, matrix: str) -> str:
        """How queries and keys are made, as a formula."""
        whole = f"x {matrix}"
        for what in self.after:
            whole = f"{what}({whole})"
        return whole

    def name(self, place: int) -> str:
        """A token with its place."""
        return f"{quoted(self.pieces[place])} ({place + 1})"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step: `formula` and `words` with real numbers, `draw` the chart of it."""

    title: str
    formula: Callable[[Moment], str]
    words: Callable[[Moment], str]
    draw: Callable[[Moment, bool], go.Figure]


def _query(m: Moment, dark: bool) -> go.Figure:
    return bars_figure(m.look.query, f"Query of {m.name(m.place)}", "number", dark=dark)


def _keys(m: Moment, dark: bool) -> go.Figure:
    seen = slice(0, m.place + 1)
    return matrix_figure(m.look.keys[seen], "Keys", m.pieces[seen], dark=dark)


def _products(m: Moment, dark: bool) -> go.Figure:
    return bars_figure(m.look.products, "Query times key", "of this token", m.pieces, dark=dark)


def _scaled(m: Moment, dark: bool) -> go.Figure:
    return bars_figure(m.look.masked, "Scores", "of this token", m.pieces, dark=dark)


def _weights(m: Moment, dark: bool) -> go.Figure:
    return bars_figure(m.look.weights, "Weights", "taken from this token", m.pieces, dark=dark)


def _values(m: Moment, dark: bool) -> go.Figure:
    seen = slice(0, m.place + 1)
    return matrix_figure(m.look.values[seen], "Values", m.pieces[seen], dark=dark)


def _result(m: Moment, dark: bool) -> go.Figure:
    return bars_figure(m.look.result, "Head output", "number", dark=dark)


def _product_in_numbers(m: Moment) -> str:
    key, query = m.look.keys[m.favourite], m.look.query
    terms = " + ".join(f"{a:.2f}·{b:.2f}" for a, b in zip(query[:3], key[:3], strict=True))
    more = " + …" if m.width > 3 else ""
    return f"q · k = {terms}{more} = {m.look.products[m.favourite]:.3f}"


def _masked_in_words(m: Moment) -> str:
    later = len(m.pieces) - m.place - 1
    outside = int(np.isneginf(m.look.masked).sum()) - later
    sentences = []
    if later:
        sentences.append(f"{later} later tokens get minus infinity: nobody sees the future.")
    if outside > 0:
        sentences.append(f"So do {outside} earlier ones that lie outside of the window.")
    return " ".join(sentences) or "No token comes later here, so nothing is masked."


STAGES = (
    Stage(
        title="Query: what does it look for?",
        formula=lambda m: f"q = {m.made('W_Q')},  {m.width} numbers",
        words=lambda m: (
            f"{m.name(m.place)} makes {m.width} numbers from its vector x, to be multiplied with "
            "keys."
            + " Rotary positions turn them by an angle that grows with the place."
            * ("turn" in m.after)
            + " QK-norm scales them to unit size." * ("norm" in m.after)
        ),
        draw=_query,
    ),
    Stage(
        title="Keys: what can each token be found by?",
        formula=lambda m: (
            f"k = {m.made('W_K')},  {m.width} numbers for each of {m.place + 1} tokens"
        ),
        words=lambda m: (
            "Every token up to here has a key, a row. Later tokens have one too, but may not be "
            "looked at."
        ),
        draw=_keys,
    ),
    Stage(
        title="Products: how well does each key match?",
        formula=_product_in_numbers,
        words=lambda m: (
            f"The query times the key of every token. For {m.name(m.favourite)} that is "
            f"{m.look.products[m.favourite]:.3f}."
        ),
        draw=_products,
    ),
    Stage(
        title="Scores: divided by √K, and the future masked",
        formula=lambda m: (
            f"{m.look.products[m.favourite]:.3f} / √{m.width} = "
            f"{m.look.products[m.favourite]:.3f} / {math.sqrt(m.width):.2f} = "
            f"{m.look.scaled[m.favourite]:.3f}"
            + f", and {m.look.bias[m.favourite]:+.3f} for the distance"
            * m.biased
        ),
        words=lambda m: (
            "Without the division, wider heads would have larger scores. "
            + "ALiBi positions lower each score by how far away its token stands. " * m.biased
            + _masked_in_words(m)
        ),
        draw=_scaled,
    ),
    Stage(
        title="Softmax: weights that sum to 100 %",
        formula=lambda m: (
            f"weight = e^{m.look.masked[m.favourite]:.3f} / Σ e^score = "
            f"{m.look.weights[m.favourite]:.4f}"
        ),
        words=lambda m: (
            f"Most goes to {m.name(m.favourite)}: {m.look.weights[m.favourite]:.1%}. This is the "
            "row of the picture above."
        ),
        draw=_weights,
    ),
    Stage(
        title="Values: what does each token pass on?",
        formula=lambda m: f"v = x W_V,  {m.width} numbers for each of {m.place + 1} tokens",
        words=lambda m: (
            "Each token up to here has a value, a row, for the queries that attend to it."
        ),
        draw=_values,
    ),
    Stage(
        title="Result: the values, weighted and summed",
        formula=lambda m: (
            f"Σ weight · v: the first number is {m.look.result[0]:.4f}, of which "
            f"{m.look.weights[m.favourite]:.3f} · {m.look.values[m.favourite][0]:.3f} = "
            f"{m.look.weights[m.favourite] * m.look.values[m.favourite][0]:.4f} comes from "
            f"{m.name(m.favourite)}"
        ),
        words=lambda m: (
            "These numbers go through the head's columns of the output matrix and are added to the "
            f"stream of {m.name(m.place)}."
        ),
        draw=_result,
    ),
)


def layout() -> html.Section:
    """Back, Next, and the stage between them."""
    return html.Section(
        [
            dcc.Store(id=ids.STAGE, data=0),
            html.Div(
                [
                    html.H2("One query, step by step", className="stage-of"),
                    button("Back", ids.STAGE_BACK, "The step before; so does the left arrow"),
                    html.Div(id=ids.STAGE_TITLE, className="stage-title", role="status"),
                    button("Next", ids.STAGE_NEXT, "The next step; so does the right arrow"),
                ],
                className="stage-head",
            ),
            html.Code(id=ids.STAGE_FORMULA, className="formula"),
            html.Div(id=ids.STAGE_WORDS, className="quiet"),
            chart(ids.STAGE_CHART, "", "stage-chart"),
        ],
        id="stepper",
        className="card stepper",
        **named("One query, step by step"),
    )


def register(app: Dash, lab: Lab) -> None:
    """The callback of the stepper."""

    @app.callback(
        output={
            "stage": Output(ids.STAGE, "data"),
            "title": Output(ids.STAGE_TITLE, "children"),
            "formula": Output(ids.STAGE_FORMULA, "children"),
            "words": Output(ids.STAGE_WORDS, "children"),
            "figure": Output(ids.STAGE_CHART, "figure"),
            "back_off": Output(ids.STAGE_BACK, "disabled"),
            "next_off": Output(ids.STAGE_NEXT, "disabled"),
        },
        inputs={
            "pressed": [Input(ids.STAGE_BACK, "n_clicks"), Input(ids.STAGE_NEXT, "n_clicks")],
            "data": Input(ids.LOOK_OPEN, "data"),
            "place": Input(ids.LOOK_PLACE, "data"),
            "head": [Input(ids.LAYER, "value"), Input(ids.HEAD, "value")],
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        state={"before": State(ids.STAGE, "data")},
        prevent_initial_call=True,
    )
    def step(
        pressed: list[int | None],
        data: Opened | None,
        place: Place | None,
        head: list[str | None],
        sub_tab: str | None,
        theme: str | None,
        before: int | None,
    ) -> dict[str, object]:
        """The stage of the chosen token in the chosen head."""
        what = opened(data, sub_tab, PART)
        stage = (before or 0) + (ctx.triggered_id == ids.STAGE_NEXT)
        stage = max(0, min(stage - (ctx.triggered_id == ids.STAGE_BACK), len(STAGES) - 1))
        at = place_in(place, what.tokens)
        look, why_not = tried(
            lambda: lab.inspector.query(what, number(head[0]), number(head[1]), at)
        )
        if look is None:
            return {
                "stage": no_update, "title": "", "formula": "", "words": why_not,
                "figure": no_update, "back_off": True, "next_off": True,
            }  # fmt: skip
        return _shown(stage, _moment(lab, what, look, at), is_dark(theme))


def _moment(lab: Lab, what: Open, look: QueryLook, place: int) -> Moment:
    config = lab.inspector.config(what)
    return Moment(
        look=look,
        place=place,
        pieces=pieces_of(lab.inspector.pieces(what, what.tokens)),
        after=("turn",) * (config.positions == "rotary") + ("norm",) * config.qk_norm,
    )


def _shown(stage: int, moment: Moment, dark: bool) -> dict[str, object]:
    """One stage on the page."""
    shown = STAGES[stage]
    return {
        "stage": stage,
        "title": f"{stage + 1} of {len(STAGES)}. {shown.title}",
        "formula": shown.formula(moment),
        "words": shown.words(moment),
        "figure": shown.draw(moment, dark),
        "back_off": stage == 0,
        "next_off": stage == len(STAGES) - 1,
    }
