"""The PCN Experiments tab: choose an experiment, guess, run it, and see what it measured.

Its layout is in `layout.py`, what is said of an experiment in `parts.py`.
"""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.experiments.catalogue import EXPERIMENTS
from transformer_lab.lab.experiments.trial import Trial
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.settings import Config, ConfigError, settings_of
from transformer_lab.ui import form, polling, words
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.experiments import ids, parts, summary
from transformer_lab.ui.experiments.layout import CARDS, layout
from transformer_lab.ui.ids import ComponentId
from transformer_lab.ui.results import parts as results
from transformer_lab.ui.results import poll as polls
from transformer_lab.ui.results.parts import Guesses
from transformer_lab.ui.results.poll import Seen
from transformer_lab.ui.web.values import Scalar

__all__ = ["TITLE", "layout", "register"]

TITLE = "PCN Experiments"
PAGE = ids.EXPERIMENT_PARTS
ANY_BUTTON = {"type": "experiment-button", "experiment": ALL}
ANY_BADGE = {"type": "experiment-badge", "experiment": ALL}
ANY_FIELDS = {"type": "experiment-fields", "experiment": ALL}
ANY_SETTING = {"type": "experiment-setting", "experiment": ALL, "name": ALL}
ANY_PROBLEM = {"type": "experiment-problem", "experiment": ALL, "name": ALL}
SETTINGS = {"values": State(ANY_SETTING, "value"), "controls": State(ANY_SETTING, "id")}


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_choice(app)
    _register_guess(app)
    _register_commands(app, lab)
    _register_defaults(app)
    _register_poll(app, lab)
    summary.register(app)
    for card in CARDS:
        card.register(app, lab)


def _known(key: str | None) -> str:
    return key if key is not None and key in EXPERIMENTS else next(iter(EXPERIMENTS))


def _register_choice(app: Dash) -> None:
    @app.callback(
        output={
            "key": Output(ids.EXPERIMENT, "data"),
            "title": Output(ids.EXPERIMENT_TITLE, "children"),
            "question": Output(ids.EXPERIMENT_QUESTION, "children"),
            "prompt": Output(PAGE.prompt, "children"),
            "equations": Output(ids.EXPERIMENT_EQUATIONS, "children"),
            "leak": Output(ids.EXPERIMENT_LEAK, "children"),
            "leak_hidden": Output(ids.EXPERIMENT_LEAK_BOX, "hidden"),
            "current": Output(ANY_BUTTON, "aria-current"),
            "fields_hidden": Output(ANY_FIELDS, "hidden"),
        },
        inputs={
            "presses": Input(ANY_BUTTON, "n_clicks"),
            "tab": Input(shared_ids.TABS, "active_tab"),
        },
        state={"key": State(ids.EXPERIMENT, "data")},
    )
    def choose(presses: list[int | None], tab: str | None, key: str | None) -> dict[str, Any]:
        """The tab was opened, or another experiment chosen: say what it is about."""
        pressed = ctx.triggered_id
        if tab != TITLE:
            raise PreventUpdate
        key = _known(pressed["experiment"] if isinstance(pressed, dict) else key)
        one = EXPERIMENTS[key]
        code = parts.leak(one)
        listed, fields = polls.listed("current"), polls.listed("fields_hidden")
        return {
            "key": key,
            "title": one.title,
            "question": one.question,
            "prompt": one.prediction.prompt,
            "equations": parts.equations(one),
            "leak": code,
            "leak_hidden": not code,
            "current": ["true" if item["experiment"] == key else "false" for item in listed],
            "fields_hidden": [item["experiment"] != key for item in fields],
        }


def _register_guess(app: Dash) -> None:
    @app.callback(
        output=Output(ids.GUESSES, "data"),
        inputs={"presses": [Input(one, "n_clicks") for one in (PAGE.guess, PAGE.show, PAGE.again)]},
        state={
            "option": State(PAGE.options, "value"),
            "key": State(ids.EXPERIMENT, "data"),
            "guesses": State(ids.GUESSES, "data"),
        },
        prevent_initial_call=True,
    )
    def guess(
        presses: list[int | None], option: Scalar, key: str | None, guesses: Guesses | None
    ) -> dict[str, int]:
        """A guess was made, given up, or taken back."""
        key = _known(key)
        kept = {
            other: found
            for other in EXPERIMENTS
            if (found := parts.guess_of(guesses, other)) is not None
        }
        question = EXPERIMENTS[key].prediction
        return results.after_press(PAGE, ctx.triggered_id, option, kept, key, question)

    @app.callback(
        output={
            "options": Output(PAGE.options, "options"),
            "value": Output(PAGE.options, "value"),
            "guess_hidden": Output(PAGE.guess, "hidden"),
            "show_hidden": Output(PAGE.show, "hidden"),
            "again_hidden": Output(PAGE.again, "hidden"),
        },
        inputs={"key": Input(ids.EXPERIMENT, "data"), "guesses": Input(ids.GUESSES, "data")},
    )
    def asked(key: str | None, guesses: Guesses | None) -> dict[str, Any]:
        """The answers to choose from, or the one that was chosen."""
        key = _known(key)
        return results.asked(EXPERIMENTS[key].prediction, parts.guess_of(guesses, key))

    app.clientside_callback(
        ClientsideFunction("pcn", "guessable"),
        Output(PAGE.guess, "disabled"),
        Output(PAGE.guess, "title"),
        Input(PAGE.options, "value"),
    )


