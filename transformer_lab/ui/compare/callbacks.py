"""The Compare tab: choose a question or make one, guess, race, and see what can be told."""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.experiments.comparison import Comparison
from transformer_lab.experiments.comparison_result import AXES, Axis
from transformer_lab.experiments.questions import find_question, ready
from transformer_lab.lab.experiments.comparisons import Asked
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.settings import ConfigError
from transformer_lab.ui import ids, polling
from transformer_lab.ui.compare import parts
from transformer_lab.ui.compare.layout import RESTING, layout
from transformer_lab.ui.compare.own import SLUG, Form, asked_for
from transformer_lab.ui.experiments.parts import UNGUESSED, drawn, plot_digest

__all__ = ["TITLE", "layout", "register"]

TITLE = "Compare"
ANY_BUTTON = {"type": "compare-button", "question": ALL}
ANY_BADGE = {"type": "compare-badge", "question": ALL}
ANY_PLOT = {"type": "compare-plot", "place": ALL}
ANY_CHART = {"type": "compare-chart", "place": ALL}
ANY_NOTE = {"type": "compare-note", "place": ALL}
FORM = (
    ids.COMPARE_PRESET, ids.COMPARE_SEEDS, ids.COMPARE_RECIPE, ids.COMPARE_SETTING,
    ids.COMPARE_VALUES, ids.COMPARE_SECOND, ids.COMPARE_SECOND_VALUES, ids.COMPARE_BUDGET,
    ids.COMPARE_AMOUNT,
)  # fmt: skip


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_choice(app)
    _register_guess(app, lab)
    _register_commands(app, lab)
    _register_poll(app, lab)
    app.clientside_callback(
        ClientsideFunction("pcn", "guessable"),
        Output(ids.COMPARE_GUESS, "disabled"),
        Output(ids.COMPARE_GUESS, "title"),
        Input(ids.COMPARE_OPTIONS, "value"),
    )


def _known(slug: Any) -> str:
    known = [*ready(), SLUG]
    return slug if isinstance(slug, str) and slug in known else known[0]


def _form(values: Any) -> Form:
    given = list(values)
    return Form(
        preset=given[0], seeds=given[1], recipe=given[2], setting=given[3], values=given[4],
        second=given[5], second_values=given[6], budget=given[7], amount=given[8],
    )  # fmt: skip


def _asked(lab: Lab, slug: str, wanted: Comparison | None) -> Asked | None:
    """The comparison whose results belong to what is chosen."""
    found = lab.comparisons.newest(slug)
    if found is None or slug != SLUG or found.busy or wanted is None:
        return found
    return found if found.comparison.content == wanted.content else None


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
        Output(ids.COMPARE_QUESTION, "data"),
        Output(ids.COMPARE_TITLE, "children"),
        Output(ids.COMPARE_LOOK, "children"),
        Output(ids.COMPARE_OWN, "hidden"),
        Output(ids.COMPARE_READY, "hidden"),
        Output(ANY_BUTTON, "aria-current"),
        Input(ANY_BUTTON, "n_clicks"),
        Input(ids.TABS, "active_tab"),
        State(ids.COMPARE_QUESTION, "data"),
    )
    def choose(presses: Any, tab: Any, slug: Any) -> tuple[Any, ...]:
        """The tab was opened, or another question chosen: say what it is about."""
        if tab != TITLE:
            raise PreventUpdate
        pressed = ctx.triggered_id
        slug = _known(pressed.get("question") if isinstance(pressed, dict) else slug)
        listed = [item["id"].get("question") for item in ctx.outputs_list[5]]
        title, look = parts.OWN_TITLE, parts.OWN_LOOK
        if slug != SLUG:
            one = find_question(slug, quick=True)
            title, look = one.title, one.look_for
        current = ["true" if other == slug else "false" for other in listed]
        return slug, title, look, slug != SLUG, slug == SLUG, current


def _register_guess(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.COMPARE_GUESSES, "data"),
        Input(ids.COMPARE_GUESS, "n_clicks"),
        Input(ids.COMPARE_SHOW, "n_clicks"),
        Input(ids.COMPARE_AGAIN, "n_clicks"),
        State(ids.COMPARE_OPTIONS, "value"),
        State(ids.COMPARE_QUESTION, "data"),
        State(ids.COMPARE_GUESSES, "data"),
        *[State(name, "value") for name in FORM],
        prevent_initial_call=True,
    )
    def guess(
        press: Any, show: Any, again: Any, option: Any, slug: Any, guesses: Any, *values: Any
    ) -> Any:
        """A guess was made, given up, or taken back."""
        comparison, _ = _shown(lab, _known(slug), _form(values))
        if comparison is None:
            raise PreventUpdate
        key = parts.guess_key(comparison)
        kept = parts.kept_guesses(guesses)
        kept.pop(key, None)
        if ctx.triggered_id == ids.COMPARE_AGAIN:
            return kept
        wanted = UNGUESSED if ctx.triggered_id == ids.COMPARE_SHOW else option
        if parts.guess_of({key: wanted}, comparison) is None:
            raise PreventUpdate
        return kept | {key: wanted}


def _register_commands(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.COMPARE_MESSAGE, "children"),
        Output(ids.COMPARE_REFRESH, "data"),
        Input(ids.COMPARE_START, "n_clicks"),
        Input(ids.COMPARE_PAUSE, "n_clicks"),
        Input(ids.COMPARE_STOP, "n_clicks"),
        Input(ids.COMPARE_GO_ON, "n_clicks"),
        State(ids.COMPARE_QUESTION, "data"),
        State(ids.COMPARE_REFRESH, "data"),
        *[State(name, "value") for name in FORM],
        prevent_initial_call=True,
    )
    def command(
        start: Any, pause: Any, stop: Any, go_on: Any, slug: Any, refresh: Any, *values: Any
    ) -> tuple[str, Any]:
        """Start, pause, stop or go on; says what is wrong."""
        message = ""
        try:
            _do(lab, ctx.triggered_id, _known(slug), _form(values))
        except (ConfigError, LabError) as error:
            message = str(error)
        return message, (refresh or 0) + 1


