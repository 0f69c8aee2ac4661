"""How the Fine-tune tab is laid out: what is asked on the left, what came of it on the right."""

from typing import Any

import dash_bootstrap_components as dbc
from dash import dcc, html
from dash.development.base_component import Component

from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import SETTINGS
from transformer_lab.settings import Setting
from transformer_lab.training.finetune import FINETUNE_SETTINGS, WHY_RATE, FineTuning
from transformer_lab.ui import form
from transformer_lab.ui.charts.training import GRAPH, blank
from transformer_lab.ui.finetune import bases, ids

RESTING = 3_600_000  # milliseconds between polls while another tab is open
HELP = {  # the sentence beside each list
    ids.FINETUNE_BASE: "The run whose weights the fine-tuning begins with.",
    ids.FINETUNE_STEP: "The checkpoint of the base, by its step.",
    ids.FINETUNE_TEXT: "The text that the model learns from now.",
}
NOTHING = "Train a model first, or bring one from elsewhere: a fine-tuning begins with a base."
ASKED: dict[str, Setting] = {
    key: FINETUNE_SETTINGS[key] if key in FINETUNE_SETTINGS else SETTINGS[key]
    for key in (
        "finetune.method",
        "lora.rank",
        "lora.alpha",
        "lora.dropout",
        "lora.matrices",
        "lora.single",
        "lora.variant",
        "finetune.frozen_layers",
        "finetune.unknown",
        "finetune.replacement",
        "train.learning_rate",
        "train.steps",
        "train.batch_size",
    )
}


def layout(lab: Lab) -> html.Div:
    """What is asked on the left, what came of it on the right."""
    return html.Div(
        [
            dcc.Store(id=ids.FINETUNE_SEEN, data={}),
            dcc.Store(id=ids.FINETUNE_REFRESH, data=0),
            dcc.Store(id=ids.FINETUNE_WRITING, data={}),
            dcc.Interval(id=ids.FINETUNE_TICK, interval=RESTING),
            html.Section(_asked(lab), className="column card finetune-asked"),
            html.Div([_course(), _side_by_side(), _changes()], className="column finetune-found"),
        ],
        className="pane finetune",
    )


def initial() -> dict[str, Any]:
    """What the controls open with."""
    tuning = FineTuning()
    return {
        **{f"{g}.{n}": v for g, values in tuning.to_mapping().items() for n, v in values.items()},
        "train.learning_rate": tuning.rate,
        "train.steps": 200,
        "train.batch_size": 16,
    }


def _controls() -> dict[str, html.Div]:
    """The control of each setting, by its name."""
    values = initial()
    controls = {
        key: form.control(
            setting,
            values[key],
            control_id=ids.finetune_setting(setting.group, setting.name),
            problem_id=ids.finetune_problem(setting.group, setting.name),
        )
        for key, setting in ASKED.items()
    }
    for key, control in controls.items():
        control.id = {"type": "finetune-field", "name": key}
    for key in ("finetune.method", "finetune.unknown"):
        controls[key].className += " wide"  # its choices are sentences
    return controls


def _asked(lab: Lab) -> list[Component]:
    texts = form.options(lab.texts.titles())
    controls = _controls()
    main = ("finetune.method", "lora.rank", "lora.alpha", "lora.matrices", "lora.single")
    return [
        html.H2("Fine-tune"),
        html.P(
            "A model you made, or brought, learns from another text. LoRA leaves each matrix W as "
            "it is and learns W + (alpha / rank) B A beside it.",
            className="summary",
        ),
        html.Div(
            [
                _select("Base", ids.FINETUNE_BASE, [], None, wide=True),
                _select("Checkpoint", ids.FINETUNE_STEP, [], None, wide=True),
                bases.elsewhere(paths_allowed=lab.texts.paths_allowed),
                _select("New text", ids.FINETUNE_TEXT, texts, texts[0]["value"], wide=True),
                html.Div(id=ids.FINETUNE_UNKNOWN, className="note wide", role="status"),
                *[controls[key] for key in main],
                controls["train.learning_rate"],
                controls["train.steps"],
                html.Div(WHY_RATE, className="quiet wide finetune-why"),
                html.Details(
                    [
                        html.Summary("More"),
                        html.Div(
                            [
                                controls[key]
                                for key in ASKED
                                if key not in (*main, "train.learning_rate", "train.steps")
                            ],
                            className="fields",
                        ),
                    ],
                    className="wide advanced",
                ),
            ],
            className="fields",
        ),
        html.Div(id=ids.FINETUNE_COST, className="preflight", role="status"),
        html.Div(id=ids.FINETUNE_MESSAGE, className="message", role="alert"),
        *_buttons(),
    ]


