"""Branches: go on with another token, and the tree of all texts."""

from dash import ALL, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.ui.generate import ids
from transformer_lab.ui.generate.controls import STATES, Scalar, config_of
from transformer_lab.ui.generate.state import Leaf, Shown, Token, leaf, picked

ANY_ALTERNATIVE = {"type": "alternative", "token": ALL}
ANY_WRITING = {"type": "writing-button", "writing": ALL}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of the alternatives and of the tree."""
    _register_branch(app, lab)
    _register_tree(app, lab)


def _register_branch(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "writing": Output(ids.WRITING, "data", allow_duplicate=True),
            "tree": Output(ids.WRITINGS, "data", allow_duplicate=True),
            "message": Output(ids.GENERATE_MESSAGE, "children", allow_duplicate=True),
        },
        inputs={
            "taken": Input(ANY_ALTERNATIVE, "n_clicks"),
            "asked": Input(ANY_WRITING, "n_clicks"),
        },
        state={
            "at": State(ids.PICKED, "data"),
            "tree": State(ids.WRITINGS, "data"),
            "settings": STATES,
        },
        prevent_initial_call=True,
    )
    def branch(
        taken: list[int | None],
        asked: list[int | None],
        at: Token | None,
        tree: list[Leaf] | None,
        settings: dict[str, Scalar],
    ) -> dict[str, object]:
        """Generate with another token, or show a text made before."""
        pressed = ctx.triggered_id
        if not isinstance(pressed, dict) or not ctx.triggered[0]["value"]:
            raise PreventUpdate
        if pressed["type"] == "writing-button":
            shown = {"shown": [pressed["writing"]]}
            return {"writing": shown, "tree": no_update, "message": ""}
        config, _ = config_of(settings)
        parent, place = picked(lab, at)
        if parent is None or config is None:
            raise PreventUpdate
        try:
            made = lab.writings.branch(parent, place, int(pressed["token"]), config)
        except ConfigError as error:
            return {"writing": no_update, "tree": no_update, "message": str(error)}
        if made is None:
            raise PreventUpdate
        tree = [*(tree or []), leaf(made)]
        return {"writing": {"shown": [made.id]}, "tree": tree, "message": ""}


def _register_tree(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.BRANCHES, "children"),
        inputs={"tree": Input(ids.WRITINGS, "data"), "shown": Input(ids.WRITING, "data")},
        prevent_initial_call=True,
    )
    def drawn(tree: list[Leaf] | None, shown: Shown | None) -> list[html.Div]:
        """The tree of all texts, those on the page marked."""
        tree = [entry for entry in tree or [] if lab.writings.find(entry["id"])]
        known = {entry["id"] for entry in tree}
        roots = [entry for entry in tree if entry["parent"] not in known]
        open_now = (shown or {}).get("shown", [])
        return [_branch(root, tree, open_now, 0) for root in roots[::-1]]


def _branch(entry: Leaf, tree: list[Leaf], open_now: list[str], depth: int) -> html.Div:
    children = [other for other in tree if other["parent"] == entry["id"]]
    current = {"aria-current": "true"} if entry["id"] in open_now else {}
    button = html.Button(
        entry["label"], id=ids.writing_button(entry["id"]), className="link branch", **current
    )
    below = [_branch(child, tree, open_now, depth + 1) for child in children]
    return html.Div([button, *below], className="branch-level" if depth else "")
