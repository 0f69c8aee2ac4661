"""What changes the runs in the list: titles, pins, notes, deletion, undo and import."""

from collections.abc import Mapping, Sequence

from dash import Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.ui.runs import folding, ids
from transformer_lab.ui.train import ids as train_ids


def register(app: Dash, lab: Lab) -> None:
    """The callbacks that change runs."""
    _register_descriptions(app, lab)
    _register_deletion(app, lab)


def _register_descriptions(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "message": Output(ids.RUNS_MESSAGE, "children", allow_duplicate=True),
            "refresh": Output(train_ids.REFRESH, "data", allow_duplicate=True),
        },
        inputs={
            "changes": Input(ids.RUNS, "cellValueChanged"),
            "blur": Input(ids.RUN_NOTES, "n_blur"),
        },
        state={
            "notes": State(ids.RUN_NOTES, "value"),
            "chosen": State(ids.RUNS_PICKED, "data"),
            "refresh": State(train_ids.REFRESH, "data"),
        },
        prevent_initial_call=True,
    )
    def edited(
        changes: list[dict[str, object]] | None,
        blur: int | None,
        notes: str | None,
        chosen: list[str] | None,
        refresh: int | None,
    ) -> dict[str, object]:
        """A title, a pin or the notes were changed."""
        try:
            if ctx.triggered_id == ids.RUN_NOTES and len(chosen or []) == 1:
                lab.runs.describe((chosen or [])[0], notes=str(notes or ""))
            elif ctx.triggered_id == ids.RUNS:
                for change in changes or []:
                    _describe(lab, change)
        except (LabError, RunNotFoundError) as error:
            return {"message": str(error), "refresh": no_update}
        return {"message": "", "refresh": (refresh or 0) + 1}


def _describe(lab: Lab, change: Mapping[str, object]) -> None:
    field, value = change.get("colId"), change.get("value")
    run_id = str(change.get("rowId"))
    if run_id.startswith(folding.PREFIX):
        name = run_id.removeprefix(folding.PREFIX)
        title = "" if value == name else str(value or "")
        changes = {"pinned": bool(value)} if field == "pinned" else {"race_title": title}
        for lane in folding.lanes_of(name, lab.runs.all()) if field in ("name", "pinned") else []:
            lab.runs.describe(lane.id, **changes)
    elif field == "name":
        lab.runs.describe(run_id, title="" if value == run_id else str(value or ""))
    elif field == "pinned":
        lab.runs.describe(run_id, pinned=bool(value))


def _register_deletion(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "message": Output(ids.RUNS_MESSAGE, "children"),
            "deleted": Output(ids.RUN_DELETED, "data"),
            "undo_hidden": Output(ids.RUN_UNDO, "hidden"),
            "refresh": Output(train_ids.REFRESH, "data", allow_duplicate=True),
        },
        inputs={
            "delete": Input(ids.RUN_DELETE, "n_clicks"),
            "undo": Input(ids.RUN_UNDO, "n_clicks"),
            "imported": Input(ids.RUN_IMPORTED, "data"),
        },
        state={
            "chosen": State(ids.RUNS_PICKED, "data"),
            "deleted": State(ids.RUN_DELETED, "data"),
            "refresh": State(train_ids.REFRESH, "data"),
        },
        prevent_initial_call=True,
    )
    def change(
        delete: int | None,
        undo: int | None,
        imported: dict[str, object] | None,
        chosen: list[str] | None,
        deleted: list[str] | None,
        refresh: int | None,
    ) -> dict[str, object]:
        """Runs were deleted or brought back, or one was imported."""
        shown: dict[str, object] = {"refresh": (refresh or 0) + 1}
        if ctx.triggered_id == ids.RUN_IMPORTED:
            if imported is None:  # the tab was made just now
                raise PreventUpdate
            lab.runs.refresh()
            unchanged = {"deleted": no_update, "undo_hidden": True}
            return shown | unchanged | {"message": _imported(imported)}
        undoing = ctx.triggered_id == ids.RUN_UNDO
        before = lab.runs.all()
        done, problem = _move(lab, (deleted if undoing else chosen) or [], back=undoing)
        what, runs = ("Brought back", lab.runs.all()) if undoing else ("Deleted", before)
        words = ", ".join(folding.named(done, runs))
        return shown | {
            "message": f"{what} {words}. {problem} " if done else f"{problem} ",
            "deleted": [] if undoing else done,
            "undo_hidden": undoing or not done,
        }


def _move(lab: Lab, run_ids: Sequence[str], *, back: bool) -> tuple[list[str], str]:
    """Delete runs or bring them back; which were, and why the others were not.

    What a comparison measured goes with the last of its runs, and comes back with the first.
    """
    done: list[str] = []
    before = _comparisons(lab, run_ids)
    problem = ""
    for run_id in run_ids:
        try:
            lab.runs.restore(run_id) if back else lab.runs.delete(run_id)
            done.append(run_id)
        except (LabError, RunNotFoundError) as error:
            problem = str(error)
    return done, _move_results(lab, before, done, back=back) or problem


def _move_results(lab: Lab, before: set[str], run_ids: Sequence[str], *, back: bool) -> str:
    """The same for what comparisons measured; why one could not be deleted."""
    if back:
        for name in _comparisons(lab, run_ids):
            lab.comparisons.restore(name)
        return ""
    try:
        for name in before - {run.comparison for run in lab.runs.all()}:
            lab.comparisons.delete(name)
    except LabError as error:
        return str(error)
    return ""


def _comparisons(lab: Lab, run_ids: Sequence[str]) -> set[str]:
    """Those that some runs are lanes of."""
    return {run.comparison for run in lab.runs.all() if run.id in run_ids and run.comparison}


def _imported(answer: Mapping[str, object]) -> html.Span:
    if answer.get("error"):
        return html.Span(str(answer["error"]), className="warn")
    return html.Span(f"Imported as {answer.get('id', '')}. ", className="done")
