"""After a run has ended: generate with it, look inside, compare it, or train it further.

One press each. What is pressed means the run whose charts are shown; that its model writes is begun
where Generate begins (`ui/generate/callbacks.py`).
"""

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.queue import Waiting
from transformer_lab.lab.training.continuing import extension, resumption
from transformer_lab.lab.training.states import ENDED
from transformer_lab.lab.training.views import View
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.settings import ConfigError
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.train import ids, live, standing

BUTTONS = {  # their words and help, in their order
    ids.AFTER_GENERATE: ("Generate", "The model of this run writes, on the Generate tab"),
    ids.AFTER_LOOK: ("Look inside", "Its attention, its predictions and every part of it"),
    ids.AFTER_COMPARE: ("Compare", "Its curves and settings beside those of another run"),
    ids.AFTER_FURTHER: ("Train further", "Go on with this run"),
}
GOES_TO = {
    ids.AFTER_GENERATE: "Generate",
    ids.GENERATE_NOW: "Generate",
    ids.AFTER_LOOK: "Look inside",
}
# What a poll changes here.
PARTS = {
    "run_shown": Output(ids.RUN_SHOWN, "data"),
    "run_before": Output(ids.RUN_BEFORE, "data"),
    "after_hidden": Output(ids.AFTER, "hidden"),
    "compare_disabled": Output(ids.AFTER_COMPARE, "disabled"),
    "compare_title": Output(ids.AFTER_COMPARE, "title"),
    "further_title": Output(ids.AFTER_FURTHER, "title"),
}


NO_OTHER = "There is no other run yet: train another one."
NOT_ENDED = "Runs are compared when the newest has ended."


def layout() -> html.Div:
    """The buttons, which a poll shows once the run has ended."""
    return html.Div(
        [
            html.Button(
                name,
                id=button,
                title=title,
                className="btn btn-sm btn-outline-primary",
            )
            for button, (name, title) in BUTTONS.items()
        ],
        id=ids.AFTER,
        className="after-run",
        role="group",
        hidden=True,
        **{"aria-label": "What to do with this run"},
    )


def parts(lab: Lab, view: View) -> dict[str, Any]:
    """What a poll shows of the buttons, named as in PARTS."""
    ended = view.state in ENDED and view.step > 0
    before = _before(lab, view) if ended else ""
    compared = f"Its curves and settings beside those of {before}, on the Runs tab"
    return {
        "run_shown": view.run_id,
        "run_before": before,
        "after_hidden": not ended,
        "compare_disabled": not before,
        "compare_title": compared if before else NO_OTHER if ended else NOT_ENDED,
        "further_title": _further(view),
    }


def _before(lab: Lab, view: View) -> str:
    """The newest other run, of the same text where there is one; empty when it is the only one."""
    own = next((run for run in lab.runs.all() if run.id == view.run_id), None)
    others = [run for run in lab.runs.all() if run.id != view.run_id and run.step and not run.race]
    of_the_text = [run for run in others if own and run.corpus == own.corpus]
    return next((run.id for run in [*of_the_text, *others]), "")


def _further(view: View) -> str:
    if view.state != "finished":
        return f"Go on from its newest save to step {view.steps:,}, as it was planned"
    return f"{_length(view):,} steps more, as a new run that begins as this one ended"


def _length(view: View) -> int:
    """The steps of a run itself, without those it took over from others."""
    return view.steps - (view.seams[-1].step if view.seams else 0)


def go_on(lab: Lab, item: Waiting) -> str:
    """Train what goes on now, or in its turn; the sentence to show, empty when it has begun.

    Raises LabError, RunNotFoundError and ConfigError.
    """
    if not lab.trainings.has_room():
        lab.trainings.add_to_queue(item)
        return "Added to the queue: another one is running."
    lab.trainings.start_item(item)
    return ""


def register(app: Dash, lab: Lab) -> None:
    """What the buttons do."""
    _register_opening(app)
    _register_further(app, lab)
    # It chooses rows in a list that is made when its tab is opened: only the browser can wait.
    app.clientside_callback(
        ClientsideFunction("train", "compare"),
        Output(ids.AFTER, "className"),
        Input(ids.AFTER_COMPARE, "n_clicks"),
        State(ids.RUN_SHOWN, "data"),
        State(ids.RUN_BEFORE, "data"),
        prevent_initial_call=True,
    )


def _register_opening(app: Dash) -> None:
    @app.callback(
        output={
            "tab": Output(shared_ids.TABS, "active_tab", allow_duplicate=True),
            "writer": Output(shared_ids.WRITER, "value"),
        },
        inputs={"presses": [Input(button, "n_clicks") for button in GOES_TO]},
        state={"run": State(ids.RUN_SHOWN, "data")},
        prevent_initial_call=True,
    )
    def opened(presses: list[int | None], run: str | None) -> dict[str, Any]:
        """The tab is opened, on the model of this run."""
        if not run:
            raise PreventUpdate
        return {"tab": GOES_TO[str(ctx.triggered_id)], "writer": run}


def _register_further(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "message": Output(ids.MESSAGE, "children", allow_duplicate=True),
            "refresh": Output(ids.REFRESH, "data", allow_duplicate=True),
            "run": Output(ids.RUN, "value", allow_duplicate=True),
        },
        inputs={"pressed": Input(ids.AFTER_FURTHER, "n_clicks")},
        state={"run": State(ids.RUN_SHOWN, "data"), "refresh": State(ids.REFRESH, "data")},
        prevent_initial_call=True,
    )
    def further(pressed: int | None, run: str | None, refresh: int | None) -> dict[str, Any]:
        """Go on with the run to its planned end, or after that for as many steps again."""
        if not run:
            raise PreventUpdate
        try:
            queued = go_on(lab, _item(lab, run))
        except (ConfigError, LabError, RunNotFoundError) as error:
            return {"message": str(error), "refresh": no_update, "run": no_update}
        said = html.Span(queued, className="done") if queued else ""
        standing.show(lab, run if queued else live.LATEST, None)
        shown = no_update if queued else live.LATEST
        return {"message": said, "refresh": (refresh or 0) + 1, "run": shown}


def _item(lab: Lab, run: str) -> Waiting:
    """What training a run further is. Raises LabError, RunNotFoundError and ConfigError."""
    view = lab.runs.view(run)
    if view.state == "finished":
        return extension(lab.runs.store, run, _length(view))
    return resumption(lab.runs.store, run)
