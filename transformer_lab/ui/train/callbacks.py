"""The Train tab: what happens when a setting changes, a button is pressed, or time passes.

Its layout is in `ui/train/layout.py`, what a poll brings back in `ui/train/live.py`.
"""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.lab.device import choose_device
from transformer_lab.lab.lab import Lab
from transformer_lab.lab.training.continuing import LabError, branching
from transformer_lab.lab.training.states import BEGUN, BUSY
from transformer_lab.lab.training.views import View, describe_corpus
from transformer_lab.model import parameter_breakdown
from transformer_lab.recipes import (
    SETTINGS,
    Recipe,
    Setup,
    changed_settings,
    differences,
    load_recipes,
    setup_from,
)
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.settings import ConfigError
from transformer_lab.text.corpora import SIZES, TITLES
from transformer_lab.ui import form, ids, polling, words
from transformer_lab.ui.charts.training import MILESTONES
from transformer_lab.ui.train import live, sections, settling_card
from transformer_lab.ui.train.layout import layout

__all__ = ["TITLE", "layout", "register"]

TITLE = "Train"
ANY_SETTING = {"type": "setting", "group": ALL, "name": ALL}
ANY_FIELD = {"type": "setting-field", "group": ALL, "name": ALL}
ANY_SAMPLE_SETTING = {"type": "sample-setting", "name": ALL}
ANY_PROBLEM = {"type": "problem", "group": ALL, "name": ALL}
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
CHARTS = (ids.LOSS, ids.PERPLEXITY, ids.RATE)
# What a poll may change, besides the charts.
PARTS = {
    "headline": Output(ids.HEADLINE, "children"),
    "spoken": Output(ids.SPOKEN, "children"),
    "state": Output(ids.STATE, "children"),
    "sample": Output(ids.SAMPLE, "children"),
    "sample_step": Output(ids.SAMPLE_STEP, "children"),
    "panel": Output(ids.PANEL, "children"),
    "memory": Output("memory", "children"),
    "breakdown": Output("breakdown", "children"),
    "why": Output(ids.WHY, "children"),
    "preflight": Output(ids.PREFLIGHT, "children"),
    "offer_hidden": Output(ids.OFFER, "hidden"),
    "initialize_disabled": Output(ids.INITIALIZE, "disabled"),
    "start_disabled": Output(ids.START, "disabled"),
    "pause_disabled": Output(ids.PAUSE, "disabled"),
    "pause": Output(ids.PAUSE, "children"),
    "stop_disabled": Output(ids.STOP, "disabled"),
    "start_over_disabled": Output(ids.START_OVER, "disabled"),
    "initialize_title": Output(ids.INITIALIZE, "title"),
    "start_title": Output(ids.START, "title"),
    "pause_title": Output(ids.PAUSE, "title"),
    "stop_title": Output(ids.STOP, "title"),
    "start_over_title": Output(ids.START_OVER, "title"),
    "live_actions_hidden": Output(ids.LIVE_ACTIONS, "hidden"),
    "enqueue_hidden": Output(ids.ENQUEUE, "hidden"),
    "resume_offer_hidden": Output(ids.RESUME_OFFER, "hidden"),
    "resume_words": Output(ids.RESUME_WORDS, "children"),
    "run_options": Output(ids.RUN, "options"),
    "tick_interval": Output(ids.TICK, "interval"),
}
MOST_NAMED = 3  # settings in the line that says how far a setup is from the tutorial
STARTS = (ids.INITIALIZE, ids.START, ids.ENQUEUE, ids.START_OVER_YES)


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_form(app, lab)
    _register_sections(app)
    _register_commands(app, lab)
    _register_question(app, lab)
    _register_poll(app, lab)
    settling_card.register(app, lab, TITLE)


