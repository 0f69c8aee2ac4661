"""How the Generate tab is laid out: controls, the text or two of them, and the token picked."""

from collections.abc import Mapping

import dash_bootstrap_components as dbc
from dash import dcc, html
from dash.development.base_component import Component

from transformer_lab.lab.lab import Lab
from transformer_lab.recipes import SETTINGS, load_recipes
from transformer_lab.ui import form
from transformer_lab.ui.generate import adapters, ids
from transformer_lab.ui.generate.xray import LEVELS
from transformer_lab.ui.train.layout import opening

EMPTY = "Press Generate: the text appears here as it is made."
NOTHING = "none"


def layout(lab: Lab) -> html.Div:
    """Controls on the left, the text in the middle, what is known of a token on the right."""
    values = opening(lab, load_recipes())[1].values()
    return html.Div(
        [
            dcc.Store(id=ids.WRITING, data={}),
            dcc.Store(id=ids.WRITTEN, data={}),
            dcc.Store(id=ids.WRITINGS, data=[]),
            dcc.Store(id=ids.PICKED),
            dcc.Store(id=ids.PICKED_LOGITS),
            dcc.Store(id=ids.PLAYED),
            dcc.Store(id=ids.PROMPT_GIVEN),
            dcc.Interval(id=ids.GENERATE_TICK, interval=150, disabled=True),
            html.Section(_asked(values), className="column controls card"),
            html.Section(
                [_legend(), html.Div(_texts(), className="texts")],
                className="card output-card",
                **{"aria-label": "Generated text"},
            ),
            html.Section(
                _token(values), className="column token-column", **{"aria-label": "One token"}
            ),
        ],
        className="pane generate",
    )


def _asked(values: Mapping[str, form.Value]) -> list[Component]:
    sample = [setting for setting in SETTINGS.values() if setting.group == "sample"]
    return [
        html.Div(
            [form.control(setting, values[setting.key]) for setting in sample],
            className="fields",
        ),
        adapters.layout(),
        _against(),
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
            title="End the text here; what has come stays",
        ),
    ]


def _against() -> html.Details:
    nothing = [{"value": NOTHING, "label": "nothing"}]
    return html.Details(
        [
            html.Summary("Side by side"),
            html.Div(
                [
                    html.Label(
                        [
                            html.Span("Compare with", className="field-label"),
                            dbc.Select(id=ids.AGAINST, options=nothing, value=NOTHING, size="sm"),
                        ],
                        title="Another model, or another checkpoint of the same, generates beside "
                        "it: the same prompt and seed",
                    ),
                    html.Label(
                        [
                            html.Span("at the checkpoint", className="field-label"),
                            dbc.Select(id=ids.AGAINST_STEP, options=[], size="sm"),
                        ],
                        title="After which step of its training",
                    ),
                ],
                className="fields",
            ),
        ]
    )


def _legend() -> html.Div:
    """What the colours and lines mean, in words and probabilities."""
    samples = [
        html.Span([html.Span("abc", className=f"tok s{k}"), f" {level.words}"])
        for k, level in enumerate(LEVELS)
    ]
    head = html.Span("How likely the model itself found each token:", className="quiet")
    return html.Div([head, *samples], className="surprise-legend")


def _texts() -> list[html.Div]:
    def box(caption: str, output: str, **more: str | bool) -> html.Div:
        return html.Div(
            [
                html.Div(id=caption, className="quiet", role="status"),
                html.Pre(id=output, className="output", tabIndex=0),
            ],
            className="one-text",
            **more,
        )

    first = box(ids.GENERATE_CAPTION, ids.OUTPUT)
    first.children[0].children = EMPTY
    return [first, box(ids.CAPTION_2, ids.OUTPUT_2, id=ids.OUTPUT_2_BOX, hidden=True)]


def _slider(name: str, low: float, high: float, step: float, value: float, help: str) -> html.Div:
    """One of the settings of drawing, moved as the bars follow."""
    slider = dcc.Slider(
        id=ids.draw_slider(name),
        min=low,
        max=high,
        step=step,
        value=value,
        marks=None,
        updatemode="drag",
        allow_direct_input=False,
        tooltip={"placement": "left", "always_visible": False},
    )
    label = html.Span(SETTINGS[f"sample.{name}"].label, className="field-label")
    return html.Div(
        [label, slider, html.Div(help, className="field-help", role="note")],
        className="field draw-slider",
    )


def _sliders(values: Mapping[str, object]) -> html.Div:
    """Temperature, top-k and top-p: the same settings as those on the left."""

    def start(name: str) -> float:
        value = values[f"sample.{name}"]
        return float(value) if isinstance(value, int | float) else 0.0

    return html.Div(
        [
            _slider(
                "temperature", 0, 2, 0.05, start("temperature"),
                "Divides the logits: the bars follow while you move it. It is the setting on the "
                "left, which goes up to 5.",
            ),
            _slider(
                "top_k", 0, 100, 1, start("top_k"),
                "How many of the likeliest tokens are left; 0 leaves all.",
            ),
            _slider(
                "top_p", 0.01, 1, 0.01, start("top_p"),
                "Which share the likeliest tokens that are left have together; 1 leaves all.",
            ),
        ],
        className="draw-sliders",
    )  # fmt: skip


def _token(values: Mapping[str, object]) -> list[html.Div]:
    return [
        html.Div(
            [
                html.Div(
                    [
                        html.H2("Alternatives at this position"),
                        html.Span(id=ids.PICKED_HEAD, className="quiet"),
                    ],
                    className="card-head",
                ),
                _sliders(values),
                html.Div(
                    "Click a token of the text, or move to one with Tab and the arrow keys.",
                    id=ids.PICKED_BODY,
                    className="quiet",
                ),
                html.P(id=ids.PICKED_CUT, className="quiet", role="status"),
            ],
            className="card token-card",
        ),
        html.Div(
            [
                html.H2("Branches"),
                html.Div("Every text you make stays here.", id=ids.BRANCHES, className="quiet"),
            ],
            className="card",
        ),
    ]
