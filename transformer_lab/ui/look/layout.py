"""How Look inside is laid out: the text on the left, what happens with it on the right."""

import dash_bootstrap_components as dbc
from dash import html

from transformer_lab.ui import ids
from transformer_lab.ui.look import (
    architecture,
    attention,
    cause,
    embeddings,
    health,
    predictions,
    text,
)
from transformer_lab.ui.look.parts import named

PARTS = (attention, predictions, cause, embeddings, health, architecture)


def layout() -> html.Div:
    """The tab; what is not open is not computed."""
    tabs = [dbc.Tab(part.layout(), label=part.NAME, tab_id=part.NAME) for part in PARTS]
    return html.Div(
        [
            *text.stores(),
            text.layout(),
            html.Section(
                dbc.Tabs(tabs, id=ids.LOOK_TABS, className="sub-tabs", active_tab=PARTS[0].NAME),
                id=ids.LOOK_BODY,
                className="column look-body",
                **named("What happens inside"),
            ),
        ],
        className="pane look",
    )
