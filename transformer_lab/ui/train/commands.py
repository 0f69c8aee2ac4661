"""The buttons of the Train tab: what each does, and what is said when it cannot."""

from typing import Any

from dash import Dash, Input, Output, State, ctx, html, no_update
from dash.development.base_component import Component

from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.continuing import LabError, branching
from transformer_lab.lab.training.states import BUSY
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.settings import ConfigError
from transformer_lab.ui import form
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.train import ids, live, standing
from transformer_lab.ui.train.plan import (
    Branch,
    Controls,
    FormPlan,
    planned,
    read,
    recipe_named,
)
from transformer_lab.ui.train.settings_form import ANY_SETTING

COMMANDS = (
    ids.INITIALIZE,
    ids.START,
    ids.ENQUEUE,
    ids.PAUSE,
    ids.STOP,
    ids.START_OVER_YES,
    ids.APPLY_RATE,
    ids.KEEP,
    ids.RESUME_NOW,
)
STARTS = (ids.INITIALIZE, ids.START, ids.ENQUEUE, ids.START_OVER_YES)
BRANCHING = (ids.START, ids.ENQUEUE)  # what begins a branch where one was chosen


def register(app: Dash, lab: Lab) -> None:
    """What the buttons answer to."""
    _register_commands(app, lab)
    _register_branch(app)
    _register_question(app, lab)

    @app.callback(
        Output(ids.RESUME_DISMISSED, "data"),
        Input(ids.RESUME_LATER, "n_clicks"),
        prevent_initial_call=True,
    )
    def later(pressed: int | None) -> str:
        """Don't offer this one again on this page."""
        interrupted = lab.trainings.interrupted()
        return interrupted[0].id if interrupted else ""


def _register_commands(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "message": Output(ids.MESSAGE, "children"),
            "refresh": Output(ids.REFRESH, "data"),
            "run": Output(ids.RUN, "value"),
            "branch": Output(ids.BRANCH, "data", allow_duplicate=True),
        },
        inputs={"presses": [Input(button, "n_clicks") for button in COMMANDS]},
        state={
            "values": State(ANY_SETTING, "value"),
            "control_ids": State(ANY_SETTING, "id"),
            "slug": State(ids.RECIPE, "value"),
            "refresh": State(ids.REFRESH, "data"),
            "shown": State(ids.RUN, "value"),
            "branch": State(ids.BRANCH, "data"),
            "form_plan": State(ids.PLAN, "data"),
        },
        prevent_initial_call=True,
    )
    def command(
        presses: list[int | None],
        values: list[form.Value],
        control_ids: list[shared_ids.ComponentId],
        slug: str | None,
        refresh: int | None,
        shown: str | None,
        branch: Branch | None,
        form_plan: FormPlan | None,
    ) -> dict[str, Any]:
        """A button was pressed: do it, or say in one sentence why not."""
        pressed = str(ctx.triggered_id)
        controls = Controls(values, control_ids, recipe_named(slug))
        answer = {"refresh": no_update, "run": no_update, "branch": no_update}
        try:
            if pressed in STARTS:
                message = _start(lab, pressed, controls, branch)
            else:
                rate = controls.value("train.learning_rate")
                message = _control(lab, pressed, live.shown(lab, shown).run_id, rate)
        except (ConfigError, LabError, RunNotFoundError) as error:
            return answer | {"message": str(error)}
        if pressed in (ids.RESUME_NOW, *STARTS) and pressed != ids.ENQUEUE:
            answer["run"] = live.LATEST
        if branch and pressed in BRANCHING:
            answer["branch"] = None
        shows = shown if answer["run"] is no_update else live.LATEST
        standing.show(lab, shows, planned(form_plan))
        return answer | {"message": message, "refresh": (refresh or 0) + 1}


def _register_branch(app: Dash) -> None:
    @app.callback(
        output={
            "line": Output(ids.BRANCH_LINE, "children"),
            "cancel_hidden": Output(ids.BRANCH_CANCEL, "hidden"),
        },
        inputs={"branch": Input(ids.BRANCH, "data")},
    )
    def show(branch: Branch | None) -> dict[str, Any]:
        """Say that what is started will be a branch."""
        if not branch:
            return {"line": "", "cancel_hidden": True}
        step = int(branch["checkpoint"].rpartition("-")[2])
        line = f"Branch from {branch['run']} after step {step:,}: Steps counts those to come. "
        return {"line": line, "cancel_hidden": False}

    @app.callback(
        Output(ids.BRANCH, "data", allow_duplicate=True),
        Input(ids.BRANCH_CANCEL, "n_clicks"),
        prevent_initial_call=True,
    )
    def cancel(pressed: int | None) -> None:
        """Forget the branch: what is started next begins from random weights."""


