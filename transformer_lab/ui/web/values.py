"""What a property of the page can hold: checked before a callback reads it.

A property is known by its name, what is stored by the component it is in. What is not listed here
may be anything, and then its callback takes care.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from transformer_lab.recipes import setup_from
from transformer_lab.settings import from_mapping
from transformer_lab.text import DataConfig
from transformer_lab.ui import ids
from transformer_lab.ui.classroom import ids as classroom_ids
from transformer_lab.ui.compare import ids as compare_ids
from transformer_lab.ui.data import ids as data_ids
from transformer_lab.ui.experiments import ids as experiments_ids
from transformer_lab.ui.finetune import ids as finetune_ids
from transformer_lab.ui.generate import ids as generate_ids
from transformer_lab.ui.look import ids as look_ids
from transformer_lab.ui.runs import ids as runs_ids
from transformer_lab.ui.train import ids as train_ids

LARGEST = 2**53  # beyond it a browser's whole numbers have gaps
# What may be too large a number, no number, or half of a character; much that is none of them, too.
_SUSPECT = b"NaN", b"Infinity", b"\\u", b"\0"
_LARGE = re.compile(rb"[0-9](?:[0-9]{15}|[eE][+0-9])")

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Scalar = str | bool | int | float | None
Empty = Annotated[dict[str, object], Field(max_length=0)]


class Shape(BaseModel):
    """What must be there, and of which kind; more may be."""

    model_config = ConfigDict(extra="ignore", strict=True)


def _fits(read: Callable[[dict[str, Any]], object]) -> AfterValidator:
    @lru_cache(maxsize=64)  # what a page sends with each poll is right as it was before
    def once(written: str) -> None:
        read(json.loads(written))  # raises ConfigError, which is a ValueError

    def check(value: dict[str, Any]) -> dict[str, Any]:
        once(json.dumps(value, sort_keys=True))
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
    """A job of the lab, by its id."""

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
    train_ids.PLAN: Plan | None,
    ids.ADDRESS_PLACES: dict[str, str] | None,
    ids.ADDRESS_LOCKED: list[str] | None,
    train_ids.BRANCH: Branch | None,
    train_ids.CURSOR: Cursor | Empty | None,
    train_ids.REFRESH: Count | None,
    train_ids.RESUME_DISMISSED: str | None,
    train_ids.RUN_SHOWN: str | None,
    train_ids.RUN_BEFORE: str | None,
    runs_ids.RUNS_KNOWN: dict[str, int] | None,
    runs_ids.RUNS_SEEN: Seen | None,
    runs_ids.RUNS_PICKED: list[str] | None,
    runs_ids.RUN_DELETED: list[str] | None,
    runs_ids.RUN_IMPORTED: Upload | None,
    data_ids.UPLOADED: Upload | None,
    finetune_ids.BASE_IMPORTED: Upload | None,
    generate_ids.ADAPTERS_OF: str | None,
    data_ids.UNREAD: str | None,
    data_ids.FETCH: Job | None,
    data_ids.STUDY: Study | None,
    data_ids.STUDIED: Study | None,
    experiments_ids.AUDIT_JOB: Job | None,
    experiments_ids.PLANT_JOB: Job | None,
    ids.MOMENT_AT: At | None,
    generate_ids.WRITING: Shown | None,
    generate_ids.WRITINGS: list[Leaf] | None,
    generate_ids.WRITTEN: dict[str, Read] | None,
    generate_ids.PICKED: Token | None,
    generate_ids.PLAYED: At | None,
    generate_ids.PROMPT_GIVEN: Prompt | None,
    look_ids.LOOK_THEME: str | None,
    look_ids.LOOK_OPEN: Looked | None,
    look_ids.LOOK_GIVEN: Text | None,
    look_ids.LOOK_PLACE: Place | None,
    look_ids.STAGE: Count | None,
    look_ids.CAUSE_PARTS: list[str] | None,
    look_ids.CAUSE_OFF: list[Count] | None,
    look_ids.IMPORTANCE_JOB: Began | None,
    look_ids.INDUCTION_JOB: Began | None,
    look_ids.HEALTH_SEEN: list[Any] | None,
    look_ids.BLOCKS_KNOWN: Column | None,
    look_ids.BLOCK: Index | None,
    finetune_ids.FINETUNE_SEEN: FinetuneSeen | None,
    finetune_ids.FINETUNE_REFRESH: Count | None,
    finetune_ids.FINETUNE_WRITING: Shown | Empty | None,
    experiments_ids.GUESSES: dict[str, object] | None,
    compare_ids.COMPARE_QUESTION: str | None,
    compare_ids.COMPARE_TOOL: str | None,
    compare_ids.RATE_REFRESH: Count | None,
    compare_ids.RATE_SEEN: dict[str, int] | None,
    compare_ids.COMPARE_PARTS.refresh: Count | None,
    compare_ids.COMPARE_PARTS.seen: ResultsSeen | None,
    compare_ids.COMPARE_GUESSES: dict[str, object] | None,
    classroom_ids.PEOPLE_SEEN: dict[str, int] | None,
    classroom_ids.NOTICE_SEEN: dict[str, int] | None,
    classroom_ids.SHARED_SEEN: dict[str, int] | None,
    classroom_ids.NOTICE_CLOSED: Count | None,
    experiments_ids.EXPERIMENT: str | None,
    experiments_ids.EXPERIMENT_PARTS.refresh: Count | None,
    experiments_ids.EXPERIMENT_PARTS.seen: ResultsSeen | None,
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
    if any(part in data for part in _SUSPECT) or _LARGE.search(data):
        return _read_slowly(data)
    return json.loads(data.decode())


def _read_slowly(data: bytes) -> Any:
    """The same, looking at every number and character."""

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
