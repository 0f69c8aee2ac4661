"""The buttons that make a model, start a training and steer it, and what is said beside them."""

from dash import html
from dash.development.base_component import Component

from transformer_lab.ui.train import ids


def layout() -> html.Div:
    """Initialize, Start, Add to queue; Pause, Stop, Start over; what works while it trains."""
    return html.Div(
        [
            _preflight(),
            html.Div(id=ids.MESSAGE, className="message", role="alert"),
            _button("Initialize Model", ids.INITIALIZE, "outline-primary", ids.START),
            _button("Start Training", ids.START, "primary", ids.PAUSE),
            html.Button(
                "Add to queue",
                id=ids.ENQUEUE,
                className="btn btn-outline-primary",
                hidden=True,
                title="Train this when its turn comes; the queue is on the Runs tab",
            ),
            html.Div(
                [
                    _button("Pause", ids.PAUSE, "outline-secondary", ids.START),
                    _button("Stop", ids.STOP, "outline-secondary", ids.START),
                    _button("Start over", ids.START_OVER, "outline-secondary", ids.PAUSE),
                ],
                className="three",
            ),
            _start_over(),
            _live_actions(),
            html.Div(id=ids.WHY, className="why"),
        ],
        className="actions",
    )


def _button(name: str, button_id: str, kind: str, then: str) -> html.Button:
    """`then` gets the focus when pressing this one switches it off."""
    follows = {"data-next": then}
    return html.Button(name, id=button_id, className=f"btn btn-{kind}", **follows)


def _preflight() -> Component:
    offer = html.Button("Use Quick start instead", id=ids.OFFER, className="link", hidden=True)
    return html.Div([html.Div(id=ids.PREFLIGHT), offer], className="preflight", role="status")


def _start_over() -> Component:
    """What is asked before a training under way is thrown away."""
    again = _button("Start over", ids.START_OVER_YES, "primary btn-sm", ids.PAUSE)
    keep = _button("Keep training", ids.START_OVER_NO, "outline-secondary btn-sm", ids.PAUSE)
    return html.Div(
        [html.Span(id=ids.START_OVER_WORDS), html.Div([again, keep], className="two-buttons")],
        id=ids.START_OVER_ASK,
        className="ask",
        role="alertdialog",
        hidden=True,
        **{"aria-labelledby": ids.START_OVER_WORDS},
    )


def _live_actions() -> Component:
    kind = "btn btn-outline-primary btn-sm"
    rate = "From the next step on, for the run under way"
    kept = "Keep this state for good, to generate with or to branch from later"
    return html.Div(
        [
            html.Button("Apply Learning Rate", className=kind, id=ids.APPLY_RATE, title=rate),
            html.Button("Save checkpoint", id=ids.KEEP, className=kind, title=kept),
        ],
        id=ids.LIVE_ACTIONS,
        className="two-buttons",
        hidden=True,
    )
