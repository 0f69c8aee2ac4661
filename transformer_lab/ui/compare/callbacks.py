"""The Compare tab: choose a question or make one, guess, race, and see what can be told."""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx
from dash.exceptions import PreventUpdate

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_result import AXES, Axis
from transformer_lab.experiments.questions import find_question, ready
from transformer_lab.lab.experiments.asked import Asked
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.settings import ConfigError
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.compare import ids, parts, rates, scaling
from transformer_lab.ui.compare.layout import TOOLS, layout
from transformer_lab.ui.compare.own import SLUG, Form, asked_for
from transformer_lab.ui.compare.pictures import serve_pictures
from transformer_lab.ui.results import parts as results
from transformer_lab.ui.results import poll as polls
from transformer_lab.ui.results.parts import Guesses
from transformer_lab.ui.results.poll import Seen
from transformer_lab.ui.web.values import Scalar

__all__ = ["TITLE", "layout", "register"]

TITLE = "Compare"
PAGE = ids.COMPARE_PARTS
ANY_BUTTON = {"type": "compare-button", "question": ALL}
ANY_TOOL = {"type": "compare-tool", "tool": ALL}
ANY_BADGE = {"type": "compare-badge", "question": ALL}
CONTROLS = {  # by the fields of Form
    "preset": ids.COMPARE_PRESET,
    "seeds": ids.COMPARE_SEEDS,
    "where": ids.COMPARE_WHERE,
    "recipe": ids.COMPARE_RECIPE,
    "setting": ids.COMPARE_SETTING,
    "values": ids.COMPARE_VALUES,
    "second": ids.COMPARE_SECOND,
    "second_values": ids.COMPARE_SECOND_VALUES,
    "budget": ids.COMPARE_BUDGET,
    "amount": ids.COMPARE_AMOUNT,
}
FORM = {name: State(control, "value") for name, control in CONTROLS.items()}
Values = dict[str, Scalar]  # by the fields of Form


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_choice(app)
    _register_guess(app, lab)
    _register_commands(app, lab)
    _register_poll(app, lab)
    rates.register(app, lab)
    scaling.register(app, lab)
    serve_pictures(app.server, lab)
    app.clientside_callback(
        ClientsideFunction("pcn", "guessable"),
        Output(PAGE.guess, "disabled"),
        Output(PAGE.guess, "title"),
        Input(PAGE.options, "value"),
    )


def _known(slug: str | None) -> str:
    known = [*ready(), SLUG]
    return slug if slug in known else known[0]


def _current(chosen: bool) -> str:
    return "true" if chosen else "false"


def _asked(lab: Lab, slug: str, wanted: Comparison | None) -> Asked | None:
    """The comparison whose results belong to what is chosen."""
    found = lab.comparisons.newest(slug)
    if found is None or slug != SLUG or found.busy or wanted is None:
        return found
    return found if found.comparison.asked == wanted.asked else None


def _wanted(slug: str, form: Form) -> tuple[Comparison | None, dict[str, str]]:
    """The question as the form has it, and what is wrong with it by key."""
    try:
        return asked_for(slug, form), {}
    except ConfigError as error:
        return None, {error.field: str(error)}


def _shown(lab: Lab, slug: str, form: Form) -> tuple[Comparison | None, Asked | None]:
    """The question to show, and its results."""
    wanted, _ = _wanted(slug, form)
    asked = _asked(lab, slug, wanted)
    return (asked.comparison if asked else wanted), asked


def _register_choice(app: Dash) -> None:
    @app.callback(
        output={
            "question": Output(ids.COMPARE_QUESTION, "data"),
            "title": Output(ids.COMPARE_TITLE, "children"),
            "look": Output(ids.COMPARE_LOOK, "children"),
            "own_hidden": Output(ids.COMPARE_OWN, "hidden"),
            "ready_hidden": Output(ids.COMPARE_READY, "hidden"),
            "current": Output(ANY_BUTTON, "aria-current"),
            "tool": Output(ids.COMPARE_TOOL, "data"),
            "tools": Output(ANY_TOOL, "aria-current"),
            "asked_hidden": Output(ids.COMPARE_ASKED, "hidden"),
            "rate_hidden": Output(ids.RATE_PANEL, "hidden"),
            "scaling_hidden": Output(ids.SCALING_PANEL, "hidden"),
        },
        inputs={
            "presses": [Input(ANY_BUTTON, "n_clicks"), Input(ANY_TOOL, "n_clicks")],
            "tab": Input(shared_ids.TABS, "active_tab"),
        },
        state={
            "slug": State(ids.COMPARE_QUESTION, "data"),
            "tool": State(ids.COMPARE_TOOL, "data"),
        },
    )
    def choose(
        presses: list[list[int | None]], tab: str | None, slug: str | None, tool: str | None
    ) -> dict[str, Any]:
        """The tab was opened, or another question or a tool chosen: say what it is about."""
        if tab != TITLE:
            raise PreventUpdate
        pressed = ctx.triggered_id
        if isinstance(pressed, dict):
            tool = pressed.get("tool", "")
            slug = pressed.get("question", slug)
        return _chosen(_known(slug), tool if tool in TOOLS else "")


def _chosen(slug: str, tool: str) -> dict[str, Any]:
    """What stands in the column beside the list: the question, or a tool in its place."""
    title, look = parts.OWN_TITLE, parts.OWN_LOOK
    if slug != SLUG:
        one = find_question(slug, quick=True)
        title, look = one.title, f"{one.look_for} {parts.SAFE if one.broken else ''}".strip()
    listed = polls.listed("current")
    return {
        "question": slug,
        "title": title,
        "look": look,
        "own_hidden": slug != SLUG,
        "ready_hidden": slug == SLUG,
        "current": [_current(item["question"] == slug and not tool) for item in listed],
        "tool": tool,
        "tools": [_current(item["tool"] == tool) for item in polls.listed("tools")],
        "asked_hidden": bool(tool),
        "rate_hidden": tool != rates.TOOL,
        "scaling_hidden": tool != scaling.TOOL,
    }


