"""What a property of the page can hold: checked before a callback reads it.

A property is known by its name, what is stored by the component it is in. What is not listed here
may be anything, and then its callback takes care.
"""

import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from transformer_lab.recipes import setup_from
from transformer_lab.settings import from_mapping
from transformer_lab.text import DataConfig
from transformer_lab.ui import ids

LARGEST = 2**53  # beyond it a browser's whole numbers have gaps

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Scalar = str | bool | int | float | None
Empty = Annotated[dict[str, object], Field(max_length=0)]


class Shape(BaseModel):
    """What must be there, and of which kind; more may be."""

    model_config = ConfigDict(extra="ignore", strict=True)


def _fits(read: Callable[[dict[str, Any]], object]) -> AfterValidator:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        read(value)  # raises ConfigError, which is a ValueError
        return value

    return AfterValidator(check)


class Option(Shape):
    """One choice of a select."""

    value: str | int | float
    label: str


class Row(Shape):
    """One row of a table."""

    id: str | int


class Plan(Shape):
    """What the form of the Train tab comes to."""

    setup: Annotated[dict[str, object], _fits(setup_from)]
    vocabulary_size: Count
    tokens: float
    corpus: str
    breakdown: dict[str, int]
    device: str
    device_reason: str


class Cursor(Shape):
    """Which points of a curve are drawn."""

    curve: str
    n: Count
    shown: Count
    seen: dict[str, object] = {}


class Branch(Shape):
    """Where a branch begins."""

    run: str
    checkpoint: Annotated[str, Field(pattern=r"^.*-\d+$")]


class Job(Shape):
    """Work under way."""

    job: str


class Study(Job):
    """A look at the tokens of a text."""

    config: Annotated[dict[str, object], _fits(lambda value: from_mapping(DataConfig, value))]


class Upload(Shape):
    """What became of a file."""

    id: str = ""
    error: str = ""
    encodings: list[dict[str, str]] = []


class At(Shape):
    """A moment of a run."""

    run: str
    step: int | None = None
    newest: int | None = None


class Shown(Shape):
    """The writings on the page."""

    shown: list[str] = []
    at: At | None = None
    failed: bool = False


class Leaf(Shape):
    """One writing of the tree."""

    id: str
    parent: str | None
    label: str


class Read(Shape):
    """How much of a writing is on the page."""

    id: str
    n: Count


class Token(Shape):
    """A token of a writing."""

    writing: str
    place: str


class Prompt(Shape):
    """The prompt for a run, to be put in place of another one."""

    run: str
    prompt: str
    replaces: str


class Looked(Shape):
    """What Look inside has open: a model at a moment, and what it reads."""

    run: str
    step: Count | None
    weights: str
    tokens: list[Count]
    after: Count


class Text(Shape):
    """The text that was put there for a run."""

    run: str
    text: str


class Place(Shape):
    """A place in a text, and a token that could stand after it."""

    place: Count | None = None
    token: Count | None = None


class Began(Job):
    """A measurement that Look inside began."""

    after: Count


class Column(Shape):
    """The parts of a model that are drawn."""

    run: str
    count: Count


class Index(Shape):
    """Which of the parts is open."""

    index: Count


class Seen(Shape):
    """What of a run is on the page."""

    run: str = ""
    parts: dict[str, object] = {}


class FinetuneSeen(Shape):
    """What of a fine-tuned run is on the page."""

    parts: dict[str, int] = {}
    refresh: Count | None = None
    changes: str = ""


class ResultsSeen(Shape):
    """What of a question or an experiment is on the page."""

    of: str = ""
    stamp: int = 0
    parts: dict[str, int] = {}