def _register_form(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ANY_SETTING, "value"),
        Output(ANY_SAMPLE_SETTING, "value"),
        Output(ids.RECIPE_SUMMARY, "children"),
        Output(ids.RECIPE, "value"),
        Input(ids.RECIPE, "value"),
        Input(ids.UNDO, "n_clicks"),
        Input(ids.OFFER, "n_clicks"),
        Input(ids.BRANCH, "data"),
        prevent_initial_call=True,
    )
    def fill(
        slug: Any, undo: Any, offer: Any, branch: Any
    ) -> tuple[list[Any], list[Any], str, Any]:
        """A recipe was chosen, its changes undone, or a branch begun: controls get values."""
        if ctx.triggered_id == ids.BRANCH and not branch:
            raise PreventUpdate
        recipe = _recipe_named("quick_start" if ctx.triggered_id == ids.OFFER else slug)
        values = recipe.setup.values()
        if ctx.triggered_id == ids.BRANCH:
            run = lab.runs.open(str(branch["run"]))
            recipe = _recipe_named(run.manifest["recipe"])
            values = setup_from(run.manifest["setup"]).values()

        def value(item: dict[str, Any]) -> Any:
            key = f"{item['id'].get('group', 'sample')}.{item['id']['name']}"
            return form.written(SETTINGS[key], values[key]) if key in SETTINGS else no_update

        settings, samples, *_ = ctx.outputs_list
        chosen = no_update if slug == recipe.slug else recipe.slug
        return [value(x) for x in settings], [value(x) for x in samples], recipe.summary, chosen

    @app.callback(
        Output(ids.PLAN, "data"),
        Output(ids.MODIFIED, "children"),
        Output(ids.UNDO, "hidden"),
        Output(ids.CORPUS_NOTE, "children"),
        Output(ANY_PROBLEM, "children"),
        Output(ids.DIFFERS, "children"),
        Input(ANY_SETTING, "value"),
        State(ANY_SETTING, "id"),
        State(ids.RECIPE, "value"),
    )
    def look(values: Any, control_ids: Any, slug: Any) -> tuple[Any, ...]:
        """A control changed: check everything, mark what is wrong, say what would be made."""
        recipe = _recipe_named(slug)
        setup, problems = _read(lab, values, control_ids, recipe)
        changed = changed_settings(setup, recipe) if setup else ["?"]
        note = ""
        if setup and not problems and (missing := lab.texts.missing(setup.data.corpus)):
            other = TITLES[lab.texts.at_hand(setup.data.corpus)]
            note = (
                f"{missing} Start Training tries to download it ({SIZES[setup.data.corpus]}); "
                f"without a connection {other} is used instead."
            )
        marks = [
            problems.get(f"{x['id'].get('group')}.{x['id'].get('name')}", "")
            for x in ctx.outputs_list[4]
        ]
        modified = f"modified ({len(changed)}) · " if setup else "modified · "
        return (
            plan(lab, setup) if setup and not problems else None,
            modified if changed else "",
            not changed,
            note,
            marks,
            _differs(setup) if setup else no_update,
        )


def _register_sections(app: Dash) -> None:
    """Show the advanced settings that have an effect, or those that are searched for."""
    app.clientside_callback(
        ClientsideFunction("settings", "shown"),
        Output(ANY_FIELD, "hidden"),
        Output(ANY_FIELD, "className"),
        Input(ANY_SETTING, "value"),
        Input(ids.SETTINGS_SEARCH, "value"),
        Input(ANY_PROBLEM, "children"),
        State(ANY_SETTING, "id"),
        State(ANY_FIELD, "id"),
        State(ids.NEEDS, "data"),
    )


def _differs(setup: Setup) -> Any:
    """In which settings that have an effect this is not the tutorial's first model."""
    values = setup.values()
    found = [each for each in differences(setup) if sections.applies(each[0].key, values)]
    if not found:
        return "The tutorial's first model, with nothing changed."
    named = ", ".join(setting.label for setting, *_ in found[:MOST_NAMED])
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    listed = [
        f"{setting.label}: {words.value(own, setting)}, not {words.value(taught, setting)}"
        for setting, own, taught in found
    ]
    return html.Details(
        [
            html.Summary(f"Differs from the tutorial in {named}{more}"),
            html.Ul([html.Li(each) for each in listed]),
        ]
    )


