"""The list of runs: its lines, its columns and the buttons above it."""

import dash_ag_grid as dag
import dash_bootstrap_components as dbc
from dash import dcc, html

from transformer_lab.runs.summaries import RunSummary
from transformer_lab.ui.runs import ids

Column = dict[str, object]
ROW = 30  # pixels
HEAD = 54  # pixels of the head, and of what scrolls to the side
EMPTY = "No runs yet. Train one on the Train tab, or import one from a file."


def row(run: RunSummary) -> dict[str, object]:
    """One line of the list."""
    return {
        "id": run.id,
        "pinned": run.pinned,
        "name": run.name,
        "holds": "",
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


def columns(*, more: bool) -> list[dict[str, object]]:
    """The columns of the list; with `more` those too that do not fit a small window."""

    def column(field: str, head: str, width: int, words: str = "", **rest: object) -> Column:
        return {"field": field, "headerName": head, "width": width, "headerTooltip": words, **rest}

    def number(field: str, head: str, width: int, shown: str, words: str) -> Column:
        formatter = {"function": f"{shown}(params.value)"}
        return column(
            field, head, width, words, type="rightAligned", valueFormatter=formatter,
            filter="agNumberColumnFilter",
        )  # fmt: skip

    states = ("running", "failed", "interrupted", "damaged")
    rules = {f"state-{state}": f"params.value === '{state}'" for state in states}
    first = [
        column("pinned", "Pin", 56, "Pinned runs stand on top", editable=True,
               cellDataType="boolean", filter=False),
        column("name", "Name", 150, "Double-click to give a run a title of your own", flex=2,
               minWidth=130, editable=True, tooltipField="id", cellRenderer="RunName"),
        column("state", "State", 88, cellClassRules=rules),
        column("spark", "Loss", 100, "Training loss over the steps", cellRenderer="Spark",
               sortable=False, cellDataType=False, filter=False),
        number("best", "Best", 68, "loss", "Lowest validation loss, nats per token"),
        number("step", "Step", 70, "count", "Steps taken"),
        number("steps", "Of", 66, "count", "Steps planned"),
        number("seconds", "Time", 68, "clock", "Time spent training"),
        column("corpus", "Text", 110, flex=1, minWidth=90, tooltipField="corpus"),
        number("parameters", "Size", 64, "compact", "Parameters"),
        number("created", "Made", 138, "day", "When it was started"),
    ]  # fmt: skip
    others = [
        column("recipe", "Recipe", 124),
        number("bits", "Bits/byte", 90, "loss", "Compares losses of different tokenizers"),
        column("audit", "Audit", 110, "Result of the newest leak audit of its model"),
        column("parent", "From", 120, "The run whose weights it began with"),
        column("race", "Race", 150, "The race it took part in, and as what"),
        column("notes", "Notes", 200, "Search finds these too", tooltipField="notes"),
    ]
    return [*first, *(one | {"hide": not more} for one in others)]


def height(rows: int) -> dict[str, str]:
    """The style of a list of so many rows: as high as it needs, up to half of the window."""
    return {"height": f"min({max(rows, 1) * ROW + HEAD}px, 50vh)"}


def toolbar() -> html.Div:
    """Search, folding, import and deletion."""
    return html.Div(
        [
            _search(),
            html.Span(id=ids.RUNS_COUNT, className="quiet", role="status"),
            html.Div(
                dbc.Switch(id=ids.RUNS_FOLD, value=True, label="Fold comparisons"),
                title="One row for all runs of a comparison, to open and delete together",
                className="fold",
            ),
            html.Div(
                dbc.Switch(id=ids.RUNS_MORE_COLUMNS, value=False, label="All columns"),
                title="Recipe, bits per byte, leak audit, parent, race and notes too",
                className="fold",
            ),
            _import(),
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


def _search() -> html.Label:
    words = dbc.Input(
        id=ids.RUNS_SEARCH, type="search", placeholder="Search names, texts, notes", size="sm"
    )
    return html.Label(
        [html.Span("Search runs", className="visually-hidden"), words],
        className="runs-search",
        title="Only runs that have these words in their name, text, tags or notes",
    )


def _import() -> html.Label:
    return html.Label(
        [
            html.I(className="bi bi-box-arrow-in-down", **{"aria-hidden": "true"}),
            " Import a run",
            # Not dcc.Upload, which would read the whole file: the script streams it.
            dcc.Input(id=ids.RUN_IMPORT, type="file", className="visually-hidden"),
        ],
        className="btn btn-outline-secondary btn-sm",
        title="A .zip that a lab exported, or a GPT-2 as a .zip of its Hugging Face folder",
    )


def grid() -> dag.AgGrid:
    """The table, which a poll fills."""
    return dag.AgGrid(
        id=ids.RUNS,
        columnDefs=columns(more=False),
        rowData=[],
        getRowId="params.data.id",
        defaultColDef={"sortable": True, "filter": True, "resizable": True},
        dashGridOptions={
            "rowSelection": {"mode": "multiRow", "enableClickSelection": True},
            "animateRows": False,
            "postSortRows": {"function": "pinnedFirst(params)"},
            "rowHeight": ROW,
            "headerHeight": 32,
            "tooltipShowDelay": 500,
            "stopEditingWhenCellsLoseFocus": True,
            "suppressMovableColumns": True,
            "columnMenu": "legacy",  # whose button shows while the pointer is over a head
            "suppressMenuHide": False,
            "includeHiddenColumnsInQuickFilter": True,
        },
        className="ag-theme-quartz lab-grid runs-grid",
        style=height(1),
    )
