"""The Generate tab: a prompt, how to draw, the text as it is made, and what lies behind each token.

Its layout is in `ui/generate/layout.py`; `texts.py` shows the texts, `branches.py` goes on from a
token, `xray.py` marks tokens and `token.py` takes one apart.
"""

from dataclasses import replace
from typing import TypedDict

from dash import ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.writing import Writing
from transformer_lab.recipes import load_recipes
from transformer_lab.runs.run import RunNotFoundError
from transformer_lab.settings import ConfigError
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui import moment_bar
from transformer_lab.ui.generate import adapters, branches, controls, ids, texts, token
from transformer_lab.ui.generate.controls import PROMPT, Scalar, config_of, marks
from transformer_lab.ui.generate.layout import NOTHING, layout
from transformer_lab.ui.generate.state import Given, Leaf, Shown, leaf, stop
from transformer_lab.ui.moment_bar import At
from transformer_lab.ui.train import ids as train_ids

__all__ = ["TITLE", "layout", "register"]

TITLE = "Generate"
# Buttons of Train mean its run.
OF_THE_RUN_SHOWN = (train_ids.AFTER_GENERATE, train_ids.GENERATE_NOW)
Option = dict[str, str]


class Asked(TypedDict):
    """What stands in the controls when a text is asked for."""

    settings: dict[str, Scalar]
    at: At | None
    shown: str | None  # the run on the Train tab
    chosen: adapters.Chosen | None
    against: Scalar
    against_step: Scalar


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_prompt(app, lab)
    _register_begin(app, lab)
    adapters.register(app, lab)
    branches.register(app, lab)
    texts.register(app, lab)
    _register_play(app, lab)
    token.register(app, lab)
    _register_against(app, lab)


def _register_prompt(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.PROMPT_GIVEN, "data"),
        inputs={"at": Input(shared_ids.MOMENT_AT, "data")},
        state={"prompt": State(PROMPT, "value"), "known": State(ids.PROMPT_GIVEN, "data")},
        prevent_initial_call=True,
    )
    def given(at: At | None, prompt: Scalar, known: Given | None) -> Given:
        """Another model: a prompt of its own, unless one was typed."""
        run, _ = moment_bar.chosen(at)
        recipes = {recipe.setup.sample.prompt for recipe in load_recipes().values()}
        untouched = {known["prompt"] if known else None, *recipes}
        if (known and known["run"] == run) or prompt not in untouched:
            raise PreventUpdate
        try:
            fresh = lab.models.prompt(run)
        except (LabError, RunNotFoundError):
            raise PreventUpdate from None
        return {"run": run, "prompt": fresh, "replaces": str(prompt)}

    # The browser puts it there, and only in place of what it was asked for: meanwhile one may type.
    app.clientside_callback(
        ClientsideFunction("generate", "given"),
        Output(PROMPT, "value", allow_duplicate=True),
        Input(ids.PROMPT_GIVEN, "data"),
        State(PROMPT, "value"),
        prevent_initial_call=True,
    )


def _register_begin(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "writing": Output(ids.WRITING, "data"),
            "message": Output(ids.GENERATE_MESSAGE, "children"),
            "problems": controls.PROBLEMS,
            "drop_hidden": Output(ids.DROP_UNKNOWN, "hidden"),
            "prompt": Output(PROMPT, "value", allow_duplicate=True),
            "tree": Output(ids.WRITINGS, "data"),
        },
        inputs={
            "presses": [
                Input(button, "n_clicks")
                for button in (ids.GENERATE, ids.DROP_UNKNOWN, *OF_THE_RUN_SHOWN)
            ]
        },
        state={
            "asked": {
                "settings": controls.STATES,
                "at": State(shared_ids.MOMENT_AT, "data"),
                "shown": State(train_ids.RUN_SHOWN, "data"),
                "chosen": adapters.STATES,
                "against": State(ids.AGAINST, "value"),
                "against_step": State(ids.AGAINST_STEP, "value"),
            },
            "previous": State(ids.WRITING, "data"),
            "tree": State(ids.WRITINGS, "data"),
        },
        prevent_initial_call=True,
    )
    def begin(
        presses: list[int | None], asked: Asked, previous: Shown | None, tree: list[Leaf] | None
    ) -> dict[str, object]:
        """Generate, or say in one sentence why not."""
        stop(lab, previous)
        try:
            made = _started(lab, asked)
        except (UnknownTextError, SettingsError, ConfigError, LabError) as error:
            return _refused(error)
        prompt = made[0].config.prompt
        return {
            "writing": {"shown": [writing.id for writing in made]},
            "message": "",
            "problems": marks({}),
            "drop_hidden": True,
            "prompt": no_update if ctx.triggered_id == ids.GENERATE else prompt,
            "tree": [*(tree or []), *[leaf(writing) for writing in made]],
        }