PROPERTIES: dict[str, object] = {
    "n_clicks": Count | None,
    "n_intervals": Count | None,
    "n_blur": Count | None,
    "active_tab": str | None,
    "className": str | None,
    "hidden": bool | None,
    "value": Scalar,
    "options": list[Option] | None,
    "selectedRows": list[Row] | None,
    "cellValueChanged": list[dict[str, object]] | None,
    "cellClicked": dict[str, object] | None,
    "clickData": dict[str, object] | None,
}
STORES: dict[str, object] = {
    ids.PLAN: Plan | None,
    ids.ADDRESS_PLACES: dict[str, str] | None,
    ids.ADDRESS_LOCKED: list[str] | None,
    ids.BRANCH: Branch | None,
    ids.CURSOR: Cursor | Empty | None,
    ids.REFRESH: Count | None,
    ids.RESUME_DISMISSED: str | None,
    ids.RUN_SHOWN: str | None,
    ids.RUN_BEFORE: str | None,
    ids.RUNS_KNOWN: dict[str, int] | None,
    ids.RUNS_SEEN: Seen | None,
    ids.RUNS_PICKED: list[str] | None,
    ids.RUN_DELETED: list[str] | None,
    ids.RUN_IMPORTED: Upload | None,
    ids.UPLOADED: Upload | None,
    ids.BASE_IMPORTED: Upload | None,
    ids.ADAPTERS_OF: str | None,
    ids.UNREAD: str | None,
    ids.FETCH: Job | None,
    ids.STUDY: Study | None,
    ids.STUDIED: Study | None,
    ids.AUDIT_JOB: Job | None,
    ids.PLANT_JOB: Job | None,
    ids.MOMENT_AT: At | None,
    ids.WRITING: Shown | None,
    ids.WRITINGS: list[Leaf] | None,
    ids.WRITTEN: dict[str, Read] | None,
    ids.PICKED: Token | None,
    ids.PLAYED: At | None,
    ids.PROMPT_GIVEN: Prompt | None,
    ids.LOOK_THEME: str | None,
    ids.LOOK_OPEN: Looked | None,
    ids.LOOK_GIVEN: Text | None,
    ids.LOOK_PLACE: Place | None,
    ids.STAGE: Count | None,
    ids.CAUSE_PARTS: list[str] | None,
    ids.CAUSE_OFF: list[Count] | None,
    ids.IMPORTANCE_JOB: Began | None,
    ids.INDUCTION_JOB: Began | None,
    ids.HEALTH_SEEN: list[Any] | None,
    ids.BLOCKS_KNOWN: Column | None,
    ids.BLOCK: Index | None,
    ids.FINETUNE_SEEN: FinetuneSeen | None,
    ids.FINETUNE_REFRESH: Count | None,
    ids.FINETUNE_WRITING: Shown | Empty | None,
    ids.GUESSES: dict[str, object] | None,
    ids.COMPARE_QUESTION: str | None,
    ids.COMPARE_TOOL: str | None,
    ids.RATE_REFRESH: Count | None,
    ids.RATE_SEEN: dict[str, int] | None,
    ids.COMPARE_PARTS.refresh: Count | None,
    ids.COMPARE_PARTS.seen: ResultsSeen | None,
    ids.COMPARE_GUESSES: dict[str, object] | None,
    ids.EXPERIMENT: str | None,
    ids.EXPERIMENT_PARTS.refresh: Count | None,
    ids.EXPERIMENT_PARTS.seen: ResultsSeen | None,
}


@cache
def _reader(component: str, prop: str) -> TypeAdapter[Any]:
    kind: Any = STORES.get(component, Any) if prop == "data" else PROPERTIES.get(prop, Any)
    return TypeAdapter(kind)


def trouble(part: Mapping[str, Any], *, one_of_many: bool) -> str:
    """What is wrong with the value of one {id, property, value}; empty when nothing is.

    Dash leaves those without a value out of a list of many, which must be as long as their ids.
    """
    prop, value = part["property"].split("@")[0], part.get("value")
    if one_of_many and "value" not in part and prop != "n_clicks":
        return f"{prop} is missing"
    if prop == "id":
        return "" if value == part["id"] else "an id is another's"
    name = part["id"] if isinstance(part["id"], str) else ""
    try:
        _reader(name, prop).validate_python(value, strict=True)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        return f"{name or prop} {where}: {error.errors(include_input=False)[0]['msg']}"
    return ""


def read_json(data: bytes) -> Any:
    """JSON as a browser writes it. Raises ValueError for what no browser could send."""

    def whole(digits: str) -> int:
        if len(digits) > 17 or abs(int(digits)) > LARGEST:
            raise ValueError("a whole number is too large")
        return int(digits)

    def real(digits: str) -> float:
        if not math.isfinite(float(digits)):
            raise ValueError("a number is too large")
        return float(digits)

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    body = json.loads(data, parse_int=whole, parse_float=real, parse_constant=constant)
    json.dumps(body, ensure_ascii=False).encode()  # no half of a character
    return body
