"""Embeddings: where tokens lie in the space the model made for them, and likewise positions."""

from collections.abc import Sequence

import plotly.graph_objects as go
from dash import Dash, Input, Output, State, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.inspection.embeddings import Neighbour
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.looking.checkups import EmbeddingLook
from transformer_lab.ui.charts import health as charts
from transformer_lab.ui.charts.training import blank
from transformer_lab.ui.look import ids
from transformer_lab.ui.look.parts import (
    chart,
    choice,
    is_dark,
    note,
    number,
    opened,
    pieces_of,
    quoted,
    table,
    tried,
    trouble,
)
from transformer_lab.ui.look.state import Click, Opened

NAME = "Embeddings"
VIEWS = {"2": "2 directions", "3": "3 directions, to turn"}
VIEW_HELP = "How many of the directions in which tokens differ most are drawn."
TOKEN_HELP = "The token whose nearest neighbours are listed and ringed. A click on a point chooses."
KEPT = (
    "The directions are those of the newest weights and stay while the slider moves, so what moves "
    "are the tokens. Each moment is seen around its own centre."
)


def layout() -> html.Div:
    """The cloud of tokens, neighbours of one of them, and positions."""
    controls = [
        choice("View", ids.EMBEDDING_VIEW, VIEWS, "2", VIEW_HELP),
        choice("Token", ids.EMBEDDING_TOKEN, {}, "", TOKEN_HELP),
    ]
    cloud = [
        html.Div(controls, className="look-controls"),
        chart(ids.EMBEDDING, "Token embeddings", "cloud"),
        note(ids.EMBEDDING_NOTE),
    ]
    neighbours = [
        html.H2("Nearest neighbours"),
        html.Div(id=ids.NEIGHBOURS, className="table-box", tabIndex=0),
    ]
    positions = [
        chart(ids.POSITIONS, "How alike positions are", "square heat"),
        note(ids.POSITIONS_NOTE),
    ]
    beside = [html.Section(part, className="card") for part in (neighbours, positions)]
    return html.Div(
        [
            trouble(ids.EMBEDDING_PROBLEM),
            html.Div(
                [html.Section(cloud, className="card"), html.Div(beside, className="column")],
                className="cloud-columns",
            ),
        ],
        className="look-part",
    )


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this part."""
    _register_cloud(app, lab)
    _register_pick(app, lab)
    _register_positions(app, lab)


def _register_cloud(app: Dash, lab: Lab) -> None:
    outputs = {
        "figure": Output(ids.EMBEDDING, "figure"),
        "note": Output(ids.EMBEDDING_NOTE, "children"),
        "options": Output(ids.EMBEDDING_TOKEN, "options"),
        "token": Output(ids.EMBEDDING_TOKEN, "value"),
        "neighbours": Output(ids.NEIGHBOURS, "children"),
        "problem": Output(ids.EMBEDDING_PROBLEM, "children"),
    }

    @app.callback(
        output=outputs,
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "view": Input(ids.EMBEDDING_VIEW, "value"),
            "token": Input(ids.EMBEDDING_TOKEN, "value"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        prevent_initial_call=True,
    )
    def cloud(
        data: Opened | None,
        view: str | None,
        token: str | None,
        sub_tab: str | None,
        theme: str | None,
    ) -> dict[str, object]:
        """Where the tokens lie now, and which lie near the chosen one."""
        what = opened(data, sub_tab, NAME)
        look, problem = tried(lambda: lab.inspector.embeddings(what))
        if look is None:
            return dict.fromkeys(outputs, no_update) | {"problem": problem}
        tokens = look.tokens.tolist()
        names = pieces_of(lab.inspector.pieces(what, tokens))
        chosen = number(token, -1) if number(token, -1) in tokens else _first(what.tokens, tokens)
        near = lab.inspector.neighbours(what, chosen)
        others = pieces_of(lab.inspector.pieces(what, [n.token for n in near]))
        figure = _cloud(look, names, [chosen, *(n.token for n in near[:5])], view, is_dark(theme))
        return {
            "figure": figure.update_layout(uirevision=f"{what.run} {view}"),
            "note": f"{KEPT} {_left_out(look, lab.inspector.vocabulary_size(what))}",
            "options": [
                {"value": str(each), "label": quoted(name)}
                for each, name in zip(tokens, names, strict=True)
            ],
            "token": str(chosen),
            "neighbours": _near(names[tokens.index(chosen)], others, near),
            "problem": "",
        }


def _cloud(
    look: EmbeddingLook, names: Sequence[str], ringed: list[int], view: str | None, dark: bool
) -> go.Figure:
    """The tokens as points; those to be ringed have rings, as far as they are drawn."""
    tokens = look.tokens.tolist()
    return charts.embedding_figure(
        look.points,
        names,
        [kind_of(name) for name in names],
        look.reach,
        look.shares,
        [tokens.index(token) for token in ringed if token in tokens],
        flat=view != "3",
        dark=dark,
    )


def _near(name: str, pieces: Sequence[str], near: Sequence[Neighbour]) -> Component:
    """The tokens that lie next to one."""
    rows = [
        [html.Code(piece), f"{one.cosine:.3f}"] for piece, one in zip(pieces, near, strict=True)
    ]
    return table([f"to {quoted(name)}", "cosine"], rows)


def _register_pick(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.EMBEDDING_TOKEN, "value", allow_duplicate=True),
        inputs={"click": Input(ids.EMBEDDING, "clickData")},
        state={
            "data": State(ids.LOOK_OPEN, "data"),
            "sub_tab": State(ids.LOOK_TABS, "active_tab"),
        },
        prevent_initial_call=True,
    )
    def picked(click: Click | None, data: Opened | None, sub_tab: str | None) -> str:
        """A point was clicked: its token is the chosen one."""
        what = opened(data, sub_tab, NAME)
        look, _ = tried(lambda: lab.inspector.embeddings(what))
        try:
            row = (click or {})["points"][0]["customdata"]
            row = row[0] if isinstance(row, list) else row
        except (TypeError, KeyError, IndexError):
            raise PreventUpdate from None
        if look is None or not 0 <= number(row, -1) < len(look.tokens):
            raise PreventUpdate
        return str(int(look.tokens[number(row)]))


def _register_positions(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "figure": Output(ids.POSITIONS, "figure"),
            "note": Output(ids.POSITIONS_NOTE, "children"),
        },
        inputs={
            "data": Input(ids.LOOK_OPEN, "data"),
            "sub_tab": Input(ids.LOOK_TABS, "active_tab"),
            "theme": Input(ids.LOOK_THEME, "data"),
        },
        prevent_initial_call=True,
    )
    def positions(data: Opened | None, sub_tab: str | None, theme: str | None) -> dict[str, object]:
        """How alike positions are, or why that is no question for this model."""
        what = opened(data, sub_tab, NAME)
        look, problem = tried(lambda: lab.inspector.positions(what))
        if look is None or not look.similarity.size:
            why = problem or (look.meaning if look else "")
            return {"figure": blank("How alike positions are"), "note": why}
        figure = charts.similarity_figure(look.similarity, look.factor, dark=is_dark(theme))
        return {"figure": figure, "note": look.meaning}


def _first(read: tuple[int, ...], shown: list[int]) -> int:
    """A token to begin with: the first of the text that is drawn."""
    return next((token for token in read if token in shown), shown[0])


def _left_out(look: EmbeddingLook, vocabulary_size: int) -> str:
    count = len(look.tokens)
    if count == vocabulary_size:
        return f"All {count:,} tokens are drawn."
    return (
        f"Drawn are the {count:,} tokens most frequent in the validation text, of "
        f"{vocabulary_size:,}; neighbours are looked for among all."
    )


def kind_of(name: str) -> str:
    """What sort of token it is, by the first letter that is no space."""
    first = name.strip("·")[:1]
    if first.isalpha():
        return "capital letters" if first.isupper() else "small letters"
    return "digits" if first.isdigit() else "signs and spaces"
