"""How Look inside is laid out: the text on the left, what happens with it on the right."""

import dash_bootstrap_components as dbc
from dash import html

from transformer_lab.ui.look import (
    architecture,
    attention,
    cause,
    embeddings,
    health,
    ids,
    overview,
    predictions,
    text,
)
from transformer_lab.ui.look.parts import named
from transformer_lab.ui.terms import terms_line

PARTS = (overview, attention, predictions, cause, embeddings, health, architecture)
TERMS = {  # of the glossary, explained below each part
    overview.NAME: ("residual_stream", "attention_pattern", "feedforward", "logits"),
    attention.NAME: ("attention_pattern", "query", "key", "value", "head_output", "causal_mask"),
    predictions.NAME: ("logits", "logit_lens", "direct_logit_attribution", "residual_stream_norm"),
    cause.NAME: ("ablation", "activation_patching", "induction_head", "cross_entropy"),
    embeddings.NAME: ("embedding", "token", "vocabulary"),
    health.NAME: ("entropy", "residual_stream", "update_to_weight_ratio", "gradient_clipping"),
    architecture.NAME: ("residual_stream", "feedforward", "layer_norm", "weight_tying"),
}


def layout() -> html.Div:
    """The tab; what is not open is not computed."""
    tabs = [
        dbc.Tab([part.layout(), terms_line(*TERMS[part.NAME])], label=part.NAME, tab_id=part.NAME)
        for part in PARTS
    ]
    return html.Div(
        [
            *text.stores(),
            text.layout(),
            html.Section(
                dbc.Tabs(tabs, id=ids.LOOK_TABS, className="sub-tabs", active_tab=PARTS[0].NAME),
                id=ids.LOOK_BODY,
                className="column look-body",
                **named("What happens inside"),
            ),
        ],
        className="pane look",
    )
