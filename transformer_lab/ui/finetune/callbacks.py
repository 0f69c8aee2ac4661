"""The Fine-tune tab: a base, a text and a method in; a run, both losses and both texts out.

Its layout is in `layout.py`, what a poll brings in `poll.py`, what it says in `parts.py`.
"""

from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.lab.training.finetuned import cost_of, finetuning_setup, unknown_pieces
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import BASE, CheckpointError
from transformer_lab.runs.run import Run, RunNotFoundError
from transformer_lab.settings import ConfigError, checked, from_mapping
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.training.finetune import FULL_RATE, LORA_RATE, FineTuning
from transformer_lab.ui import form
from transformer_lab.ui.finetune import bases, ids, parts, poll
from transformer_lab.ui.finetune.layout import ASKED, NOTHING, layout
from transformer_lab.ui.ids import ComponentId
from transformer_lab.ui.web.values import Scalar

__all__ = ["TITLE", "layout", "register"]

TITLE = poll.TITLE
NEWEST = "newest"
LONGEST_STEP = 12  # digits
WRITTEN = 200  # tokens of each text side by side
ANY_SETTING = {"type": "finetune-setting", "group": ALL, "name": ALL}
ANY_PROBLEM = {"type": "finetune-problem", "group": ALL, "name": ALL}
ANY_FIELD = {"type": "finetune-field", "name": ALL}
METHOD = ids.finetune_setting("finetune", "method")
RATE = ids.finetune_setting("train", "learning_rate")


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    bases.register(app, lab)
    _register_moments(app, lab)
    _register_method(app)
    _register_form(app, lab)
    _register_commands(app, lab)
    _register_writing(app, lab)
    poll.register(app, lab)


def _register_moments(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "options": Output(ids.FINETUNE_STEP, "options"),
            "value": Output(ids.FINETUNE_STEP, "value"),
        },
        inputs={"base": Input(ids.FINETUNE_BASE, "value")},
    )
    def moments(base: Scalar) -> dict[str, Any]:
        """The moments of a base that can be fine-tuned."""
        newest = [{"value": NEWEST, "label": "the newest weights"}]
        try:
            steps = lab.models.moments(str(base))[::-1] if base else []
        except LabError:
            steps = []
        listed = [{"value": str(step), "label": f"step {step:,}"} for step in steps]
        return {"options": [*newest, *listed], "value": NEWEST}


def _register_method(app: Dash) -> None:
    @app.callback(
        Output(RATE, "value", allow_duplicate=True),
        Input(METHOD, "value"),
        State(RATE, "value"),
        prevent_initial_call=True,
    )
    def rate(method: Scalar, value: Scalar) -> Scalar:
        """Another method has another usual learning rate, unless one was typed."""
        usual = {form.written(ASKED["train.learning_rate"], r) for r in (FULL_RATE, LORA_RATE)}
        if value not in usual:
            raise PreventUpdate
        wanted = LORA_RATE if method == "lora" else FULL_RATE
        return form.written(ASKED["train.learning_rate"], wanted)

    @app.callback(
        output={"hidden": Output(ANY_FIELD, "hidden")},
        inputs={
            "method": Input(METHOD, "value"),
            "matrices": Input(ids.finetune_setting("lora", "matrices"), "value"),
            "unknown": Input(ids.finetune_setting("finetune", "unknown"), "value"),
        },
    )
    def needed(method: Scalar, matrices: Scalar, unknown: Scalar) -> dict[str, list[bool]]:
        """Only the settings that count."""
        names = [item["id"]["name"] for item in ctx.outputs_grouping["hidden"]]
        alone = {
            "finetune.frozen_layers": method == "frozen",
            "finetune.replacement": unknown == "replace",
            "lora.single": matrices == "single",
        }
        return {
            "hidden": [
                (name.startswith("lora.") and method != "lora") or not alone.get(name, True)
                for name in names
            ]
        }


def read(
    lab: Lab, base: Scalar, text: Scalar, values: list[Scalar], controls: list[ComponentId]
) -> tuple[Run, Setup, FineTuning]:
    """What the form asks for. Raises ConfigError, LabError and RunNotFoundError."""
    if not base:
        raise LabError(NOTHING)
    given = {
        key: value
        for item, value in zip(controls, values, strict=True)
        if (key := f"{item['group']}.{item['name']}") in ASKED
    }
    for key, value in given.items():
        checked(ASKED[key], value)
    own = {key: value for key, value in given.items() if not key.startswith("train.")}
    tuning = FineTuning().with_values(own)
    run = lab.runs.open(str(base))
    train = {key: value for key, value in given.items() if key.startswith("train.")}
    return run, finetuning_setup(run, str(text), tuning).with_values(train), tuning


def _step(value: Scalar) -> int | None:
    """The step that was chosen; None for the newest weights."""
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
        return None
    return int(value) if len(value) <= LONGEST_STEP else None