def plan(lab: Lab, setup: Setup) -> dict[str, Any]:
    """What the form would make: its settings, and the size of the model on this text."""
    facts = lab.texts.facts(setup)
    vocabulary_size = facts.vocabulary_size
    device = choose_device(setup.train.device)
    return {
        "setup": setup.to_mapping(),
        "vocabulary_size": vocabulary_size,
        "tokens": facts.tokens,
        "corpus": describe_corpus(facts.corpus),
        "breakdown": dict(parameter_breakdown(setup.model, vocabulary_size)),
        "device": device.name,
        "device_reason": device.reason,
    }


def _recipe_named(slug: Any) -> Recipe:
    recipes = load_recipes()
    return recipes.get(slug if isinstance(slug, str) else "", recipes["quick_start"])


def _read(
    lab: Lab, values: Any, control_ids: Any, recipe: Recipe
) -> tuple[Setup | None, dict[str, str]]:
    """The setup in the controls and what is wrong with it, the text and the device included."""
    keys = [f"{item.get('group')}.{item.get('name')}" for item in control_ids]
    given = [(SETTINGS[k], v) for k, v in zip(keys, values, strict=True) if k in SETTINGS]
    setup, problems = form.read(given, recipe.setup)
    if setup is not None:
        try:
            lab.trainings.check(setup)
        except ConfigError as error:
            return setup, {error.field: str(error)}
    return setup, problems


def _register_commands(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.MESSAGE, "children"),
        Output(ids.REFRESH, "data"),
        Output(ids.RUN, "value"),
        Output(ids.BRANCH, "data", allow_duplicate=True),
        *[Input(button, "n_clicks") for button in COMMANDS],
        State(ANY_SETTING, "value"),
        State(ANY_SETTING, "id"),
        State(ids.RECIPE, "value"),
        State(ids.REFRESH, "data"),
        State(ids.RUN, "value"),
        State(ids.BRANCH, "data"),
        prevent_initial_call=True,
    )
    def command(*args: Any) -> tuple[Any, Any, Any, Any]:
        """A button was pressed: do it, or say in one sentence why not."""
        values, control_ids, slug, refresh, shown, branch = args[len(COMMANDS) :]
        pressed = str(ctx.triggered_id)
        message: Any = ""
        try:
            if pressed in STARTS:
                message = _start(lab, pressed, _recipe_named(slug), values, control_ids, branch)
            else:
                rate = _value_of("train.learning_rate", values, control_ids)
                message = _control(lab, pressed, _view(lab, shown).run_id, rate)
        except (ConfigError, LabError, RunNotFoundError) as error:
            return str(error), no_update, no_update, no_update
        goes_on = pressed in (ids.RESUME_NOW, *STARTS) and pressed != ids.ENQUEUE
        follow = live.LATEST if goes_on else no_update
        done = None if pressed in (ids.START, ids.ENQUEUE) and branch else no_update
        return message, (refresh or 0) + 1, follow, done

    @app.callback(
        Output(ids.BRANCH_LINE, "children"),
        Output(ids.BRANCH_CANCEL, "hidden"),
        Input(ids.BRANCH, "data"),
    )
    def branching(branch: Any) -> tuple[str, bool]:
        """Say that what is started will be a branch."""
        if not branch:
            return "", True
        step = int(str(branch["checkpoint"]).rpartition("-")[2])
        words = f"Branch from {branch['run']} after step {step:,}: Steps counts those to come. "
        return words, False

    @app.callback(
        Output(ids.BRANCH, "data", allow_duplicate=True),
        Input(ids.BRANCH_CANCEL, "n_clicks"),
        prevent_initial_call=True,
    )
    def cancel(pressed: Any) -> None:
        """No branch after all."""

    @app.callback(
        Output(ids.RESUME_DISMISSED, "data"),
        Input(ids.RESUME_LATER, "n_clicks"),
        prevent_initial_call=True,
    )
    def later(pressed: Any) -> str:
        """Don't offer this one again on this page."""
        cut_off = lab.trainings.interrupted()
        return cut_off[0].id if cut_off else ""


