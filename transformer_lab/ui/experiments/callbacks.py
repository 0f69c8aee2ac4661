"""The PCN Experiments tab: choose an experiment, guess, run it, and see what it measured.

Its layout is in `layout.py`, what is said of an experiment in `parts.py`.
"""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.lab.experiments.trials import Trial
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.settings import ConfigError, settings_of
from transformer_lab.ui import form, ids, polling, words
from transformer_lab.ui.experiments import parts as pcn_parts
from transformer_lab.ui.experiments.layout import (
    CARDS,
    FAST,
    RESTING,
    SLOW,
    START_HELP,
    STOP_HELP,
    layout,
)

__all__ = ["TITLE", "layout", "register"]

TITLE = "PCN Experiments"
ANY_BUTTON = {"type": "experiment-button", "experiment": ALL}
ANY_BADGE = {"type": "experiment-badge", "experiment": ALL}
ANY_FIELDS = {"type": "experiment-fields", "experiment": ALL}
ANY_SETTING = {"type": "experiment-setting", "experiment": ALL, "name": ALL}
ANY_PROBLEM = {"type": "experiment-problem", "experiment": ALL, "name": ALL}
ANY_PLOT = {"type": "experiment-plot", "place": ALL}
ANY_CHART = {"type": "experiment-chart", "place": ALL}
ANY_NOTE = {"type": "experiment-note", "place": ALL}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_choice(app)
    _register_guess(app)
    _register_commands(app, lab)
    _register_defaults(app)
    _register_poll(app, lab)
    for card in CARDS:
        card.register(app, lab)


def _known(key: Any) -> str:
    return key if isinstance(key, str) and key in EXPERIMENTS else next(iter(EXPERIMENTS))


def _register_choice(app: Dash) -> None:
    @app.callback(
        Output(ids.EXPERIMENT, "data"),
        Output(ids.EXPERIMENT_TITLE, "children"),
        Output(ids.EXPERIMENT_QUESTION, "children"),
        Output(ids.EXPERIMENT_PROMPT, "children"),
        Output(ids.EXPERIMENT_EQUATIONS, "children"),
        Output(ids.EXPERIMENT_LEAK, "children"),
        Output(ids.EXPERIMENT_LEAK_BOX, "hidden"),
        Output(ANY_BUTTON, "aria-current"),
        Output(ANY_FIELDS, "hidden"),
        Input(ANY_BUTTON, "n_clicks"),
        Input(ids.TABS, "active_tab"),
        State(ids.EXPERIMENT, "data"),
    )
    def choose(presses: Any, tab: Any, key: Any) -> tuple[Any, ...]:
        """The tab was opened, or another experiment chosen: say what it is about."""
        pressed = ctx.triggered_id
        if tab != TITLE:
            raise PreventUpdate
        key = _known(pressed.get("experiment") if isinstance(pressed, dict) else key)
        one = EXPERIMENTS[key]
        listed = [item["id"].get("experiment") for item in ctx.outputs_list[7]]
        fields = [item["id"].get("experiment") for item in ctx.outputs_list[8]]
        code = pcn_parts.leak(one)
        return (
            key,
            one.title,
            one.question,
            one.prediction.prompt,
            pcn_parts.equations(one),
            code,
            not code,
            ["true" if other == key else "false" for other in listed],
            [other != key for other in fields],
        )


def _register_guess(app: Dash) -> None:
    @app.callback(
        Output(ids.GUESSES, "data"),
        Input(ids.EXPERIMENT_GUESS, "n_clicks"),
        Input(ids.EXPERIMENT_SHOW, "n_clicks"),
        Input(ids.EXPERIMENT_AGAIN, "n_clicks"),
        State(ids.EXPERIMENT_OPTIONS, "value"),
        State(ids.EXPERIMENT, "data"),
        State(ids.GUESSES, "data"),
        prevent_initial_call=True,
    )
    def guess(press: Any, show: Any, again: Any, option: Any, key: Any, guesses: Any) -> Any:
        """A guess was made, given up, or taken back."""
        key = _known(key)
        kept = {
            other: found
            for other in EXPERIMENTS
            if other != key and (found := pcn_parts.guess_of(guesses, other)) is not None
        }
        if ctx.triggered_id == ids.EXPERIMENT_AGAIN:
            return kept
        wanted = pcn_parts.UNGUESSED if ctx.triggered_id == ids.EXPERIMENT_SHOW else option
        if pcn_parts.guess_of({key: wanted}, key) is None:
            raise PreventUpdate
        return kept | {key: wanted}

    @app.callback(
        Output(ids.EXPERIMENT_OPTIONS, "options"),
        Output(ids.EXPERIMENT_OPTIONS, "value"),
        Output(ids.EXPERIMENT_GUESS, "hidden"),
        Output(ids.EXPERIMENT_SHOW, "hidden"),
        Output(ids.EXPERIMENT_AGAIN, "hidden"),
        Input(ids.EXPERIMENT, "data"),
        Input(ids.GUESSES, "data"),
    )
    def asked(key: Any, guesses: Any) -> tuple[Any, Any, bool, bool, bool]:
        """The answers to choose from, or the one that was chosen."""
        key = _known(key)
        guess = pcn_parts.guess_of(guesses, key)
        options = pcn_parts.options(EXPERIMENTS[key].prediction, guess)
        told = guess is not None
        return options, None if guess == pcn_parts.UNGUESSED else guess, told, told, not told

    app.clientside_callback(
        ClientsideFunction("pcn", "guessable"),
        Output(ids.EXPERIMENT_GUESS, "disabled"),
        Output(ids.EXPERIMENT_GUESS, "title"),
        Input(ids.EXPERIMENT_OPTIONS, "value"),
    )