def _register_form(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "cost": Output(ids.FINETUNE_COST, "children"),
            "unknown": Output(ids.FINETUNE_UNKNOWN, "children"),
            "problems": Output(ANY_PROBLEM, "children"),
        },
        inputs={
            "base": Input(ids.FINETUNE_BASE, "value"),
            "text": Input(ids.FINETUNE_TEXT, "value"),
            "values": Input(ANY_SETTING, "value"),
        },
        state={"controls": State(ANY_SETTING, "id")},
    )
    def look(**form: Any) -> dict[str, Any]:
        """What it will cost, which characters are unknown, and what is wrong with the settings."""
        cost, problems = _cost(lab, form)
        marks = [item["id"] for item in ctx.outputs_grouping["problems"]]
        said = [problems.get(f"{item['group']}.{item['name']}", "") for item in marks]
        return {"cost": cost, "unknown": _unknown(lab, form), "problems": said}

    # A callback of its own: the browser drops the answer of one that is asked again meanwhile.
    @app.callback(
        Output(ids.FINETUNE_COST, "children", allow_duplicate=True),
        inputs={"tick": Input(ids.FINETUNE_TICK, "n_intervals")},
        state={
            "base": State(ids.FINETUNE_BASE, "value"),
            "text": State(ids.FINETUNE_TEXT, "value"),
            "values": State(ANY_SETTING, "value"),
            "controls": State(ANY_SETTING, "id"),
        },
        prevent_initial_call=True,
    )
    def cost(tick: int | None, **form: Any) -> list[html.Div] | str:
        """What it will cost, once more is measured."""
        return _cost(lab, form)[0]


def _cost(lab: Lab, form: dict[str, Any]) -> tuple[list[html.Div] | str, dict[str, str]]:
    """What the fine-tuning in the form costs, or why it cannot begin; what is wrong, by setting."""
    try:
        run, setup, tuning = read(lab, **form)
        lab.trainings.check(setup)
        cost = cost_of(lab.costs, lab.texts, setup, run.manifest, tuning)
    except ConfigError as error:
        return ([] if error.field in ASKED else str(error)), {error.field: str(error)}
    except (LabError, RunNotFoundError) as error:
        return str(error), {}
    return parts.cost_lines(cost), {}


def _unknown(lab: Lab, form: dict[str, Any]) -> str:
    """Which characters of the text the base does not know; empty where the form is wrong."""
    try:
        run, setup, tuning = read(lab, **form)
        pieces = unknown_pieces(lab.texts, setup.data.corpus, run.manifest)
    except (ConfigError, LabError, RunNotFoundError):
        return ""
    return parts.unknown_words(pieces, tuning.unknown)


def _register_commands(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "message": Output(ids.FINETUNE_MESSAGE, "children"),
            "refresh": Output(ids.FINETUNE_REFRESH, "data"),
        },
        inputs={
            "presses": [
                Input(one, "n_clicks")
                for one in (ids.FINETUNE_START, ids.FINETUNE_LATER, ids.FINETUNE_STOP)
            ]
        },
        state={
            "form": {
                "base": State(ids.FINETUNE_BASE, "value"),
                "text": State(ids.FINETUNE_TEXT, "value"),
                "values": State(ANY_SETTING, "value"),
                "controls": State(ANY_SETTING, "id"),
            },
            "step": State(ids.FINETUNE_STEP, "value"),
            "shown": State(ids.FINETUNE_SHOWN, "value"),
            "refresh": State(ids.FINETUNE_REFRESH, "data"),
        },
        prevent_initial_call=True,
    )
    def command(
        presses: list[int | None],
        form: dict[str, Any],
        step: Scalar,
        shown: Scalar,
        refresh: int | None,
    ) -> dict[str, Any]:
        """Start, queue or stop, or say in one sentence why not."""
        message = ""
        try:
            if ctx.triggered_id == ids.FINETUNE_STOP:
                lab.trainings.stop(run_id=str(shown) if shown else None)
            else:
                run, setup, tuning = read(lab, **form)
                later = ctx.triggered_id == ids.FINETUNE_LATER
                lab.trainings.finetune(run.id, _step(step), setup, tuning, later=later)
                waiting = len(lab.trainings.queue.list())
                message = f"{waiting} in the queue (Runs tab)." if later else ""
        except (ConfigError, LabError, RunNotFoundError) as error:
            return {"message": str(error), "refresh": no_update}
        return {"message": message, "refresh": (refresh or 0) + 1}


def _register_writing(app: Dash, lab: Lab) -> None:
    @app.callback(
        output={
            "writing": Output(ids.FINETUNE_WRITING, "data"),
            "message": Output(ids.FINETUNE_WRITE_MESSAGE, "children"),
            "prompt": Output(ids.FINETUNE_PROMPT, "value"),
        },
        inputs={"pressed": Input(ids.FINETUNE_WRITE, "n_clicks")},
        state={
            "prompt": State(ids.FINETUNE_PROMPT, "value"),
            "seed": State(ids.FINETUNE_SEED, "value"),
            "shown": State(ids.FINETUNE_SHOWN, "value"),
        },
        prevent_initial_call=True,
    )
    def write(pressed: int | None, prompt: Scalar, seed: Scalar, shown: Scalar) -> dict[str, Any]:
        """Let the base and what became of it write, with the same prompt and seed."""
        try:
            if not shown:
                raise LabError(parts.NO_RUN)
            run = lab.runs.open(str(shown))
            prompt = str(prompt or "") or lab.models.prompt(run.id)
            config = from_mapping(
                SampleConfig, {"prompt": prompt, "length": WRITTEN, "seed": seed or ""}
            )
            base = lab.models.stored.read(run, run.checkpoint(BASE))
            made = [
                lab.writings.start(snapshot, config)
                for snapshot in (base, lab.models.snapshot(run.id))
            ]
        except (
            ConfigError, UnknownTextError, LabError, RunNotFoundError, CheckpointError
        ) as error:  # fmt: skip
            return {"writing": no_update, "message": str(error), "prompt": no_update}
        return {"writing": {"shown": [one.id for one in made]}, "message": "", "prompt": prompt}
