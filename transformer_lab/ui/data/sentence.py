"""A sentence to try: its tokens, its length under each tokenizer, and its merges one by one."""

import contextlib
from collections.abc import Iterator
from typing import Any

from dash import Dash, Input, Output, State
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import Lab
from transformer_lab.settings import ConfigError
from transformer_lab.text import DataConfig
from transformer_lab.text.bpe import BytePairTokenizer
from transformer_lab.text.tokenizers import TOKENIZERS
from transformer_lab.ui.data import findings, ids, pieces

LONGEST = 2000  # characters that are shown token by token


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of the sentence."""

    @app.callback(
        output={
            "tokens": Output(ids.TOKENS, "children"),
            "costs": Output(ids.COSTS, "children"),
            "most_merges": Output(ids.MERGE, "max"),
            "merge": Output(ids.MERGE, "value"),
            "merges_hidden": Output(ids.MERGES, "hidden"),
        },
        inputs={
            "sentence": Input(ids.SENTENCE, "value"),
            "studied": Input(ids.STUDIED, "data"),
        },
        prevent_initial_call=True,
    )
    def cut(sentence: str | None, studied: dict[str, Any] | None) -> dict[str, object]:
        """The sentence token by token, and how long it is under each tokenizer."""
        if not studied:
            raise PreventUpdate
        with _text_is_there():
            return _cut(lab, str(sentence or "")[:LONGEST], studied["config"])

    @app.callback(
        Output(ids.MERGED, "children"),
        Input(ids.MERGE, "value"),
        State(ids.SENTENCE, "value"),
        State(ids.STUDIED, "data"),
        prevent_initial_call=True,
    )
    def replay(
        step: float | None, sentence: str | None, studied: dict[str, Any] | None
    ) -> list[Component]:
        """The sentence after so many of the merges that change it."""
        if not studied or not isinstance(step, int | float):
            raise PreventUpdate
        with _text_is_there():
            tokenizer = lab.texts.tokenizer(DataConfig(**studied["config"]))
        if not isinstance(tokenizer, BytePairTokenizer):
            raise PreventUpdate
        return pieces.merged(list(tokenizer.steps(str(sentence or "")[:LONGEST])), int(step))


@contextlib.contextmanager
def _text_is_there() -> Iterator[None]:
    """Leave the page as it is where a text was deleted since the page looked at it."""
    try:
        yield
    except ConfigError:
        raise PreventUpdate from None


def _cut(lab: Lab, sentence: str, config: dict[str, Any]) -> dict[str, object]:
    others = [
        (kind, lab.texts.tokenizer(DataConfig(**(config | {"tokenizer": kind}))))
        for kind in TOKENIZERS
    ]
    tokenizer = lab.texts.tokenizer(DataConfig(**config))
    steps = None
    if isinstance(tokenizer, BytePairTokenizer):
        steps = len(list(tokenizer.steps(sentence))) - 1
    return {
        "tokens": pieces.tokens(tokenizer, sentence),
        "costs": findings.costs(sentence, others, config["tokenizer"]),
        "most_merges": max(steps or 0, 1),
        "merge": steps or 0,
        "merges_hidden": steps is None,
    }
