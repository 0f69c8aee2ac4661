"""The Generate tab: a prompt, how to draw, and the text as it is made."""

from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from transformer_lab.generation import SampleConfig
from transformer_lab.lab.lab import Lab, LabError
from transformer_lab.recipes import SETTINGS, load_recipes
from transformer_lab.settings import ConfigError, checked
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.ui import form, ids, moment_bar
from transformer_lab.ui.train_layout import opening

TITLE = "Generate"
ANY_SAMPLE_SETTING = {"type": "sample-setting", "name": ALL}
ANY_PROBLEM = {"type": "sample-problem", "group": "sample", "name": ALL}
EMPTY = "Press Generate: the text appears here as it is made."


def layout(lab: Lab) -> html.Div:
    """Controls on the left, the text on the right."""
    values = opening(lab, load_recipes())[1].values()
    sample = [setting for setting in SETTINGS.values() if setting.group == "sample"]
    return html.Div(
        [
            dcc.Store(id=ids.GENERATE_JOB),
            dcc.Interval(id=ids.GENERATE_TICK, interval=150, disabled=True),
            html.Section(
                [
                    html.Div(
                        [form.control(setting, values[setting.key]) for setting in sample],
                        className="fields",
                    ),
                    html.Div(id=ids.GENERATE_MESSAGE, className="message", role="alert"),
                    html.Button(
                        "Drop them and generate",
                        id=ids.DROP_UNKNOWN,
                        className="btn btn-outline-primary",
                        hidden=True,
                    ),
                    html.Button(
                        "Generate",
                        id=ids.GENERATE,
                        className="btn btn-primary",
                        title="Ctrl+Enter in the prompt does the same",
                    ),
                    html.Button(
                        "Stop",
                        id=ids.GENERATE_STOP,
                        className="btn btn-outline-secondary",
                        disabled=True,
                    ),
                ],
                className="column controls card",
            ),
            html.Section(
                html.Div(
                    [
                        html.Div(EMPTY, id=ids.GENERATE_CAPTION, className="quiet", role="status"),
                        html.Pre(id=ids.OUTPUT, className="output", tabIndex=0),
                    ],
                    className="card output-card",
                ),
                className="column wide-column",
                **{"aria-label": "Generated text"},
            ),
        ],
        className="pane generate",
    )


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    _register_begin(app, lab)
    _register_rest(app, lab)


def _register_begin(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.GENERATE_JOB, "data"),
        Output(ids.GENERATE_MESSAGE, "children"),
        Output(ANY_PROBLEM, "children"),
        Output(ids.DROP_UNKNOWN, "hidden"),
        Output({"type": "sample-setting", "name": "prompt"}, "value", allow_duplicate=True),
        Input(ids.GENERATE, "n_clicks"),
        Input(ids.DROP_UNKNOWN, "n_clicks"),
        State(ANY_SAMPLE_SETTING, "value"),
        State(ANY_SAMPLE_SETTING, "id"),
        State(ids.MOMENT_AT, "data"),
        State(ids.GENERATE_JOB, "data"),
        prevent_initial_call=True,
    )
    def begin(
        pressed: Any, dropped: Any, values: Any, control_ids: Any, at: Any, previous: Any
    ) -> tuple[Any, Any, list[str], bool, Any]:
        """Start writing, or say in one sentence why not."""
        _stop(lab, previous)
        given = {item["name"]: value for item, value in zip(control_ids, values, strict=True)}
        name, step = moment_bar.chosen(at)
        names = [item["id"]["name"] for item in ctx.outputs_list[2]]
        problems: dict[str, str] = {}
        message, unknown = "", False
        prompt: Any = no_update
        try:
            config, problems = _config(given)
            if config is None:
                raise LabError("Correct the marked settings first.")
            if ctx.triggered_id == ids.DROP_UNKNOWN:
                config = lab.without_unknown(name, config)
                prompt = config.prompt
            job, snapshot = lab.generate(name, config, step)
            data = {
                "job": job.id,
                "prompt": config.prompt,
                "run": snapshot.run_id or "the untrained model",
                "step": snapshot.step,
            }
            return data, "", ["" for _ in names], True, prompt
        except UnknownTextError as error:
            problems, unknown = {"sample.prompt": str(error)}, True
        except ConfigError as error:
            problems = {error.field: str(error)}
        except LabError as error:
            message = str(error)
        marks = [problems.get(f"sample.{name}", "") for name in names]
        return no_update, message, marks, not unknown, no_update


def _register_rest(app: Dash, lab: Lab) -> None:
    @app.callback(
        Output(ids.OUTPUT, "children"),
        Output(ids.GENERATE_CAPTION, "children"),
        Output(ids.GENERATE_TICK, "disabled"),
        Output(ids.GENERATE_STOP, "disabled"),
        Input(ids.GENERATE_TICK, "n_intervals"),
        Input(ids.GENERATE_JOB, "data"),
        prevent_initial_call=True,
    )
    def show(tick: Any, data: Any) -> tuple[Any, Any, bool, bool]:
        """The text so far, and who wrote it after how many steps."""
        job = lab.jobs.find(data["job"]) if isinstance(data, dict) and "job" in data else None
        if job is None:
            return no_update, no_update, True, True
        pieces, count = job.since()
        done = job.done
        who = f"Written by {data['run']} after step {data['step']:,}"
        how = "stopped" if job.stopped else "done" if done else "writing"
        caption = job.error or f"{who} · {count:,} tokens · {how}"
        text = [html.Span(data["prompt"], className="prompt"), "".join(pieces)]
        return text, caption, done, done

    @app.callback(
        Output(ids.GENERATE_STOP, "n_clicks"),
        Input(ids.GENERATE_STOP, "n_clicks"),
        State(ids.GENERATE_JOB, "data"),
        prevent_initial_call=True,
    )
    def stop(pressed: Any, data: Any) -> Any:
        """End the writing; what is there stays."""
        _stop(lab, data)
        return no_update


def _config(given: dict[str, Any]) -> tuple[SampleConfig | None, dict[str, str]]:
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, value in given.items():
        try:
            values[name] = checked(SETTINGS[f"sample.{name}"], value)
        except ConfigError as error:
            problems[error.field] = str(error)
    return (None if problems else SampleConfig(**values)), problems


def _stop(lab: Lab, data: Any) -> None:
    job = lab.jobs.find(data["job"]) if isinstance(data, dict) and "job" in data else None
    if job is not None:
        job.stop()
