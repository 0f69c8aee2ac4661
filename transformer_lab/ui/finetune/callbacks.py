"""The Fine-tune tab: a base, a text and a method in; a run, both losses and both texts out.

Its layout is in `layout.py`, what it says in `parts.py`.
"""

from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import UNTRAINED, Lab, LabError
from transformer_lab.lab.training.finetuned import cost_of, finetuning_setup, unknown_pieces
from transformer_lab.lab.writing import Writing
from transformer_lab.recipes import Setup
from transformer_lab.runs.checkpoint import BASE, CheckpointError
from transformer_lab.runs.run import Run, RunNotFoundError
from transformer_lab.settings import ConfigError, checked, from_mapping
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.training.finetune import FULL_RATE, LORA_RATE, FineTuning
from transformer_lab.ui import form, ids, polling, words
from transformer_lab.ui.charts.training import blank
from transformer_lab.ui.finetune import parts
from transformer_lab.ui.finetune.layout import ASKED, NOTHING, RESTING, layout
from transformer_lab.ui.train import live

__all__ = ["TITLE", "layout", "register"]

TITLE = "Fine-tune"
NEWEST = "newest"
FAST, SLOW = 400, 2000  # milliseconds between polls, while something goes on and while not
LONGEST_STEP = 12  # digits
WRITTEN = 200  # tokens of each text side by side
ANY_SETTING = {"type": "finetune-setting", "group": ALL, "name": ALL}
ANY_PROBLEM = {"type": "finetune-problem", "group": ALL, "name": ALL}
METHOD = ids.finetune_setting("finetune", "method")
RATE = ids.finetune_setting("train", "learning_rate")


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_choices(app, lab)
    _register_form(app, lab)
    _register_commands(app, lab)
    _register_writing(app, lab)
    _register_poll(app, lab)


def _register_choices(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.FINETUNE_STEP, "options"),
        Output(ids.FINETUNE_STEP, "value"),
        Input(ids.FINETUNE_BASE, "value"),
    )
    def moments(base: Any) -> tuple[list[dict[str, Any]], Any]:
        """The moments of a base that can be fine-tuned."""
        newest = [{"value": NEWEST, "label": "the newest weights"}]
        try:
            steps = lab.models.moments(str(base))[::-1] if base else []
        except LabError:
            steps = []
        return [*newest, *[{"value": str(s), "label": f"step {s:,}"} for s in steps]], NEWEST

    @app.callback(
        Output(RATE, "value", allow_duplicate=True),
        Input(METHOD, "value"),
        State(RATE, "value"),
        prevent_initial_call=True,
    )
    def rate(method: Any, value: Any) -> Any:
        """Another method wants another learning rate, unless one was typed."""
        usual = {form.written(ASKED["train.learning_rate"], r) for r in (FULL_RATE, LORA_RATE)}
        if value not in usual:
            raise PreventUpdate
        wanted = LORA_RATE if method == "lora" else FULL_RATE
        return form.written(ASKED["train.learning_rate"], wanted)

    @app.callback(
        Output({"type": "finetune-field", "name": ALL}, "hidden"),
        Input(METHOD, "value"),
    )
    def needed(method: Any) -> list[bool]:
        """Only the settings that the method has."""
        names = [item["id"]["name"] for item in ctx.outputs_list]
        return [
            (name.startswith("lora.") and method != "lora")
            or (name == "finetune.frozen_layers" and method != "frozen")
            for name in names
        ]


def read(
    lab: Lab, base: Any, text: Any, values: Any, control_ids: Any
) -> tuple[Run, Setup, FineTuning]:
    """What the form asks for. Raises ConfigError, LabError and RunNotFoundError."""
    if not base:
        raise LabError(NOTHING)
    given = {
        key: value
        for item, value in zip(control_ids, values, strict=True)
        if (key := f"{item.get('group')}.{item.get('name')}") in ASKED
    }
    for key, value in given.items():
        checked(ASKED[key], value)
    own = {key: value for key, value in given.items() if not key.startswith("train.")}
    tuning = FineTuning().with_values(own)
    run = lab.runs.open(str(base))
    train = {key: value for key, value in given.items() if key.startswith("train.")}
    return run, finetuning_setup(run, str(text), tuning).with_values(train), tuning


def _step(value: Any) -> int | None:
    """The step that was chosen; None for the newest weights."""
    written = isinstance(value, str) and value.isascii() and value.isdigit()
    return int(value) if written and len(value) <= LONGEST_STEP else None


