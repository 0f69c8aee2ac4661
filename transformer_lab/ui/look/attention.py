"""Attention: all heads, one of them enlarged and linked with the text, and measures of each."""

from typing import Any

from dash import Dash, Input, Output, Patch, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.looks import AttentionLook, HeadLook
from transformer_lab.ui import ids
from transformer_lab.ui.charts import attention as charts
from transformer_lab.ui.look import measures, stepper
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
    _register_one(app, lab)
    stepper.register(app, lab)


def _register_all(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.TILES, "figure"),
        Output(ids.MEASURES, "rowData"),
        Output(ids.MEASURES_NOTE, "children"),
        Output(ids.LAYER, "options"),
        Output(ids.HEAD, "options"),
        Output(ids.LAYER, "value", allow_duplicate=True),
        Output(ids.HEAD, "value", allow_duplicate=True),
        Output(ids.ATTENTION_PROBLEM, "children"),
        Output("attention-body", "hidden"),
        Output(ids.ATTENTION_NOTE, "children"),
        Input(ids.LOOK_OPEN, "data"),
        Input(ids.LOOK_TABS, "active_tab"),
        Input(ids.LOOK_THEME, "data"),
        State(ids.LAYER, "value"),
        State(ids.HEAD, "value"),
        prevent_initial_call=True,
    )
    def every_head(data: Any, sub_tab: Any, theme: Any, layer: Any, head: Any) -> tuple[Any, ...]:
        """All heads of all layers while the model reads the text."""
        what = opened(data, sub_tab, NAME)
        look, problem = tried(lambda: lab.inspector.attention(what))
        if look is None:
            return *([no_update] * 7), problem, True, ""
        measured, why = tried(lambda: lab.inspector.measures(what))
        chosen = clipped(look, layer, head)
        figure = charts.tiles_figure(
            look.tiles, look.layers, chosen, measures.kinds(look, measured), dark=is_dark(theme)
        )
        heads = look.tiles.shape[1]
        return (
            figure,
            measures.rows(look, measured),
            why or measures.even(measured),
            _numbered(look.layers),
            _numbered(range(heads)),
            no_update if number(layer) == chosen[0] else str(chosen[0]),
            no_update if number(head) == chosen[1] else str(chosen[1]),
            "",
            False,
            _pooling(look),
        )

    @app.callback(
        Output(ids.LAYER, "value"),
        Output(ids.HEAD, "value"),
        Input(ids.TILES, "clickData"),
        Input(ids.MEASURES, "cellClicked"),
        Input(ids.MEASURES, "selectedRows"),
        State(ids.LOOK_OPEN, "data"),
        State(ids.LOOK_TABS, "active_tab"),
        prevent_initial_call=True,
    )
    def picked(click: Any, cell: Any, rows: Any, data: Any, sub_tab: Any) -> tuple[str, str]:
        """A head was chosen among the small ones or in the table."""
        what = opened(data, sub_tab, NAME)
        look, _ = tried(lambda: lab.inspector.attention(what))
        if look is None:
            raise PreventUpdate
        if ctx.triggered_id == ids.TILES:
            layer, head = _tile(look, click)
        else:
            name = cell.get("rowId") if isinstance(cell, dict) else None
            if isinstance(rows, list) and rows and isinstance(rows[0], dict):
                name = rows[0].get("id")
            layer, head = (number(part, -1) for part in str(name).partition(" ")[::2])
        if layer not in look.layers or not 0 <= head < look.tiles.shape[1]:
            raise PreventUpdate
        return str(layer), str(head)


def _register_one(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.HEAD_CHART, "figure"),
        Output(ids.LOOK_LINKS, "data"),
        Output(ids.TILES, "figure", allow_duplicate=True),
        Input(ids.LOOK_OPEN, "data"),
        Input(ids.LAYER, "value"),
        Input(ids.HEAD, "value"),
        Input(ids.LOOK_TABS, "active_tab"),
        Input(ids.LOOK_THEME, "data"),
        prevent_initial_call=True,
    )
    def one_head(
        data: Any, layer: Any, head: Any, sub_tab: Any, theme: Any
    ) -> tuple[Any, Any, Any]:
        """The head that is enlarged, and who looks at whom in it."""
        what = opened(data, sub_tab, NAME)
        look, _ = tried(lambda: lab.inspector.attention(what))
        if look is None:
            raise PreventUpdate
        layer, head = clipped(look, layer, head)
        one = lab.inspector.head(what, layer, head)
        pieces = pieces_of(lab.inspector.pieces(what, what.tokens))
        title = f"Layer {layer + 1}, head {head + 1}"
        figure = charts.head_figure(one.pattern, one.factor, pieces, title, dark=is_dark(theme))
        frame: Any = no_update
        if ctx.triggered_id in (ids.LAYER, ids.HEAD):
            frame, side = Patch(), look.tiles.shape[-1]
            row = look.layers.index(layer)
            frame["layout"]["shapes"] = [charts.tile_frame(row, head, side, dark=is_dark(theme))]
        return figure, _links(one, pieces, layer, head), frame


def clipped(look: AttentionLook, layer: Any, head: Any) -> tuple[int, int]:
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


def _numbered(places: Any) -> list[dict[str, str]]:
    return [{"value": str(place), "label": str(place + 1)} for place in places]


def _tile(look: AttentionLook, click: Any) -> tuple[int, int]:
    """Layer and head of the small picture that was clicked."""
    try:
        point = click["points"][0]
        pitch = charts.tile_pitch(look.tiles.shape[-1])
        return look.layers[int(point["y"] // pitch)], int(point["x"] // pitch)
    except (TypeError, KeyError, IndexError, ValueError, OverflowError):
        raise PreventUpdate from None


def _links(one: HeadLook, pieces: list[str], layer: int, head: int) -> dict[str, Any]:
    """Who looks at whom, in numbers short enough to send: shares in hundredths of a percent."""

    def share(values: Any) -> list[list[int]]:
        return (values * 10_000).round().astype(int).tolist()

    return {
        "name": f"layer {layer + 1}, head {head + 1}",
        "pieces": pieces,
        "cells": len(one.pattern),
        "sources": one.sources.tolist(),
        "given": share(one.given),
        "lookers": one.lookers.tolist(),
        "taken": share(one.taken),
    }