def _register_question(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.START_OVER_ASK, "hidden"),
        Output(ids.START_OVER_WORDS, "children"),
        Input(ids.START_OVER, "n_clicks"),
        Input(ids.START_OVER_YES, "n_clicks"),
        Input(ids.START_OVER_NO, "n_clicks"),
        prevent_initial_call=True,
    )
    def ask(*presses: Any) -> tuple[bool, Any]:
        """Start over was pressed: say what becomes of the run under way, and ask."""
        run = lab.trainings.current
        if ctx.triggered_id != ids.START_OVER or not (run and run.busy):
            return True, no_update
        name, step = run.status.run_id or "The model being prepared", run.status.step
        at = f", now at step {step:,}," if step else ""
        return False, (
            f"{name}{at} is stopped and stays on the Runs tab, where it can be resumed; a new "
            "model begins from the settings above."
        )


def _start(
    lab: Lab, pressed: str, recipe: Recipe, values: Any, control_ids: Any, branch: Any
) -> Any:
    """Make or train a model of what stands in the form; the message to show."""
    setup, problems = _read(lab, values, control_ids, recipe)
    if problems or setup is None:
        raise LabError(next(iter(problems.values())))
    running = lab.trainings.current if pressed == ids.START_OVER_YES else None
    stopped = running.status.run_id if running and running.busy else ""
    if branch and pressed in (ids.START, ids.ENQUEUE):
        item = branching(
            lab.runs.store, str(branch["run"]), str(branch["checkpoint"]), setup, recipe.slug
        )
        lab.trainings.begin(item) if pressed == ids.START else lab.trainings.add_to_queue(item)
    elif pressed == ids.ENQUEUE:
        lab.trainings.enqueue(setup, recipe.slug)
    else:
        act = {
            ids.INITIALIZE: lab.trainings.initialize,
            ids.START: lab.trainings.start,
            ids.START_OVER_YES: lab.trainings.start_over,
        }[pressed]
        act(setup, recipe.slug)
    if stopped:
        return _done(f"{stopped} is stopped and kept: Resume on the Runs tab goes on with it.")
    waiting = len(lab.trainings.queue.list())
    return _done(f"{waiting} in the queue.") if pressed == ids.ENQUEUE else ""


def _control(lab: Lab, pressed: str, shown: str, rate: Any) -> Any:
    """Do something with the run that is shown, or the one that runs; the message to show."""
    live_run = lab.trainings.live(shown) if shown else None
    run_id = shown if live_run and live_run.busy else None
    if pressed == ids.RESUME_NOW:
        cut_off = lab.trainings.interrupted()
        if cut_off:
            lab.trainings.resume(cut_off[0].id)
    elif pressed == ids.PAUSE:
        busy = lab.trainings.current is not None and lab.trainings.current.busy
        lab.trainings.pause_or_resume(run_id if run_id or busy else shown or None)
    elif pressed == ids.STOP:
        lab.trainings.stop(run_id=run_id)
    elif pressed == ids.KEEP:
        kept = lab.trainings.keep(run_id)
        words = "is kept with the run" if kept else "will be kept after the step under way"
        return _done(f"This checkpoint {words}.")
    elif pressed == ids.APPLY_RATE:
        return _done(_with_rate(lab, rate, run_id))
    return ""


def _with_rate(lab: Lab, rate: Any, run_id: str | None) -> str:
    """Use another peak learning rate; what becomes of it at the next step, in a sentence."""
    peak = lab.trainings.set_learning_rate(rate, run_id)
    run = lab.trainings.live(run_id) if run_id else lab.trainings.current
    used = f"{run.next_rate(peak):.2g}" if run else f"{peak:g}"
    words = f"Learning Rate is {peak:g} from the next step"
    return (
        f"{words}." if float(used) == peak else f"{words}; the schedule makes {used} of it there."
    )