def _register_commands(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.EXPERIMENT_MESSAGE, "children"),
        Output(ANY_PROBLEM, "children"),
        Output(ids.EXPERIMENT_REFRESH, "data"),
        Input(ids.EXPERIMENT_START, "n_clicks"),
        Input(ids.EXPERIMENT_STOP, "n_clicks"),
        Input(ANY_SETTING, "value"),
        State(ANY_SETTING, "id"),
        State(ids.EXPERIMENT, "data"),
        State(ids.EXPERIMENT_REFRESH, "data"),
        prevent_initial_call=True,
    )
    def command(
        start: Any, stop: Any, values: Any, control_ids: Any, key: Any, refresh: Any
    ) -> tuple[str, list[str], Any]:
        """Start, stop, or a setting changed: do it, and say at each control what is wrong."""
        key = _known(key)
        settings, problems = _read(key, values, control_ids)
        message = ""
        try:
            if ctx.triggered_id == ids.EXPERIMENT_STOP:
                lab.trials.stop(key)
            elif ctx.triggered_id == ids.EXPERIMENT_START:
                _start(lab, key, settings)
        except ConfigError as error:
            problems = {error.field: str(error)}
        except LabError as error:
            message = str(error)
        marks = [_at(item["id"], key, problems) for item in ctx.outputs_list[1]]
        pressed = isinstance(ctx.triggered_id, str)
        return message, marks, (refresh or 0) + 1 if pressed else no_update


def _register_defaults(app: Dash) -> None:
    @app.callback(
        Output(ANY_SETTING, "value"),
        Input(ids.EXPERIMENT_DEFAULTS, "n_clicks"),
        State(ids.EXPERIMENT, "data"),
        prevent_initial_call=True,
    )
    def defaults(press: Any, key: Any) -> list[Any]:
        """Put the settings of the experiment shown back to where they were."""
        key = _known(key)
        found = {setting.name: setting for setting in settings_of(EXPERIMENTS[key].settings)}

        def value(item: dict[str, Any]) -> Any:
            setting = found.get(item["id"].get("name"))
            if setting is None or item["id"].get("experiment") != key:
                return no_update
            return form.written(setting, setting.default)

        return [value(item) for item in ctx.outputs_list]


def _start(lab: Lab, key: str, settings: Any) -> None:
    if settings is None:
        raise LabError("Correct the marked settings first.")
    lab.trials.start(key, settings)


def _read(key: str, values: Any, control_ids: Any) -> tuple[Any, dict[str, str]]:
    """The settings of an experiment as they stand in its controls, and what is wrong with them."""
    known = {setting.name: setting for setting in settings_of(EXPERIMENTS[key].settings)}
    names = list(known)  # in which anything that a page may send can be looked for
    given = [
        (known[item["name"]], value)
        for item, value in zip(_listed(control_ids), _listed(values), strict=False)
        if isinstance(item, dict) and item.get("experiment") == key and item.get("name") in names
    ]
    return form.read_config(EXPERIMENTS[key].settings, given)


def _listed(sent: Any) -> list[Any]:
    return sent if isinstance(sent, list) else []


def _at(problem: dict[str, Any], key: str, problems: dict[str, str]) -> str:
    if problem.get("experiment") != key:
        return ""
    return problems.get(f"{EXPERIMENTS[key].settings.GROUP}.{problem.get('name')}", "")


