"""Architecture: this very model as a column of blocks, each with its code and its numbers."""

from collections.abc import Sequence

import plotly.graph_objects as go
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.architecture import Part, Source
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.looks import TensorLook
from transformer_lab.lab.looking.subjects import Open
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.charts.attention import matrix_figure
from transformer_lab.ui.charts.training import blank
from transformer_lab.ui.look import blocks, ids
from transformer_lab.ui.look.parts import (
    chart,
    choice,
    is_dark,
    named,
    number,
    opened,
    pieces_of,
    quoted,
    table,
    tried,
    trouble,
)
from transformer_lab.ui.look.state import Column, Index, Opened

NAME = "Architecture"
ANY_BLOCK = {"type": "block-button", "index": ALL}
PACE = 1200  # milliseconds a block, in slow motion
TENSOR_HELP = "Which of the part's activations is drawn, for the text on the left."
NOTHING = "This part has no numbers of its own to show: open the parts inside it."


def layout() -> html.Div:
    """The column of blocks, and beside it the one that is open."""
    return html.Div(
        [
            dcc.Store(id=ids.BLOCKS_KNOWN),
            dcc.Store(id=ids.BLOCK, data={"index": 0}),
            dcc.Interval(id=ids.SLOW_TICK, interval=PACE, disabled=True),
            trouble(ids.ARCHITECTURE_PROBLEM),
            html.Div([_column(), _open()], className="block-columns"),
        ],
        className="look-part",
    )


def _column() -> html.Section:
    slow = html.Button(
        [_icon("play-fill"), " Slow motion"],
        id=ids.SLOW,
        className="btn btn-outline-primary btn-sm",
        title="Walk the text through the model, block by block",
    )
    words = html.Span(id=ids.SLOW_WORDS, className="quiet", role="status")
    return html.Section(
        [
            html.Div([slow, words], className="slow"),
            html.Div(id=ids.BLOCKS, className="blocks"),
        ],
        className="card",
        **named("The model, from top to bottom"),
    )


