"""What the page remembers of Look inside; `ui/web/values.py` checks it before it comes."""

from typing import Any, TypedDict

Click = dict[str, Any]  # Plotly's or AG Grid's account of a click
Scalar = str | bool | int | float | None  # what a control can hold
Options = list[dict[str, str]]


class Opened(TypedDict):
    """A model at a moment and what it reads; `after` is the step of its weights."""

    run: str
    step: int | None
    weights: str
    tokens: list[int]
    after: int


class Place(TypedDict, total=False):
    """The chosen place in the text, from 0, and a token that could stand after it."""

    place: int | None
    token: int | None


class Given(TypedDict):
    """The text that was put there for a run."""

    run: str
    text: str


class Began(TypedDict, total=False):
    """A measurement that the page began: its job, and the step of the weights."""

    job: str
    after: int
    copies: bool


class Column(TypedDict):
    """The parts of a model that are drawn."""

    run: str
    count: int


class Index(TypedDict):
    """Which of the parts is open."""

    index: int
