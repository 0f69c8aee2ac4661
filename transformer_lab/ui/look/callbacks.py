"""The Look inside tab: what a model does with a text, at any moment of its life.

Its layout is in `ui/look/layout.py`, each of its own tabs in a module of `ui/look/`.
"""

from dash import Dash, html

from transformer_lab.lab.lab import Lab
from transformer_lab.ui.look import layout as frame
from transformer_lab.ui.look import text
from transformer_lab.ui.look.parts import TITLE

__all__ = ["TITLE", "layout", "register"]


def layout(lab: Lab) -> html.Div:
    """The text beside what happens with it."""
    return frame.layout()


def register(app: Dash, lab: Lab) -> None:
    """The callbacks of the text and of every part."""
    text.register(app, lab)
    for part in frame.PARTS:
        part.register(app, lab)