def _register_commands(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "message": Output(PAGE.message, "children"),
            "problems": Output(ANY_PROBLEM, "children"),
            "refresh": Output(PAGE.refresh, "data"),
        },
        inputs={
            "start": Input(PAGE.start, "n_clicks"),
            "stop": Input(PAGE.stop, "n_clicks"),
            "pause": Input(ids.EXPERIMENT_PAUSE, "n_clicks"),
            "values": Input(ANY_SETTING, "value"),
        },
        state={
            "controls": State(ANY_SETTING, "id"),
            "key": State(ids.EXPERIMENT, "data"),
            "refresh": State(PAGE.refresh, "data"),
        },
        prevent_initial_call=True,
    )
    def command(
        start: int | None,
        stop: int | None,
        pause: int | None,
        values: list[Scalar],
        controls: list[ComponentId],
        key: str | None,
        refresh: int | None,
    ) -> dict[str, Any]:
        """Do what was pressed, and say at each control what is wrong there."""
        key = _known(key)
        settings, problems = _read(key, values, controls)
        message = ""
        try:
            if ctx.triggered_id == PAGE.stop:
                lab.trials.stop(key)
            elif ctx.triggered_id == ids.EXPERIMENT_PAUSE:
                lab.trials.pause_or_resume(key)
            elif ctx.triggered_id == PAGE.start:
                _start(lab, key, settings)
        except ConfigError as error:
            problems = {error.field: str(error)}
        except LabError as error:
            message = str(error)
        return {
            "message": message,
            "problems": [_at(item, key, problems) for item in polls.listed("problems")],
            "refresh": (refresh or 0) + 1 if isinstance(ctx.triggered_id, str) else no_update,
        }


def _register_defaults(app: Dash) -> None:
    @app.callback(
        output={"values": Output(ANY_SETTING, "value")},
        inputs={"press": Input(ids.EXPERIMENT_DEFAULTS, "n_clicks")},
        state={"key": State(ids.EXPERIMENT, "data")},
        prevent_initial_call=True,
    )
    def defaults(press: int | None, key: str | None) -> dict[str, Any]:
        """Put the settings of the experiment shown back to where they were."""
        key = _known(key)
        found = {one.name: form.written(one, one.default) for one in settings_of(_config(key))}
        return {
            "values": [
                found.get(item["name"], no_update) if item["experiment"] == key else no_update
                for item in polls.listed("values")
            ]
        }


def _config(key: str) -> type[Config]:
    config: type[Config] = EXPERIMENTS[key].settings
    return config


def _start(lab: Lab, key: str, settings: Config | None) -> None:
    if settings is None:
        raise LabError("Correct the marked settings first.")
    lab.trials.start(key, settings)


def _read(
    key: str, values: list[Scalar], controls: list[ComponentId]
) -> tuple[Config | None, dict[str, str]]:
    """The settings of an experiment as they stand in its controls, and what is wrong with them."""
    known = {setting.name: setting for setting in settings_of(_config(key))}
    given = [
        (known[item["name"]], value)
        for item, value in zip(controls, values, strict=False)
        if item["experiment"] == key and item["name"] in known
    ]
    return form.read_config(_config(key), given)


def _at(problem: ComponentId, key: str, problems: dict[str, str]) -> str:
    """What is wrong at one control."""
    if problem["experiment"] != key:
        return ""
    return problems.get(f"{_config(key).GROUP}.{problem['name']}", "")


def _register_poll(app: Dash, lab: Lab) -> None:
    @app.callback(
        output=polls.outputs(PAGE, ANY_BADGE, parts.PARTS),
        inputs={
            "tick": Input(PAGE.tick, "n_intervals"),
            "refresh": Input(PAGE.refresh, "data"),
            "key": Input(ids.EXPERIMENT, "data"),
            "guesses": Input(ids.GUESSES, "data"),
            "tab": Input(shared_ids.TABS, "active_tab"),
        },
        state={"seen": State(PAGE.seen, "data"), "given": SETTINGS},
        running=[(Output(PAGE.tick, "disabled"), True, False)],
    )
    def poll(
        tick: int | None,
        refresh: int | None,
        key: str | None,
        guesses: Guesses | None,
        tab: str | None,
        seen: Seen | None,
        given: dict[str, Any],
    ) -> dict[str, Any]:
        """What changed since the last poll, and nothing else."""
        if tab != TITLE:
            return polls.rest(seen)
        key = _known(key)
        guess, trial = parts.guess_of(guesses, key), lab.trials.find(key)
        badges = [
            results.badge(lab.trials.find(item["experiment"])) for item in polls.listed("badges")
        ]
        cost = _cost(lab, key, _read(key, **given)[0])
        stamp = polling.digest([key, guess, badges, cost, _stamp(trial)])
        if seen and seen.get("stamp") == stamp:
            raise PreventUpdate
        return polls.answer(
            key,
            parts.parts(key, trial, guess, cost),
            badges,
            trial.latest.plots() if trial and trial.latest and guess is not None else [],
            key=key,
            busy=trial is not None and trial.busy,
            seen=seen,
            stamp=stamp,
        )


def _stamp(trial: Trial | None) -> list[Any]:
    """What changes when there is something new of a trial."""
    if trial is None:
        return []
    return [trial.id, trial.version, trial.state, trial.paused, int(trial.seconds)]


def _cost(lab: Lab, key: str, settings: Config | None) -> str:
    """What an experiment will take, where that is known and may be much."""
    trial = lab.trials.find(key)
    if settings is None or (trial and trial.busy):
        return ""
    try:
        cost = lab.trials.cost(key, settings)
    except ConfigError as error:
        return str(error)
    said = []
    if cost and cost.seconds:
        memory = f" and {words.size(cost.memory)} of memory" if cost.memory else ""
        said.append(f"Will take about {words.duration(cost.seconds)}{memory} on this computer.")
    if kept := lab.trials.kept_seeds(key, settings):
        missing = getattr(settings, "seeds", kept) - kept
        said.append(f"Start keeps the {kept} seeds that are measured, and adds {missing}.")
    return " ".join(said)
