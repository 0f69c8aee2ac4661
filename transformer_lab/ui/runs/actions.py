"""What can be done with the run that is open: resume, show, train further, branch."""

from dash import ALL, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.training.continuing import extension, resumption
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.runs.summaries import RunSummary
from transformer_lab.settings import ConfigError
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.runs import ids
from transformer_lab.ui.runs.opened import chosen_run
from transformer_lab.ui.train import after, live
from transformer_lab.ui.train import ids as train_ids

ANY_CHECKPOINT = {"type": "checkpoint-button", "checkpoint": ALL}
UNCHANGED: dict[str, object] = {"tab": no_update, "run": no_update, "branch": no_update}


def register(app: Dash, lab: Lab) -> None:
    """The callback of these buttons."""

    @app.callback(
        output={
            "tab": Output(shared_ids.TABS, "active_tab", allow_duplicate=True),
            "run": Output(train_ids.RUN, "value", allow_duplicate=True),
            "branch": Output(train_ids.BRANCH, "data"),
            "message": Output(ids.RUNS_MESSAGE, "children", allow_duplicate=True),
        },
        inputs={
            "resume": Input(ids.RUN_RESUME, "n_clicks"),
            "show": Input(ids.RUN_SHOW, "n_clicks"),
            "extend": Input(ids.RUN_EXTEND, "n_clicks"),
            "branch": Input(ANY_CHECKPOINT, "n_clicks"),
        },
        state={
            "chosen": State(ids.RUNS_PICKED, "data"),
            "steps": State(ids.RUN_MORE, "value"),
        },
        prevent_initial_call=True,
    )
    def act(
        resume: int | None,
        show: int | None,
        extend: int | None,
        branch: list[int | None],
        chosen: list[str] | None,
        steps: str | None,
    ) -> dict[str, object]:
        """Go on with a run, show it on the Train tab, add steps, or branch from a checkpoint."""
        found = chosen_run(lab, chosen)
        if found is None or not ctx.triggered[0]["value"]:
            raise PreventUpdate
        try:
            return UNCHANGED | {"message": ""} | _act(lab, found, ctx.triggered_id, steps)
        except (ConfigError, LabError, RunNotFoundError) as error:
            return UNCHANGED | {"message": f"{error} "}


def _act(lab: Lab, found: RunSummary, pressed: object, steps: str | None) -> dict[str, object]:
    """What the press of a button changes on the page."""
    on_train: dict[str, object] = {"tab": "Train", "run": found.id}
    if pressed == ids.RUN_SHOW:
        return on_train
    if button := ids.checkpoint_button(pressed):
        name = lab.runs.open(found.id).checkpoint(button.checkpoint).name
        return on_train | {"branch": {"run": found.id, "checkpoint": name}}
    item = (
        extension(lab.runs.store, found.id, steps)
        if pressed == ids.RUN_EXTEND
        else resumption(lab.runs.store, found.id)
    )
    if queued := after.go_on(lab, item):
        return {"message": f"{queued} "}
    return on_train if pressed == ids.RUN_RESUME else on_train | {"run": live.LATEST}