def _open() -> html.Section:
    return html.Section(
        [
            html.Div(id=ids.BLOCK_HEAD),
            html.Div(
                [
                    choice("Activation", ids.BLOCK_TENSOR, {}, "", TENSOR_HELP),
                    chart(ids.BLOCK_CHART, "What comes out", "short heat"),
                ],
                id="block-picture",
            ),
            html.Div(id=ids.BLOCK_TENSORS, className="table-box", tabIndex=0),
            html.Div(id=ids.BLOCK_CODE),
        ],
        className="card block-open",
        **named("The part that is open"),
    )


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this part."""
    _register_blocks(app, lab)
    _register_open(app, lab)
    app.clientside_callback(
        ClientsideFunction("look", "slow"),
        Output(ids.SLOW_TICK, "disabled"),
        Output(ids.SLOW, "children"),
        Output(ids.BLOCK, "data", allow_duplicate=True),
        Input(ids.SLOW, "n_clicks"),
        Input(ids.SLOW_TICK, "n_intervals"),
        Input(ids.LOOK_TABS, "active_tab"),
        Input(shared_ids.TABS, "active_tab"),
        State(ids.SLOW_TICK, "disabled"),
        State(ids.BLOCK, "data"),
        State(ids.BLOCKS_KNOWN, "data"),
        prevent_initial_call=True,
    )


def _register_blocks(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "blocks": Output(ids.BLOCKS, "children"),
            "known": Output(ids.BLOCKS_KNOWN, "data"),
            "problem": Output(ids.ARCHITECTURE_PROBLEM, "children"),
        },
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
        },
        state={"known": State(ids.BLOCKS_KNOWN, "data"), "at": State(ids.BLOCK, "data")},
        prevent_initial_call=True,
    )
    def drawn(
        data: Opened | None, sub_tab: str | None, known: Column | None, at: Index | None
    ) -> dict[str, object]:
        """The parts of this model."""
        what = opened(data, sub_tab, NAME)
        parts, problem = tried(lambda: lab.inspector.architecture(what))
        if parts is None:
            return {"blocks": no_update, "known": no_update, "problem": problem}
        fresh: Column = {"run": what.run, "count": len(parts)}
        if fresh == known:
            raise PreventUpdate
        return {
            "blocks": blocks.column(parts, _index(at, parts)), "known": fresh, "problem": "",
        }  # fmt: skip

    @app.callback(
        Output(ids.BLOCK, "data"),
        Input(ANY_BLOCK, "n_clicks"),
        prevent_initial_call=True,
    )
    def picked(clicks: list[int | None]) -> Index:
        """A part was chosen."""
        if not isinstance(ctx.triggered_id, dict) or not ctx.triggered[0]["value"]:
            raise PreventUpdate
        return {"index": number(ctx.triggered_id.get("index"))}


def _register_open(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "head": Output(ids.BLOCK_HEAD, "children"),
            "code": Output(ids.BLOCK_CODE, "children"),
            "tensors": Output(ids.BLOCK_TENSORS, "children"),
            "options": Output(ids.BLOCK_TENSOR, "options"),
            "tensor": Output(ids.BLOCK_TENSOR, "value"),
            "figure": Output(ids.BLOCK_CHART, "figure"),
            "picture_hidden": Output("block-picture", "hidden"),
            "words": Output(ids.SLOW_WORDS, "children"),
            "current": Output(ANY_BLOCK, "aria-current"),
        },
        inputs={
            "at": Input(ids.BLOCK, "data"),
            "known": Input(ids.BLOCKS_KNOWN, "data"),
            "data": Input(ids.LOOK_OPEN, "data"),
            "tensor": Input(ids.BLOCK_TENSOR, "value"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        prevent_initial_call=True,
    )
    def shown(
        at: Index | None,
        known: Column | None,
        data: Opened | None,
        tensor: str | None,
        sub_tab: str | None,
        theme: str | None,
    ) -> dict[str, object]:
        """The part that is open: what it is, what comes out of it, and the lines that run."""
        what = opened(data, sub_tab, NAME)
        parts, _ = tried(lambda: lab.inspector.architecture(what))
        if parts is None:
            raise PreventUpdate
        place = _index(at, parts)
        part = parts[place]
        return {
            "head": blocks.headline(part, blocks.total(parts, place)),
            "code": [_code(source) for source in part.sources],
            "words": f"{place + 1} of {len(parts)}: {part.name}",
            "current": [
                "true" if number(item["id"]["index"], -1) == place else "false"
                for item in ctx.outputs_grouping["current"]
            ],
            **_activations(lab, what, part, tensor, is_dark(theme)),
        }


def _activations(
    lab: Lab, what: Open, part: Part, wanted: str | None, dark: bool
) -> dict[str, object]:
    """What comes out of a part: its table, and the wanted activation, or else the last, drawn."""
    tensors, problem = tried(lambda: lab.inspector.tensors(what, part.taps))
    tensors = tensors or []
    chosen = next((one for one in tensors if one.path == wanted), None)
    chosen = chosen or (tensors[-1] if tensors else None)
    nothing = html.Div(problem or NOTHING, className="quiet")
    return {
        "tensors": _table(tensors) if tensors else nothing,
        "options": [{"value": one.path, "label": one.label} for one in tensors],
        "tensor": chosen.path if chosen else "",
        "figure": _picture(lab, what, chosen, dark),
        "picture_hidden": chosen is None,
    }


def _index(at: Index | None, parts: Sequence[Part]) -> int:
    return min(at["index"] if at else 0, len(parts) - 1)


def _table(tensors: Sequence[TensorLook]) -> html.Table:
    rows = [
        [
            html.Span(one.label, title=one.meaning),
            f"({one.shape})",
            *(f"{value:.4g}" for value in (one.mean, one.deviation, one.low, one.high)),
        ]
        for one in tensors
    ]
    return table(["activation", "shape", "mean", "deviation", "least", "most"], rows, "tensors")


def _picture(lab: Lab, what: Open, one: TensorLook | None, dark: bool) -> go.Figure:
    if one is None:
        return blank("What comes out")
    pieces = pieces_of(lab.inspector.pieces(what, what.tokens))
    rows = pieces if one.rows == 1 else [f"from {n * one.rows + 1}" for n in
                                         range(len(one.picture))]  # fmt: skip
    pooled = "" if one.rows == one.columns == 1 else f" (mean of {one.rows} × {one.columns})"
    title = f"{one.label}{pooled}, a row for each token"
    if len(one.picture) == 1:
        rows, title = [quoted("all")], f"{one.label}{pooled}"
    return matrix_figure(one.picture, title, rows, dark=dark)


def _code(source: Source) -> html.Div:
    if not source.text:
        return html.Div(
            f"{source.name} is not written in Python here: {source.file}.", className="quiet"
        )
    return html.Div(
        [
            html.Div(f"{source.file}:{source.line}", className="code-place"),
            html.Pre(source.text, className="code", tabIndex=0, **named(f"Code of {source.name}")),
        ]
    )


def _icon(name: str) -> html.I:
    return html.I(className=f"bi bi-{name}", **{"aria-hidden": "true"})