def _do(lab: Lab, pressed: Any, slug: str, form: Form) -> None:
    """What a button asks for. Raises ConfigError and LabError."""
    comparisons = lab.comparisons
    if pressed == ids.COMPARE_START:
        comparisons.start(asked_for(slug, form))
        return
    _, asked = _shown(lab, slug, form)
    if asked is None:
        return
    if pressed == ids.COMPARE_PAUSE:
        comparisons.resume(asked.key) if asked.paused else comparisons.pause(asked.key)
    elif pressed == ids.COMPARE_STOP:
        comparisons.stop(asked.key)
    elif pressed == ids.COMPARE_GO_ON:
        comparisons.go_on(asked.key)


def _register_poll(app: Dash, lab: Lab) -> None:
    names = tuple(parts.PARTS)

    @app.callback(
        Output(ANY_PLOT, "hidden"),
        Output(ANY_CHART, "figure"),
        Output(ANY_CHART, "style"),
        Output(ANY_NOTE, "children"),
        Output(ANY_BADGE, "children"),
        *[Output(*part) for part in names],
        Output(ids.COMPARE_SEEN, "data"),
        Input(ids.COMPARE_TICK, "n_intervals"),
        Input(ids.COMPARE_REFRESH, "data"),
        Input(ids.COMPARE_QUESTION, "data"),
        Input(ids.COMPARE_GUESSES, "data"),
        Input(ids.COMPARE_AXIS, "value"),
        Input(ids.TABS, "active_tab"),
        State(ids.COMPARE_SEEN, "data"),
        *[Input(name, "value") for name in FORM],
        running=[(Output(ids.COMPARE_TICK, "disabled"), True, False)],
    )
    def poll(
        tick: Any, refresh: Any, slug: Any, guesses: Any, axis: Any, tab: Any, seen: Any,
        *values: Any,
    ) -> tuple[Any, ...]:  # fmt: skip
        """What changed since the last poll, and nothing else."""
        rooms, *others = (len(places) for places in ctx.outputs_list[:4])
        if any(other != rooms for other in others):
            raise PreventUpdate
        seen = seen if isinstance(seen, dict) else {}
        if tab != TITLE:
            return _rest(names, seen)
        slug, form = _known(slug), _form(values)
        wanted, problems = _wanted(slug, form)
        asked = _asked(lab, slug, wanted)
        comparison = asked.comparison if asked else wanted
        guess = parts.guess_of(guesses, comparison) if comparison else None
        badges = [
            parts.badge(lab.comparisons.newest(item["id"].get("question")))
            for item in ctx.outputs_list[4]
        ]
        view = parts.Shown(
            comparison=comparison,
            asked=asked,
            guess=guess,
            problems=problems,
            form=form,
            cost=_cost(lab, asked, wanted),
        )
        fresh = parts.parts(view)
        digests = [parts.digest(part, value, view) for part, value in fresh.items()]
        plots, figures = _plots(view, axis, rooms, seen.get("plots"))
        stamp = polling.digest([digests, figures, badges, "open"])
        if seen.get("stamp") == stamp:
            raise PreventUpdate
        outputs = _changed(list(fresh.values()), digests, seen.get("parts"))
        return *plots, badges, *outputs, {"stamp": stamp, "parts": digests, "plots": figures}


def _rest(names: tuple[Any, ...], seen: dict[str, Any]) -> tuple[Any, ...]:
    """While another tab is open the clock rests, and is set again when this one is opened."""
    if seen.get("stamp") == 0:
        raise PreventUpdate
    nothing = [[no_update] * len(outputs) for outputs in ctx.outputs_list[:5]]
    clock = (ids.COMPARE_TICK, "interval")
    rest = [RESTING if part == clock else no_update for part in names]
    known = list(seen.get("parts") or [])
    if len(known) == len(names):
        known[names.index(clock)] = 0
    return *nothing, *rest, seen | {"stamp": 0, "parts": known}


def _changed(values: list[Any], digests: list[int], known: Any) -> list[Any]:
    """The values whose digest is another than the one known for the same place."""
    same = isinstance(known, list) and len(known) == len(digests)
    before = known if same else [None] * len(digests)
    return [
        no_update if old == new else value
        for value, old, new in zip(values, before, digests, strict=True)
    ]


def _plots(
    view: parts.Shown, axis: Any, rooms: int, known: Any
) -> tuple[list[list[Any]], list[int]]:
    """What changed in the places for charts: hidden, figure, style and note of each."""
    chosen: Axis = next((one for one in AXES if one == axis), AXES[0])
    found: list[Any] = view.outcome.plots(chosen)[:rooms] if view.outcome else []
    found += [None] * (rooms - len(found))
    key = f"compare {view.asked.key if view.asked else ''}"
    digests = [plot_digest(key, plot) for plot in found]
    same = (no_update,) * 4
    figures = [
        same if place is no_update else drawn(found[place], key)
        for place in _changed(list(range(rooms)), digests, known)
    ]
    return [list(each) for each in zip(*figures, strict=True)] or [[], [], [], []], digests


def _cost(lab: Lab, asked: Asked | None, wanted: Comparison | None) -> str:
    """What a start would take, where nothing is being compared."""
    if wanted is None or (asked and asked.busy):
        return ""
    try:
        lab.comparisons.check(wanted)
        return parts.cost(lab.comparisons.cost(wanted), wanted)
    except ConfigError as error:
        return str(error)