def _register_question(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "hidden": Output(ids.START_OVER_ASK, "hidden"),
            "question": Output(ids.START_OVER_WORDS, "children"),
        },
        inputs={
            "presses": [
                Input(button, "n_clicks")
                for button in (ids.START_OVER, ids.START_OVER_YES, ids.START_OVER_NO)
            ]
        },
        prevent_initial_call=True,
    )
    def ask(presses: list[int | None]) -> dict[str, Any]:
        """Start over was pressed: say what becomes of the run under way, and ask."""
        own = lab.runs.view()
        if ctx.triggered_id != ids.START_OVER or own.state not in BUSY:
            return {"hidden": True, "question": no_update}
        name, step = own.run_id or "The model being prepared", own.step
        at = f", now at step {step:,}," if step else ""
        question = (
            f"{name}{at} is stopped and stays on the Runs tab, where it can be resumed; a new "
            "model begins from the settings above."
        )
        return {"hidden": False, "question": question}


def _start(lab: Lab, pressed: str, controls: Controls, branch: Branch | None) -> Component | str:
    """Make or train a model of what stands in the form; the message to show."""
    setup, problems = read(lab, controls)
    if problems or setup is None:
        raise LabError(next(iter(problems.values())))
    slug = controls.recipe.slug
    running = lab.runs.view() if pressed == ids.START_OVER_YES else None
    stopped = running.run_id if running and running.state in BUSY else ""
    if branch and pressed in BRANCHING:
        item = branching(lab.runs.store, branch["run"], branch["checkpoint"], setup, slug)
        lab.trainings.start_item(item) if pressed == ids.START else lab.trainings.add_to_queue(item)
    elif pressed == ids.ENQUEUE:
        lab.trainings.enqueue(setup, slug)
    else:
        act = {
            ids.INITIALIZE: lab.trainings.initialize,
            ids.START: lab.trainings.start,
            ids.START_OVER_YES: lab.trainings.start_over,
        }[pressed]
        act(setup, slug)
    if stopped:
        return _done(f"{stopped} is stopped and kept: Resume on the Runs tab goes on with it.")
    waiting = len(lab.trainings.queue.list())
    return _done(f"{waiting} in the queue.") if pressed == ids.ENQUEUE else ""


def _control(lab: Lab, pressed: str, shown: str, rate: form.Value) -> Component | str:
    """Do something with the run that is shown, or the one that runs; the message to show."""
    live_run = lab.trainings.live(shown) if shown else None
    here = live_run is not None and live_run.busy
    run_id = shown if here or (shown and lab.trainings.remote(shown)) else None
    if pressed == ids.RESUME_NOW:
        interrupted = lab.trainings.interrupted()
        if interrupted:
            lab.trainings.resume(interrupted[0].id)
    elif pressed == ids.PAUSE:
        busy = lab.trainings.current is not None and lab.trainings.current.busy
        lab.trainings.pause_or_resume(run_id if run_id or busy else shown or None)
    elif pressed == ids.STOP:
        lab.trainings.stop(run_id=run_id)
    elif pressed == ids.KEEP:
        kept = lab.trainings.keep(run_id)
        becomes = "is kept with the run" if kept else "will be kept after the step under way"
        return _done(f"This checkpoint {becomes}.")
    elif pressed == ids.APPLY_RATE:
        return _done(_with_rate(lab, rate, run_id))
    return ""


def _with_rate(lab: Lab, rate: form.Value, run_id: str | None) -> str:
    """Use another peak learning rate; what becomes of it at the next step, in a sentence."""
    peak = lab.trainings.set_learning_rate(rate, run_id)
    run = lab.trainings.live(run_id) if run_id else lab.trainings.current
    used = f"{run.next_rate(peak):.2g}" if run and run.busy else f"{peak:g}"
    said = f"Learning Rate is {peak:g} from the next step"
    return f"{said}." if float(used) == peak else f"{said}; the schedule makes {used} of it there."


def _done(said: str) -> Component:
    return html.Span(said, className="done")
