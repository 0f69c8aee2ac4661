"""The PCN Experiments tab."""

from dash import Dash, html

from transformer_lab.lab.lab import Lab
from transformer_lab.ui import audit_card

TITLE = "PCN Experiments"


def layout(lab: Lab) -> html.Div:
    """The leak audit."""
    return html.Div(audit_card.layout(lab), className="pane pcn")


def register(app: Dash, lab: Lab) -> None:
    """What the parts of the tab answer to."""
    audit_card.register(app, lab)
