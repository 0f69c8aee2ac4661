"""What every experiment offers, so that one page can show them all.

`run(settings, folders)` is a generator. It yields often: how far it is, what it is doing, and the
result so far, which draws its own plots. Whoever stops in the middle keeps what was measured, and
`run(settings, folders, kept)` with more seeds goes on after the seeds that `kept` has whole.
"""

import copy
import inspect
import pkgutil
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from transformer_lab.settings import Config

YIELD_SECONDS = 0.2  # between two partial results


@dataclass(frozen=True, kw_only=True)
class Series:
    """One named line or group of bars: `y` over `x`, with the range from `low` to `high`.

    `x` are numbers for a line and words for bars; `low` and `high` are empty when there is one
    seed only.
    """

    name: str
    x: list[float] | list[str]
    y: list[float]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A level to compare with, such as chance; `low` to `high` is its interval, if it has one."""

    name: str
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A small image: rows of brightness, 0 to 1."""

    name: str
    pixels: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Everything a chart needs; the page adds only colours. Pictures stand in rows by `columns`.

    `points` are series of one point each, with their ranges.

    `x_log` is for numbers that are spread over orders of magnitude.
    """

    title: str
    kind: Literal["line", "points", "bar", "image"]
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    series: list[Series] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    columns: int = 0
    note: str = ""


def to_draw(plots: Iterable[Plot]) -> list[Plot]:
    """Those that have something to draw by now."""
    return [plot for plot in plots if plot.series]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A small table for people: every row has one entry for each column."""

    title: str
    columns: list[str]
    rows: list[list[str]]


class Result(Protocol):
    """What was measured so far, in plain lists and numbers."""

    def plots(self) -> list[Plot]:
        """The charts of what is there; those without data are left out."""


ResultT = TypeVar("ResultT", bound=Result)
Contra = TypeVar("Contra", bound=Config, contravariant=True)
SettingsT = TypeVar("SettingsT", bound=Config)


@dataclass(frozen=True, kw_only=True)
class Partial(Generic[ResultT]):
    """A moment of a run: `progress` from 0 to 1, words, and the result so far."""

    progress: float
    words: str
    result: ResultT

    def plots(self) -> list[Plot]:
        """The charts of the result so far."""
        return self.result.plots()


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the learner is asked to guess first, and the answers to choose from."""

    prompt: str
    options: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Equation:
    """An equation in LaTeX, the function that computes it (dotted path) and where it is from."""

    name: str
    latex: str
    function: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Experiment(Generic[SettingsT, ResultT]):
    """One experiment and all that is said about it.

    `run` takes the settings, the folders of data and, to add seeds, an earlier moment of a run that
    differs in nothing else; seeds are measured one after another.
    `answer` gives the index of the option of `prediction` that the result shows to be right, or
    None while it cannot be said; `verdict` one sentence with the numbers; `tables` what a report
    prints; `rows` every number for a CSV file; `source`, where there is one, the code in question.
    """

    key: str
    title: str
    question: str
    prediction: Question
    equations: tuple[Equation, ...]
    settings: type[SettingsT]
    run: "Run[SettingsT, ResultT]"
    answer: Callable[[ResultT], int | None]
    verdict: Callable[[ResultT], str]
    tables: Callable[[ResultT], list[Table]]
    rows: Callable[[ResultT], list[dict[str, Any]]]
    source: Callable[[], str] | None = None


class Run(Protocol[Contra, ResultT]):
    """How an experiment is run."""

    def __call__(
        self,
        settings: Contra,
        folders: Sequence[Path] = ...,
        kept: "Partial[ResultT] | None" = ...,
    ) -> Iterator[Partial[ResultT]]:
        """Moments of the run, the last of them with all that was measured."""


def kept_records(kept: Partial[Any] | None, name: str) -> list[Any]:
    """Copies of the records, a list of the result, of all seeds that are whole in `kept`.

    Every record has a `seed`; only the last one may have been cut short.
    """
    if kept is None:
        return []
    found = getattr(kept.result, name)
    last = max((one.seed for one in found), default=-1) - (kept.progress < 1)
    return copy.deepcopy([one for one in found if one.seed <= last])


def seeds_in(records: Sequence[Any]) -> int:
    """How many seeds there are records of, from the first one on."""
    return max((one.seed for one in records), default=-1) + 1


Tick = tuple[float, str]  # how far, 0 to 1, and what is being done


def seed_after_seed(
    first: int, seeds: int, begin: Callable[[int], tuple[int, Iterator[str]]]
) -> Iterator[Tick]:
    """The work of the seeds from `first` on; `begin` gives how many parts one has, and those."""
    for seed in range(first, seeds):
        total, parts = begin(seed)
        for done, words in enumerate(parts, start=1):
            yield (seed + done / total) / seeds, f"seed {seed + 1}: {words}"


def recorded(
    kept: Partial[Any] | None,
    name: str,
    work: Callable[[list[Any]], Iterator[Tick]],
    result: Callable[[list[Any]], ResultT],
) -> Iterator[Partial[ResultT]]:
    """A run whose result holds records of its seeds, a list that it calls `name`.

    `work` adds to the list, which begins with the records of the whole seeds in `kept`.
    """
    records = kept_records(kept, name)
    return paced(work(records), lambda: result(copy.deepcopy(records)))


def paced(
    ticks: Iterator[Tick], snapshot: Callable[[], ResultT], seconds: float = YIELD_SECONDS
) -> Iterator[Partial[ResultT]]:
    """Advance the work, and yield what there is at once, then every so often, and at the end.

    `snapshot` must copy: what was yielded before may not change.
    """
    yield Partial(progress=0.0, words="starting", result=snapshot())
    shown = time.monotonic()
    for progress, words in ticks:
        if time.monotonic() - shown >= seconds:
            yield Partial(progress=min(progress, 1.0), words=words, result=snapshot())
            shown = time.monotonic()
    yield Partial(progress=1.0, words="done", result=snapshot())


def source_of(function: str) -> str:
    """The source text of the function or method an equation names.

    Raises AttributeError and ImportError.
    """
    return textwrap.dedent(inspect.getsource(pkgutil.resolve_name(function)))
