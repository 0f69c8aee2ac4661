"""Attention: all heads, one of them enlarged and linked with the text, and measures of each."""

from collections.abc import Iterable

from dash import Dash, Input, Output, Patch, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.looks import AttentionLook, HeadLook, Numbers
from transformer_lab.ui.charts import attention as charts
from transformer_lab.ui.look import ids, measures, stepper
from transformer_lab.ui.look.parts import (
    chart,
    choice,
    is_dark,
    note,
    number,
    opened,
    pieces_of,
    tried,
    trouble,
)
from transformer_lab.ui.look.state import Click, Opened, Options

NAME = "Attention"
LAYER_HELP = "Which layer's head is enlarged. A click on a small one chooses both."
HEAD_HELP = "Which head of the layer is enlarged and drawn over the text."


def layout() -> html.Div:
    """One head large, all of them small, one query step by step, and the measures."""
    return html.Div(
        [
            trouble(ids.ATTENTION_PROBLEM),
            html.Div(
                [
                    html.Div(
                        [
                            choice("Layer", ids.LAYER, {"0": "1"}, "0", LAYER_HELP),
                            choice("Head", ids.HEAD, {"0": "1"}, "0", HEAD_HELP),
                            note(ids.ATTENTION_NOTE),
                        ],
                        className="look-controls",
                    ),
                    html.Div(
                        [
                            chart(ids.HEAD_CHART, "One head", "square heat", clear_on_unhover=True),
                            chart(ids.TILES, "All heads", "square heat pick"),
                        ],
                        className="two-cards",
                    ),
                    stepper.layout(),
                    measures.layout(),
                ],
                id="attention-body",
            ),
        ],
        className="look-part",
    )


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this part."""
    _register_all(app, lab)
    _register_pick(app, lab)
    _register_one(app, lab)
    stepper.register(app, lab)


def _register_all(app: Dash, lab: Lab) -> None:
    outputs = {
        "tiles": Output(ids.TILES, "figure"),
        "rows": Output(ids.MEASURES, "rowData"),
        "rows_note": Output(ids.MEASURES_NOTE, "children"),
        "layers": Output(ids.LAYER, "options"),
        "heads": Output(ids.HEAD, "options"),
        "layer": Output(ids.LAYER, "value", allow_duplicate=True),
        "head": Output(ids.HEAD, "value", allow_duplicate=True),
        "problem": Output(ids.ATTENTION_PROBLEM, "children"),
        "body_hidden": Output("attention-body", "hidden"),
        "note": Output(ids.ATTENTION_NOTE, "children"),
    }

    @app.callback(
        output=outputs,
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        state={"layer": State(ids.LAYER, "value"), "head": State(ids.HEAD, "value")},
        prevent_initial_call=True,
    )
    def every_head(
        data: Opened | None,
        sub_tab: str | None,
        theme: str | None,
        layer: str | None,
        head: str | None,
    ) -> dict[str, object]:
        """All heads of all layers while the model reads the text."""
        what = opened(data, sub_tab, NAME)
        look, problem = tried(lambda: lab.inspector.attention(what))
        if look is None:
            kept = dict.fromkeys(outputs, no_update)
            return kept | {"problem": problem, "body_hidden": True, "note": ""}
        measured, why = tried(lambda: lab.inspector.measures(what))
        chosen = clipped(look, layer, head)
        return {
            "tiles": charts.tiles_figure(
                look.tiles, look.layers, chosen, measures.kinds(look, measured), dark=is_dark(theme)
            ),
            "rows": measures.rows(look, measured),
            "rows_note": why or measures.even(measured),
            "layer": no_update if number(layer) == chosen[0] else str(chosen[0]),
            "head": no_update if number(head) == chosen[1] else str(chosen[1]),
            **_described(look),
        }


def _described(look: AttentionLook) -> dict[str, object]:
    """Which layers and heads there are to choose from, and how their patterns are shown."""
    return {
        "layers": _numbered(look.layers),
        "heads": _numbered(range(look.tiles.shape[1])),
        "problem": "",
        "body_hidden": False,
        "note": _pooling(look),
    }


def _register_pick(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={"layer": Output(ids.LAYER, "value"), "head": Output(ids.HEAD, "value")},
        inputs={
            "click": Input(ids.TILES, "clickData"),
            "cell": Input(ids.MEASURES, "cellClicked"),
            "rows": Input(ids.MEASURES, "selectedRows"),
        },
        state={
            "data": State(ids.LOOK_OPEN, "data"),
            "sub_tab": State(ids.LOOK_TABS, "active_tab"),
        },
        prevent_initial_call=True,
    )
    def picked(
        click: Click | None,
        cell: Click | None,
        rows: list[dict[str, str]] | None,
        data: Opened | None,
        sub_tab: str | None,
    ) -> dict[str, str]:
        """A head was chosen among the small ones or in the table."""
        what = opened(data, sub_tab, NAME)
        look, _ = tried(lambda: lab.inspector.attention(what))
        if look is None:
            raise PreventUpdate
        if ctx.triggered_id == ids.TILES:
            layer, head = _tile(look, click)
        else:
            name = rows[0]["id"] if rows else (cell or {}).get("rowId")
            layer, head = (number(part, -1) for part in str(name).partition(" ")[::2])
        if layer not in look.layers or not 0 <= head < look.tiles.shape[1]:
            raise PreventUpdate
        return {"layer": str(layer), "head": str(head)}


def _register_one(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "figure": Output(ids.HEAD_CHART, "figure"),
            "links": Output(ids.LOOK_LINKS, "data"),
            "tiles": Output(ids.TILES, "figure", allow_duplicate=True),
        },
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "layer": Input(ids.LAYER, "value"),
            "head": Input(ids.HEAD, "value"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        prevent_initial_call=True,
    )
    def one_head(
        data: Opened | None,
        layer: str | None,
        head: str | None,
        sub_tab: str | None,
        theme: str | None,
    ) -> dict[str, object]:
        """The head that is enlarged, and who looks at whom in it."""
        what = opened(data, sub_tab, NAME)
        look, _ = tried(lambda: lab.inspector.attention(what))
        if look is None:
            raise PreventUpdate
        at, dark = clipped(look, layer, head), is_dark(theme)
        one = lab.inspector.head(what, *at)
        pieces = pieces_of(lab.inspector.pieces(what, what.tokens))
        name = f"layer {at[0] + 1}, head {at[1] + 1}"
        figure = charts.head_figure(one.pattern, one.factor, pieces, name.capitalize(), dark=dark)
        moved = ctx.triggered_id in (ids.LAYER, ids.HEAD)
        return {
            "figure": figure,
            "links": _links(one, pieces, name),
            "tiles": _framed(look, *at, dark=dark) if moved else no_update,
        }


def _framed(look: AttentionLook, layer: int, head: int, *, dark: bool) -> Patch:
    """The small pictures with the frame around another head."""
    framed = Patch()
    row, side = look.layers.index(layer), look.tiles.shape[-1]
    framed["layout"]["shapes"] = [charts.tile_frame(row, head, side, dark=dark)]
    return framed


def clipped(look: AttentionLook, layer: str | None, head: str | None) -> tuple[int, int]:
    """A layer and a head that this model has: those asked for, or the first."""
    wanted, heads = number(layer), look.tiles.shape[1]
    found = wanted if wanted in look.layers else look.layers[0]
    return found, number(head) if 0 <= number(head) < heads else 0


def _pooling(look: AttentionLook) -> str:
    if look.factor == 1:
        return "Each row is a query, each column a key; a row sums to 100 %."
    return (
        f"In the small ones {look.factor} by {look.factor} tokens share a cell: what its queries "
        "give, on average, to its sources together."
    )


def _numbered(places: Iterable[int]) -> Options:
    return [{"value": str(place), "label": str(place + 1)} for place in places]


def _tile(look: AttentionLook, click: Click | None) -> tuple[int, int]:
    """Layer and head of the small picture that was clicked."""
    try:
        point = (click or {})["points"][0]
        pitch = charts.tile_pitch(look.tiles.shape[-1])
        return look.layers[int(point["y"] // pitch)], int(point["x"] // pitch)
    except (TypeError, KeyError, IndexError, ValueError, OverflowError):
        raise PreventUpdate from None


def _links(one: HeadLook, pieces: list[str], name: str) -> dict[str, object]:
    """Who looks at whom, in numbers short enough to send: shares in hundredths of a percent."""

    def share(values: Numbers) -> list[list[int]]:
        return (values * 10_000).round().astype(int).tolist()

    return {
        "name": name,
        "pieces": pieces,
        "cells": len(one.pattern),
        "sources": one.sources.tolist(),
        "given": share(one.given),
        "lookers": one.lookers.tolist(),
        "taken": share(one.taken),
    }