def _buttons() -> list[Component]:
    return [
        html.Button(
            "Start fine-tuning",
            id=ids.FINETUNE_START,
            className="btn btn-primary",
            title="Train the base on the new text, as a run of its own",
        ),
        html.Div(
            [
                html.Button(
                    "Add to queue",
                    id=ids.FINETUNE_LATER,
                    className="btn btn-outline-primary",
                    title="Fine-tune when its turn comes; the queue is on the Runs tab",
                ),
                html.Button(
                    "Stop",
                    id=ids.FINETUNE_STOP,
                    className="btn btn-outline-secondary",
                    disabled=True,
                    title="Save the fine-tuned run and end it",
                ),
            ],
            className="finetune-buttons",
        ),
    ]


def _select(
    label: str,
    select_id: str,
    options: list[dict[str, str]],
    value: str | None,
    *,
    wide: bool = False,
) -> html.Div:
    select = dbc.Select(id=select_id, options=options, value=value, size="sm")
    return form.field(label, select, HELP[select_id], kinds=["wide"] if wide else [])


def _course() -> html.Section:
    return html.Section(
        [
            html.Div(
                [
                    html.H2("What it learns, and what it forgets"),
                    html.Label(
                        [
                            html.Span("Fine-tuned run", className="field-label"),
                            dbc.Select(
                                id=ids.FINETUNE_SHOWN,
                                options=[],
                                placeholder="none yet",
                                size="sm",
                            ),
                        ],
                        className="finetune-shown",
                        title="Whose curves, texts and changes are shown below",
                    ),
                ],
                className="card-head",
            ),
            html.Div(id=ids.FINETUNE_STATE, role="status"),
            dcc.Graph(
                id=ids.FINETUNE_LOSSES,
                figure=blank("Validation loss, nats per token"),
                config=GRAPH,
                className="finetune-chart",
            ),
            html.Div(id=ids.FINETUNE_SUM, className="quiet", role="status"),
        ],
        className="card",
    )


def _side_by_side() -> html.Section:
    def text(title: str, output: str) -> html.Div:
        return html.Div(
            [html.H3(title), html.Pre(id=output, className="output", tabIndex=0)],
            className="one-text",
        )

    return html.Section(
        [
            html.H2("Side by side: the same prompt, the same seed"),
            html.Div(_prompt(), className="finetune-prompt"),
            html.Div(id=ids.FINETUNE_WRITE_MESSAGE, className="message", role="alert"),
            html.Div(
                [text("Base", ids.FINETUNE_TEXT_1), text("Fine-tuned", ids.FINETUNE_TEXT_2)],
                className="texts",
            ),
        ],
        className="card",
    )


def _prompt() -> list[Component]:
    """What both models go on from, and the button that has them write."""
    prompt = dbc.Input(
        id=ids.FINETUNE_PROMPT,
        type="text",
        value="",
        autocomplete="off",
        placeholder="empty: one of the new text",
        size="sm",
    )
    seed = dbc.Input(id=ids.FINETUNE_SEED, type="text", inputmode="decimal", value="1", size="sm")
    return [
        html.Label(
            [html.Span("Prompt", className="field-label"), prompt],
            title="Both models continue it; empty takes one of the new text",
        ),
        html.Label(
            [html.Span("Seed", className="field-label"), seed],
            className="finetune-seed",
            title="The same seed gives the same two texts",
        ),
        html.Button(
            "Write both",
            id=ids.FINETUNE_WRITE,
            className="btn btn-outline-primary",
            title="Generate with the base and with the fine-tuned model",
        ),
    ]


def _changes() -> html.Section:
    return html.Section(
        [
            html.H2("What changed: was the rank needed?"),
            html.Div(id=ids.FINETUNE_CHANGED, className="quiet", role="status"),
            html.Div(
                [
                    dcc.Graph(
                        id=ids.FINETUNE_NORMS,
                        figure=blank("Norm of B A, by layer"),
                        config=GRAPH,
                        className="finetune-chart",
                    ),
                    dcc.Graph(
                        id=ids.FINETUNE_SINGULAR,
                        figure=blank("Singular values of B A, over the largest"),
                        config=GRAPH,
                        className="finetune-chart",
                    ),
                ],
                id=ids.FINETUNE_CHARTS,
                className="finetune-charts",
                hidden=True,
            ),
        ],
        className="card",
    )
