"""One token: what else could have come, and what temperature, top-k and top-p make of it.

The browser computes the latter from the logits it has, in `assets/generate.js`, as `shaped` in
`generation.py` does.
"""

from dash import ALL, ClientsideFunction, Dash, Input, Output, State
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.generate import ids, xray
from transformer_lab.ui.generate.controls import DRAWING
from transformer_lab.ui.generate.state import Token, picked

ANY_CHANCE = {"type": "token-chance", "place": ALL}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of the token that is looked at."""
    _register_sliders(app)

    @app.callback(
        output={
            "head": Output(ids.PICKED_HEAD, "children"),
            "body": Output(ids.PICKED_BODY, "children"),
            "logits": Output(ids.PICKED_LOGITS, "data"),
        },
        inputs={"at": Input(ids.PICKED, "data")},
        prevent_initial_call=True,
    )
    def taken_apart(at: Token | None) -> dict[str, object]:
        """What else could have come there; from stored logits, so the model need not run again."""
        writing, place = picked(lab, at)
        one = writing.at_place(place) if writing else None
        if writing is None or one is None:
            raise PreventUpdate
        return {
            "head": xray.token_head(writing, place, one),
            "body": xray.token_body(writing, one),
            "logits": xray.token_logits(one),
        }


def _register_sliders(app: Dash) -> None:
    controls = [shared_ids.sample_setting(name) for name in DRAWING]
    sliders = [ids.draw_slider(name) for name in DRAWING]
    app.clientside_callback(
        ClientsideFunction("generate", "slid"),
        *[Input(slider, "value") for slider in sliders],
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("generate", "typed"),
        *[Input(control, "value") for control in controls],
        *[State(slider, "value") for slider in sliders],
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("generate", "redraw"),
        Output(ANY_CHANCE, "children"),
        Output(ids.PICKED_CUT, "children"),
        Input(ids.PICKED_LOGITS, "data"),
        *[Input(control, "value") for control in controls],
        prevent_initial_call=True,
    )
