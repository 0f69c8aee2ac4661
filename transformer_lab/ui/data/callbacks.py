"""The Data tab: which text, what is in it, and how it becomes tokens.

Its layout is in `ui/data/layout.py`; each other file here is one part of the tab.
"""

from dash import Dash, Input, Output, State

from transformer_lab.lab.lab import Lab
from transformer_lab.ui import ids as shared_ids
from transformer_lab.ui.data import fetching, ids, library, sentence, studying
from transformer_lab.ui.data.layout import TITLE, layout
from transformer_lab.ui.form import unless_locked

__all__ = ["TITLE", "layout", "register"]


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of this tab."""
    for part in (library, fetching, studying, sentence):
        part.register(app, lab)
    _register_training(app)


def _register_training(app: Dash) -> None:
    @app.callback(
        output={
            "corpus": Output(library.CORPUS, "value", allow_duplicate=True),
            "tokenizer": Output(
                shared_ids.setting("data", "tokenizer"), "value", allow_duplicate=True
            ),
            "size": Output(
                shared_ids.setting("data", "vocabulary_size"), "value", allow_duplicate=True
            ),
            "tab": Output(shared_ids.TABS, "active_tab"),
        },
        inputs={"pressed": Input(ids.TRAIN_ON, "n_clicks")},
        state={
            "text": State(ids.TEXT, "value"),
            "tokenizer": State(ids.TEXT_TOKENIZER, "value"),
            "size": State(ids.TEXT_VOCABULARY, "value"),
            "locked": State(shared_ids.ADDRESS_LOCKED, "data"),
        },
        prevent_initial_call=True,
    )
    def train_on(
        pressed: int | None,
        text: str | None,
        tokenizer: str | None,
        size: str | None,
        locked: list[str] | None,
    ) -> dict[str, object]:
        """Put this text and this tokenizer into the Train form."""
        return {
            "corpus": unless_locked("data.corpus", text, locked),
            "tokenizer": unless_locked("data.tokenizer", tokenizer, locked),
            "size": unless_locked("data.vocabulary_size", size, locked),
            "tab": "Train",
        }