def _register_form(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.FINETUNE_COST, "children"),
        Output(ids.FINETUNE_UNKNOWN, "children"),
        Output(ANY_PROBLEM, "children"),
        Input(ids.FINETUNE_BASE, "value"),
        Input(ids.FINETUNE_TEXT, "value"),
        Input(ANY_SETTING, "value"),
        Input(ids.FINETUNE_TICK, "n_intervals"),
        State(ANY_SETTING, "id"),
    )
    def look(base: Any, text: Any, values: Any, tick: Any, control_ids: Any) -> tuple[Any, ...]:
        """What it will cost, which characters are unknown, and what is wrong with the settings."""
        marks = [x["id"] for x in ctx.outputs_list[2]]
        ticked = ctx.triggered_id == ids.FINETUNE_TICK
        problems: dict[str, str] = {}
        lines: Any = []
        unknown = ""
        try:
            run, setup, tuning = read(lab, base, text, values, control_ids)
            if not ticked:
                pieces = unknown_pieces(lab.texts, setup.data.corpus, run.manifest)
                leave_out = tuning.finetune.unknown == "leave_out"
                unknown = parts.unknown_words(pieces, leave_out=leave_out)
            lab.trainings.check(setup)
            lines = parts.cost_lines(cost_of(lab.costs, lab.texts, setup, run.manifest, tuning))
        except ConfigError as error:
            problems = {error.field: str(error)}
            if error.field not in ASKED:
                lines = str(error)
        except (LabError, RunNotFoundError) as error:
            lines = str(error)
        if ticked:
            return lines, no_update, [no_update] * len(marks)
        return lines, unknown, [problems.get(f"{x['group']}.{x['name']}", "") for x in marks]


def _register_commands(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.FINETUNE_MESSAGE, "children"),
        Output(ids.FINETUNE_REFRESH, "data"),
        Input(ids.FINETUNE_START, "n_clicks"),
        Input(ids.FINETUNE_LATER, "n_clicks"),
        Input(ids.FINETUNE_STOP, "n_clicks"),
        State(ids.FINETUNE_BASE, "value"),
        State(ids.FINETUNE_STEP, "value"),
        State(ids.FINETUNE_TEXT, "value"),
        State(ANY_SETTING, "value"),
        State(ANY_SETTING, "id"),
        State(ids.FINETUNE_SHOWN, "value"),
        State(ids.FINETUNE_REFRESH, "data"),
        prevent_initial_call=True,
    )
    def command(*args: Any) -> tuple[Any, Any]:
        """Start, queue or stop, or say in one sentence why not."""
        base, step, text, values, control_ids, shown, refresh = args[3:]
        message = ""
        try:
            if ctx.triggered_id == ids.FINETUNE_STOP:
                lab.trainings.stop(run_id=str(shown) if shown else None)
            else:
                run, setup, tuning = read(lab, base, text, values, control_ids)
                later = ctx.triggered_id == ids.FINETUNE_LATER
                lab.trainings.finetune(run.id, _step(step), setup, tuning, later=later)
                waiting = len(lab.trainings.queue.list())
                message = f"{waiting} in the queue (Runs tab)." if later else ""
        except (ConfigError, LabError, RunNotFoundError) as error:
            return str(error), no_update
        return message, (refresh or 0) + 1


def _register_writing(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.FINETUNE_WRITING, "data"),
        Output(ids.FINETUNE_WRITE_MESSAGE, "children"),
        Output(ids.FINETUNE_PROMPT, "value"),
        Input(ids.FINETUNE_WRITE, "n_clicks"),
        State(ids.FINETUNE_PROMPT, "value"),
        State(ids.FINETUNE_SEED, "value"),
        State(ids.FINETUNE_SHOWN, "value"),
        prevent_initial_call=True,
    )
    def write(pressed: Any, prompt: Any, seed: Any, shown: Any) -> tuple[Any, Any, Any]:
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
            return no_update, str(error), no_update
        return {"shown": [writing.id for writing in made]}, "", prompt


