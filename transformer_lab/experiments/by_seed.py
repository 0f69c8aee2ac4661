"""Records of what was measured, each of one seed: to look up, to pair, to draw and to list."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from transformer_lab.experiments.statistics import spread


class Record(Protocol):
    """Anything measured with one seed."""

    @property
    def seed(self) -> int:
        """Which one, from 0."""


RecordT = TypeVar("RecordT", bound=Record)


def having(records: Iterable[RecordT], **parts: Any) -> dict[int, RecordT]:
    """The records whose attributes have these values, by seed."""
    return {
        one.seed: one
        for one in records
        if all(getattr(one, name) == value for name, value in parts.items())
    }


def part_of(found: Mapping[int, Any], part: str) -> dict[int, float]:
    """One number of each record, by seed."""
    return {seed: getattr(one, part) for seed, one in found.items()}


def differences(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """One minus the other, for every seed that has both."""
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def lines(places: Sequence[Mapping[int, RecordT]], part: str, seeds: int) -> list[list[float]]:
    """One line for each seed: a number of its record at each place that has one."""
    return [
        [getattr(place[seed], part) for place in places if seed in place] for seed in range(seeds)
    ]


def cell(found: Mapping[int, RecordT], words: str, *parts: str) -> str:
    """Means over seeds of some numbers, as `words` has them; a dash where there are none."""
    if not found:
        return "-"
    return words.format(*(spread(part_of(found, part).values()).mean for part in parts))


def listed(records: Iterable[RecordT], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each record: what `columns` calls each of its attributes, and its value."""
    return [{column: getattr(one, name) for name, column in columns.items()} for one in records]
