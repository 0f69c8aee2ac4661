"""How the Runs tab is laid out: the list, what is open below it, and the queue beside it."""

from typing import Any

import dash_ag_grid as dag
import dash_bootstrap_components as dbc
from dash import dcc, html

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.queue import MOST_AT_ONCE
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.ui import ids
from transformer_lab.ui.charts.comparison import AXES

SMOOTHING = (1, 10, 50, 200, 1000)  # steps
EMPTY = "No runs yet. Train one on the Train tab, or import one from a file."


def row(run: RunSummary) -> dict[str, Any]:
    """One line of the list."""
    return {
        "id": run.id,
        "pinned": run.pinned,
        "name": run.name,
        "state": run.state,
        "spark": [round(loss, 3) for loss in run.spark],
        "best": run.best_loss,
        "bits": run.bits_per_byte,
        "step": run.step,
        "steps": run.steps,
        "seconds": run.seconds,
        "recipe": run.recipe,
        "corpus": run.corpus,
        "parameters": run.parameters,
        "created": run.created,
        "audit": run.audit,
        "parent": run.parent,
        "race": f"{run.race} · {run.lane}" if run.race else "",
        "notes": run.notes,
    }


def _columns() -> list[dict[str, Any]]:
    def column(field: str, head: str, width: int, words: str = "", **more: Any) -> dict[str, Any]:
        return {"field": field, "headerName": head, "width": width, "headerTooltip": words, **more}

    def number(field: str, head: str, width: int, shown: str, words: str) -> dict[str, Any]:
        formatter = {"function": f"{shown}(params.value)"}
        return column(
            field, head, width, words, type="rightAligned", valueFormatter=formatter,
            filter="agNumberColumnFilter",
        )  # fmt: skip

    return [
        column("pinned", "Pin", 64, "Pinned runs stand on top", editable=True,
               cellDataType="boolean", filter=False),
        column("name", "Name", 190, "Double-click to give a run a title of your own",
               editable=True, tooltipField="id"),
        column("state", "State", 104, "", cellClassRules={
            f"state-{state}": f"params.value === '{state}'"
            for state in ("running", "failed", "interrupted", "damaged")
        }),
        column("spark", "Loss", 108, "How the loss went", cellRenderer="Spark", sortable=False,
               cellDataType=False,
               filter=False),
        number("best", "Best", 78, "loss", "Lowest validation loss, nats per token"),
        number("bits", "Bits/byte", 90, "loss", "Compares losses of different tokenizers"),
        number("step", "Step", 84, "count", "Steps taken"),
        number("steps", "Of", 84, "count", "Steps it is to have"),
        number("seconds", "Time", 82, "clock", "Time spent training"),
        column("recipe", "Recipe", 124),
        column("corpus", "Text", 160, tooltipField="corpus"),
        number("parameters", "Size", 80, "compact", "Parameters"),
        number("created", "Made", 140, "day", "When it was started"),
        column("audit", "Audit", 110, "What the newest leak audit of its model found"),
        column("parent", "From", 120, "The run whose weights it began with"),
        column("race", "Race", 150, "The race it took part in, and as what"),
        column("notes", "Notes", 200, "Search finds these too", tooltipField="notes"),
    ]  # fmt: skip