def _done(words: str) -> html.Span:
    return html.Span(words, className="done")


def _value_of(key: str, values: Any, control_ids: Any) -> Any:
    for value, item in zip(values, control_ids, strict=True):
        if f"{item.get('group')}.{item.get('name')}" == key:
            return value
    return None


def _register_poll(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "charts": [
                Output(chart, prop) for chart in CHARTS for prop in ("figure", "extendData")
            ],
            "parts": PARTS,
            "cursor": Output(ids.CURSOR, "data"),
        },
        inputs={
            "tick": Input(ids.TICK, "n_intervals"),
            "refresh": Input(ids.REFRESH, "data"),
            "run_id": Input(ids.RUN, "value"),
            "form_plan": Input(ids.PLAN, "data"),
            "dismissed": Input(ids.RESUME_DISMISSED, "data"),
        },
        state={"cursor": State(ids.CURSOR, "data")},
        running=[(Output(ids.TICK, "disabled"), True, False)],
    )
    def poll(
        tick: Any, refresh: Any, run_id: Any, form_plan: Any, dismissed: Any, cursor: Any
    ) -> dict[str, Any]:
        """What changed since the last poll, and nothing else."""
        cursor = cursor if isinstance(cursor, dict) else {}
        view = _view(lab, run_id)
        drawn, place = live.curves(lab, view, form_plan, cursor)
        parts, seen = polling.changed(_parts(lab, view, form_plan, dismissed), cursor.get("seen"))
        if all(part is no_update for part in [*drawn, *parts.values()]):
            raise PreventUpdate
        return {"charts": drawn, "parts": parts, "cursor": place | {"seen": seen}}


def _view(lab: Lab, run_id: Any) -> View:
    try:
        return lab.runs.view(None if run_id in (live.LATEST, None) else str(run_id))
    except RunNotFoundError:
        return lab.runs.view()


def _parts(lab: Lab, view: View, form_plan: Any, dismissed: Any) -> dict[str, Any]:
    """Every part of the page besides the charts, named as in PARTS."""
    own = lab.runs.view()
    why = live.buttons(lab, view)
    sample = view.sample
    offer = live.offer(lab, dismissed)
    cost, offers = live.preflight(lab, own, form_plan)
    breakdown = view.breakdown or (form_plan or {}).get("breakdown", {})
    return {
        "headline": words.headline(own),
        "spoken": words.spoken(own, MILESTONES),
        "state": live.state_line(view),
        "sample": sample.prompt + sample.text
        if sample
        else "The model writes here while it learns.",
        "sample_step": f"after step {sample.step:,}" if sample else "",
        "panel": live.panel(view, form_plan),
        "memory": live.memory(),
        "breakdown": [
            html.Div([html.Dt(part), html.Dd(f"{count:,}")], className="row-pair")
            for part, count in breakdown.items()
        ],
        "why": why["start"],
        "preflight": cost,
        "offer_hidden": not offers,
        "initialize_disabled": bool(why["initialize"]),
        "start_disabled": bool(why["start"]),
        "pause_disabled": bool(why["pause"]),
        "pause": "Pause" if why["pause"] or view.state == "running" else "Resume",
        "stop_disabled": bool(why["stop"]),
        "start_over_disabled": bool(why["start_over"]),
        "initialize_title": why["initialize"] or live.BUTTON_HELP["initialize"],
        "start_title": why["start"] or live.BUTTON_HELP["start"],
        "pause_title": why["pause"] or live.BUTTON_HELP["pause"],
        "stop_title": why["stop"] or live.BUTTON_HELP["stop"],
        "start_over_title": why["start_over"] or live.BUTTON_HELP["start_over"],
        "live_actions_hidden": own.state not in BEGUN,
        "enqueue_hidden": not why["start"] or own.state == "preparing",
        "resume_offer_hidden": not offer,
        "resume_words": offer,
        "run_options": live.run_options(lab.runs.all()),
        "tick_interval": live.FAST if {view.state, own.state} & {*BUSY} - {"paused"} else live.SLOW,
    }