def _register_poll(app: Dash, lab: Lab) -> None:
    outputs = (
        (ids.FINETUNE_BASE, "options"),
        (ids.FINETUNE_BASE, "value"),
        (ids.FINETUNE_SHOWN, "options"),
        (ids.FINETUNE_SHOWN, "value"),
        (ids.FINETUNE_STATE, "children"),
        (ids.FINETUNE_LOSSES, "figure"),
        (ids.FINETUNE_SUM, "children"),
        (ids.FINETUNE_STOP, "disabled"),
        (ids.FINETUNE_CHANGED, "children"),
        (ids.FINETUNE_NORMS, "figure"),
        (ids.FINETUNE_SINGULAR, "figure"),
        (ids.FINETUNE_TEXT_1, "children"),
        (ids.FINETUNE_TEXT_2, "children"),
        (ids.FINETUNE_TICK, "interval"),
    )

    @app.callback(
        *[Output(*part) for part in outputs],
        Output(ids.FINETUNE_SEEN, "data"),
        Input(ids.FINETUNE_TICK, "n_intervals"),
        Input(ids.FINETUNE_REFRESH, "data"),
        Input(ids.FINETUNE_SHOWN, "value"),
        Input(ids.FINETUNE_WRITING, "data"),
        Input(ids.TABS, "active_tab"),
        State(ids.FINETUNE_BASE, "value"),
        State(ids.FINETUNE_SEEN, "data"),
        running=[(Output(ids.FINETUNE_TICK, "disabled"), True, False)],
    )
    def poll(
        tick: Any, refresh: Any, shown: Any, writing: Any, tab: Any, base: Any, seen: Any
    ) -> tuple[Any, ...]:
        """What changed since the last poll, and nothing else."""
        if tab != TITLE:
            return *[no_update] * (len(outputs) - 1), RESTING, no_update
        before = seen if isinstance(seen, dict) else {}
        started = refresh != before.get("refresh") and "refresh" in before
        run = _run_shown(lab, shown, newest=started)
        found = _found(lab, base, run, before)
        texts = [_text(lab.writings.find(name)) for name in (writing or {}).get("shown", [])[:2]]
        texts += [("", True)] * (2 - len(texts))
        busy = found.pop("busy") or not all(done for _, done in texts)
        values = [*found.values(), *[text for text, _ in texts], FAST if busy else SLOW]
        digests = [None if value is no_update else polling.digest(value) for value in values]
        known = before.get("parts")
        if not isinstance(known, list) or len(known) != len(values):
            known = [None] * len(values)
        fresh = [
            no_update if new is None or new == old else value
            for value, new, old in zip(values, digests, known, strict=True)
        ]
        kept = [old if new is None else new for new, old in zip(digests, known, strict=True)]
        return *fresh, {"parts": kept, "refresh": refresh, "changes": _stamp(lab, run)}


def _run_shown(lab: Lab, shown: Any, *, newest: bool) -> str:
    """The fine-tuned run to show: the one chosen, the one under way, or the newest."""
    tuned = [summary.id for summary in lab.runs.all() if summary.base]
    current = lab.trainings.current
    under_way = current.status.run_id if current and current.trained else ""
    if under_way and (newest or not shown):
        return under_way
    if shown in tuned and not newest:
        return str(shown)
    return under_way or (tuned[0] if tuned else "")


def _found(lab: Lab, base: Any, shown: str, before: dict[str, Any]) -> dict[str, Any]:
    """Everything on the right and the choices on the left, in the order of the outputs."""
    bases = {key: name for key, name in lab.models.writers().items() if key != UNTRAINED}
    summaries = [one for one in lab.runs.all() if one.base]
    tuned = {one.id: f"{one.name} · {words.STATES[one.state]}" for one in summaries}
    if shown:
        tuned.setdefault(shown, shown)
    current = lab.trainings.current
    preparing = bool(current and current.busy and not current.status.run_id)
    live_run = lab.trainings.live(shown) if shown else None
    busy = preparing or bool(live_run and live_run.busy)
    return {
        "busy": busy,
        "bases": _options(bases),
        "base": base if base in bases else next(iter(bases), None),
        "tuned": _options(tuned),
        "shown": shown or None,
        **_of_run(lab, shown, busy, before),
    }


def _of_run(lab: Lab, shown: str, busy: bool, before: dict[str, Any]) -> dict[str, Any]:
    """What is said of the run that is shown."""
    blanks = {
        "state": parts.NO_RUN,
        "losses": blank("Validation loss, nats per token"),
        "sum": "",
        "stop": not busy,
        "changed": "",
        "norms": blank("Norm of B A, by layer"),
        "singular": blank("Singular values of B A, over the largest"),
    }
    current = lab.trainings.current
    if current is not None and not shown and (current.busy or current.status.reason):
        return blanks | {"state": live.state_line(lab.runs.view(""))}
    try:
        run = lab.runs.open(shown) if shown else None
        if run is None or run.manifest.get("finetune") is None:
            return blanks
        figure, told = parts.course(run)
        state = [*live.state_line(lab.runs.view(shown)), parts.about(lab, run)]
        found = blanks | {"state": state, "losses": figure, "sum": told}
        if before.get("changes") == _stamp(lab, shown):
            return found | dict.fromkeys(("changed", "norms", "singular"), no_update)
        changed, norms, singular = parts.changes(run)
        return found | {"changed": changed, "norms": norms, "singular": singular}
    except RunNotFoundError as error:
        return blanks | {"state": str(error)}


def _stamp(lab: Lab, shown: str) -> str:
    """Changes when another save of the run shown can be looked at."""
    try:
        saves = lab.runs.open(shown).checkpoints() if shown else []
    except RunNotFoundError:
        saves = []
    return f"{shown} {saves[-1].name if saves else ''}"


def _options(found: dict[str, str]) -> list[dict[str, str]]:
    return [{"value": key, "label": name} for key, name in found.items()]


def _text(writing: Writing | None) -> tuple[str, bool]:
    """A text so far, and whether it is done."""
    if writing is None:
        return "", True
    done = writing.job.done
    return writing.config.prompt + "".join(one.text for one in writing.since()[0]), done
