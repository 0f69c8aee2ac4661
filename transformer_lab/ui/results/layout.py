"""How a tab is laid out that asks for a guess and then shows results."""

import dash_bootstrap_components as dbc
from dash import dcc, html
from dash.development.base_component import Component

from transformer_lab.ui.charts.training import GRAPH, blank
from transformer_lab.ui.ids import ComponentId
from transformer_lab.ui.results.ids import ResultIds
from transformer_lab.ui.results.poll import RESTING


def stores(page: ResultIds) -> list[Component]:
    """What the page remembers, and the clock of its polls."""
    return [
        dcc.Store(id=page.seen, data={}),
        dcc.Store(id=page.refresh, data=0),
        dcc.Interval(id=page.tick, interval=RESTING),
    ]


def entry(
    title: str,
    button: ComponentId,
    badge: ComponentId,
    *,
    chosen: bool,
    help: str,
    asks: str = "",
) -> html.Li:
    """One line of the list on the left."""
    about = [html.Span(asks, className="experiment-asks")] if asks else []
    return html.Li(
        html.Button(
            [
                html.Span(title, className="experiment-name"),
                *about,
                html.Span(id=badge, className="experiment-badge"),
            ],
            id=button,
            className="experiment-entry",
            title=help,
            **{"aria-current": "true" if chosen else "false"},
        )
    )


def head(title: str, question: str) -> html.Header:
    """Title and question of what is chosen."""
    return html.Header(
        [
            html.H2(id=title, className="experiment-title"),
            html.P(id=question, className="experiment-question"),
        ]
    )


def guess_card(page: ResultIds) -> html.Section:
    """The question, its options, and the three buttons."""
    buttons = [
        html.Button(
            "This is my guess",
            id=page.guess,
            className="btn btn-primary",
            disabled=True,
            title="Choose an answer first",
        ),
        html.Button(
            "Show without guessing", id=page.show, className="link", title="See the results at once"
        ),
        html.Button(
            "Hide the results and guess again",
            id=page.again,
            className="link",
            title="The results stay, out of sight until you have answered",
            hidden=True,
        ),
    ]
    return html.Section(
        [
            html.H2("First, what do you think?"),
            html.P(id=page.prompt, className="experiment-prompt"),
            html.Div(
                dbc.RadioItems(id=page.options, options=[], className="experiment-options"),
                title="What you expect the measurement to show; it is computed, not known before",
            ),
            html.Div(buttons, className="guess-buttons"),
            html.Div(id=page.guessed, className="note", role="status"),
        ],
        className="card prediction",
        **{"aria-label": "Your guess"},
    )


def button(name: str, button_id: str, kind: str, title: str) -> html.Button:
    """Start, Stop, and what stands beside them."""
    return html.Button(name, id=button_id, className=f"btn btn-{kind}", title=title)


def commands(page: ResultIds, buttons: list[html.Button]) -> list[Component]:
    """Messages, buttons, what a start takes, and how far it is."""
    return [
        html.Div(id=page.message, className="message", role="alert"),
        html.Div(buttons, className="experiment-buttons"),
        html.Div(id=page.cost, className="quiet experiment-cost"),
        html.Div(id=page.state, className="experiment-state", role="status"),
    ]


def verdict_card(verdict: str, away: str, above: list[Component] | None = None) -> html.Div:
    """What the numbers say, and below it how to take them away."""
    return html.Div(
        [
            *(above or []),
            html.P(id=verdict, className="verdict"),
            html.Span(id=away, className="quiet"),
        ],
        className="card verdict-card",
        role="status",
    )


def tables(name: str) -> html.Div:
    """Room for tables under one another."""
    return html.Div(id=name, className="experiment-tables")


def results(page: ResultIds, places: int, above: list[Component] | None = None) -> html.Section:
    """Verdict, `places` for charts, and tables; `above` the charts there may be controls."""
    return html.Section(
        [
            html.Div(id=page.hint, className="card runs-hint", hidden=True),
            html.Div(
                [
                    verdict_card(page.verdict, page.away),
                    *(above or []),
                    html.Div(
                        [_place(page, str(place)) for place in range(places)],
                        className="experiment-plots",
                    ),
                    tables(page.tables),
                ],
                id=page.result,
                className="column experiment-result",
                hidden=True,
            ),
        ],
        **{"aria-label": "Results"},
    )


def _place(page: ResultIds, place: str) -> html.Div:
    return html.Div(
        [
            dcc.Graph(id=page.place("chart", place), figure=blank(""), config=GRAPH),
            html.P(id=page.place("note", place), className="plot-note"),
        ],
        id=page.place("plot", place),
        className="card experiment-plot",
        hidden=True,
    )
