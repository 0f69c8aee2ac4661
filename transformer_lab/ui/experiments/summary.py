"""The executive summary of the experiments, as a dialog: docs/pcn_executive_summary.md as it is."""

import re
from typing import Any

import dash_bootstrap_components as dbc
from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.packaged import packaged
from transformer_lab.ui.experiments import ids

FILE = "pcn_executive_summary.md"
TITLE = "Predictive coding: an executive summary"


def button() -> html.Button:
    """The button that opens the summary."""
    return html.Button(
        "Summary: what was found",
        id=ids.SUMMARY_OPEN,
        className="btn btn-outline-secondary btn-sm summary-open",
        title="Claims, controls, results with eight seeds, equations and limits. It gives the "
        "answers away: guess first",
    )


def dialog() -> dbc.Modal:
    """The dialog, empty until it is first opened."""
    return dbc.Modal(
        [
            dbc.ModalHeader(dbc.ModalTitle(TITLE, className="experiment-title"), close_button=True),
            dbc.ModalBody(id=ids.SUMMARY_BODY),
        ],
        id=ids.SUMMARY,
        size="xl",
        scrollable=True,
        is_open=False,
    )


def register(app: Dash) -> None:
    """The callback that opens it."""

    @app.callback(
        output={
            "open": Output(ids.SUMMARY, "is_open"),
            "body": Output(ids.SUMMARY_BODY, "children"),
        },
        inputs={"presses": Input(ids.SUMMARY_OPEN, "n_clicks")},
        prevent_initial_call=True,
    )
    def show(presses: int | None) -> dict[str, Any]:
        """It was asked for."""
        if not presses:
            raise PreventUpdate
        return {"open": True, "body": body()}


def body() -> Component:
    """The text with its formulas; only our own text goes through Markdown."""
    text = (packaged("docs") / FILE).read_text(encoding="utf-8")
    return dcc.Markdown(for_the_page(text), mathjax=True, className="prose summary-text")


def for_the_page(text: str) -> str:
    """Without its title, its marks for the report, and links to files the page does not have."""
    without_marks = re.sub(r"<!--.*?-->\n*", "", text, flags=re.DOTALL)
    linked = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"`docs/\1`", without_marks)
    return linked.partition("\n")[2].lstrip()