def _started(lab: Lab, asked: Asked) -> list[Writing]:
    """The text that the pressed button asks for, and the one beside it if there is to be one.

    Raises UnknownTextError, SettingsError, ConfigError or LabError.
    """
    config = _checked(asked["settings"])
    if ctx.triggered_id in OF_THE_RUN_SHOWN:
        name = asked["shown"] or moment_bar.NEWEST
        config = _with_prompt(lab, name, config)
        return [lab.writings.start(adapters.snapshot(lab, name, None, None), config)]
    name, step = moment_bar.chosen(asked["at"])
    if ctx.triggered_id == ids.DROP_UNKNOWN:
        config = lab.models.without_unknown(name, config)
    made = [lab.writings.start(adapters.snapshot(lab, name, step, asked["chosen"]), config)]
    if asked["against"] not in (None, NOTHING):
        made.append(_second(lab, str(asked["against"]), asked["against_step"], config))
    return made


def _with_prompt(lab: Lab, name: str, config: SampleConfig) -> SampleConfig:
    """The settings with the model's own prompt, unless one was typed that it can read."""
    snapshot = lab.models.snapshot(name)
    recipes = {recipe.setup.sample.prompt for recipe in load_recipes().values()}
    if config.prompt not in recipes and not snapshot.tokenizer.unknown(config.prompt):
        return config
    return replace(config, prompt=lab.models.prompt(name))


class SettingsError(Exception):
    """Settings that cannot be used: `problems` by dotted name."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("Correct the marked settings first.")
        self.problems = problems


def _checked(settings: dict[str, Scalar]) -> SampleConfig:
    """The settings of the controls. Raises SettingsError."""
    config, problems = config_of(settings)
    if config is None:
        raise SettingsError(problems)
    return config


def _second(lab: Lab, run: str, step: Scalar, config: SampleConfig) -> Writing:
    """The text beside the first: of another model, or another checkpoint."""
    at = int(step) if isinstance(step, str) and step.isdigit() else None
    return lab.writings.start(lab.models.snapshot(run, at), config)


def _refused(error: Exception) -> dict[str, object]:
    """Why nothing is generated, at the control that it is about."""
    problems: dict[str, str] = {}
    message = ""
    if isinstance(error, SettingsError):
        message, problems = str(error), error.problems
    elif isinstance(error, UnknownTextError):
        problems = {"sample.prompt": str(error)}
    elif isinstance(error, ConfigError):
        problems = {error.field: str(error)}
    else:
        message = str(error)
    return {
        "writing": no_update,
        "message": message,
        "problems": marks(problems),
        "drop_hidden": not isinstance(error, UnknownTextError),
        "prompt": no_update,
        "tree": no_update,
    }


def _register_play(app: Dash, lab: Lab) -> None:
    app.clientside_callback(
        ClientsideFunction("generate", "played"),
        Output(ids.PLAYED, "data"),
        Input(shared_ids.MOMENT_AT, "data"),
        Input(shared_ids.PLAY_TICK, "disabled"),
        State(shared_ids.TABS, "active_tab"),
        prevent_initial_call=True,
    )

    @app.callback(
        output={
            "writing": Output(ids.WRITING, "data", allow_duplicate=True),
            "message": Output(ids.GENERATE_MESSAGE, "children", allow_duplicate=True),
        },
        inputs={"at": Input(ids.PLAYED, "data")},
        state={"settings": controls.STATES, "previous": State(ids.WRITING, "data")},
        prevent_initial_call=True,
    )
    def rewrite(
        at: At | None, settings: dict[str, Scalar], previous: Shown | None
    ) -> dict[str, object]:
        """The text of the next checkpoint, from the same prompt and seed, or why there is none."""
        if at is None:
            raise PreventUpdate
        stop(lab, previous)
        try:
            config = _checked(settings)
            writing = lab.writings.start(lab.models.snapshot(*moment_bar.chosen(at)), config)
        except (UnknownTextError, SettingsError, ConfigError, LabError) as error:
            return {"writing": (previous or {}) | {"failed": True}, "message": str(error)}
        return {"writing": {"shown": [writing.id], "at": at}, "message": ""}


def _register_against(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.AGAINST, "options"),
        inputs={"options": Input(shared_ids.WRITER, "options")},
    )
    def models(options: list[Option] | None) -> list[Option]:
        """The same models as on the bar."""
        named = [option for option in options or [] if option["value"] != moment_bar.NEWEST]
        return [{"value": NOTHING, "label": "nothing"}, *named]

    @app.callback(
        output={
            "options": Output(ids.AGAINST_STEP, "options"),
            "value": Output(ids.AGAINST_STEP, "value"),
            "disabled": Output(ids.AGAINST_STEP, "disabled"),
        },
        inputs={"name": Input(ids.AGAINST, "value")},
    )
    def moments(name: Scalar) -> dict[str, object]:
        """The kept checkpoints of that model."""
        nothing = {"options": [], "value": "", "disabled": True}
        if name in (None, NOTHING):
            return nothing
        try:
            steps = lab.models.moments(str(name))
        except LabError:
            return nothing
        options = [{"value": str(step), "label": f"after step {step:,}"} for step in steps]
        return {"options": options[::-1], "value": str(steps[-1]), "disabled": False}
