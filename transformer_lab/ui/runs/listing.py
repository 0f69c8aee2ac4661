"""The list of runs: a poll sends the lines that changed; the search and the choice of rows."""

from dash import Dash, Input, Output, Patch, State
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import polling
from transformer_lab.ui.runs import folding, ids
from transformer_lab.ui.runs.grid import EMPTY, Column, columns, height
from transformer_lab.ui.runs.layout import TITLE
from transformer_lab.ui.train import ids as train_ids


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of the list."""
    _register_poll(app, lab)
    _register_search(app)
    _register_columns(app)
    _register_choice(app, lab)


def _register_poll(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "changes": Output(ids.RUNS, "rowTransaction"),
            "known": Output(ids.RUNS_KNOWN, "data"),
            "count": Output(ids.RUNS_COUNT, "children"),
            "style": Output(ids.RUNS, "style"),
        },
        inputs={
            "tick": Input(ids.RUNS_TICK, "n_intervals"),
            "tab": Input(shared_ids.TABS, "active_tab"),
            "refresh": Input(train_ids.REFRESH, "data"),
            "fold": Input(ids.RUNS_FOLD, "value"),
        },
        state={"known": State(ids.RUNS_KNOWN, "data")},
        running=[(Output(ids.RUNS_TICK, "disabled"), True, False)],
    )
    def listed(
        tick: int | None,
        tab: str | None,
        refresh: int | None,
        fold: bool | None,
        known: dict[str, int] | None,
    ) -> dict[str, object]:
        """The lines of the list that changed since the last poll."""
        if tab != TITLE:
            raise PreventUpdate
        known = known or {}
        runs = lab.runs.all()
        rows = folding.rows(runs, folded=bool(fold))
        digests = {run_id: polling.digest(line) for run_id, line in rows.items()}
        if known and digests == known:
            raise PreventUpdate
        changes = {
            "add": [line for run_id, line in rows.items() if run_id not in known],
            "addIndex": 0,
            "update": [line for i, line in rows.items() if i in known and known[i] != digests[i]],
            "remove": [{"id": run_id} for run_id in known if run_id not in rows],
        }
        count = f"{len(runs):,} run" + "s" * (len(runs) != 1)
        return {
            "changes": changes,
            "known": digests,
            "count": count if rows else EMPTY,
            "style": height(len(rows)),
        }


def _register_search(app: Dash) -> None:
    @app.callback(
        Output(ids.RUNS, "dashGridOptions"),
        Input(ids.RUNS_SEARCH, "value"),
        prevent_initial_call=True,
    )
    def searched(sought: str | None) -> Patch:
        """Only lines in which every word occurs somewhere."""
        options = Patch()
        options["quickFilterText"] = str(sought or "")
        return options


def _register_columns(app: Dash) -> None:
    @app.callback(
        Output(ids.RUNS, "columnDefs"),
        Input(ids.RUNS_MORE_COLUMNS, "value"),
        prevent_initial_call=True,
    )
    def shown(more: bool | None) -> list[Column]:
        """The columns that fit a small window, or all."""
        return columns(more=bool(more))


def _register_choice(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "picked": Output(ids.RUNS_PICKED, "data"),
            "comparison": Output(ids.RUNS_COMPARISON, "data"),
            "delete_disabled": Output(ids.RUN_DELETE, "disabled"),
            "delete_title": Output(ids.RUN_DELETE, "title"),
            "hint_hidden": Output(ids.RUNS_HINT, "hidden"),
        },
        inputs={"rows": Input(ids.RUNS, "selectedRows")},
    )
    def picked(rows: list[dict[str, object]] | None) -> dict[str, object]:
        """Which runs are chosen in the list."""
        lines = [str(line["id"]) for line in rows or []]
        runs = lab.runs.all()
        chosen = folding.unfolded(lines, runs)
        return {
            "picked": chosen,
            "comparison": folding.chosen_comparison(lines),
            "delete_disabled": not chosen,
            "delete_title": f"Delete {', '.join(folding.named(chosen, runs))}"
            if chosen
            else "Choose runs in the list first",
            "hint_hidden": bool(chosen),
        }
