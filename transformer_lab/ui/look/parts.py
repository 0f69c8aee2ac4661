"""What the parts of Look inside share: what is open, controls, and sentences of trouble."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import dash_bootstrap_components as dbc
from dash import dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from transformer_lab.lab.lab import LabError
from transformer_lab.lab.looking.subjects import Open
from transformer_lab.settings import ConfigError
from transformer_lab.text.tokenizers import UnknownTextError
from transformer_lab.ui import form
from transformer_lab.ui.charts.training import GRAPH, blank
from transformer_lab.ui.data.pieces import visible
from transformer_lab.ui.look.state import Opened, Place

TITLE = "Look inside"
TROUBLE = (ConfigError, LabError, UnknownTextError)  # whose sentence is for the learner
Cell: TypeAlias = str | Component  # of a table
Found = TypeVar("Found")


def opened(data: Opened | None, sub_tab: str | None, wanted: str) -> Open:
    """What the page has open, for a part that is in sight; else there is nothing to update."""
    if sub_tab != wanted:
        raise PreventUpdate
    return what_is_open(data)


def what_is_open(data: Opened | None) -> Open:
    """What the page has open. PreventUpdate when that is nothing."""
    if data is None:
        raise PreventUpdate
    return Open(
        run=data["run"], step=data["step"], weights=data["weights"], tokens=tuple(data["tokens"])
    )


def place_in(data: Place | None, tokens: Sequence[int]) -> int:
    """The chosen place, from 0: the last one when none is chosen or the text has become shorter."""
    place, last = (data or {}).get("place"), len(tokens) - 1
    return last if place is None or not 0 <= place <= last else place


def number(value: object, default: int = 0) -> int:
    """A whole number from a control."""
    try:
        return int(value) if isinstance(value, str | int | float) else default
    except (ValueError, OverflowError):
        return default


def tried(work: Callable[[], Found]) -> tuple[Found | None, str]:
    """What the work gives, or the sentence why not."""
    try:
        return work(), ""
    except TROUBLE as error:
        return None, str(error)


def pieces_of(found: Sequence[bytes]) -> list[str]:
    """Tokens as they can be seen."""
    return [visible(piece) for piece in found]


def quoted(piece: str) -> str:
    """A token within a sentence."""
    return f"“{piece}”"


def chart(chart_id: str, title: str, kind: str = "", **more: bool) -> dcc.Graph:
    """A chart that waits for its numbers."""
    style = f"card chart look-chart {kind}"
    return dcc.Graph(id=chart_id, figure=blank(title), config=GRAPH, className=style, **more)


def choice(
    label: str, control_id: str, options: Mapping[str, str], value: str, help: str
) -> html.Div:
    """A labelled list to choose from, with its sentence of help."""
    select = dbc.Select(id=control_id, options=form.options(options), value=value, size="sm")
    return form.field(label, select, help)


def button(
    words: str, button_id: str, title: str, kind: str = "secondary", **more: bool
) -> html.Button:
    """A small button; its title says what it does."""
    style = f"btn btn-outline-{kind} btn-sm"
    return html.Button(words, id=button_id, className=style, title=title, **more)


def trouble(place: str) -> html.Div:
    """Where a sentence stands instead of a picture."""
    return html.Div(id=place, className="message look-problem", role="alert")


def note(place: str) -> html.Div:
    """Where a quiet sentence stands."""
    return html.Div(id=place, className="quiet", role="status")


def table(heads: Sequence[Cell], rows: Sequence[Sequence[Cell]], kind: str = "") -> html.Table:
    """A small table of numbers."""
    head = html.Thead(html.Tr([html.Th(each, scope="col") for each in heads]))
    body = html.Tbody([html.Tr([html.Td(each) for each in row]) for row in rows])
    return html.Table([head, body], className=f"numbers right {kind}")


def named(words: str) -> dict[str, str]:
    """The name of a region, for those who do not see it."""
    return {"aria-label": words}


def is_dark(theme: str | None) -> bool:
    """Whether the page is dark now."""
    return theme == "dark"
