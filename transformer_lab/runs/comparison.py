"""comparisons/<name>.json: what was asked in a comparison, and what was measured."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from transformer_lab.runs.record import Count, Record, Text

Loss = Annotated[float, Field(ge=0, le=1e300)]  # one that diverges may be any finite number
Seconds = Annotated[float, Field(ge=0, le=1e12)]


class CellRecord(Record):
    """One lane and one seed."""

    variant: Text
    seed: Annotated[int, Field(ge=0, lt=100)]
    parameters: Count
    steps: list[Count]
    losses: list[Loss]
    seconds: list[Seconds]
    text: Text
    failed: Text
    bytes_per_token: Annotated[float, Field(ge=0, le=1e6)]
    stopped: bool
    flops: Annotated[float, Field(ge=0, le=1e30)] = 0.0
    audited: Text = ""
    audit: Text = ""


class ComparisonRecord(Record):
    """A comparison; `content` is its question, as a TOML file has it."""

    OPTIONAL: ClassVar[frozenset[str]] = frozenset()

    format: Annotated[int, Field(ge=1, le=1)]
    slug: Text
    quick: bool
    content: dict[str, Any]
    cells: Annotated[list[CellRecord], Field(max_length=1000)]