def _register_guess(app: Dash, lab: Lab) -> None:
    @app.callback(
        output=Output(ids.COMPARE_GUESSES, "data"),
        inputs={"presses": [Input(one, "n_clicks") for one in (PAGE.guess, PAGE.show, PAGE.again)]},
        state={
            "option": State(PAGE.options, "value"),
            "slug": State(ids.COMPARE_QUESTION, "data"),
            "guesses": State(ids.COMPARE_GUESSES, "data"),
            "values": FORM,
        },
        prevent_initial_call=True,
    )
    def guess(
        presses: list[int | None],
        option: Scalar,
        slug: str | None,
        guesses: Guesses | None,
        values: Values,
    ) -> dict[str, int]:
        """A guess was made, given up, or taken back."""
        one, _ = _shown(lab, _known(slug), Form(**values))
        if one is None:
            raise PreventUpdate
        key = parts.guess_key(one)
        return results.after_press(PAGE, ctx.triggered_id, option, guesses, key, one.guess.question)


def _register_commands(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "message": Output(PAGE.message, "children"),
            "refresh": Output(PAGE.refresh, "data"),
        },
        inputs={
            "presses": [
                Input(button, "n_clicks")
                for button in (PAGE.start, ids.COMPARE_PAUSE, PAGE.stop, ids.COMPARE_GO_ON)
            ]
        },
        state={
            "slug": State(ids.COMPARE_QUESTION, "data"),
            "refresh": State(PAGE.refresh, "data"),
            "values": FORM,
        },
        prevent_initial_call=True,
    )
    def command(
        presses: list[int | None], slug: str | None, refresh: int | None, values: Values
    ) -> dict[str, Any]:
        """Start, pause, stop or go on; says what is wrong."""
        message = ""
        try:
            _do(lab, ctx.triggered_id, _known(slug), Form(**values))
        except (ConfigError, LabError) as error:
            message = str(error)
        return {"message": message, "refresh": (refresh or 0) + 1}


def _do(lab: Lab, pressed: str, slug: str, form: Form) -> None:
    """What a button asks for. Raises ConfigError and LabError."""
    comparisons = lab.comparisons
    if pressed == PAGE.start:
        comparisons.start(asked_for(slug, form))
        return
    _, asked = _shown(lab, slug, form)
    if asked is None:
        return
    if pressed == ids.COMPARE_PAUSE:
        comparisons.resume(asked.key) if asked.paused else comparisons.pause(asked.key)
    elif pressed == PAGE.stop:
        comparisons.stop(asked.key)
    elif pressed == ids.COMPARE_GO_ON:
        comparisons.go_on(asked.key)


def _register_poll(app: Dash, lab: Lab) -> None:
    @app.callback(
        output=polls.outputs(PAGE, ANY_BADGE, parts.PARTS),
        inputs={
            "tick": Input(PAGE.tick, "n_intervals"),
            "refresh": Input(PAGE.refresh, "data"),
            "slug": Input(ids.COMPARE_QUESTION, "data"),
            "guesses": Input(ids.COMPARE_GUESSES, "data"),
            "axis": Input(ids.COMPARE_AXIS, "value"),
            "tab": Input(shared_ids.TABS, "active_tab"),
            "values": {name: Input(control, "value") for name, control in CONTROLS.items()},
        },
        state={"seen": State(PAGE.seen, "data")},
        running=[(Output(PAGE.tick, "disabled"), True, False)],
    )
    def poll(
        tick: int | None,
        refresh: int | None,
        slug: str | None,
        guesses: Guesses | None,
        axis: Scalar,
        tab: str | None,
        values: Values,
        seen: Seen | None,
    ) -> dict[str, Any]:
        """What changed since the last poll, and nothing else."""
        if tab != TITLE:
            return polls.rest(seen)
        chosen: Axis = next((one for one in AXES if one == axis), "steps")
        view = _view(lab, _known(slug), Form(**values), guesses, chosen)
        return polls.answer(
            parts.guess_key(view.comparison) if view.comparison else "",
            parts.parts(view),
            [
                results.badge(lab.comparisons.newest(item["question"]))
                for item in polls.listed("badges")
            ],
            view.outcome.plots(chosen) if view.outcome else [],
            key=f"compare {view.asked.key if view.asked else ''}",
            busy=view.asked is not None and view.asked.busy,
            seen=seen,
        )


def _view(lab: Lab, slug: str, form: Form, guesses: Guesses | None, axis: Axis) -> parts.Shown:
    """All that is said of the question that is chosen."""
    wanted, problems = _wanted(slug, form)
    asked = _asked(lab, slug, wanted)
    comparison = asked.comparison if asked else wanted
    cost, found = _cost(lab, asked, wanted)
    problems |= found
    return parts.Shown(
        comparison=comparison,
        asked=asked,
        guess=parts.guess_of(guesses, comparison) if comparison else None,
        problems=problems,
        form=form,
        cost=cost,
        axis=axis,
    )


def _cost(lab: Lab, asked: Asked | None, wanted: Comparison | None) -> tuple[str, dict[str, str]]:
    """What a start would take, where nothing is being compared; or why there can be none."""
    if wanted is None or (asked and asked.busy):
        return "", {}
    try:
        lab.comparisons.check(wanted)
        return parts.cost(lab.comparisons.cost(wanted), wanted), {}
    except ConfigError as error:
        return "", {error.field: str(error)}