def layout(lab: Lab) -> html.Div:
    """The list with its buttons, the queue, and what is open."""
    return html.Div(
        [
            dcc.Interval(id=ids.RUNS_TICK, interval=2000),
            dcc.Store(id=ids.RUNS_KNOWN, data={}),
            dcc.Store(id=ids.RUNS_SEEN, data={}),
            dcc.Store(id=ids.RUN_DELETED),
            dcc.Store(id=ids.RUNS_PICKED, data=[]),
            dcc.Store(id=ids.RUN_IMPORTED),
            html.Section([_toolbar(), _list()], className="column runs-list", **_named("Runs")),
            html.Section(_queue(lab), className="card queue-card", **_named("Queue")),
            html.Section(
                [
                    html.Div(
                        "Choose a run to open it, several to compare them.",
                        id=ids.RUNS_HINT,
                        className="quiet runs-hint",
                    ),
                    html.Div(_detail(), id=ids.RUNS_DETAIL, className="run-detail", hidden=True),
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


def _toolbar() -> html.Div:
    return html.Div(
        [
            html.Label(
                [
                    html.Span("Search runs", className="visually-hidden"),
                    dbc.Input(
                        id=ids.RUNS_SEARCH,
                        type="search",
                        placeholder="Search names, texts, notes",
                        size="sm",
                    ),
                ],
                className="runs-search",
                title="Only runs that have these words in their name, text, tags or notes",
            ),
            html.Span(id=ids.RUNS_COUNT, className="quiet", role="status"),
            html.Div(
                dbc.Switch(id=ids.RUNS_FOLD, value=True, label="Fold comparisons"),
                title="One row for all runs of a comparison, to open and delete together",
                className="fold",
            ),
            html.Label(
                [
                    html.I(className="bi bi-box-arrow-in-down", **{"aria-hidden": "true"}),
                    " Import a run",
                    # Not dcc.Upload, which would read the whole file: the script streams it.
                    dcc.Input(id=ids.RUN_IMPORT, type="file", className="visually-hidden"),
                ],
                className="btn btn-outline-secondary btn-sm",
                title="A .zip that a lab exported",
            ),
            html.Div(html.Div(), id="run-import-line", className="progress-line", hidden=True),
            html.Button(
                "Delete",
                id=ids.RUN_DELETE,
                className="btn btn-outline-secondary btn-sm",
                disabled=True,
                title="Choose runs in the list first",
            ),
            html.Div(
                [
                    html.Span(id=ids.RUNS_MESSAGE, role="status"),
                    html.Button("Undo", id=ids.RUN_UNDO, className="link", hidden=True),
                ],
                className="message",
            ),
        ],
        className="runs-toolbar",
    )


def _list() -> dag.AgGrid:
    return dag.AgGrid(
        id=ids.RUNS,
        columnDefs=_columns(),
        rowData=[],
        getRowId="params.data.id",
        defaultColDef={"sortable": True, "filter": True, "resizable": True},
        dashGridOptions={
            "rowSelection": {"mode": "multiRow", "enableClickSelection": True},
            "animateRows": False,
            "postSortRows": {"function": "pinnedFirst(params)"},
            "rowHeight": 30,
            "headerHeight": 32,
            "tooltipShowDelay": 500,
            "stopEditingWhenCellsLoseFocus": True,
            "suppressMovableColumns": True,
            "columnMenu": "legacy",  # whose button shows while the pointer is over a head
            "suppressMenuHide": False,
        },
        className="ag-theme-quartz runs-grid",
        style={"height": "100%"},
    )


def _queue(lab: Lab) -> list[Any]:
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
            title="Start what waits, those with a problem once more",
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
            title="Several at once share this computer: each is slower, none is changed by it.",
        ),
    ]


def _comparison() -> list[Any]:
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
            config={"displaylogo": False, "displayModeBar": False, "responsive": True},
            className="chart overlay",
        ),
        html.H2("What differs"),
        html.Div(id=ids.DIFFERENCES, className="table-box", tabIndex=0),
    ]


def _detail() -> list[Any]:
    def action(name: str, button_id: str, kind: str, title: str, **more: Any) -> html.Button:
        style = f"btn btn-{kind} btn-sm"
        return html.Button(name, id=button_id, className=style, title=title, **more)

    more = html.Span(
        [
            html.Label(
                [
                    html.Span("Train", className="field-label"),
                    dbc.Input(
                        id=ids.RUN_MORE, value="1000", type="text", inputmode="numeric", size="sm"
                    ),
                ],
                title="How many steps more",
            ),
            action(
                "more steps",
                ids.RUN_EXTEND,
                "outline-secondary",
                "As a new run that begins as this one ended; the learning-rate schedule runs once "
                "over the added steps",
            ),
        ],
        className="more-steps",
    )
    resume_title = "Go on exactly where the newest save left it"
    actions = [
        action("Resume", ids.RUN_RESUME, "primary", resume_title),
        action("Show on Train", ids.RUN_SHOW, "outline-secondary", "Its charts, large and live"),
        more,
    ]
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
        title="They are kept with the run, and the search finds them",
        className="detail-notes",
    )
    head = html.Div(
        [
            html.Div(
                [
                    html.H2(id=ids.DETAIL_TITLE),
                    html.Div(id=ids.DETAIL_FACTS, className="quiet"),
                    html.Div(id=ids.DETAIL_REASON, className="reason"),
                ]
            ),
            html.Div(actions, className="detail-actions"),
            notes,
        ],
        className="card detail-head",
    )
    graph = {"displaylogo": False, "displayModeBar": False, "responsive": True}
    charts = html.Div(
        [
            dcc.Graph(id=ids.DETAIL_LOSS, config=graph, className="card chart"),
            dcc.Graph(id=ids.DETAIL_RATE, config=graph, className="card chart"),
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
    return [head, dbc.Tabs(shown, className="sub-tabs", active_tab="Curves")]
