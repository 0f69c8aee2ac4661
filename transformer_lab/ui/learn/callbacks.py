"""The Learn tab."""

from dash import Dash, html

from transformer_lab.lab.lab import Lab

TITLE = "Learn"


def layout(lab: Lab) -> html.Div:
    """One honest sentence."""
    return html.Div(
        html.P(
            "Here a guided tour will lead through the parts of a transformer. It is not written "
            "yet; all other tabs work."
        ),
        className="pane lone",
    )


def register(app: Dash, lab: Lab) -> None:
    """Nothing to do yet."""
