"""The one run that is chosen: a poll sends the parts of it that changed."""

from dash import Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import polling
from transformer_lab.ui.runs import detail, ids
from transformer_lab.ui.runs.layout import TITLE


def register(app: Dash, lab: Lab) -> None:
    """The callback that shows a run."""

    @app.callback(
        output={
            "parts": detail.PARTS,
            "hidden": Output(ids.RUNS_DETAIL, "hidden"),
            "notes": Output(ids.RUN_NOTES, "value"),
            "seen": Output(ids.RUNS_SEEN, "data"),
        },
        inputs={
            "chosen": Input(ids.RUNS_PICKED, "data"),
            "tick": Input(ids.RUNS_TICK, "n_intervals"),
        },
        state={"seen": State(ids.RUNS_SEEN, "data"), "tab": State(shared_ids.TABS, "active_tab")},
    )
    def opened(
        chosen: list[str] | None,
        tick: int | None,
        seen: dict[str, object] | None,
        tab: str | None,
    ) -> dict[str, object]:
        """One run was chosen, or the one that is open went on."""
        seen = seen or {}
        found = chosen_run(lab, chosen)
        if tab != TITLE or (found is None and not seen):
            raise PreventUpdate
        if found is None:
            unchanged = dict.fromkeys(detail.PARTS, no_update)
            return {"parts": unchanged, "hidden": True, "notes": no_update, "seen": {}}
        run = lab.runs.open(found.id)
        version = polling.digest(run.stamp)
        same = seen.get("run") == found.id
        if same and seen.get("version") == version:
            raise PreventUpdate
        fresh = detail.parts(run, found, held=run.is_held())
        parts, digests = polling.changed(fresh, seen.get("parts") if same else {})
        return {
            "parts": parts,
            "hidden": False,
            "notes": no_update if same else found.notes,
            "seen": {"run": found.id, "version": version, "parts": digests},
        }


def chosen_run(lab: Lab, chosen: list[str] | None) -> RunSummary | None:
    """The one run that is chosen; None for none or several."""
    if not chosen or len(chosen) != 1:
        return None
    return next((run for run in lab.runs.all() if run.id == chosen[0]), None)