def _register_poll(app: Dash, lab: Lab) -> None:
    parts = tuple(_parts(lab, next(iter(EXPERIMENTS)), None, ""))

    @app.callback(
        Output(ANY_PLOT, "hidden"),
        Output(ANY_CHART, "figure"),
        Output(ANY_CHART, "style"),
        Output(ANY_NOTE, "children"),
        Output(ANY_BADGE, "children"),
        *[Output(*part) for part in parts],
        Output(ids.EXPERIMENT_SEEN, "data"),
        Input(ids.EXPERIMENT_TICK, "n_intervals"),
        Input(ids.EXPERIMENT_REFRESH, "data"),
        Input(ids.EXPERIMENT, "data"),
        Input(ids.GUESSES, "data"),
        Input(ids.TABS, "active_tab"),
        State(ids.EXPERIMENT_SEEN, "data"),
        State(ANY_SETTING, "value"),
        State(ANY_SETTING, "id"),
        running=[(Output(ids.EXPERIMENT_TICK, "disabled"), True, False)],
    )
    def poll(
        tick: Any, refresh: Any, key: Any, guesses: Any, tab: Any, seen: Any,
        values: Any, control_ids: Any,
    ) -> tuple[Any, ...]:  # fmt: skip
        """What changed since the last poll, and nothing else."""
        rooms, *others = (len(places) for places in ctx.outputs_list[:4])
        if any(other != rooms for other in others):
            raise PreventUpdate
        listed = ctx.outputs_list[4]
        seen = seen if isinstance(seen, dict) else {}
        key = _known(key)
        guess = pcn_parts.guess_of(guesses, key)
        badges = [pcn_parts.badge(lab.trials.find(item["id"].get("experiment"))) for item in listed]
        trial = lab.trials.find(key)
        cost = _cost(lab, key, _read(key, values, control_ids)[0]) if tab == TITLE else ""
        stamp = polling.digest([tab == TITLE, rooms, key, guess, badges, cost, _stamp(trial)])
        if seen.get("stamp") == stamp:
            raise PreventUpdate
        if tab != TITLE:
            rest = [RESTING if part[0] == ids.EXPERIMENT_TICK else no_update for part in parts]
            nothing = [[no_update] * len(outputs) for outputs in ctx.outputs_list[:5]]
            return *nothing, *rest, seen | {"stamp": stamp}
        plots, drawn = _plots(key, trial if guess is not None else None, rooms, seen.get("plots"))
        fresh = _parts(lab, key, guess, cost)
        digests = [polling.digest(value) for value in fresh.values()]
        outputs = _changed(list(fresh.values()), digests, seen.get("parts"))
        return *plots, badges, *outputs, {"stamp": stamp, "parts": digests, "plots": drawn}


def _stamp(trial: Trial | None) -> list[Any]:
    """What changes when there is something new of a trial."""
    if trial is None:
        return []
    return [trial.id, trial.version, trial.state, int(trial.seconds)]


def _changed(values: list[Any], digests: list[int], known: Any) -> list[Any]:
    """The values whose digest is another than the one known for the same place."""
    before = (
        known if isinstance(known, list) and len(known) == len(digests) else [None] * len(digests)
    )
    return [
        no_update if old == new else value
        for value, old, new in zip(values, before, digests, strict=True)
    ]


def _plots(
    key: str, trial: Trial | None, rooms: int, known: Any
) -> tuple[list[list[Any]], list[int]]:
    """What changed in the places for charts: hidden, figure, style and note of each."""
    found: list[Any] = trial.latest.plots()[:rooms] if trial and trial.latest else []
    found += [None] * (rooms - len(found))
    digests = [pcn_parts.plot_digest(key, plot) for plot in found]
    same = (no_update,) * 4
    drawn = [
        same if place is no_update else pcn_parts.drawn(found[place], key)
        for place in _changed(list(range(rooms)), digests, known)
    ]
    return [list(each) for each in zip(*drawn, strict=True)] or [[], [], [], []], digests


def _cost(lab: Lab, key: str, settings: Any) -> str:
    """How long an experiment will take, where that is known and may be long."""
    trial = lab.trials.find(key)
    if settings is None or (trial and trial.busy):
        return ""
    try:
        seconds = lab.trials.estimated_seconds(key, settings)
    except ConfigError as error:
        return str(error)
    return f"Will take about {words.duration(seconds)} on this computer." if seconds else ""


def _parts(lab: Lab, key: str, guess: int | None, cost: str) -> dict[tuple[str, str], Any]:
    """Every part of the tab that may change besides charts and badges, by (id, property)."""
    one, trial = EXPERIMENTS[key], lab.trials.find(key)
    result = trial.latest.result if trial and trial.latest else None
    told = guess is not None and result is not None
    busy = trial is not None and trial.busy
    return {
        (ids.EXPERIMENT_STATE, "children"): pcn_parts.state(trial),
        (ids.EXPERIMENT_COST, "children"): cost,
        (ids.EXPERIMENT_GUESSED, "children"): pcn_parts.compared(one, trial, guess),
        (ids.EXPERIMENT_RESULT, "hidden"): not told,
        (ids.EXPERIMENT_HINT, "hidden"): told,
        (ids.EXPERIMENT_HINT, "children"): pcn_parts.hint(trial, guess),
        (ids.EXPERIMENT_VERDICT, "children"): one.verdict(result) if told else "",
        (ids.EXPERIMENT_TABLES, "children"): pcn_parts.tables(one.tables(result)) if told else [],
        (ids.EXPERIMENT_AWAY, "children"): pcn_parts.away(key),
        (ids.EXPERIMENT_START, "disabled"): busy,
        (ids.EXPERIMENT_START, "title"): "It is running: stop it first" if busy else START_HELP,
        (ids.EXPERIMENT_STOP, "disabled"): not busy,
        (ids.EXPERIMENT_STOP, "title"): STOP_HELP if busy else "Nothing is running here",
        (ids.EXPERIMENT_TICK, "interval"): FAST if busy else SLOW,
    }
