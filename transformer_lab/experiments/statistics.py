"""Chance and its interval, and ranges over seeds. Verdicts on differences are in `paired.py`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import scipy  # its `stats` are loaded at their first use

from transformer_lab.experiments.experiment import Reference, Series, Table
from transformer_lab.experiments.paired import Judged, cannot_tell, interval
from transformer_lab.experiments.paired import by_amount as amount

COMPARED = ["difference", "seeds", "mean and interval", "verdict"]  # columns of `verdict_table`


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and range of the same number over several seeds."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """As in 79.4 (71.1 to 84.9)."""
        if self.count == 1:
            return f"{self.mean:.1f}"
        return f"{self.mean:.1f} ({self.low:.1f} to {self.high:.1f})"


def spread(numbers: Iterable[float]) -> Spread:
    """Mean and range. Raises ValueError when there are no numbers."""
    found = list(numbers)
    if not found:
        raise ValueError("There is no mean of no numbers.")
    return Spread(
        mean=math.fsum(found) / len(found), low=min(found), high=max(found), count=len(found)
    )


@dataclass(frozen=True, kw_only=True)
class Chance:
    """Accuracy of guessing, in percent: its expectation, and where 95 % of such scores lie."""

    percent: float
    low: float
    high: float


def chance(trials: int, classes: int, level: float = 0.95) -> Chance:
    """The score of someone who guesses `trials` labels, each right with probability 1/classes.

    The interval is exact: the smallest k with P(X <= k) >= (1 - level)/2, and the smallest with
    P(X <= k) >= (1 + level)/2, for X binomial. Raises ValueError without trials or classes.
    """
    if trials < 1 or classes < 2:
        raise ValueError(f"Nothing to guess: {trials} trials, {classes} classes.")
    low, high = scipy.stats.binom.ppf([(1 - level) / 2, (1 + level) / 2], trials, 1 / classes)
    return Chance(percent=100 / classes, low=100 * low / trials, high=100 * high / trials)


def chance_reference(guess: Chance) -> Reference:
    """Where guessing ends up, to draw in a plot of accuracy."""
    return Reference(
        name="chance, 95 % of guesses", y=guess.percent, low=guess.low, high=guess.high
    )


def place_by_place(lines: Sequence[Sequence[float]]) -> list[Spread]:
    """What lines have in common at each place, of which some may be shorter than others."""
    length = max(map(len, lines), default=0)
    return [spread(line[i] for line in lines if len(line) > i) for i in range(length)]


def over_seeds(
    name: str, lines: Iterable[Sequence[float]], x: Sequence[float] | None = None
) -> list[Series]:
    """One series of the mean and the range at each place, of lines that may still be growing.

    `x` are the places, 0, 1, 2 ... if not given. An empty list when nothing was measured yet.
    """
    found = [line for line in lines if line]
    places = place_by_place(found)
    if not places:
        return []
    ranged = len(found) > 1
    return [
        Series(
            name=name,
            x=[float(place) for place in (x or range(len(places)))][: len(places)],
            y=[place.mean for place in places],
            low=[place.low for place in places] if ranged else [],
            high=[place.high for place in places] if ranged else [],
        )
    ]


def bars(name: str, found: Iterable[tuple[str, Spread | None]]) -> list[Series]:
    """One series of bars, of the labels that have a value yet; an empty list when none has."""
    there = [(label, spot) for label, spot in found if spot]
    if not there:
        return []
    return [
        Series(
            name=name,
            x=[label for label, _ in there],
            y=[spot.mean for _, spot in there],
            low=[spot.low for _, spot in there],
            high=[spot.high for _, spot in there],
        )
    ]


def verdict_table(
    found: Mapping[str, Judged], unit: str, digits: int, words: tuple[str, str]
) -> Table:
    """Every comparison of an experiment: its interval, and what may be said of it."""
    return Table(
        title="Differences, seed by seed: mean, 95 % interval by Student's t, and verdict by "
        "Holm's correction for their number",
        columns=COMPARED,
        rows=[
            [
                name,
                str(one.found.count),
                interval(one.found, digits),
                f"{words[one.found.mean > 0]} {amount(one.found, unit, digits)}"
                if one.clear
                else cannot_tell(one.found, unit, digits),
            ]
            for name, one in found.items()
        ],
    )
