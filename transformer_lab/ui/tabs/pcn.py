"""The PCN Experiments tab."""

from dash import Dash, html

from transformer_lab.lab.lab import Lab

TITLE = "PCN Experiments"


def layout(lab: Lab) -> html.Div:
    """One honest sentence."""
    return html.Div(
        html.P(
            "Here standard transformers will be compared with predictive coding networks, and the "
            "label leakage phenomenon taken apart; these experiments are not built yet."
        ),
        className="pane lone",
    )


def register(app: Dash, lab: Lab) -> None:
    """Nothing to do yet."""
