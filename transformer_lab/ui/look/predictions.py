"""Predictions: the logit lens, the norms of what parts write, and direct logit attribution."""

from collections.abc import Sequence

import numpy as np
from dash import Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.attribution import Attribution
from transformer_lab.inspection.taps import layer_of
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.looks import LensLook, NextLook, Numbers
from transformer_lab.lab.looking.subjects import Open
from transformer_lab.ui.charts import predictions as charts
from transformer_lab.ui.look import ids
from transformer_lab.ui.look.parts import (
    chart,
    choice,
    is_dark,
    named,
    note,
    number,
    opened,
    pieces_of,
    place_in,
    quoted,
    tried,
    trouble,
)
from transformer_lab.ui.look.state import Click, Opened, Options, Place
from transformer_lab.ui.terms import term

NAME = "Predictions"
KINDS = {"attention": "attention output", "feedforward": "feed-forward output"}
ADDS_UP = 2e-3  # of the largest part: what rounding may leave between the sum and the logit
TOKEN_HELP = (
    "Whose logit is split among the parts of the model: one of the likeliest next tokens, or the "
    "one of a cell you click above."
)


def layout() -> html.Div:
    """The lens, the lengths of vectors, and the parts of one logit."""
    return html.Div(
        [
            trouble(ids.PREDICTIONS_PROBLEM),
            html.Section(
                [
                    html.Div(
                        chart(ids.LENS, "What each layer would predict", "lens heat pick"),
                        className="wide-box",
                        tabIndex=0,
                        role="region",
                        **named("Logit lens, scrolls sideways"),
                    ),
                    note(ids.LENS_NOTE),
                ],
                className="card",
            ),
            html.Div(
                [
                    html.Section(
                        [
                            html.H2(term("direct_logit_attribution")),
                            choice("Next token", ids.EXPLAINED, {}, "", TOKEN_HELP),
                            trouble(ids.ATTRIBUTION_PROBLEM),
                            html.Div(id=ids.ATTRIBUTION_SUM, className="sum", role="status"),
                            html.Div(
                                chart(ids.ATTRIBUTION, "Parts of a logit", "tall"),
                                id="attribution-body",
                            ),
                        ],
                        className="card",
                    ),
                    chart(ids.NORMS, "Residual-stream norm", "middling"),
                ],
                className="two-cards",
            ),
        ],
        className="look-part",
    )


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this part."""
    _register_lens(app, lab)
    _register_pick(app, lab)
    _register_attribution(app, lab)


def _register_lens(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "figure": Output(ids.LENS, "figure"),
            "style": Output(ids.LENS, "style"),
            "norms": Output(ids.NORMS, "figure"),
            "note": Output(ids.LENS_NOTE, "children"),
            "problem": Output(ids.PREDICTIONS_PROBLEM, "children"),
        },
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "place": Input(ids.LOOK_PLACE, "data"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        prevent_initial_call=True,
    )
    def lens(
        data: Opened | None, place: Place | None, sub_tab: str | None, theme: str | None
    ) -> dict[str, object]:
        """What every layer would predict, at every token."""
        what = opened(data, sub_tab, NAME)
        look, problem = tried(lambda: lab.inspector.lens(what))
        if look is None:
            kept = dict.fromkeys(("figure", "style", "norms"), no_update)
            return kept | {"note": "", "problem": problem}
        at, dark = place_in(place, what.tokens), is_dark(theme)
        pieces = pieces_of(lab.inspector.pieces(what, what.tokens))
        predicted = pieces_of(lab.inspector.pieces(what, look.tokens.ravel()))
        width = len(pieces)
        rows = [predicted[begin : begin + width] for begin in range(0, len(predicted), width)]
        figure = charts.lens_figure(
            rows, look.probabilities, look.divergences, pieces, at, dark=dark
        )
        norms = charts.norms_figure(look.stream, look.writes, _parts(look), at, dark=dark)
        style = {
            "width": f"max(100%, {140 + charts.lens_cell(rows) * width}px)",
            "height": f"{130 + 28 * len(rows)}px",
        }
        return {
            "figure": figure, "style": style, "norms": norms, "note": look.note, "problem": "",
        }  # fmt: skip


def _register_pick(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.LOOK_PLACE, "data"),
        inputs={"click": Input(ids.LENS, "clickData")},
        state={
            "data": State(ids.LOOK_OPEN, "data"),
            "sub_tab": State(ids.LOOK_TABS, "active_tab"),
        },
        prevent_initial_call=True,
    )
    def picked(click: Click | None, data: Opened | None, sub_tab: str | None) -> Place:
        """A cell of the lens was clicked: its token is the one in question."""
        what = opened(data, sub_tab, NAME)
        look, _ = tried(lambda: lab.inspector.lens(what))
        layer, place = _cell(click)
        if look is None or not (layer < len(look.tokens) and place < len(what.tokens)):
            raise PreventUpdate
        return {"place": place, "token": int(look.tokens[layer, place])}


def _parts(look: LensLook) -> list[tuple[int, str]]:
    return [
        (layer_of(path) or 0, KINDS.get(path.split(".")[-1], path.split(".")[-1]))
        for path in look.parts
    ]


def _cell(click: Click | None) -> tuple[int, int]:
    """Row and column of a clicked cell, from 0."""
    try:
        point = (click or {})["points"][0]
        row, column = point["pointNumber"] if "pointNumber" in point else (point["y"], point["x"])
        found = int(row), int(column)
    except (TypeError, KeyError, IndexError, ValueError, OverflowError):
        raise PreventUpdate from None
    if min(found) < 0:
        raise PreventUpdate
    return found


def _register_attribution(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "options": Output(ids.EXPLAINED, "options"),
            "token": Output(ids.EXPLAINED, "value"),
            "figure": Output(ids.ATTRIBUTION, "figure"),
            "style": Output(ids.ATTRIBUTION, "style"),
            "sum": Output(ids.ATTRIBUTION_SUM, "children"),
            "problem": Output(ids.ATTRIBUTION_PROBLEM, "children"),
            "body_hidden": Output("attribution-body", "hidden"),
        },
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "place": Input(ids.LOOK_PLACE, "data"),
            "chosen": Input(ids.EXPLAINED, "value"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        prevent_initial_call=True,
    )
    def explain(
        data: Opened | None,
        place: Place | None,
        chosen: str | None,
        sub_tab: str | None,
        theme: str | None,
    ) -> dict[str, object]:
        """Split the logit of a token, as the next one after the chosen place, among the parts."""
        what = opened(data, sub_tab, NAME)
        at = place_in(place, what.tokens)
        likely, problem = tried(lambda: lab.inspector.likeliest(what, at))
        if likely is None:
            return _unexplained(problem)
        token = _wanted(lab, what, place, chosen, int(likely.tokens[0]))
        options = _options(lab, what, likely, token)
        said = {"options": options, "token": str(token)}
        found, problem = tried(lambda: lab.inspector.attribution(what, at, token))
        if found is None:
            return _unexplained(problem) | said
        (piece,) = pieces_of(lab.inspector.pieces(what, [token]))
        return said | _explained(found, piece, at, is_dark(theme))


def _explained(found: Attribution, piece: str, place: int, dark: bool) -> dict[str, object]:
    names = [part.label for part in found.parts]
    title = f"Parts of the logit of {quoted(piece)}, largest first"
    figure = charts.attribution_figure(names, _values(found), title, dark=dark)
    return {
        "figure": figure,
        "style": {"height": f"{figure.layout.height}px"},
        "sum": _sum(found, piece, place),
        "problem": "",
        "body_hidden": False,
    }


def _unexplained(problem: str) -> dict[str, object]:
    """The sentence why a logit is not split; the rest stays."""
    kept = dict.fromkeys(("options", "token", "figure", "style"), no_update)
    return kept | {"sum": "", "problem": problem, "body_hidden": True}


def _wanted(lab: Lab, what: Open, place: Place | None, chosen: str | None, likeliest: int) -> int:
    """The token in question: the one chosen, or that of the cell just clicked, or the likeliest."""
    clicked = (place or {}).get("token")
    token = number(clicked if ctx.triggered_id == ids.LOOK_PLACE else chosen, likeliest)
    known, _ = tried(lambda: lab.inspector.pieces(what, [token]))
    return token if known else likeliest


def _options(lab: Lab, what: Open, likely: NextLook, token: int) -> Options:
    """The likeliest next tokens with their probabilities, and the one in question."""
    shown = dict(zip(likely.tokens.tolist(), likely.probabilities.tolist(), strict=True))
    tokens: Sequence[int] = [*shown, *([] if token in shown else [token])]
    pieces = pieces_of(lab.inspector.pieces(what, tokens))
    return [
        {
            "value": str(each),
            "label": f"{quoted(piece)}  {shown[each]:.1%}" if each in shown else quoted(piece),
        }
        for each, piece in zip(tokens, pieces, strict=True)
    ]


def _values(found: Attribution) -> Numbers:
    return np.array([part.value for part in found.parts])


def _sum(found: Attribution, piece: str, at: int) -> str:
    """That the parts add up, in numbers."""
    total = sum(part.value for part in found.parts)
    largest = max(abs(part.value) for part in found.parts)
    same = abs(total - found.logit) <= ADDS_UP * max(1.0, largest)
    return (
        f"After token {at + 1}: {len(found.parts)} parts add up to {total:.3f}; the logit of "
        f"{quoted(piece)} is {found.logit:.3f}"
        + (", the same." if same else f": they differ by {total - found.logit:.3f}.")
    )
