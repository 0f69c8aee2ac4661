"""How the Runs tab is laid out: the list, the selected runs below it, and the queue beside it."""

import dash_bootstrap_components as dbc
from dash import dcc, html
from dash.development.base_component import Component

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.queue import MOST_AT_ONCE
from transformer_lab.ui.charts.comparison import AXES
from transformer_lab.ui.charts.training import GRAPH
from transformer_lab.ui.runs import ids, race
from transformer_lab.ui.runs.grid import grid, toolbar

TITLE = "Runs"
SMOOTHING = (1, 10, 50, 200, 1000)  # steps


def layout(lab: Lab) -> html.Div:
    """The list with its buttons, the queue, and the selected runs."""
    return html.Div(
        [
            dcc.Interval(id=ids.RUNS_TICK, interval=2000),
            dcc.Store(id=ids.RUNS_KNOWN, data={}),
            dcc.Store(id=ids.RUNS_SEEN, data={}),
            dcc.Store(id=ids.RUN_DELETED),
            dcc.Store(id=ids.RUNS_PICKED, data=[]),
            dcc.Store(id=ids.RUN_IMPORTED),
            dcc.Store(id=ids.RUNS_COLORS, data={}),
            dcc.Store(id=ids.RUNS_COMPARISON, data=""),
            html.Section([toolbar(), grid()], className="column runs-list", **_named("Runs")),
            html.Section(_queue(lab), className="card queue-card", **_named("Queue")),
            html.Section(
                [
                    html.Div(
                        "Choose a run or a comparison to open it, several runs to compare them.",
                        id=ids.RUNS_HINT,
                        className="quiet runs-hint",
                    ),
                    html.Div(_detail(), id=ids.RUNS_DETAIL, className="run-detail", hidden=True),
                    race.card(),
                    html.Div(_comparison(), id=ids.OVERLAY_CARD, className="card", hidden=True),
                ],
                className="column runs-open",
                **_named("Selected runs"),
            ),
        ],
        className="pane runs",
    )


def _named(words: str) -> dict[str, str]:
    return {"aria-label": words}


def _queue(lab: Lab) -> list[Component]:
    counts = [{"value": str(n), "label": str(n)} for n in range(1, MOST_AT_ONCE + 1)]
    return [
        html.Div(
            [html.H2("Queue"), html.Span(id=ids.QUEUE_HEAD, className="quiet", role="status")],
            className="card-head",
        ),
        html.Div(id=ids.QUEUE),
        html.Button(
            "Run the queue",
            id=ids.QUEUE_RUN,
            className="btn btn-outline-primary btn-sm",
            hidden=True,
            title="Start the trainings that wait; those that failed to start are tried again",
        ),
        html.Label(
            [
                html.Span("Run at most", className="field-label"),
                dbc.Select(
                    id=ids.AT_ONCE,
                    options=counts,
                    value=str(lab.trainings.queue.at_once),
                    size="sm",
                ),
                html.Span("at once", className="field-label"),
            ],
            className="at-once",
            hidden=lab.trainings.cluster is not None,  # which takes what it has room for
            title="Several at once share this computer: each is slower, none is changed by it.",
        ),
        html.Div(id=ids.CLUSTER, className="cluster"),
    ]


def _comparison() -> list[Component]:
    def choice(label: str, button_id: str, options: dict[str, str], value: str) -> html.Label:
        listed = [{"value": key, "label": words} for key, words in options.items()]
        return html.Label(
            [
                html.Span(label, className="field-label"),
                dbc.Select(id=button_id, options=listed, value=value, size="sm"),
            ]
        )

    smooth = {str(n): f"mean of {n:,} steps" if n > 1 else "none" for n in SMOOTHING}
    return [
        html.Div(
            [
                choice("Over", ids.OVERLAY_AXIS, AXES, "steps"),
                choice(
                    "Loss",
                    ids.OVERLAY_SHOWN,
                    {"validation": "validation", "train": "training", "both": "both"},
                    "validation",
                ),
                choice("Smoothing of training", ids.OVERLAY_SMOOTH, smooth, "50"),
            ],
            className="overlay-choices",
        ),
        dcc.Graph(
            id=ids.OVERLAY,
            config=GRAPH,
            className="chart overlay",
        ),
        html.H2("What differs"),
        html.Div(id=ids.DIFFERENCES, className="table-box", tabIndex=0),
    ]


def _detail() -> list[Component]:
    """One run: its head, and a sub-tab for each part."""
    charts = html.Div(
        [
            dcc.Graph(id=ids.DETAIL_LOSS, config=GRAPH, className="card chart"),
            dcc.Graph(id=ids.DETAIL_RATE, config=GRAPH, className="card chart"),
        ],
        className="two detail-charts",
    )
    tabs = {
        "Curves": charts,
        "Settings": html.Div(id=ids.DETAIL_SETTINGS),
        "Samples": html.Div(id=ids.DETAIL_SAMPLES),
        "Checkpoints": html.Div(id=ids.DETAIL_CHECKPOINTS),
        "Environment": html.Div(id=ids.DETAIL_ENVIRONMENT),
        "Log": html.Div(id=ids.DETAIL_LOG),
        "Export": html.Div(id=ids.DETAIL_AWAY, className="card take-away"),
    }
    shown = [dbc.Tab(content, label=label, tab_id=label) for label, content in tabs.items()]
    return [_detail_head(), dbc.Tabs(shown, className="sub-tabs", active_tab="Curves")]


def _detail_head() -> html.Div:
    notes = html.Label(
        [
            html.Span("Notes", className="field-label"),
            dcc.Textarea(
                id=ids.RUN_NOTES,
                value="",
                className="form-control form-control-sm",
                placeholder="What did you try, and what came of it?",
                rows=1,
            ),
        ],
        title="Kept with the run; the search finds them",
        className="detail-notes",
    )
    return html.Div(
        [
            html.Div(
                [
                    html.H2(id=ids.DETAIL_TITLE),
                    html.Div(id=ids.DETAIL_FACTS, className="quiet"),
                    html.Div(id=ids.DETAIL_REASON, className="reason"),
                ]
            ),
            html.Div(_actions(), className="detail-actions"),
            notes,
        ],
        className="card detail-head",
    )


def _actions() -> list[Component]:
    def action(name: str, button_id: str, kind: str, title: str) -> html.Button:
        style = f"btn btn-{kind} btn-sm"
        return html.Button(name, id=button_id, className=style, title=title)

    steps = html.Label(
        [
            html.Span("Train", className="field-label"),
            dbc.Input(id=ids.RUN_MORE, value="1000", type="text", inputmode="numeric", size="sm"),
        ],
        title="How many steps more",
    )
    extend = (
        "As a new run that begins as this one ended; the learning-rate schedule runs once over "
        "the added steps"
    )
    resume = "Continue exactly from the newest checkpoint"
    return [
        action("Resume", ids.RUN_RESUME, "primary", resume),
        action("Show on Train", ids.RUN_SHOW, "outline-secondary", "Its charts, large and live"),
        html.Span(
            [steps, action("more steps", ids.RUN_EXTEND, "outline-secondary", extend)],
            className="more-steps",
        ),
    ]
